"""From rows to batches, the same on any number of ranks, and where a resumed run goes on."""
