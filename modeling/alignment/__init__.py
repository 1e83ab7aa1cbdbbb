"""When each token of a text is said: cross-attention, dynamic time warping, and tokens as words."""
