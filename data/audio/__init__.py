"""Recordings in all formats: their headers, whether they are whole, their samples."""
