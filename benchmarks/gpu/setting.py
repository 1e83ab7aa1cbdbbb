"""What every cell is told: where it may write, whether a GPU is used, and how large its measurements are."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from trainer.engine.device import computes_bf16

Size = TypeVar("Size")


class Skipped(Exception):
    """A part that cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Part:
    """A measurement of a cell; what it returns fits JSON. It raises :class:`Skipped` where it cannot be made."""

    name: str
    measure: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Setting:
    """How the cells are measured.

    Attributes:
        folder: for what cells make; they share it, so that each thing is made once.
        on_cpu: everything in the small, without a GPU.
        seconds: that the cell may take; its process is ended then.
        tokenizer: a folder with a Whisper's tokenizer; None for a vocabulary of bytes.
    """

    folder: str
    on_cpu: bool
    seconds: float
    tokenizer: str | None = None

    def size(self, on_gpu: Size, on_cpu: Size) -> Size:
        """The first where a GPU is measured, the second on CPUs."""
        return on_cpu if self.on_cpu else on_gpu

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.on_cpu else "cuda")

    @property
    def dtype(self) -> torch.dtype:
        """What a GPU computes in; bf16 on CPUs too, so that the same code runs."""
        return torch.bfloat16 if self.on_cpu or computes_bf16() else torch.float16

    @property
    def path(self) -> Path:
        return Path(self.folder)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Setting":
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Cell:
    """A row of the table of cells.

    Attributes:
        name: of its module in ``cells/`` too, and of the function there that takes a :class:`Setting` and gives the
            parts in order. A fault in a part costs that one alone, unless it ends the process.
        seconds: its budget; more only where cells before it took less.
    """

    name: str
    title: str
    seconds: float
