"""The cells in the order in which they are measured, each with its budget in seconds; the most telling come first."""

from .cells.attention import attention
from .cells.decoding import decoding
from .cells.machine import machine
from .cells.medium import medium
from .cells.memory import memory
from .cells.numerics import numerics
from .cells.resuming import resuming
from .cells.small import small
from .cells.usual_recipe import usual_recipe
from .setting import Cell

CELLS = (
    Cell("machine", "Machine and doctor", 25, machine),
    Cell("attention", "Attention by shape, mask and kernel, and candidates", 40, attention),
    Cell("numerics", "Numbers and waits", 45, numerics),
    Cell("small", "small from the stream", 65, small),
    Cell("usual_recipe", "The usual recipe", 45, usual_recipe),
    Cell("medium", "medium with clips of 30 s", 60, medium),
    Cell("memory", "Memory, predicted and measured", 85, memory),
    Cell("resuming", "Stop and resume", 70, resuming),
    Cell("decoding", "Decoding", 30, decoding),
)


def cell_named(name: str) -> Cell:
    return next(cell for cell in CELLS if cell.name == name)
