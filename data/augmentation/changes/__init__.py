"""Kinds of augmentation, one to a module, found by themselves. ``gain.py`` is the shortest to begin a new one from."""
