"""The ``data.windows`` section: training on windows of several segments, with timestamps and the text before."""

from typing import Annotated

from pydantic import Field, model_validator

from ..sources.config import Section
from .fields import NoiseSourceConfig, Range, Share, within


class WindowConfig(Section):
    """How clips become windows. Rows with ``columns.segments`` are windows already and are not joined with others."""

    joined: Share = Field(
        1.0, description="share of the clips that are laid one after the other; each of the others is a window alone"
    )
    seconds: Annotated[Range, within(1, 30)] = Field(
        (30.0, 30.0), description="how long a window of several clips may get; drawn for each window"
    )
    one_speaker: bool = Field(False, description="only clips of one speaker share a window; needs columns.speaker")
    pauses: Annotated[Range, within(0, 30)] = Field(
        (0.3, 6.0),
        description="seconds between two clips, short ones as likely as long ones; filled with the rooms' noise",
    )
    timestamps: Share = Field(
        0.8, description="share of the windows whose text has timestamps; the others are trained without"
    )
    previous_text: Share = Field(0.3, description="share of the windows that follow another whose prompt is its text")
    hotwords: Share = Field(
        0.0, description="share of the windows with a list of words in the prompt, of which some are said in it"
    )
    silence: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the windows where nobody speaks, with no text; <|nospeech|> is learned there"
    )
    silence_sounds: NoiseSourceConfig | None = Field(
        None, description="recordings without speech for these windows; without it, the rooms' noise between words"
    )

    @model_validator(mode="after")
    def sounds_that_are_heard(self) -> "WindowConfig":
        if self.silence_sounds is not None and not self.silence:
            raise ValueError("silence_sounds says nothing while silence is 0: give silence a share, such as 0.05")
        return self
