"""Errors counted in what was heard against what was said: texts and numbers only, no model, no audio, no torch."""
