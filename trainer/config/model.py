"""The ``model`` section of a config: what is trained, and what of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from data.config import Section

from .strategies import STRATEGIES, Strategy

if TYPE_CHECKING:
    StrategyName = str
else:
    StrategyName = Literal[tuple(STRATEGIES)]


def experimental(default: Any, description: str, found: str, **limits: Any) -> Any:
    """A field that only the noise experiment needed: ``found`` says what came of it (docs/noise.md)."""
    return Field(
        default, description=f"{description}. Found: {found}", json_schema_extra={"experimental": True}, **limits
    )


class Architecture(Section):
    """The shape of a model trained from nothing; the vocabulary is the processor's."""

    d_model: int = Field(gt=0, description="width of the hidden states")
    encoder_layers: int = Field(gt=0, description="layers of the encoder")
    decoder_layers: int = Field(gt=0, description="layers of the decoder")
    attention_heads: int = Field(gt=0, description="heads of each attention; d_model is a multiple of them")
    num_mel_bins: Literal[80, 128] = Field(80, description="mel bins of the features; large-v3 has 128")

    @model_validator(mode="after")
    def whole_heads(self) -> "Architecture":
        if self.d_model % self.attention_heads or self.d_model % 2:
            raise ValueError(f"d_model ({self.d_model}) must be even and a multiple of attention_heads")
        return self


class SelectiveConfig(Section):
    """Which layers ``strategy: selective`` trains; without this section, 35 % of Whisper's own parameters."""

    encoder_layers: int = Field(ge=0, description="so many, those nearest the output")
    decoder_layers: int = Field(ge=0, description="so many, those nearest the output")

    @model_validator(mode="after")
    def some_layer(self) -> "SelectiveConfig":
        if self.encoder_layers == self.decoder_layers == 0:
            raise ValueError("encoder_layers and decoder_layers are both 0: nothing of Whisper would be trained")
        return self

    @property
    def trains_encoder(self) -> bool:
        return self.encoder_layers > 0


class LoraConfig(Section):
    """The adapters of ``strategy: lora`` and ``qlora`` (Hu et al., arXiv 2106.09685; Dettmers et al., 2305.14314)."""

    rank: int = Field(16, gt=0, description="width of each adapter")
    alpha: float = Field(32, gt=0, description="the adapter's output is scaled by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="on the adapter's input")
    targets: tuple[str, ...] = Field(
        ("q_proj", "v_proj"),
        min_length=1,
        description="linear layers by the end of their names: q_proj, k_proj, v_proj, out_proj, fc1, fc2, or longer, "
        "as encoder_attn.q_proj; the second attention has none",
    )
    where: tuple[Literal["encoder", "decoder"], ...] = Field(
        ("encoder", "decoder"), min_length=1, description="which half of the model gets adapters"
    )
    kind: Literal["lora", "rslora", "dora", "pissa"] = Field(
        "lora",
        description="rslora: scaled by alpha / sqrt(rank), for high ranks; dora: the length of each row of a weight is "
        "trained too; pissa: begins with the largest singular vectors of the weights. dora and pissa go neither with "
        "qlora nor with ZeRO-3",
    )
    bits: Literal[4, 8] | None = Field(None, description="qlora only: of the frozen linear layers; 4 if not given")

    @property
    def trains_encoder(self) -> bool:
        return "encoder" in self.where


class ModelConfig(Section):
    """Exactly one of ``checkpoint`` and ``architecture``."""

    checkpoint: str | None = Field(
        None, description="a Whisper or dual-attention checkpoint: a hub name or a folder; a plain Whisper is lifted"
    )
    revision: str | None = Field(None, description="the hub checkpoint's branch, tag or commit")
    architecture: Architecture | None = Field(None, description="train from nothing, in this shape")
    dual_attention: bool = Field(
        True, description="the second attentions and gates; false: plain Whisper's decoder, trained by the same loop"
    )
    second_recording: Literal["none", "attention", "joined", "before"] = Field(
        "none",
        description="what hears a second recording of each clip (docs/second_recording.md). attention: the second "
        "attentions; joined: the one attention, over the frames of both, with dual_attention: false; before: the "
        "encoder, which hears it before the clip in one window; none: nothing, or what the checkpoint was trained to",
    )
    second_recording_layers: int = Field(
        0,
        ge=0,
        description="in so many upper layers of the encoder, the frames of each recording also look at the other's",
    )
    strategy: StrategyName = Field(
        "full",
        description="what is trained of Whisper's own; the second attentions and gates always are. "
        + "; ".join(f"{name}: {strategy.trains}" for name, strategy in STRATEGIES.items()),
    )
    selective: SelectiveConfig | None = Field(None, description="goes with strategy: selective")
    lora: LoraConfig | None = Field(None, description="goes with strategy: lora and qlora")
    processor: str | None = Field(
        None, description="for a model from nothing: whose tokenizer to use; without it, a vocabulary of bytes"
    )
    encoder_padding: Literal["clip", "window"] = Field(
        "clip", description="clip: input as long as the batch's longest clip, the rest masked; window: always 30 s"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="in encoder and decoder, in training")
    gradient_checkpointing: Literal["none", "encoder", "decoder", "all"] = Field(
        "none",
        description="whose layers' activations are thrown away and computed again in the backward pass: less memory "
        "for about a third more of that part's time; true is all, false none",
    )

    secondary_layer: int | None = experimental(
        None,
        gt=0,
        description="the encoder layer after which the second attentions read; without it, its output. A plain Whisper "
        "is then lifted to a model that is near it, not equal: choose a gate_bias of 2 or more, or secondary_added",
        found="under the noise loss they look at noise alone, and the gates shut them off",
    )
    secondary_added: bool = experimental(
        False,
        description="the second attentions' output is added to the first ones', p + (1 - gate) s, instead of taking "
        "its place; of a lifted Whisper it begins as zero",
        found="no fewer errors; without a loss they turn from noise",
    )
    gate_bias: float = experimental(
        0.0,
        ge=-20,
        le=20,
        description="where new gates start: 0 is half and half, 2 is 88 % of the primary attention",
        found="with secondary_layer, gates that start at 1 or 2 end at 0.97 and beyond",
    )
    wider_feed_forward: bool = experimental(
        False,
        description="with dual_attention: false, as many new parameters in wider feed-forward blocks: what a second "
        "attention is compared with",
        found="as good as second attentions: what helps is the new parameters' larger learning rate",
    )

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def all_or_none(cls, value: Any) -> Any:
        return {True: "all", False: "none"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def keys_agree(self) -> "ModelConfig":
        name, chosen = self.strategy, self.chosen_strategy
        if (self.checkpoint is None) == (self.architecture is None):
            raise ValueError("give exactly one of checkpoint and architecture")
        if self.checkpoint is not None and self.processor is not None:
            raise ValueError("processor goes with architecture; a checkpoint brings its own")
        if self.checkpoint is None and self.revision is not None:
            raise ValueError("revision goes with checkpoint")
        if self.checkpoint is None and not chosen.from_scratch:
            raise ValueError(f"strategy {name!r} is for a checkpoint; a new model has nothing to keep")
        if chosen.trains_new_alone and not self.dual_attention:
            raise ValueError(f"strategy {name!r} trains second attentions, which dual_attention: false leaves out")
        for section in ("selective", "lora"):
            if getattr(self, section) is not None and chosen.section != section:
                raise ValueError(f"{section} does nothing under strategy {name!r}: take it out")
        if self.lora is not None and self.lora.bits is not None and not chosen.is_quantized:
            raise ValueError(f"lora.bits does nothing under strategy {name!r}, which quantises nothing; choose 'qlora'")
        if self.lora is not None and self.lora.kind in ("dora", "pissa") and chosen.is_quantized:
            raise ValueError(
                f"lora.kind is {self.lora.kind!r}, which needs whole weights, and strategy {name!r} has them in few "
                "bits: take kind rslora or lora, or strategy 'lora'"
            )
        if self.wider_feed_forward and self.dual_attention:
            raise ValueError("wider_feed_forward takes the second attentions' place: set dual_attention to false")
        for key in ("secondary_layer", "secondary_added", "gate_bias"):
            if getattr(self, key) and not self.dual_attention:
                raise ValueError(f"{key} does nothing where dual_attention is false: take it out")
        if self.architecture is not None and (self.secondary_layer or 0) > self.architecture.encoder_layers:
            last = self.architecture.encoder_layers
            raise ValueError(f"secondary_layer is {self.secondary_layer}; the encoder has layers 1 to {last}")
        for problem in self.of_second_recording():
            raise ValueError(problem)
        for key in NEW_SHAPE:
            if getattr(self, key) and chosen.has_adapters:
                raise ValueError(
                    f"{key} is not kept in an adapter (strategy {name!r}): take it out, or train a model with it first "
                    "and adapt that"
                )
        return self

    def of_second_recording(self) -> Iterator[str]:
        """What does not go with the way in which a second recording is heard."""
        if self.second_recording == "attention" and not self.dual_attention:
            yield "second_recording is attention, which dual_attention: false leaves out: take joined, or true"
        if self.second_recording == "attention" and self.secondary_layer is not None:
            yield "second attentions read the second recording or secondary_layer: take one of them out"
        if self.second_recording == "joined" and self.dual_attention:
            yield "second_recording is joined, which is for one attention: set dual_attention to false"
        if self.second_recording == "before" and (self.second_recording_layers or self.encoder_padding == "window"):
            other = "second_recording_layers" if self.second_recording_layers else "encoder_padding: window"
            yield f"second_recording is before, which puts both into one window: take {other} out"
        layers, shape = self.second_recording_layers, self.architecture
        if shape is not None and layers > shape.encoder_layers:
            yield f"second_recording_layers is {layers}; the encoder has {shape.encoder_layers}"

    @property
    def decoder_values(self) -> dict[str, Any]:
        """Values for the model's own configuration; what is not given stays as a checkpoint has it."""
        given = {key: getattr(self, key) for key in (*NEW_SHAPE, "second_recording", "second_recording_layers")}
        given = {key: value for key, value in given.items() if value and value != "none"}
        return {"dual_attention": self.dual_attention} | given

    @property
    def chosen_strategy(self) -> Strategy:
        return STRATEGIES[self.strategy]

    @property
    def strategy_options(self) -> Any:
        """The section that goes with the strategy, where the config has it."""
        return getattr(self, self.chosen_strategy.section) if self.chosen_strategy.section else None

    @property
    def adapter(self) -> LoraConfig | None:
        """The adapters' options, where the strategy has adapters."""
        return (self.lora or LoraConfig()) if self.chosen_strategy.has_adapters else None

    @property
    def quantized_bits(self) -> Literal[4, 8] | None:
        """Of the frozen linear layers, where the strategy quantises them."""
        return (self.adapter.bits or 4) if self.adapter and self.chosen_strategy.is_quantized else None

    @property
    def trains_encoder(self) -> bool:
        options = self.strategy_options
        return self.chosen_strategy.trains_encoder if options is None else options.trains_encoder


# Of the decoder, what plain Whisper lacks beside second attentions and gates.
NEW_SHAPE = tuple(name for name, field in ModelConfig.model_fields.items() if field.json_schema_extra)
