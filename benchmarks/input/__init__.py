"""What comes before the model: preparing, streaming and augmenting speech, measured."""
