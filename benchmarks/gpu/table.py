"""The cells in the order in which they are measured, each with its budget in seconds; the most telling come first.

Also what the promises ask of a cell: all of it must be measured.
"""

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

SMALL_BATCHES = {64: 30, 256: 12}  # timed steps by the batch size
# The slow ones first; no six in turn take more than 120 GiB together.
MEMORY_CELLS = (
    "medium, full, checkpointing none",
    "medium, frozen_encoder, checkpointing none",
    "medium, lora, checkpointing all",
    "medium, full, checkpointing all",
    "small, float32",
    "small, full, checkpointing none",
    "small, frozen_encoder, checkpointing none",
    "small, selective, checkpointing none",
    "small, lora, checkpointing none",
    "small, full, checkpointing all",
    "small, short clips",
    "small, ZeRO-2",
    "small, 8-bit AdamW",
    "small, 30 s windows",
    "small, second recording, attention",
    "small, second recording, joined",
    "base, full, checkpointing none",
    "base, lora, checkpointing all",
)
