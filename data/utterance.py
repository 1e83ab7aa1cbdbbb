"""What travels from the data to the trainer."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # preparing data wants no torch
    import torch

SAMPLING_RATE = 16_000


@dataclass(frozen=True)
class Utterance:
    """One recording and what was said.

    Attributes:
        id: stable and unique.
        audio: float32 [samples], 16 kHz, in [-1, 1].
        text: the transcript.
        language: ISO 639-1 code, or None.
        noise: float32 [samples], the part of ``audio`` that is not the speech, or None.
    """

    id: str
    audio: np.ndarray
    text: str
    language: str | None = None
    noise: np.ndarray | None = None


@dataclass(frozen=True)
class AudioBatch:
    """Utterances of similar length, padded with silence, on the CPU.

    Attributes:
        audio: float32 [B, N].
        audio_lengths: int64 [B], samples.
        noise: float32 [B, N] or None.
        decoder_input_ids: int64 [B, L], prompt and text, padded with end-of-text; None where only audio is wanted.
        labels: int64 [B, L], the next token, -100 where there is no loss; None likewise.
        ids, texts, languages: one for each utterance.
        seeds: int64 [B], what is drawn for each utterance on the device is drawn from; None without augmentation.
        target_positions: int64 [N], where in the flattened labels there is a loss; None without labels. This and the
            next are found where the batch is made, which is in a thread that reads ahead.
        noisy_targets: int64 [N], those of them that are of utterances with noise in them.
    """

    audio: torch.Tensor
    audio_lengths: torch.Tensor
    noise: torch.Tensor | None
    decoder_input_ids: torch.Tensor | None
    labels: torch.Tensor | None
    ids: list[str]
    texts: list[str]
    languages: list[str | None]
    seeds: torch.Tensor | None = None
    target_positions: torch.Tensor | None = field(init=False)
    noisy_targets: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        import torch

        positions, noisy = None, torch.empty(0, dtype=torch.int64)
        if self.labels is not None:
            counts = self.labels != -100
            positions = counts.flatten().nonzero().squeeze(1)
            if self.noise is not None:
                is_noisy = (self.noise != 0).any(dim=1)
                noisy = (counts & is_noisy[:, None]).flatten().nonzero().squeeze(1)
        object.__setattr__(self, "target_positions", positions)
        object.__setattr__(self, "noisy_targets", noisy)

    def pinned(self) -> AudioBatch:
        """The same in page-locked memory, from which a GPU copies while it and the host do other things."""
        pinned = copy.copy(self)
        for name, value in vars(self).items():
            if hasattr(value, "pin_memory"):
                object.__setattr__(pinned, name, value.pin_memory())
        return pinned

    @property
    def target_tokens(self) -> int:
        """Labels that count for the loss."""
        return 0 if self.target_positions is None else len(self.target_positions)


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be trained on, and why. ``broken``: the row is at fault, not the config's length limits."""

    id: str
    reason: str
    broken: bool = True


@dataclass(frozen=True)
class LaneItem:
    """What a lane gives at a turn.

    Attributes:
        lane: which one.
        batch: None when the lane has run out.
        position: where the lane stands after this batch; a few numbers, fit for JSON.
        rows: rows read since the item before.
        skipped: rows left out since the item before.
    """

    lane: int
    batch: AudioBatch | None
    position: dict = field(default_factory=dict)
    rows: int = 0
    skipped: tuple[Skipped, ...] = ()
