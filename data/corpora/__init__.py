"""Corpora as they are out there: how each kind is recognised and read."""
