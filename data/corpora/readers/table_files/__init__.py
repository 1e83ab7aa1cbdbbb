"""How tables lie in files: encodings, separators, quotes, headers, and the items of JSON."""
