"""Exports what a training left as one plain Hugging Face folder, and checks it before it is kept."""
