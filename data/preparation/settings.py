"""What a preparation is asked to do, checked before anything is read."""

import json
from typing import Literal

from pydantic import Field, model_validator

from ..audio.cutting import WINDOW_SECONDS
from ..audio.mixing import CHANNELS
from ..corpora.settings import CorpusSettings
from ..sources.config import Section
from .scores import ScoreLimits, ScoreSettings


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
        """Whether every clip is decoded and written anew."""
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
    split_by: Literal["id", "speaker", "recording"] = Field("id", description="what is never in two splits")
    split_method: Literal["hash", "balanced"] = Field("hash", description="balanced: splits come near their shares")
    split_seed: int = 0
    windows: float | None = Field(None, ge=1, le=30, description="seconds of windows of segments; None: one clip each")
    split_long: bool = Field(False, description="cut segments that are too long at pauses, as the scorer hears them")
    score: ScoreSettings | None = Field(None, description="how clips are scored; None: they are not")
    limits: ScoreLimits = ScoreLimits()
    max_skipped_share: float = Field(0.05, ge=0, le=1, description="of at least 100 rows; above it nothing is finished")

    @model_validator(mode="after")
    def fields_agree(self) -> "PrepareSettings":
        if self.layout == "audiofolder" and not self.embed_audio:
            raise ValueError("an AudioFolder holds its audio: leave --paths-only out")
        if not self.embed_audio and self.clips.changes_audio:
            raise ValueError("audio that is changed has to be written: leave --paths-only out")
        if not self.embed_audio and self.corpus.second in CHANNELS:
            raise ValueError(f"--second {self.corpus.second} writes each channel by itself: leave --paths-only out")
        if self.score is not None:
            if self.clips.max_seconds > WINDOW_SECONDS:
                raise ValueError(f"--score hears at most {WINDOW_SECONDS:g} s of a clip: set --max-seconds to that")
            taken = self.score.columns.keys() & set(self.corpus.carried)
            if taken:
                raise ValueError(f"--keep-columns {min(taken)}: --score writes a column of that name")
        if self.split_long and (self.score is None or self.corpus.second is not None):
            what = "goes with --score CHECKPOINT, which hears where the transcript is to be cut"
            raise ValueError(f"--split-long {what if self.score is None else 'does not go with --second'}")
        if self.windows is not None:
            for given, what in (
                (self.score is not None, "--score, which scores clips"),
                (self.corpus.second is not None, "--second"),
                (self.clips.trim_silence, "--trim-silence, which moves times"),
                (not self.embed_audio, "--paths-only"),
                (self.split_method == "balanced" and self.split_by == "id", "--split-method balanced by ids"),
                (self.corpus.allow_overlaps, "--allow-overlaps"),
                (self.windows > self.clips.max_seconds, f"--max-seconds {self.clips.max_seconds:g}"),
            ):
                if given:
                    raise ValueError(f"--windows does not go with {what}: take one of them out")
        if self.shares is None:
            for name in ("split_by", "split_method"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    option = f"--{name.replace('_', '-')}"
                    raise ValueError(f"{option} {getattr(self, name)} says nothing without --split NAME=SHARE,...")
        return self

    def fingerprint(self) -> str:
        """What two preparations of one output must have in common, as JSON."""
        values = self.model_dump(mode="json")
        for free in ("output", "max_skipped_share", "limits"):
            del values[free]
        if self.score is None:
            del values["score"]  # outputs of earlier releases go on
        if self.windows is None:
            del values["windows"]  # likewise
        if not self.split_long:
            del values["split_long"]  # likewise
        del values["corpus"]["cache"]
        if self.corpus.second is None:
            del values["corpus"]["second"]  # likewise
        if self.split_method == "hash":
            del values["split_method"]  # outputs from before there were others go on
        return json.dumps(values, sort_keys=True)
