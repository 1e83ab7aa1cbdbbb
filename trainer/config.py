"""A run's whole configuration: typed, frozen, checked across fields before anything is loaded."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from data.config import DataConfig, Section

from .evaluation_config import EvaluationConfig
from .performance_config import PerformanceConfig


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


class SelectiveConfig(Section):
    """Which layers ``strategy: selective`` trains; without this section, 35 % of Whisper's own parameters."""

    encoder_layers: int = Field(ge=0, description="so many, those nearest the output")
    decoder_layers: int = Field(ge=0, description="likewise")

    @model_validator(mode="after")
    def some_layer(self) -> "SelectiveConfig":
        if self.encoder_layers == self.decoder_layers == 0:
            raise ValueError("encoder_layers and decoder_layers are both 0: nothing of Whisper would be trained")
        return self


class LoraConfig(Section):
    """The adapters of ``strategy: lora`` and ``qlora`` (Hu et al., arXiv 2106.09685; Dettmers et al., 2305.14314)."""

    rank: int = Field(16, gt=0)
    alpha: float = Field(32, gt=0, description="the adapter's output is scaled by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="on the adapter's input")
    targets: tuple[str, ...] = Field(
        ("q_proj", "v_proj"),
        min_length=1,
        description="linear layers by the end of their names: q_proj, k_proj, v_proj, out_proj, fc1, fc2, or longer, "
        "as encoder_attn.q_proj; the second attention has none",
    )
    where: tuple[Literal["encoder", "decoder"], ...] = Field(("encoder", "decoder"), min_length=1)
    bits: Literal[4, 8] | None = Field(None, description="qlora only: of the frozen linear layers; 4 if not given")


Strategy = Literal["full", "frozen_encoder", "frozen_primary", "selective", "lora", "qlora"]


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
    strategy: Strategy = Field(
        "full",
        description="what is trained of Whisper's own; the second attentions and gates always are. full: everything; "
        "frozen_encoder: the decoder; selective: the top layers; frozen_primary: nothing; lora, qlora: adapters beside "
        "it, over weights as they are or in 4 or 8 bits",
    )
    selective: SelectiveConfig | None = Field(None, description="goes with strategy: selective")
    lora: LoraConfig | None = Field(None, description="goes with strategy: lora and qlora")
    processor: str | None = Field(
        None, description="for a model from nothing: whose tokenizer to use; without it, a vocabulary of bytes"
    )
    encoder_padding: Literal["clip", "window"] = Field(
        "clip", description="clip: input as long as the batch's longest clip, the rest masked; window: always 30 s"
    )
    dropout: float = Field(0.0, ge=0, lt=1)
    gradient_checkpointing: Literal["none", "encoder", "decoder", "all"] = Field(
        "none",
        description="whose layers' activations are thrown away and computed again in the backward pass: less memory "
        "for about a third more of that part's time; true is all, false none",
    )

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def all_or_none(cls, value: Any) -> Any:
        return {True: "all", False: "none"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def one_beginning(self) -> "ModelConfig":
        if (self.checkpoint is None) == (self.architecture is None):
            raise ValueError("give exactly one of checkpoint and architecture")
        if self.checkpoint is not None and self.processor is not None:
            raise ValueError("processor goes with architecture; a checkpoint brings its own")
        if self.checkpoint is None and self.revision is not None:
            raise ValueError("revision goes with checkpoint")
        return self

    @model_validator(mode="after")
    def strategy_fits(self) -> "ModelConfig":
        if self.strategy != "full" and self.checkpoint is None:
            raise ValueError(f"strategy {self.strategy!r} is for a checkpoint; a new model has nothing to keep")
        if self.strategy == "frozen_primary" and not self.dual_attention:
            raise ValueError("strategy 'frozen_primary' trains second attentions, which dual_attention: false has not")
        if self.selective is not None and self.strategy != "selective":
            raise ValueError(f"selective does nothing under strategy {self.strategy!r}: take it out")
        if self.lora is not None and self.strategy not in ("lora", "qlora"):
            raise ValueError(f"lora does nothing under strategy {self.strategy!r}: take it out")
        if self.lora is not None and self.lora.bits is not None and self.strategy == "lora":
            raise ValueError("lora.bits does nothing under strategy 'lora', which quantises nothing; choose 'qlora'")
        return self

    @property
    def adapter(self) -> LoraConfig | None:
        """The adapters' options, where the strategy has adapters."""
        return (self.lora or LoraConfig()) if self.strategy in ("lora", "qlora") else None

    @property
    def trains_encoder(self) -> bool:
        if self.adapter is not None:
            return "encoder" in self.adapter.where
        if self.strategy == "selective" and self.selective is not None:
            return self.selective.encoder_layers > 0
        return self.strategy in ("full", "selective")


class TrainingConfig(Section):
    """How long and in what portions. A step is one optimizer update."""

    steps: int = Field(gt=0)
    batch_size: int = Field(8, gt=0, description="utterances of one microbatch on one process")
    batch_seconds: float | None = Field(
        None,
        gt=0,
        description="padded audio seconds of one microbatch: utterances x the longest; batch_size is then the most "
        "utterances",
    )
    accumulation: int = Field(1, gt=0, description="microbatches of one step on each process")
    max_gradient_norm: float = Field(1.0, ge=0, description="gradients are clipped to it; 0 leaves them alone")
    seed: int = Field(0, ge=0)


class OptimizerConfig(Section):
    """AdamW, and a learning rate that warms up linearly and then follows ``schedule``."""

    name: Literal["auto", "adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "cpu_adam"] = Field(
        "auto",
        description="auto: adamw, or cpu_adam under engine.cpu_offload; 8bit: bitsandbytes' states in 8 bits; paged: "
        "states that move to CPU memory when the GPU's is full; cpu_adam: DeepSpeed's, for offloaded states",
    )
    learning_rate: float = Field(
        1e-5, gt=0, description="or a mapping from strategies to rates; without it, the strategy's own: 3e-4 for lora"
    )
    encoder_learning_rate: float | None = Field(None, gt=0, description="likewise; without it, learning_rate")
    new_modules_learning_rate: float | None = Field(
        None,
        gt=0,
        description="likewise, for the second attention and the gate, which start as a copy: a larger rate makes them "
        "differ",
    )
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    final_share: float = Field(0.1, ge=0, le=1, description="share of the learning rate left at the last step")
    weight_decay: float = Field(
        0.0, ge=0, description="on matrices, LoRA's too; not on norms, biases, embeddings and gates"
    )
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(1e-8, gt=0)


class EngineConfig(Section):
    """What runs the model. The number of processes is the launcher's affair."""

    zero_stage: Literal[0, 1, 2, 3] = Field(0, description="DeepSpeed ZeRO; 0: one process or DDP, without DeepSpeed")
    cpu_offload: Literal["none", "optimizer", "parameters"] = Field(
        "none", description="optimizer: its states in CPU memory (ZeRO 1 to 3); parameters: them too (ZeRO 3)"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: bf16 on GPUs that have it")
    timeout_minutes: float = Field(30, gt=0, description="how long a collective waits before the run ends in an error")

    @model_validator(mode="after")
    def offload_needs_its_stage(self) -> "EngineConfig":
        if self.cpu_offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("cpu_offload is 'optimizer', which needs zero_stage 1, 2 or 3; it is 0")
        if self.cpu_offload == "parameters" and self.zero_stage != 3:
            raise ValueError(f"cpu_offload is 'parameters', which needs zero_stage 3; it is {self.zero_stage}")
        return self


class CheckpointConfig(Section):
    """Resumable checkpoints; ``best/`` and ``final/`` are written whatever these say."""

    every_steps: int = Field(1000, gt=0)
    keep: int = Field(2, gt=0, description="the latest so many")


class LoggingConfig(Section):
    """metrics.jsonl, TensorBoard and the progress bar."""

    every_steps: int = Field(10, gt=0)
    record_batches: bool = Field(False, description="write the ids of every batch to batches_rank*.jsonl")


# Where the config names none: low enough for every size. The recipes have what suits each.
LEARNING_RATES: dict[str, float] = {
    "full": 1e-5,
    "frozen_encoder": 1e-5,
    "frozen_primary": 1e-4,
    "selective": 2e-5,
    "lora": 3e-4,
    "qlora": 3e-4,
}


class RunConfig(Section):
    """Everything that defines a run."""

    output_dir: str
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    engine: EngineConfig = EngineConfig()
    performance: PerformanceConfig = PerformanceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="before")
    @classmethod
    def rates_of_the_strategy(cls, values: Any) -> Any:
        """Of rates that are given by strategy, this strategy's; the first also where none is given."""
        if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
            return values
        model, optimizer = values["model"], values.get("optimizer") or {}
        strategy = model.get("strategy", "full")
        if not isinstance(optimizer, dict) or not isinstance(strategy, str) or strategy not in LEARNING_RATES:
            return values  # told when the fields are looked at
        rates = dict(optimizer)
        for key in ("learning_rate", "encoder_learning_rate", "new_modules_learning_rate"):
            if isinstance(rates.get(key), dict):
                unknown = [name for name in rates[key] if name not in LEARNING_RATES]
                if unknown:
                    known = ", ".join(LEARNING_RATES)
                    raise ValueError(f"optimizer.{key} has a rate for {unknown[0]!r}; the strategies are {known}")
                rates[key] = rates[key].get(strategy)
                if key == "new_modules_learning_rate" and model.get("dual_attention") is False:
                    rates[key] = None
        if rates.get("learning_rate") is None:
            rates["learning_rate"] = LEARNING_RATES[strategy]
        return values | {"optimizer": rates}

    @model_validator(mode="after")
    def strategy_agrees(self) -> "RunConfig":
        model, optimizer = self.model, self.optimizer
        if model.strategy == "qlora" and self.engine.zero_stage == 3:
            raise ValueError(
                "model.strategy is 'qlora' and engine.zero_stage is 3, which spreads quantised weights but not "
                "their scales, and holds those in 8 bits whole on every rank: take zero_stage 2, or strategy lora"
            )
        if optimizer.new_modules_learning_rate is not None and not model.dual_attention:
            raise ValueError(
                "optimizer.new_modules_learning_rate does nothing where model.dual_attention is false: take it out"
            )
        return self

    @model_validator(mode="after")
    def encoder_can_be_cached(self) -> "RunConfig":
        if self.performance.cache_encoder is None:
            return self
        if self.model.trains_encoder:
            raise ValueError(
                f"performance.cache_encoder is given, but model.strategy {self.model.strategy!r} trains the encoder "
                "here, whose output then changes: take it out, or choose frozen_encoder"
            )
        if self.model.dropout:
            raise ValueError(
                f"performance.cache_encoder is given and model.dropout is {self.model.dropout:g}: the encoder would "
                "say something else each time; set dropout to 0, or take the cache out"
            )
        if self.engine.zero_stage == 3:
            raise ValueError(
                "performance.cache_encoder is given and engine.zero_stage is 3, under which all ranks must run the "
                "encoder at the same time: take zero_stage 2, or the cache out"
            )
        return self

    @model_validator(mode="after")
    def fields_agree(self) -> "RunConfig":
        if self.optimizer.warmup_steps >= self.training.steps and self.optimizer.warmup_steps:
            raise ValueError(
                f"optimizer.warmup_steps ({self.optimizer.warmup_steps}) must be below training.steps "
                f"({self.training.steps})"
            )
        if self.data.workers and self.data.lanes and self.data.lanes % self.data.workers:
            raise ValueError(f"data.lanes ({self.data.lanes}) must be a multiple of data.workers ({self.data.workers})")
        seconds = self.training.batch_seconds
        if seconds is not None and seconds < self.data.max_seconds:
            raise ValueError(
                f"training.batch_seconds ({seconds:g}) must be at least data.max_seconds ({self.data.max_seconds:g}): "
                "the longest clip must fit a microbatch"
            )
        if seconds is not None and self.model.encoder_padding == "window":
            raise ValueError(
                "training.batch_seconds goes with model.encoder_padding: clip; under window every clip takes 30 s, and "
                "training.batch_size alone says what a microbatch takes"
            )
        return self
