"""Error rates of checkpoints in noise: the same mixtures for all, by kind of noise and ratio; no training."""
