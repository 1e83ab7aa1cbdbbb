"""Training measured: each option, growth with size, and the usual recipe side by side."""
