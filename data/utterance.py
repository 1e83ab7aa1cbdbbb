"""What travels from the data to the trainer."""

from __future__ import annotations

import copy
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # preparing data wants no torch
    import torch

SAMPLING_RATE = 16_000

# What a second recording is: another microphone of the same speech, another utterance of the same speaker, or the
# channel of the other party to a conversation.
SecondKind = Literal["microphone", "speaker", "party"]


@dataclass(frozen=True)
class Utterance:
    """One recording and what was said.

    Attributes:
        id: stable and unique.
        audio: float32 [samples], 16 kHz, in [-1, 1].
        text: the transcript.
        language: ISO 639-1 code, or None.
        noise: float32 [samples], the part of ``audio`` that is not the speech, or None.
        second: float32 [samples of its own], 16 kHz, a recording that is heard beside ``audio``, or None.
        second_noise: float32, as long as ``second``, the part of it that is noise, or None.
        second_kind: what ``second`` is; None without it.
        clean: float32 [samples], as long as ``audio``, the recording before any change; None where nobody wants it.
    """

    id: str
    audio: np.ndarray
    text: str
    language: str | None = None
    noise: np.ndarray | None = None
    second: np.ndarray | None = None
    second_noise: np.ndarray | None = None
    second_kind: SecondKind | None = None
    clean: np.ndarray | None = None


@dataclass(frozen=True)
class SecondRecordings:
    """The second recordings of a batch, padded with silence, on the CPU.

    Attributes:
        rows: the rows of the batch that have one, ascending; R of them.
        audio: float32 [R, N2].
        audio_lengths: int64 [R], samples.
        noise: float32 [R, N2], the part of ``audio`` that is noise, or None.
    """

    rows: list[int]
    audio: torch.Tensor
    audio_lengths: torch.Tensor
    noise: torch.Tensor | None = None

    def pin_memory(self) -> SecondRecordings:
        """The same in page-locked memory."""
        noise = None if self.noise is None else self.noise.pin_memory()
        return SecondRecordings(self.rows, self.audio.pin_memory(), self.audio_lengths.pin_memory(), noise)

    def part(self, first: int, end: int) -> SecondRecordings | None:
        """Those of the batch's rows from ``first`` to before ``end``, counted from ``first``; None if none is left.

        Samples are shared with this one.
        """
        places = slice(bisect_left(self.rows, first), bisect_left(self.rows, end))
        rows = [row - first for row in self.rows[places]]
        noise = None if self.noise is None else self.noise[places]
        return SecondRecordings(rows, self.audio[places], self.audio_lengths[places], noise) if rows else None


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
        second: the second recordings of the utterances that have one; None if none has.
        clean: float32 [B, N], the recordings before noise was laid over them; None where nobody wants them.
        target_positions: int64 [N], where in the flattened labels there is a loss; None without labels. This and the
            next are found where the batch is made, which is in a thread that reads ahead.
        noisy_targets: int64 [N], those of them that are of utterances with noise in what second attentions read: in the
            second recording where there is one, else in the first.
        noisy_rows: int64 [R], the utterances with known noise in the first recording, ascending.
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
    second: SecondRecordings | None = None
    clean: torch.Tensor | None = None
    target_positions: torch.Tensor | None = field(init=False)
    noisy_targets: torch.Tensor = field(init=False)
    noisy_rows: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        import torch

        positions, noisy, rows = None, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
        if self.noise is not None:
            rows = (self.noise != 0).any(dim=1).nonzero().squeeze(1)
        object.__setattr__(self, "noisy_rows", rows)
        if self.labels is not None:
            counts = self.labels != -100
            positions = counts.flatten().nonzero().squeeze(1)
            is_noisy = self.is_noisy
            if is_noisy is not None:
                noisy = (counts & is_noisy[:, None]).flatten().nonzero().squeeze(1)
        object.__setattr__(self, "target_positions", positions)
        object.__setattr__(self, "noisy_targets", noisy)

    @property
    def is_noisy(self) -> torch.Tensor | None:
        """Bool [B], whether there is noise in what second attentions read of a row; None where no noise is known."""
        second = self.second
        if self.noise is None and (second is None or second.noise is None):
            return None
        is_noisy = self.audio_lengths < 0
        is_noisy[self.noisy_rows] = True
        if second is not None:
            is_noisy[second.rows] = False if second.noise is None else (second.noise != 0).any(dim=1)
        return is_noisy

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
