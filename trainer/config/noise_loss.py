"""The ``noise`` section of a config: what makes the second attentions look at noise."""

from typing import Annotated, Literal

from pydantic import Field

from data.config import Section


class NoiseConfig(Section):
    """The noise loss: -log of the share of the second attentions that falls on noise, where noise was added."""

    loss_weight: float = Field(0.0, ge=0, allow_inf_nan=False, description="beside the token loss; 0: none")
    loss_warmup_steps: int = Field(0, ge=0, description="so many steps from none to the whole weight")
    loss_reach: Literal["attention", "everything"] = Field(
        "attention",
        description="what it trains: where the second attentions look, alone; or all that this depends on, the encoder "
        "too, which then shows noise to the first attentions as well",
    )
    loss_frames: Literal["all", "speech"] = Field(
        "all", description="where noise counts: wherever it is, or only where there is speech, by the speech's level"
    )
    loss_layers: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, min_length=1, description="decoder layers, from 0, that it is of; without it, all"
    )
