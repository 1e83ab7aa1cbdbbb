"""The ``training`` section: how long a run is, and what one of its steps consists of."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from data.config import Section


class TrainingConfig(Section):
    """Length and batches of the training. A step is one optimizer update."""

    steps: int = Field(gt=0, description="optimizer updates of the whole run")
    step_utterances: int | None = Field(
        None,
        gt=0,
        description="utterances of a step over all processes, of which they share it out evenly. Each process splits "
        "its share into microbatches of at most batch_size; accumulation follows. Without it a step is processes x "
        "batch_size x accumulation",
    )
    batch_size: int | Literal["auto"] = Field(
        8,
        description="utterances in a microbatch of one process; auto: as many as memory holds, found before the first "
        "step and halved where memory runs out later. It needs step_utterances",
    )
    batch_seconds: float | None = Field(
        None,
        gt=0,
        description="most padded audio seconds in a microbatch, that is its utterances x the longest clip; batch_size "
        "then limits the utterances",
    )
    accumulation: int = Field(1, gt=0, description="microbatches of a step on each process")
    max_gradient_norm: float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0: no clipping")
    label_smoothing: float = Field(
        0.0,
        ge=0,
        le=0.3,
        description="share of each target token's probability that is spread over the whole vocabulary, so that the "
        "model gets less sure; 0.1 is usual. The training loss that is logged has it, and so does not fall to 0",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of a moving average of the trained weights, such as 0.999, held in float32 beside them. "
        "It is evaluated too, may become best/, and is final/",
    )
    ema_share: float = Field(
        0.1,
        gt=0,
        le=0.5,
        description="mean age of what ema averages, as a share of the updates so far, as long as that is less than "
        "1 / (1 - ema) updates; 0.5: the plain mean of all",
    )
    seed: int = Field(0, ge=0, description="of the order of the data, augmentation, dropout and new weights")

    @field_validator("batch_size", mode="before")
    @classmethod
    def number_or_auto(cls, value: Any) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if value != "auto" and not (is_number and value > 0):
            raise ValueError(f"{value!r} is neither a whole number above 0 nor auto")
        return value

    @model_validator(mode="after")
    def step_is_given_once(self) -> "TrainingConfig":
        if self.batch_size == "auto" and self.step_utterances is None:
            raise ValueError(
                "batch_size is 'auto', which needs step_utterances, the utterances of a step over all processes: 64 is "
                "what the recipes have"
            )
        if self.batch_size == "auto" and self.accumulation > 1:
            raise ValueError("accumulation follows from step_utterances where batch_size is 'auto': take it out")
        if self.step_utterances is not None and self.batch_seconds is not None:
            raise ValueError(
                "step_utterances and batch_seconds are both given, but a step that is limited in seconds has no fixed "
                "number of utterances: take one of them out"
            )
        return self

    @model_validator(mode="after")
    def share_needs_an_average(self) -> "TrainingConfig":
        if self.ema is None and self.ema_share != TrainingConfig.model_fields["ema_share"].default:
            raise ValueError(f"ema_share ({self.ema_share:g}) does nothing without ema: take it out")
        return self

    @property
    def microbatch(self) -> int:
        """``batch_size`` where it is a number; ``auto`` is one once it was settled (config/microbatches.py)."""
        if self.batch_size == "auto":
            raise ValueError("training.batch_size is 'auto', which is not a number yet")
        return self.batch_size
