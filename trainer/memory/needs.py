"""What a step takes by the utterances of its microbatches: predicted when it is first asked for, and kept in a file."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..record.durable import write_text
from .cells import Cell, with_settings

LIBRARIES = ("torch", "transformers", "accelerate", "deepspeed", "peft", "bitsandbytes")
SECTIONS = {"model", "optimizer", "engine", "noise", "performance", "evaluation"}
SOURCES = ("modeling", "trainer/memory", "trainer/step")  # whose code decides what a step takes


class Needs:
    """Bytes that a step takes. On a GPU all that the device has in use; elsewhere what comes to the model's weights.

    Args:
        cell: of a settled config; its batch size does not count.
        kept: a folder for what was predicted; None: nothing is kept.
    """

    def __init__(self, cell: Cell, on_gpu: bool = True, kept: Path | None = None) -> None:
        self.cell, self.on_gpu = cell, on_gpu
        self.steps: dict[bool, Any] = {}
        self.file = kept / f"{self.key()}.json" if kept is not None else None
        self.known: dict[str, int] = {}
        if self.file is not None:
            with suppress(OSError, ValueError):
                self.known = {str(name): int(size) for name, size in json.loads(self.file.read_bytes()).items()}

    def __call__(self, size: int, accumulates: bool) -> int:
        """Of microbatches with so many utterances; ``accumulates``: a step has several of them.

        Raises:
            ConfigError: if only the hub knows the model's shape.
        """
        name = f"{size}{' of several' if accumulates else ''}"
        return self.kept(name, lambda: self.predicted(size, accumulates))

    def kept(self, name: str, predict: Callable[[], int]) -> int:
        """Bytes that are known by a name, or are predicted now and kept."""
        if name not in self.known:
            self.known[name] = predict()
            if self.file is not None:
                with suppress(OSError):  # a home that cannot be written to; it is predicted again then
                    self.file.parent.mkdir(parents=True, exist_ok=True)
                    write_text(self.file, json.dumps(self.known))
        return self.known[name]

    def step(self, accumulates: bool) -> Any:
        """The :class:`~trainer.memory.prediction.StepMemory` of steps with one microbatch, or with several."""
        from .prediction import StepMemory

        if accumulates not in self.steps:
            own = self.cell.config.training.accumulation
            config = with_settings(self.cell.config, "training", accumulation=max(2, own) if accumulates else 1)
            self.steps[accumulates] = StepMemory(replace(self.cell, config=config), self.on_gpu)
        return self.steps[accumulates]

    def predicted(self, size: int, accumulates: bool) -> int:
        step = self.step(accumulates).at(size)
        return int(step.device_used_bytes or step.peak_bytes - step.parts.get("parameters", 0))

    def key(self) -> str:
        """A digest of all that the prediction depends on: settings, versions, and this project's own code."""
        config, cell = self.cell.config, self.cell
        sections = config.model_dump(mode="json", include=SECTIONS)
        shape = Path(config.model.checkpoint or "") / "config.json"
        root = Path(__file__).resolve().parents[2]
        facts = {
            "sections": sections,
            "average": config.training.ema is not None,
            "smoothing": config.training.label_smoothing > 0,
            "shape": shape.read_text(encoding="utf-8") if shape.is_file() else "",
            "step": (
                cell.seconds,
                cell.tokens,
                cell.has_noise,
                cell.precision,
                cell.processes,
                self.on_gpu,
                cell.has_second,
            ),
            "libraries": [version_of(name) for name in LIBRARIES],
            "sources": [
                hashlib.sha256(path.read_bytes()).hexdigest()
                for folder in SOURCES
                for path in sorted((root / folder).rglob("*.py"))
            ],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def version_of(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def kept_predictions() -> Path:
    """The folder in the user's cache where predictions are kept for the next start."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dual-attention-whisper" / "step_memory"
