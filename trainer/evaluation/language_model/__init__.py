"""A language model beside the decoder: its score of words, as they are written, is added to that of tokens."""
