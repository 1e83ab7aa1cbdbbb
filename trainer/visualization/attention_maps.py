"""What a decoder attends to for each token, as arrays, with what pages call its parts. Draws nothing."""

from dataclasses import dataclass

import numpy as np

from .excerpt import Excerpt

FRAME_SECONDS = 0.02  # an encoder frame's: two mel frames; frame s is the 20 ms around second 0.02 s
DOMINATED = 0.5  # share of a frame's energy that is noise, beyond which noise dominates it


@dataclass(frozen=True)
class HeardRecording:
    """A recording as the model hears it.

    Attributes:
        excerpt: what was read of it.
        features: float32 [mel bins, 2 S], S encoder frames.
        shown_frames: how many of the S frames hold the recording and half a second after it.
        noise: float32 [S], share of each encoder frame's energy that is noise, or None where it is not known.
    """

    excerpt: Excerpt
    features: np.ndarray
    shown_frames: int
    noise: np.ndarray | None

    @property
    def dominated(self) -> np.ndarray | None:
        """bool [S]: frames that noise dominates."""
        return None if self.noise is None else self.noise > DOMINATED


@dataclass(frozen=True)
class AttentionMaps:
    """Attention weights are means over heads; rows are the tokens that each position predicts, end-of-text too.

    Attributes:
        text: what the tokens say.
        is_given: the text was given; the model did not choose the tokens.
        repeats: the decoder seems to be in a loop.
        tokens: L names, see :func:`token_names`.
        probabilities: float32 [L], of each token given those before it.
        layers: numbers of the decoder layers that follow.
        recordings: the first, and the second if one was given, with S and S2 frames.
        primary: float32 [layers, L, S], the first attention over the first recording.
        secondary: float32 [layers, L, S2], the second attention, over the second recording if there is one, else over
            the first. Where one attention reads both recordings, its weights on the second; those and ``primary`` sum
            to 1. None in plain Whisper.
        gates: float32 [layers, L], the primary attention's share; None without a second attention.
        hears_second: the checkpoint can hear a second recording, whether one was given or not.
    """

    text: str
    language: str
    is_given: bool
    repeats: bool
    tokens: tuple[str, ...]
    probabilities: np.ndarray
    layers: tuple[int, ...]
    recordings: tuple[HeardRecording, ...]
    primary: np.ndarray
    secondary: np.ndarray | None
    gates: np.ndarray | None
    hears_second: bool = False

    @property
    def is_joined(self) -> bool:
        """Whether one attention reads the frames of both recordings."""
        return self.secondary is not None and self.gates is None

    @property
    def first_shares(self) -> np.ndarray | None:
        """float32 [layers, L]: how much of the one attention falls on the first recording; None where there are two."""
        return self.primary.sum(-1) if self.is_joined else None

    @property
    def second_share(self) -> float:
        """How much of the one attention falls on the second recording, mean over layers and tokens."""
        assert self.first_shares is not None
        return 1 - float(self.first_shares.mean())

    @property
    def attentions(self) -> dict[str, np.ndarray]:
        """The weights of ``primary`` and, except in plain Whisper, of ``secondary``."""
        both = {"primary": self.primary, "secondary": self.secondary}
        return {kind: weights for kind, weights in both.items() if weights is not None}

    def number_of(self, kind: str) -> int:
        """Which recording an attention reads: 0 the first, 1 the second."""
        return len(self.recordings) - 1 if kind == "secondary" else 0

    def recording_of(self, kind: str) -> HeardRecording:
        return self.recordings[self.number_of(kind)]

    def shown(self, kind: str) -> np.ndarray:
        """[layers, L, frames]: the weights on the frames that are shown."""
        return self.attentions[kind][:, :, : self.recording_of(kind).shown_frames]

    def called(self, kind: str) -> str:
        """What pages call an attention: ``primary attention``, or ``attention`` where it is the only one."""
        return "attention" if self.gates is None else f"{kind} attention"

    def place(self, number: int) -> str:
        """What pages call a recording: ``first recording``; empty where it is the only one."""
        return "" if len(self.recordings) == 1 else ("first recording", "second recording")[number]

    def title(self, kind: str) -> str:
        """``primary attention``, or ``primary attention, first recording`` where there are two recordings."""
        return ", ".join(filter(None, (self.called(kind), self.place(self.number_of(kind)))))

    @property
    def shares_on_noise(self) -> dict[str, np.ndarray]:
        """By attention [L]: how much of each token's, mean over layers, falls on frames that noise dominates.

        Only of attentions over recordings whose noise is known.
        """
        noisy = {kind: self.recording_of(kind).dominated for kind in self.attentions}
        return {
            kind: self.attentions[kind].mean(0)[:, dominated].sum(-1)
            for kind, dominated in noisy.items()
            if dominated is not None
        }

    def share_beyond(self, kind: str) -> np.ndarray:
        """[L]: how much falls on frames after those shown, which only padding fills."""
        weights = self.attentions[kind].mean(0)
        return weights[:, self.recording_of(kind).shown_frames :].sum(-1)

    def peaks(self, number: int = 0) -> np.ndarray:
        """Seconds from the begin of an excerpt to where each token's attention to it, mean over layers, peaks.

        Of the attentions to a recording, the primary one counts.
        """
        kind = "secondary" if number else "primary"
        return peak_frames(self.within(self.shown(kind).mean(0))) * FRAME_SECONDS

    def peak_weights(self, weights: np.ndarray) -> np.ndarray:
        """[L]: each row's weight at its peak, full scale in pictures; frames that all tokens see may exceed it."""
        return np.take_along_axis(weights, peak_frames(self.within(weights))[:, None], 1)[:, 0]

    def within(self, weights: np.ndarray) -> np.ndarray:
        """Weights [L, S] on a recording; where they are a part of the attention, which varies by token, of sum 1."""
        least = np.finfo(np.float32).tiny
        return weights / np.maximum(weights.sum(-1, keepdims=True), least) if self.is_joined else weights

    def full_scale(self, row: int | None = None) -> dict[str, float]:
        """By attention, the weight that pictures draw darkest: the largest at a peak.

        One attention over both recordings has one scale.

        Args:
            row: of the layer; None for the mean over layers.
        """
        shown = {kind: self.shown(kind).mean(0) if row is None else self.shown(kind)[row] for kind in self.attentions}
        found = {kind: float(self.peak_weights(weights).max()) for kind, weights in shown.items()}
        if self.is_joined:
            found = dict.fromkeys(found, max(found.values()))
        return {kind: scale or 1.0 for kind, scale in found.items()}


def peak_frames(weights: np.ndarray) -> np.ndarray:
    """int64 [L]: for each row of weights w [L, S] the frame that distinguishes it most from the mean of all rows.

    That is where w · log(w / mean), the frame's part of the divergence between the two, is largest. The largest w would
    mislead: decoders have a few frames that every token attends to, which are no alignment. A single row has no mean
    to compare with: its largest weight is taken.
    """
    if len(weights) == 1:
        return weights.argmax(-1)
    least = np.finfo(np.float32).tiny
    return (weights * np.log(np.maximum(weights, least) / np.maximum(weights.mean(0), least))).argmax(-1)
