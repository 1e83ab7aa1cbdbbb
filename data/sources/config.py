"""The config of one stream of recordings; apart from the ``data`` section, since noises use it too."""

import posixpath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..audio.mixing import CHANNELS
from ..utterance import SecondKind
from .languages import Language


class Section(BaseModel):
    """Typed and frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnNames(Section):
    """Names of a source's columns."""

    audio: str = Field("audio", description="encoded bytes, a path, or samples with their rate, as in `datasets`")
    text: str = Field("text", description="the transcript")
    id: str | None = Field(None, description="unique name of the row; without it, a digest of audio and text")
    language: str | None = Field(None, description="code or English name of the row; goes before the source's")
    duration: str | None = Field(None, description="seconds; saves reading the audio's header")
    second_audio: str | None = Field(
        None, description="a second recording that is heard beside audio, in the same forms; null where a row has none"
    )
    speaker: str | None = Field(
        None, description="who speaks: for second; and nobody competes with another utterance of their own"
    )
    segments: str | None = Field(
        None,
        description="of rows that are windows of a longer recording: a list of start and end, in seconds of the row's "
        "audio, and text; an end of null is that of a segment which goes on after the window",
    )
    previous_text: str | None = Field(None, description="of such rows, what is said before them; null for nothing")


class DigitSpeech(Section):
    """Azerbaijani digit strings, synthesised when first opened (:mod:`data.digit_speech`)."""

    folder: str = Field(description="where the Parquet files are written")
    split: str = Field(description="name of the files; each split draws other utterances")
    utterances: int = Field(gt=0, description="how many are made")
    voices: Literal["training", "unseen"] = Field(
        "training", description="unseen: voices that are in no training split"
    )
    seed: int = Field(0, description="of the utterances")
    warp: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="each clip is played faster or slower by up to this share, for more kinds of voice",
    )

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
        None,
        description="recordings with their transcripts as launch/prepare.py takes them, such as a .txt beside each or "
        "a metadata.csv; or a table that names them",
    )
    digits: DigitSpeech | None = Field(None, description="synthetic speech, for trying things out without data")
    audio_root: str | None = Field(
        None, description="folder or address with the audio, which its paths are relative to; else that of the files"
    )
    language: Language | None = Field(None, description="code or English name; goes before data.language")
    weight: float | None = Field(
        None, gt=0, description="in a list of sources: relative share of the utterances drawn; 1 if not given"
    )
    columns: ColumnNames = Field(ColumnNames(), description="names of the columns")
    second: Literal["channel", "left_channel", "speaker", "other_speaker", "copy"] | None = Field(
        None,
        description="where a second recording comes from, if not from columns.second_audio. channel: audio is stereo, "
        "its left channel is transcribed and its right one is the second recording; left_channel: the other way round. "
        "speaker: another utterance of the same speaker, drawn anew each epoch; other_speaker: one of somebody else, "
        "as the other party's channel; both need columns.speaker. copy: audio itself once more",
    )
    keep: dict[str, tuple[str | bool | int, ...]] = Field(
        {}, description="only rows with one of these values: {speaker: [a, b]}"
    )
    drop: dict[str, tuple[str | bool | int, ...]] = Field({}, description="no rows with one of these values")
    max_utterances: int | None = Field(None, gt=0, description="only the first so many rows")

    @model_validator(mode="after")
    def one_origin(self) -> "SourceConfig":
        given = [key for key in ("hub", "files", "folder", "digits") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of hub, files, folder and digits; given: {', '.join(given) or 'none'}")
        if self.hub is None and (self.name or self.revision):
            raise ValueError("name and revision belong to a hub dataset; this source has no hub")
        return self

    @model_validator(mode="after")
    def one_second_recording(self) -> "SourceConfig":
        if self.second and self.columns.second_audio:
            raise ValueError(
                f"second is {self.second} and columns.second_audio {self.columns.second_audio}: the second recording "
                "comes from one of the two"
            )
        if self.draws_second and not self.columns.speaker:
            raise ValueError(f"second is {self.second}: say in columns.speaker which column tells who speaks")
        return self

    @property
    def has_second(self) -> bool:
        """Whether rows have second recordings."""
        return bool(self.second or self.columns.second_audio)

    @property
    def draws_second(self) -> bool:
        """Whether the second recording of a row is another row's."""
        return self.second in ("speaker", "other_speaker")

    @property
    def channels(self) -> tuple[int, int] | tuple[None, None]:
        """The channels of ``audio`` that are the first and the second recording, from 0; None for the mean of all."""
        return CHANNELS.get(self.second or "", (None, None))

    @property
    def second_kind(self) -> SecondKind | None:
        """What second recordings of the source are."""
        kinds: dict[str | None, SecondKind] = {"speaker": "speaker", "other_speaker": "party"}
        return kinds.get(self.second, "microphone") if self.has_second else None

    @property
    def described(self) -> str:
        """The origin in a few words, for messages."""
        if self.hub:
            return f"hub dataset {self.hub}{f' ({self.name})' if self.name else ''}, split {self.split}"
        if self.digits:
            return f"synthetic speech in {self.digits.folder}"
        return f"folder {self.folder}" if self.folder else f"files {self.files}"
