"""Segments of long recordings: several in a window, and those that are too long in parts."""
