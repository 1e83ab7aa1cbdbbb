"""The ``data`` section of a config: where recordings come from and how they become batches."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from .augmentation.config import AugmentationConfig, SpecAugmentConfig
from .sources.config import ColumnNames, DigitSpeech, Section, SourceConfig

__all__ = ["ONE_SOURCE", "SEVERAL_SOURCES", "ColumnNames", "DataConfig", "DigitSpeech", "Section", "SourceConfig"]

ONE_SOURCE, SEVERAL_SOURCES = "one source", "several sources"  # which of data.train's types is meant; in no key's path


def one_or_several(value: Any) -> str:
    return SEVERAL_SOURCES if isinstance(value, (list, tuple)) else ONE_SOURCE


class DataConfig(Section):
    """Sources, language, and how batches are made."""

    train: Annotated[
        Annotated[SourceConfig, Tag(ONE_SOURCE)] | Annotated[tuple[SourceConfig, ...], Tag(SEVERAL_SOURCES)],
        Discriminator(one_or_several),
    ] = Field(description="a source, or a list of sources that are mixed by their weights and go round without end")
    validation: SourceConfig | None = Field(None, description="evaluated during training; chooses the best checkpoint")
    test: SourceConfig | None = Field(None, description="never seen in training; launch/eval.py reports it")
    language: str | None = Field(None, description="ISO 639-1 code, for multilingual models")
    task: Literal["transcribe", "translate"] = "transcribe"
    min_seconds: float = Field(0.1, ge=0, description="shorter clips are left out")
    max_seconds: float = Field(30.0, gt=0, le=30, description="longer clips are left out; Whisper's window is 30 s")
    shuffle_window: int = Field(
        2048, gt=0, description="rows read ahead, shuffled, sorted into batches of similar length; one lane's memory"
    )
    lanes: int | None = Field(
        None,
        gt=0,
        description="independent streams the data is split into, best a multiple of the processes; without it, "
        "processes x max(1, workers). Runs with equal lanes see equal batches, whatever the number of processes",
    )
    workers: int = Field(0, ge=0, description="threads that read ahead in each process, one a lane; 0: none")
    max_skipped_share: float = Field(
        0.01, ge=0, le=1, description="share of unusable rows (of at least 100 read) above which the run stops"
    )
    augmentation: AugmentationConfig | None = Field(None, description="what training clips are changed by")

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

    @property
    def training_sources(self) -> tuple[SourceConfig, ...]:
        """The sources of ``train``; more than one are a mixture."""
        return (self.train,) if isinstance(self.train, SourceConfig) else self.train

    @property
    def masks(self) -> SpecAugmentConfig | None:
        """Of ``augmentation`` what is done to features."""
        return self.augmentation.spec_augment if self.augmentation else None

    @property
    def is_mixture(self) -> bool:
        return len(self.training_sources) > 1

    @property
    def train_names(self) -> tuple[str, ...]:
        """The config's keys of the training sources."""
        if isinstance(self.train, SourceConfig):
            return ("data.train",)
        return tuple(f"data.train.{index}" for index in range(len(self.train)))
