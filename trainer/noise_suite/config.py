"""The suite's own config: what is mixed with what, how loud, how it is decoded; checked before any model is opened."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from data.augmentation.fields import NoiseSourceConfig
from data.config import Section, SourceConfig
from data.sources.languages import Language

from ..config.evaluation import EvaluationConfig
from ..config.reading import apply_overrides, read_yaml, validated
from .conditions import (
    CLEAN_PAIR,
    MEANT_SPEAKER,
    MICROPHONES,
    OTHER_PARTY,
    Condition,
    NoiseType,
    conditions_of,
)
from .heard import WAYS, Heard

SYNTHETIC = "synthetic"
RECORDED, MADE = "recorded noise", "made noise"  # tags of the two types of ``noise``; messages leave them out
LOUDEST, FAINTEST = -60.0, 60.0  # decibels; beyond them speech or noise vanishes
DECODING = ("batch_size", "max_new_tokens", "beams", "normalizer", "cluster", "columns")
NoiseOrigin = Annotated[
    Annotated[NoiseSourceConfig, Tag(RECORDED)] | Annotated[Literal["synthetic"], Tag(MADE)],
    Discriminator(lambda value: MADE if isinstance(value, str) else RECORDED),
]


class NonSpeechConfig(Section):
    """Clips of noise without speech, in which every word is invented."""

    clips: int = Field(100, gt=0, description="how many clips")
    seconds: float = Field(10.0, ge=0.1, le=30, description="of each clip")


class NoiseSuiteConfig(Section):
    """What launch/eval.py --noise-suite measures. Keys of decoding left out are the run's evaluation section's."""

    speech: SourceConfig | None = Field(
        None, description="clean recordings with transcripts; without it, the run's test split, else its validation"
    )
    noise: NoiseOrigin | None = Field(
        None, description="recordings of noise; `synthetic`: noises made from the seed, for trying it out"
    )
    types: tuple[NoiseType, ...] | None = Field(
        None,
        description="noise: recordings of `noise`; babble: other utterances on top of each other; competing: one other "
        "utterance; without it, all that there is something to mix for",
    )
    ratios: tuple[float, ...] = Field((20.0, 10.0, 5.0, 0.0, -5.0), description="decibels of speech over noise")
    clean: bool = Field(True, description="the speech as it is, too")
    non_speech: NonSpeechConfig | None = Field(None, description="clips of noise alone: how many words are invented")
    microphones: tuple[tuple[float, float], ...] = Field(
        (),
        description="pairs of decibels of speech over noise in the first and in a second recording of the same speech, "
        "each with noise and a level of its own, not synchronised: [[0, 10], [0, 0]]",
    )
    clean_pair: bool = Field(False, description="two such recordings without noise")
    other_party: tuple[float, ...] = Field(
        (),
        description="decibels of the speech over that of another speaker, who leaks into the first recording; the "
        "second recording is the other's channel",
    )
    leak_room: float | None = Field(
        None,
        ge=0.05,
        le=5,
        description="the other party leaks through a room whose sound is 60 dB down after so many "
        "seconds; without it as a fainter copy",
    )
    meant_speaker: tuple[float, ...] = Field(
        (),
        description="decibels of the speech over a competing speaker who is heard over a part of the clip; the second "
        "recording is another utterance of the speaker, who is known by `cluster`",
    )
    heard: Heard = Field(
        "both",
        description="how a second recording is given to a checkpoint: "
        + "; ".join(f"{name}: {way.told}" for name, way in WAYS.items()),
    )
    fused_share: float | None = Field(
        None, ge=0, le=1, description="heard: fused, share of the first recording; without it, by how certain each is"
    )
    babble_speakers: int = Field(6, ge=2, le=32, description="utterances that make up a babble")
    utterances: int | None = Field(None, gt=0, description="only so many, drawn by their ids' hashes")
    attention_utterances: int = Field(
        32, ge=0, description="so many mixtures' attention is looked at, of checkpoints with two attentions; 0: none"
    )
    seed: int = Field(0, ge=0, description="of the mixtures")
    batch_size: int | None = Field(None, gt=0, description="utterances decoded together")
    max_new_tokens: int | None = Field(None, gt=0, lt=448, description="longest transcript, in tokens")
    beams: int | None = Field(None, gt=0, le=64, description="1: greedy decoding; more: beam search")
    normalizer: Literal["auto", "english", "basic", "none"] | None = Field(
        None, description="applied to reference and transcript before counting"
    )
    language: Language | None = Field(None, description="that of the speech; else that of the source or the run")
    cluster: str | None = Field(None, description="the column, such as speaker, whose values are drawn for intervals")
    columns: tuple[str, ...] | None = Field(None, description="columns that predictions carry")

    @field_validator("ratios", "microphones", "other_party", "meant_speaker")
    @classmethod
    def ratios_are_decibels(cls, ratios: tuple[Any, ...]) -> tuple[Any, ...]:
        for ratio in (one for part in ratios for one in (part if isinstance(part, tuple) else (part,))):
            if not math.isfinite(ratio) or not LOUDEST <= ratio <= FAINTEST:
                raise ValueError(f"a ratio is {ratio}; it must be a number of decibels, {LOUDEST:g} to {FAINTEST:g}")
        return ratios

    @field_validator("ratios", "types", "microphones", "other_party", "meant_speaker")
    @classmethod
    def each_once(cls, values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        for value in values or ():
            if (values or ()).count(value) > 1:
                raise ValueError(f"{value:g} stands twice" if isinstance(value, float) else f"{value!r} stands twice")
        return values

    @model_validator(mode="after")
    def something_to_measure(self) -> "NoiseSuiteConfig":
        if self.noise is None and "noise" in (self.types or ()):
            raise ValueError(
                "types has 'noise', but noise is missing: name a folder of recordings, or write noise: synthetic"
            )
        if self.noise is None and self.non_speech is not None:
            raise ValueError("non_speech needs noise: name a folder of recordings, or write noise: synthetic")
        if self.noise is None and self.microphones:
            raise ValueError("microphones needs noise: name a folder of recordings, or write noise: synthetic")
        if self.kinds and not self.ratios:
            raise ValueError("ratios is empty: give some, in decibels, or types: [] for clean speech alone")
        if not self.conditions:
            raise ValueError("nothing is measured: clean is false, types is empty and non_speech is missing")
        return self

    @model_validator(mode="after")
    def heard_where_it_means_something(self) -> "NoiseSuiteConfig":
        kinds = WAYS[self.heard].kinds
        unfit = [one.kind for one in self.paired if one.kind not in kinds]
        if unfit:
            raise ValueError(f"heard is {self.heard!r}, which is for {', '.join(kinds)}: take out {unfit[0]}")
        if self.fused_share is not None and self.heard != "fused":
            raise ValueError(f"fused_share is given, but heard is {self.heard!r}: take it out, or set heard to fused")
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types that are mixed."""
        if self.types is not None:
            return self.types
        return ("noise", "babble", "competing") if self.noise is not None else ("babble", "competing")

    @property
    def voice_kinds(self) -> tuple[str, ...]:
        """The kinds of condition in which other people are heard."""
        mixed = [kind for kind in self.kinds if kind != "noise"]
        return (*mixed, *dict.fromkeys(one.kind for one in self.paired if one.kind in (OTHER_PARTY, MEANT_SPEAKER)))

    @property
    def paired(self) -> list[Condition]:
        """The conditions with a second recording, of each kind from the highest ratio down, pairs as they are given."""
        leaks = [Condition(OTHER_PARTY, ratio) for ratio in sorted(self.other_party, reverse=True)]
        meant = [Condition(MEANT_SPEAKER, ratio) for ratio in sorted(self.meant_speaker, reverse=True)]
        pairs = [Condition(MICROPHONES, *pair) for pair in self.microphones]
        return [*([Condition(CLEAN_PAIR)] if self.clean_pair else []), *pairs, *leaks, *meant]

    @property
    def conditions(self) -> list[Condition]:
        return conditions_of(self.kinds, self.ratios, self.clean, self.non_speech is not None, self.paired)

    def evaluation(self, below: EvaluationConfig) -> EvaluationConfig:
        """An evaluation section with what is given here over it; columns go with the speech that they are of."""
        if self.speech is not None:
            below = below.model_copy(update={"columns": (), "cluster": None})
        given = {key: value for key in DECODING if (value := getattr(self, key)) is not None}
        return below.model_copy(update=given)


def load_suite(path: str | Path, overrides: Sequence[str] = ()) -> NoiseSuiteConfig:
    """The suite of a file, ``key.path=value`` overrides applied.

    Raises:
        ConfigError: as :func:`trainer.config.reading.load_config`.
    """
    return suite_of(apply_overrides(read_yaml(Path(path)), overrides), str(path))


def suite_of(values: dict[str, Any], named: str = "the suite") -> NoiseSuiteConfig:
    """The suite that nested values describe; ``named`` is what messages call it."""
    return validated(NoiseSuiteConfig, values, named)
