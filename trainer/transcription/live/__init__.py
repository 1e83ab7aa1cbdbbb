"""Transcription of a stream while it is spoken."""
