"""The ``data`` section of a config: where recordings come from and how they become batches."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


class Section(BaseModel):
    """Typed and frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnNames(Section):
    """What the columns of a source are called."""

    audio: str = Field("audio", description="bytes, a path, or samples with their rate, as `datasets` serves audio")
    text: str = Field("text", description="the transcript")
    id: str | None = Field(None, description="a unique name; without it, a digest of audio and text")
    language: str | None = Field(None, description="ISO 639-1 code of each row; overrides the source's")
    duration: str | None = Field(None, description="seconds; spares reading the audio's header")


class DigitSpeech(Section):
    """Azerbaijani digit strings, synthesised when first opened; see :mod:`data.synthesis`."""

    folder: str = Field(description="where the Parquet files are kept")
    split: str = Field(description="part of the files' names and of what is drawn from the seed")
    utterances: int = Field(gt=0)
    voices: Literal["training", "unseen"] = "training"
    seed: int = 0
    warp: float = Field(0.0, ge=0, lt=0.5, description="played faster or slower by up to this share: more throats")


class SourceConfig(Section):
    """One stream of rows: exactly one of ``hub``, ``files``, ``folder`` and ``digits``."""

    hub: str | None = Field(None, description="a dataset's name on the Hugging Face hub")
    name: str | None = Field(None, description="the hub dataset's configuration, often a language")
    revision: str | None = Field(None, description="the hub dataset's branch, tag or commit")
    split: str = Field("train", description="the hub dataset's split")
    files: tuple[str, ...] | str | None = Field(
        None, description="Parquet, Arrow or JSONL files, here or at an address such as s3://...; globs are fine"
    )
    folder: str | None = Field(
        None, description="recordings with metadata.jsonl or .csv (file_name, text), or a .txt beside each recording"
    )
    digits: DigitSpeech | None = Field(None, description="synthetic speech, for trying things out without data")
    audio_root: str | None = Field(
        None, description="the folder or address that audio paths are relative to and lie in; else the files' folder"
    )
    language: str | None = Field(None, description="ISO 639-1 code of this source's rows; overrides data.language")
    weight: float | None = Field(
        None, gt=0, description="for the sources of a list in data.train: share of the utterances drawn, 1 if not given"
    )
    columns: ColumnNames = ColumnNames()
    keep: dict[str, tuple[str | bool | int, ...]] = Field({}, description="only rows whose column has one of these")
    drop: dict[str, tuple[str | bool | int, ...]] = Field({}, description="no rows whose column has one of these")
    max_utterances: int | None = Field(None, gt=0, description="stop after so many rows")

    @model_validator(mode="after")
    def one_origin(self) -> "SourceConfig":
        given = [key for key in ("hub", "files", "folder", "digits") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of hub, files, folder and digits; given: {', '.join(given) or 'none'}")
        if self.hub is None and (self.name or self.revision):
            raise ValueError("name and revision belong to a hub dataset; this source has no hub")
        return self

    @property
    def described(self) -> str:
        """The origin in a few words, for messages."""
        if self.hub:
            return f"hub dataset {self.hub}{f' ({self.name})' if self.name else ''}, split {self.split}"
        if self.digits:
            return f"synthetic speech in {self.digits.folder}"
        return f"folder {self.folder}" if self.folder else f"files {self.files}"


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
    def is_mixture(self) -> bool:
        return len(self.training_sources) > 1

    @property
    def train_names(self) -> tuple[str, ...]:
        """The config's keys of the training sources."""
        if isinstance(self.train, SourceConfig):
            return ("data.train",)
        return tuple(f"data.train.{index}" for index in range(len(self.train)))
