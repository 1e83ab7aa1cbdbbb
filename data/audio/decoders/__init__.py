"""Programs and libraries that decode recordings, and what must be known to use them safely."""
