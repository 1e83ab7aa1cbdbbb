"""Recordings in, batches out. Knows nothing of models or engines."""
