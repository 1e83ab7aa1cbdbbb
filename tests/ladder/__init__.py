"""What the decoder promises on each release of transformers; docs/versions.md says which holds where.

These tests also run in environments that hold torch, transformers and pytest alone, so they import nothing else.
"""
