"""What a preparation is asked to do, checked before anything is read."""

import json
from typing import Literal

from pydantic import Field, model_validator

from ..errors import nearest
from ..sources.config import Section

FIELDS = ("audio", "text", "id", "language", "speaker", "duration", "split", "start", "end", "sampling_rate")
SHARD_COLUMNS = ("id", "audio", "text", "language", "speaker", "duration")
Kind = Literal["auto", "parquet", "arrow", "json", "table", "kaldi", "common_voice", "folder", "segments", "hub"]


class CorpusSettings(Section):
    """Where a corpus lies and how to read it."""

    input: str = Field(description="a file, a folder, a glob, any fsspec address, or a dataset's name on the hub")
    kind: Kind = Field("auto", description="what the input is; auto: by what is found there")
    columns: dict[str, str | None] = Field({}, description="what the corpus calls our columns; None: not to be used")
    audio_root: str | None = Field(None, description="what relative audio paths are relative to, and may not leave")
    language: str | None = Field(None, pattern=r"^[a-z]{2,3}$", description="ISO 639-1 code where rows have none")
    hub_name: str | None = Field(None, description="the hub dataset's configuration")
    hub_revision: str | None = Field(None, description="the hub dataset's branch, tag or commit")
    hub_splits: tuple[str, ...] = Field(("train",), description="the hub dataset's splits")
    cache: str | None = Field(None, description="where archives and hub files are unpacked and kept")
    tiers: tuple[str, ...] = Field((), description="tiers of TextGrid and ELAN files; all where none is named")
    allow_overlaps: bool = Field(False, description="segments of a recording may overlap, as in conversations")
    max_samples: int | None = Field(None, gt=0, description="read no more rows than this")
    extra_columns: tuple[str, ...] = Field((), description="columns to carry along, as text")
    job_rows: int = Field(2000, gt=0, description="rows of one job, and so at most of one shard")

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns carried along beside those that every shard has."""
        return tuple(name for name in self.extra_columns if name not in SHARD_COLUMNS)

    @model_validator(mode="after")
    def known_columns(self) -> "CorpusSettings":
        for name in self.columns:
            if name not in FIELDS:
                raise ValueError(f"--columns has {name!r}{nearest(name, FIELDS)}; ours are {', '.join(FIELDS)}")
        return self


class ClipSettings(Section):
    """Which clips are kept and what becomes of their audio."""

    min_seconds: float = Field(0.1, ge=0)
    max_seconds: float = Field(30.0, gt=0)
    check: Literal["decode", "headers"] = Field("decode", description="decode every clip, or believe the headers")
    reencode: bool = Field(False, description="16 kHz mono FLAC whatever the clip was; parts of recordings always are")
    trim_silence: bool = Field(False, description="cut silence at both ends off; reencodes")
    normalize: Literal["none", "peak", "rms"] = Field("none", description="one loudness for all; reencodes")

    @property
    def changes_audio(self) -> bool:
        return self.reencode or self.trim_silence or self.normalize != "none"

    @model_validator(mode="after")
    def sensible(self) -> "ClipSettings":
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"--min-seconds ({self.min_seconds:g}) must be below --max-seconds ({self.max_seconds:g})")
        if self.check == "headers" and self.changes_audio:
            raise ValueError("--check headers, but audio that is changed has to be decoded: leave it out")
        return self


class PrepareSettings(Section):
    """One preparation."""

    corpus: CorpusSettings
    clips: ClipSettings = ClipSettings()
    output: str
    layout: Literal["parquet", "audiofolder"] = "parquet"
    embed_audio: bool = Field(True, description="audio bytes in the shards; else the paths they lie at")
    shares: dict[str, float] | None = Field(None, description="splits by share; None: the corpus's own, else train")
    split_by: Literal["id", "speaker"] = "id"
    split_seed: int = 0
    max_skipped_share: float = Field(0.05, ge=0, le=1, description="of at least 100 rows; above it nothing is finished")

    @model_validator(mode="after")
    def fields_agree(self) -> "PrepareSettings":
        if self.layout == "audiofolder" and not self.embed_audio:
            raise ValueError("an AudioFolder holds its audio: leave --paths-only out")
        if not self.embed_audio and self.clips.changes_audio:
            raise ValueError("audio that is changed has to be written: leave --paths-only out")
        return self

    def fingerprint(self) -> str:
        """What two preparations of one output must have in common, as JSON."""
        values = self.model_dump(mode="json")
        for free in ("output", "max_skipped_share"):
            del values[free]
        del values["corpus"]["cache"]
        return json.dumps(values, sort_keys=True)
