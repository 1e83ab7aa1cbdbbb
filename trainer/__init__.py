"""The loop, the engine, checkpoints, evaluation and logging. Puts data and modeling together."""
