"""Decoding and counting errors, in training and from a checkpoint."""
