"""Annotation files: what is said when in a recording, as segments in tiers."""
