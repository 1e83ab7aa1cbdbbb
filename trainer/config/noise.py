"""The ``noise`` section of a config: what is learned where the noise in a clip is known."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from data.config import DataConfig, Section

from .model import ModelConfig


class TeacherConfig(Section):
    """The clean teacher: a loss that pulls the encoder's states of a noisy clip to those of a frozen encoder for the
    same clip without the noise. Mean squared error of states normalised frame by frame, from 0 to 4."""

    weight: float = Field(gt=0, allow_inf_nan=False, description="factor before it is added to the token loss")
    warmup_steps: int = Field(0, ge=0, description="steps in which the weight rises from 0 to weight")
    layers: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(
        None,
        min_length=1,
        description="encoder layers whose states are compared, from 1; the last is the encoder's output, after its "
        "norm. Without it, the output alone",
    )
    checkpoint: str | None = Field(
        None,
        description="whose encoder teaches, a hub name or a folder, of the same shape; without it, the model's own as "
        "it is before training",
    )
    cache: str | None = Field(
        None,
        description="folder for the teacher's states, computed once for each recording and read in later epochs and "
        "runs. Only where augmentation adds noise and changes nothing else but features. Ranks share it",
    )
    cache_gib: float = Field(20.0, gt=0, description="largest size of that folder; what does not fit is computed again")


class NoiseConfig(Section):
    """Losses in clips with known noise. The noise loss is -log of the share of the second attentions' weight on noisy
    frames; the teacher's is of the encoder's states."""

    loss_weight: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="factor before it is added to the token loss; 0: off"
    )
    loss_warmup_steps: int = Field(0, ge=0, description="steps in which the weight rises from 0 to loss_weight")
    loss_reach: Literal["attention", "everything"] = Field(
        "attention",
        description="what its gradient reaches. attention: only the queries and keys of the second attentions; "
        "everything: all that these depend on, the encoder too",
    )
    loss_frames: Literal["all", "speech"] = Field(
        "all", description="all: noise counts in every frame; speech: only in frames with speech, judged by level"
    )
    loss_layers: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, min_length=1, description="decoder layers that it covers, from 0; without it, all"
    )
    teacher: TeacherConfig | None = Field(
        None, description="the clean teacher, which works with and without second attentions; off without this section"
    )


def of_teacher(teacher: TeacherConfig, model: ModelConfig, data: DataConfig) -> Iterator[str]:
    """Why a clean teacher would have nothing to teach, or would not know the clean clip."""
    augmentation, given = data.augmentation, "noise.teacher is given"
    if not (augmentation and augmentation.knows_noise):
        yield (
            f"{given}, but nothing adds noise that is known: give data.augmentation a noise_share, babble_share or "
            "competing_share, or take it out"
        )
        return
    assert augmentation is not None
    if augmentation.silence_is_noise:
        yield (
            f"{given}, but data.augmentation.silence_is_noise takes the clip's own pauses for noise: take one of them "
            "out"
        )
    if augmentation.codec_share:
        yield (
            f"{given}, but of what data.augmentation.codec_share makes of a noisy clip no clean one is known: take one "
            "of them out"
        )
    if not model.trains_encoder:
        yield f"{given}, but model.strategy {model.strategy!r} leaves the encoder as it is: take it out"
    if model.second_recording != "none":
        heard = model.second_recording
        yield f"{given}, which hears one recording, and model.second_recording is {heard!r}: take one of them out"
    if model.checkpoint is None and teacher.checkpoint is None:
        yield (
            f"{given}, but a model from nothing has nothing to teach: name a trained one in noise.teacher.checkpoint, "
            "or take it out"
        )
    if teacher.cache is not None and not data.only_adds_noise:
        what = "data.windows puts clips together" if data.windows is not None else "data.augmentation changes clips"
        yield f"noise.teacher.cache is given, but {what} anew in each epoch, and not by noise alone: take it out"
    if teacher.cache is None and "cache_gib" in teacher.model_fields_set and teacher.cache_gib != 20.0:
        yield "noise.teacher.cache_gib says nothing without noise.teacher.cache: take it out"
