"""Recordings in, transcripts and subtitles out."""
