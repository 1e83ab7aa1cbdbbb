"""Windows of consecutive segments, as Whisper was trained on: which share one, their audio, and their texts."""
