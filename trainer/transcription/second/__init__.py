"""A second recording beside the first one: found, moved into place, and cut at the same times."""
