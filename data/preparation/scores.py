"""Scores of clips: what a model hears in them and how well their transcripts fit; how they are asked for, and limits.

Which model, and how it is asked, is the business of the scorer that is given; it is opened once in each process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from pydantic import Field

from ..sources.config import Section

GIVEN = "given"
FOR_PSEUDO_LABELS = ("min_log_probability", "max_compression_ratio")  # limits that nothing else has
LABEL = "label"
PSEUDO_NO_SPEECH = 0.6  # this and the limits of pseudo-labels are those of Whisper's own transcription


@dataclass(frozen=True, slots=True)
class Score:
    """What a model says of a clip. None where it cannot be said: most of it without a transcript.

    Attributes:
        language: in which it hears, ISO 639-1: the clip's own, or detected.
        hypothesis: what it hears.
        word_error_rate, character_error_rate: of the hypothesis, taking the transcript for right; fractions.
        evidence: how much likelier the transcript is with the audio than with silence: the natural logarithm of the
            ratio of the probabilities, for each token. Near 0 or below where the transcript is of something else.
        edge_evidence: the same of the first token alone or of the end alone, whichever is less. Below 0 where words are
            missing from the transcript's beginning or end.
        text_log_probability: of the transcript with the audio, mean over its tokens.
        mean_log_probability: of the hypothesis, mean over its tokens.
        no_speech_probability: that there is no speech, as Whisper defines it.
        compression_ratio: of the hypothesis, bytes over compressed bytes; high where it repeats itself.
    """

    language: str
    hypothesis: str
    word_error_rate: float | None = None
    character_error_rate: float | None = None
    evidence: float | None = None
    edge_evidence: float | None = None
    text_log_probability: float | None = None
    mean_log_probability: float | None = None
    no_speech_probability: float | None = None
    compression_ratio: float | None = None


SCORE_COLUMNS = {"hypothesis": "string"} | {field.name: "float64" for field in fields(Score)[2:]}


class Sounding(NamedTuple):
    """A clip as a scorer takes it: float32 samples [N] at 16 kHz, its transcript and its language, if it has any."""

    audio: np.ndarray
    text: str | None
    language: str | None


class Scorer:
    """Opened in each process that needs it; small and picklable before. See ``trainer.transcription.scoring``."""

    def open(self) -> Callable[[Sequence[Sounding]], list[Score | None]]:
        """What scores clips, in their order; None for a clip whose language the model does not know."""
        raise NotImplementedError


class ScoreSettings(Section):
    """How clips are scored. Limits, which only choose among scored clips, are :class:`ScoreLimits`."""

    checkpoint: str
    weights: str = Field(description="a digest of the checkpoint's weights")
    pseudo_label: bool = Field(False, description="clips without a transcript get what the model hears")

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the shards that scoring adds, and their types."""
        return SCORE_COLUMNS | ({LABEL: "string"} if self.pseudo_label else {})


class ScoreLimits(Section):
    """Which scored clips are left out; applied last, so that others may be tried without decoding again."""

    min_evidence: float | None = Field(None, allow_inf_nan=False, description="of clips with a transcript")
    min_edge_evidence: float | None = Field(None, allow_inf_nan=False, description="of such clips")
    max_word_error_rate: float | None = Field(None, ge=0, allow_inf_nan=False, description="of such clips")
    max_no_speech: float | None = Field(None, ge=0, le=1, description="of all clips; of pseudo-labels 0.6 if None")
    min_log_probability: float = Field(-1.0, le=0, allow_inf_nan=False, description="mean, of pseudo-labels")
    max_compression_ratio: float = Field(2.4, gt=0, allow_inf_nan=False, description="of pseudo-labels")
