"""What is in a corpus, counted, and what training would stumble over. Knows nothing of pages."""
