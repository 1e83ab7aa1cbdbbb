"""Speed and memory of decoding and transcribing, beside the usual way."""
