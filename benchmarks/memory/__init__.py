"""Which batch fits, and how fast it goes: predicted without a GPU, measured with one."""
