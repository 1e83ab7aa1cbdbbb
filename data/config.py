"""The ``data`` section of a config: where recordings come from and how they become batches."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from .augmentation.config import AugmentationConfig, SpecAugmentConfig
from .augmentation.windows import NonSpeechConfig, WindowConfig
from .sources.config import ColumnNames, DigitSpeech, Section, SourceConfig
from .sources.languages import Language
from .utterance import SecondKind

__all__ = ["ColumnNames", "DataConfig", "DigitSpeech", "Section", "SourceConfig"]

ONE_SOURCE, SEVERAL_SOURCES = "one source", "several sources"  # tags of data.train's two types, in no key's path

SECOND_KINDS: dict[SecondKind, str] = {
    "microphone": "another microphone's",
    "speaker": "a clip of the speaker",
    "party": "the other party's",
}


def one_or_several(value: Any) -> str:
    return SEVERAL_SOURCES if isinstance(value, (list, tuple)) else ONE_SOURCE


class DataConfig(Section):
    """Sources, language, and how batches are made."""

    train: Annotated[
        Annotated[SourceConfig, Tag(ONE_SOURCE)] | Annotated[tuple[SourceConfig, ...], Tag(SEVERAL_SOURCES)],
        Discriminator(one_or_several),
    ] = Field(
        description="a source, or a list of sources to mix: utterances are drawn by weight, without an end of the data"
    )
    mixing_temperature: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="of a list of sources: each is drawn by rows^(1/temperature), times its weight; 1 is in proportion "
        "to size, a large value is all alike",
    )
    mixing_rows: tuple[Annotated[int, Field(gt=0)] | None, ...] | None = Field(
        None,
        description="rows of the sources in their order, by which mixing_temperature weighs them; a run counts those "
        "that are not given or null when it begins, and keeps them",
    )
    validation: SourceConfig | None = Field(
        None, description="evaluated in training; decides which checkpoint is best/"
    )
    test: SourceConfig | None = Field(None, description="for launch/eval.py; not used in training")
    language: Language | None = Field(
        None, description="code or English name of what is spoken, such as az; multilingual models need it"
    )
    task: Literal["transcribe", "translate"] = Field(
        "transcribe", description="translate: the transcripts are English translations"
    )
    min_seconds: float = Field(0.1, ge=0, description="shorter clips are left out")
    max_seconds: float = Field(30.0, gt=0, le=30, description="longer clips are left out; Whisper's window is 30 s")
    shuffle_window: int = Field(
        2048,
        gt=0,
        description="rows that a lane reads ahead, shuffles and sorts into batches of similar length, in memory",
    )
    lanes: int | None = Field(
        None,
        gt=0,
        description="independent streams that the data is split into, best a multiple of the processes; without it, "
        "processes x max(1, workers). Runs with as many lanes see the same batches on any number of processes",
    )
    workers: int = Field(
        0,
        ge=0,
        description="processes that read the lanes ahead for each process that trains on a GPU, which keeps Python's "
        "interpreter for itself; on a CPU a thread for each lane does it; 0: nothing is read ahead",
    )
    max_skipped_share: float = Field(
        0.01, ge=0, le=1, description="the run stops if a larger share of the rows is unusable, once 100 were read"
    )
    augmentation: AugmentationConfig | None = Field(None, description="random changes to training clips")
    windows: WindowConfig | None = Field(
        None,
        description="train on windows of up to 30 s with timestamps, for long recordings and subtitles; without it, on "
        "each clip by itself and without timestamps",
    )
    non_speech: NonSpeechConfig | None = Field(
        None, description="also train on clips where nobody speaks, so that no words are written there"
    )

    @model_validator(mode="after")
    def sensible_lengths(self) -> "DataConfig":
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds ({self.min_seconds}) must be below max_seconds ({self.max_seconds})")
        return self

    @model_validator(mode="after")
    def weights_in_a_mixture_only(self) -> "DataConfig":
        if not self.training_sources:
            raise ValueError("train is an empty list: give at least one source")
        alone = {"validation": self.validation, "test": self.test}
        if isinstance(self.train, SourceConfig):
            alone["train"] = self.train
        for key, source in alone.items():
            if source is not None and source.weight is not None:
                raise ValueError(f"{key}.weight is {source.weight:g}; only the sources of a list in train have weights")
        return self

    @model_validator(mode="after")
    def temperature_in_a_mixture_only(self) -> "DataConfig":
        if self.mixing_temperature is not None and isinstance(self.train, SourceConfig):
            raise ValueError("mixing_temperature weighs the sources of a list in train, and train is one source")
        if self.mixing_rows is not None:
            if self.mixing_temperature is None:
                raise ValueError("mixing_rows says nothing without mixing_temperature")
            if len(self.mixing_rows) != len(self.training_sources):
                raise ValueError(
                    f"mixing_rows has {len(self.mixing_rows)} numbers, and train {len(self.training_sources)} sources"
                )
        return self

    @model_validator(mode="after")
    def windows_that_can_be(self) -> "DataConfig":
        if self.windows is not None and self.non_speech is not None:
            raise ValueError("non_speech is for training on clips: give windows.silence a share instead")
        for key, source in zip(self.train_names, self.training_sources, strict=True):
            key, columns = key.removeprefix("data."), source.columns
            if self.windows is None:
                if columns.segments or columns.previous_text:
                    name = "segments" if columns.segments else "previous_text"
                    raise ValueError(f"{key}.columns.{name} is for training on windows: give windows too, such as {{}}")
                continue
            if source.has_second:
                raise ValueError(f"windows are of one recording, and {key} has second recordings: take one of them out")
            if self.windows.one_speaker and not columns.speaker:
                raise ValueError(f"windows.one_speaker needs {key}.columns.speaker, the column that tells who speaks")
        return self

    @model_validator(mode="after")
    def changes_of_second_recordings_that_are_there(self) -> "DataConfig":
        augmentation = self.augmentation
        if augmentation is None:
            return self
        there = {augmentation.kind_of(one.second_kind) for one in self.training_sources if one.second_kind is not None}
        for key, kinds in augmentation.keys_of_second().items():
            if not there.intersection(kinds):
                told = " or ".join(SECOND_KINDS[kind] for kind in kinds)
                leaks = "; with leakage_share they are the other party's" if augmentation.leakage_share else ""
                raise ValueError(
                    f"augmentation.{key} is {getattr(augmentation, key)}, and train has no second recording that "
                    f"is {told}{leaks}: see train.second and train.columns.second_audio, or take it out"
                )
        return self

    @property
    def training_sources(self) -> tuple[SourceConfig, ...]:
        """The sources of ``train``, one or several."""
        return (self.train,) if isinstance(self.train, SourceConfig) else self.train

    @property
    def masks(self) -> SpecAugmentConfig | None:
        """The part of ``augmentation`` that changes features; None without it."""
        return self.augmentation.spec_augment if self.augmentation else None

    @property
    def only_adds_noise(self) -> bool:
        """Whether what is trained on, without its noise, is the recording as it is."""
        return self.augmentation is not None and self.augmentation.only_adds_noise and self.windows is None

    @property
    def longest_speech_seconds(self) -> float:
        """The longest that a clip of the data or a window of them is, also at another speed."""
        return self.max_seconds if self.windows is None else max(self.max_seconds, self.windows.seconds[1])

    @property
    def longest_seconds(self) -> float:
        """The longest that anything in a batch is."""
        return max(self.longest_speech_seconds, 0.0 if self.non_speech is None else self.non_speech.max_seconds)

    @property
    def window_seconds(self) -> float | None:
        """Seconds of the longest window with timestamps, as far as the config tells; None where there is none."""
        if self.windows is None or not self.windows.timestamps:
            return None
        own = any(source.columns.segments for source in self.training_sources)
        return self.windows.seconds[1] if self.windows.joined and not own else 30.0

    @property
    def is_mixture(self) -> bool:
        return len(self.training_sources) > 1

    @property
    def train_names(self) -> tuple[str, ...]:
        """The config's keys of the training sources."""
        if isinstance(self.train, SourceConfig):
            return ("data.train",)
        return tuple(f"data.train.{index}" for index in range(len(self.train)))
