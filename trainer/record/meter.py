"""Figures of the steps since they were last read."""

import platform
import re
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from ..step.agreement import Verdict


class Meter:
    """Mean token loss, gradient norm, utterances and audio seconds a second of training, evaluation not counted."""

    def __init__(self) -> None:
        self.gradient_norm: Any = None
        self.clear()

    def clear(self) -> None:
        self.loss = self.seconds = self.audio_seconds = 0.0
        self.steps = self.utterances = 0

    def add(self, verdict: Verdict, parts: int) -> None:
        """A microbatch, whose summed loss the engine divides by ``parts``."""
        self.loss += verdict.loss / parts
        self.utterances += verdict.utterances
        self.audio_seconds += verdict.audio_seconds

    def end_step(self, seconds: float) -> None:
        self.steps += 1
        self.seconds += seconds

    def read(self) -> dict[str, float]:
        """The figures; then start anew."""
        seconds = max(self.seconds, 1e-9)
        figures = {
            "loss": self.loss / max(self.steps, 1),
            "gradient_norm": float(self.gradient_norm) if self.gradient_norm is not None else float("nan"),
            "utterances_per_second": self.utterances / seconds,
            "audio_seconds_per_second": self.audio_seconds / seconds,
            "seconds_per_step": seconds / max(self.steps, 1),
        }
        self.clear()
        return figures


def peak_memory_bytes() -> int:
    """The most memory this process has held: allocated on the GPU if there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def hardware() -> str:
    """The device in words: the GPU, or the CPU and the threads that torch uses of it."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        model = named[1] if named else model
    return f"{model}, {torch.get_num_threads()} threads"
