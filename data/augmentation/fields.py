"""Types that several sections of ``data.augmentation`` share: ranges of numbers, and sources of recordings."""

import math
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from ..sources.config import Section, SourceConfig


def ordered(values: tuple[float, float]) -> tuple[float, float]:
    low, high = values
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"[{low:g}, {high:g}] must be two numbers, the lower first")
    return values


def within(low: float, high: float) -> AfterValidator:
    """Both ends of a range must lie between ``low`` and ``high``."""

    def check(values: tuple[float, float]) -> tuple[float, float]:
        if values[0] < low or values[1] > high:
            raise ValueError(f"[{values[0]:g}, {values[1]:g}] must lie within {low:g} and {high:g}")
        return values

    return AfterValidator(check)


Range = Annotated[tuple[float, float], AfterValidator(ordered)]
Decibels = Annotated[Range, within(-100, 100)]
Share = Annotated[float, Field(ge=0, le=1)]


class NoiseSourceConfig(Section):
    """Recordings of noise or of impulse responses: exactly one of ``folder`` and ``dataset``."""

    folder: str | None = Field(None, description="recordings in it and below it, at any rate, mono or stereo")
    keep: tuple[str, ...] = Field(
        (), description='only recordings whose file name, or path below the folder, fits one of these globs: "n1*.flac"'
    )
    drop: tuple[str, ...] = Field((), description="no recordings whose file name or path fits one of these globs")
    dataset: SourceConfig | None = Field(
        None, description="rows of a source, keys as in data.train; of its columns only audio and id are read"
    )

    @model_validator(mode="after")
    def one_origin(self) -> "NoiseSourceConfig":
        if bool(self.folder) == (self.dataset is not None):
            raise ValueError("give exactly one of folder and dataset")
        if self.dataset is not None and self.dataset.has_second:
            key = "dataset.second" if self.dataset.second else "dataset.columns.second_audio"
            raise ValueError(f"{key} is given, and a noise has no second recording: take it out")
        return self

    @property
    def described(self) -> str:
        """The origin in a few words, for messages."""
        return f"folder {self.folder}" if self.dataset is None else self.dataset.described
