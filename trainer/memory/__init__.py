"""What a training step and an evaluation take of a GPU's memory, predicted without one, and what makes them fit."""
