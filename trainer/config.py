"""A run's whole configuration: typed, frozen, checked across fields before anything is loaded."""

from typing import Literal

from pydantic import Field, model_validator

from data.config import DataConfig, Section


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

    learning_rate: float = Field(1e-5, gt=0)
    new_modules_learning_rate: float | None = Field(
        None,
        gt=0,
        description="for the second attention and the gate, which start as a copy: a larger rate makes them differ",
    )
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    final_share: float = Field(0.1, ge=0, le=1, description="share of the learning rate left at the last step")
    weight_decay: float = Field(0.0, ge=0, description="not on norms, biases, embeddings and gates")
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


class EvaluationConfig(Section):
    """Greedy decoding of ``data.validation`` in training, and of any split by launch/eval.py."""

    every_steps: int = Field(1000, gt=0)
    batch_size: int = Field(16, gt=0)
    max_new_tokens: int = Field(200, gt=0, lt=448)
    normalizer: Literal["auto", "english", "basic", "none"] = Field(
        "auto", description="applied to both sides before counting errors; auto: Whisper's English one, else basic"
    )


class CheckpointConfig(Section):
    """Resumable checkpoints; ``best/`` and ``final/`` are written whatever these say."""

    every_steps: int = Field(1000, gt=0)
    keep: int = Field(2, gt=0, description="the latest so many")


class LoggingConfig(Section):
    """metrics.jsonl, TensorBoard and the progress bar."""

    every_steps: int = Field(10, gt=0)
    record_batches: bool = Field(False, description="write the ids of every batch to batches_rank*.jsonl")


class RunConfig(Section):
    """Everything that defines a run."""

    output_dir: str
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    engine: EngineConfig = EngineConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    logging: LoggingConfig = LoggingConfig()

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
