"""The report on memory, out of the figures in a folder of results."""
