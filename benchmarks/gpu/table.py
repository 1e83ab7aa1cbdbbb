"""The cells in the order in which they are measured, each with its budget in seconds; the most telling come first."""

from .setting import Cell

CELLS = (
    Cell("machine", "Machine and doctor", 25),
    Cell("attention", "Attention by shape, mask and kernel, and candidates", 40),
    Cell("numerics", "Numbers and waits", 45),
    Cell("small", "small from the stream", 65),
    Cell("usual_recipe", "The usual recipe", 45),
    Cell("medium", "medium with clips of 30 s", 60),
    Cell("memory", "Memory, predicted and measured", 85),
    Cell("resuming", "Stop and resume", 70),
    Cell("decoding", "Decoding", 30),
)
