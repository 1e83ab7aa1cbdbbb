"""Kinds of augmentation, one to a module. A module added here is found by itself; see docs/augmentation.md."""
