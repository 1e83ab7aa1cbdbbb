"""The ``noise`` section of a config: the loss that makes the second attentions look at noise."""

from typing import Annotated, Literal

from pydantic import Field

from data.config import Section


class NoiseConfig(Section):
    """The noise loss: -log of the share of the second attentions' weight on noisy frames, in clips with known noise."""

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
