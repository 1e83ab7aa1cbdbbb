"""Which split a clip belongs to: shares, what must stay together, and how whole speakers are shared out."""
