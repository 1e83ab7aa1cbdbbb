"""Word n-gram language models from text: counted, smoothed, written and read as ARPA files. Knows nothing of torch."""
