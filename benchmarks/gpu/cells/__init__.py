"""The cells, a file each; each gives its parts in order."""
