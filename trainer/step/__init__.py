"""The parts of a training step: batch, masks, agreement of the ranks, gradients."""
