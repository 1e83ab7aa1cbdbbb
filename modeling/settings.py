"""The ``model`` section of a config: which Whisper to start from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Typed and frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(Section):
    """The shape of a model trained from nothing; the vocabulary is the processor's."""

    d_model: int = Field(gt=0, description="width of the hidden states")
    encoder_layers: int = Field(gt=0)
    decoder_layers: int = Field(gt=0)
    attention_heads: int = Field(gt=0)
    num_mel_bins: Literal[80, 128] = 80

    @model_validator(mode="after")
    def whole_heads(self) -> "Architecture":
        if self.d_model % self.attention_heads or self.d_model % 2:
            raise ValueError(f"d_model ({self.d_model}) must be even and a multiple of attention_heads")
        return self


class ModelConfig(Section):
    """Exactly one of ``checkpoint`` and ``architecture``."""

    checkpoint: str | None = Field(
        None, description="a Whisper or dual-attention checkpoint: a hub name or a folder; a plain Whisper is lifted"
    )
    revision: str | None = Field(None, description="the hub checkpoint's branch, tag or commit")
    architecture: Architecture | None = Field(None, description="train from nothing, in this shape")
    processor: str | None = Field(
        None, description="for a model from nothing: whose tokenizer to use; without it, a vocabulary of bytes"
    )
    encoder_padding: Literal["clip", "window"] = Field(
        "clip", description="clip: input as long as the batch's longest clip, the rest masked; window: always 30 s"
    )
    dropout: float = Field(0.0, ge=0, lt=1)
    gradient_checkpointing: bool = Field(False, description="less memory for about a third more time")

    @model_validator(mode="after")
    def one_beginning(self) -> "ModelConfig":
        if (self.checkpoint is None) == (self.architecture is None):
            raise ValueError("give exactly one of checkpoint and architecture")
        if self.checkpoint is not None and self.processor is not None:
            raise ValueError("processor goes with architecture; a checkpoint brings its own")
        if self.checkpoint is None and self.revision is not None:
            raise ValueError("revision goes with checkpoint")
        return self
