"""Readers of the formats in which corpora come, each with its :class:`..format.Format`."""
