"""The model and the processor that a config asks for."""
