"""What a decoder attends to in one recording, as pictures and a page; the model and the recording are only read."""
