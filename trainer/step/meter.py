"""Figures of training since they were last logged."""

from typing import Any

from .agreement import Verdict


class Meter:
    """Sums of losses, utterances and seconds of training; evaluations are not counted."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.loss = self.seconds = self.audio_seconds = 0.0
        self.steps = self.utterances = 0

    def add(self, verdict: Verdict, parts: int) -> None:
        """Add a microbatch, whose summed loss the engine divides by ``parts``."""
        self.loss += verdict.loss / parts
        self.utterances += verdict.utterances
        self.audio_seconds += verdict.audio_seconds

    def end_step(self, seconds: float) -> None:
        """Count a step that took so long."""
        self.steps += 1
        self.seconds += seconds

    def read(self, gradient_norm: Any) -> dict[str, float]:
        """Means since the last time; then start anew. Seconds are of training alone.

        The gradient norm is the last step's, a number or a scalar tensor; None, for NaN, if it is not known.
        """
        seconds = max(self.seconds, 1e-9)
        figures = {
            "loss": self.loss / max(self.steps, 1),
            "gradient_norm": float("nan") if gradient_norm is None else float(gradient_norm),
            "utterances_per_second": self.utterances / seconds,
            "audio_seconds_per_second": self.audio_seconds / seconds,
            "seconds_per_step": seconds / max(self.steps, 1),
        }
        self.clear()
        return figures
