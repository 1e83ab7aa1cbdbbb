"""What the engines send at a training step: a formula, and the calls of real steps counted beside it."""
