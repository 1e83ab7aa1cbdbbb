"""The ``data.windows`` section: training on windows of several segments, with timestamps and the text before. And
``data.non_speech``, what clips have of it: some where nobody speaks."""

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


class NonSpeechConfig(Section):
    """Clips where nobody speaks, beside the clips of the data, with an empty text: what is learned there is to write
    nothing. They last from 1 s on and have any level. Augmentation leaves them as they are, but for masks."""

    share: Annotated[float, Field(gt=0, lt=1)] = Field(description="of the clips that are trained on")
    max_seconds: float = Field(10.0, ge=1, le=30, description="the longest of them")
    sounds: NoiseSourceConfig | None = Field(
        None, description="recordings without speech; without it, the noise of the clips' rooms"
    )
    synthetic: Share = Field(0.25, description="share of them with noise that is made, from hums to clicks")
    digital: Share = Field(0.1, description="share of them that are digital silence")

    @model_validator(mode="after")
    def one_kind_each(self) -> "NonSpeechConfig":
        if self.synthetic + self.digital > 1 + 1e-9:
            raise ValueError(f"synthetic {self.synthetic:g} and digital {self.digital:g} must sum to 1 or less")
        return self
