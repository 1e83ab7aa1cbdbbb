"""Long recordings whose words and times are known: making them, and measuring checkpoints and peers on them."""
