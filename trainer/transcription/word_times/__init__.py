"""When each word is said, and the attention heads that tell it best."""
