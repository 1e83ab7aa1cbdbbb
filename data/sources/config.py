"""What a config says of one stream of recordings; apart from the ``data`` section, since noises come from such too."""

import posixpath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
    """Azerbaijani digit strings, synthesised when first opened; see :mod:`data.digit_speech`."""

    folder: str = Field(description="where the Parquet files are kept")
    split: str = Field(description="part of the files' names and of what is drawn from the seed")
    utterances: int = Field(gt=0)
    voices: Literal["training", "unseen"] = "training"
    seed: int = 0
    warp: float = Field(0.0, ge=0, lt=0.5, description="played faster or slower by up to this share: more throats")

    @property
    def shards(self) -> str:
        """A glob of the Parquet files, once they are made."""
        return posixpath.join(self.folder, self.split, f"{self.split}-*.parquet")


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
