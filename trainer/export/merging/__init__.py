"""Means of models: of runs, seeds and checkpoints, and of a trained model with the model before training."""
