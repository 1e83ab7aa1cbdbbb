"""A run's whole configuration: typed, frozen, checked across fields before anything is loaded."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from data.config import DataConfig, Section

from .evaluation import EvaluationConfig
from .model import ModelConfig
from .noise import NoiseConfig, of_teacher
from .performance import PerformanceConfig
from .strategies import STRATEGIES
from .training import TrainingConfig


class OptimizerConfig(Section):
    """AdamW, and a learning rate that warms up linearly and then follows ``schedule``."""

    name: Literal["auto", "adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "cpu_adam"] = Field(
        "auto",
        description="auto: adamw, or cpu_adam with engine.cpu_offload; 8bit: bitsandbytes' AdamW with states in 8 "
        "bits; paged: its states move to CPU memory when the GPU's is full; both wait for the GPU at each parameter; "
        "cpu_adam: DeepSpeed's for offloading",
    )
    learning_rate: float = Field(
        1e-5,
        gt=0,
        description="a rate, or one for each strategy: {full: 1e-5, lora: 3e-4}; without it, the strategy's own",
    )
    encoder_learning_rate: float | None = Field(
        None, gt=0, description="the encoder's rate, written in the same ways; without it, learning_rate"
    )
    new_modules_learning_rate: float | None = Field(
        None,
        gt=0,
        description="rate of the second attentions and gates, written in the same ways; without it, learning_rate. "
        "They start as copies, and a larger rate makes them differ",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor of the rate for each layer farther from the top, in encoder and decoder each; 0.9 is "
        "usual. Convolutions, embeddings and positions count as below the lowest layer; the second attentions and "
        "gates keep their rate",
    )
    primary_frozen_steps: int = Field(
        0,
        ge=0,
        description="for so many steps at the start only the second attentions and gates are trained, and the rates of "
        "everything else are 0. This saves neither time nor memory",
    )
    warmup_steps: int = Field(0, ge=0, description="steps in which the rates rise linearly from 0; fewer than steps")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="how the rates fall after the warm-up"
    )
    final_share: float = Field(0.1, ge=0, le=1, description="share of the rate that is left at the last step")
    weight_decay: float = Field(
        0.0, ge=0, description="of matrices, LoRA's too; not of norms, biases, embeddings and gates"
    )
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's decay of the running means of g and g^2")
    epsilon: float = Field(1e-8, gt=0, description="AdamW's addend to the denominator")


class EngineConfig(Section):
    """How the model is spread over GPUs. The launcher decides how many processes there are."""

    zero_stage: Literal[0, 1, 2, 3] = Field(
        0, description="stage of DeepSpeed ZeRO; 0: one process or DDP, without DeepSpeed"
    )
    cpu_offload: Literal["none", "optimizer", "parameters"] = Field(
        "none",
        description="optimizer: AdamW's states in CPU memory (ZeRO 1 to 3); parameters: the weights too (ZeRO 3)",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on GPUs that have it, else fp32"
    )
    timeout_minutes: float = Field(30, gt=0, description="how long ranks wait for each other before the run fails")

    @model_validator(mode="after")
    def offload_needs_its_stage(self) -> "EngineConfig":
        if self.cpu_offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("cpu_offload is 'optimizer', which needs zero_stage 1, 2 or 3; it is 0")
        if self.cpu_offload == "parameters" and self.zero_stage != 3:
            raise ValueError(f"cpu_offload is 'parameters', which needs zero_stage 3; it is {self.zero_stage}")
        return self


class CheckpointConfig(Section):
    """Resumable checkpoints. ``best/`` and ``final/`` are written in any case."""

    every_steps: int = Field(1000, gt=0, description="steps between two checkpoints")
    keep: int = Field(2, gt=0, description="how many of the latest are kept")


class LoggingConfig(Section):
    """metrics.jsonl, TensorBoard and the progress bar."""

    every_steps: int = Field(10, gt=0, description="steps between two lines of metrics")
    record_batches: bool = Field(False, description="write the ids of each batch to batches_rank*.jsonl")


class RunConfig(Section):
    """Everything that defines a run."""

    output_dir: str = Field(description="the run's folder; with several nodes on a file system that all of them share")
    model: ModelConfig = Field(description="the checkpoint to begin from and what of it is trained")
    data: DataConfig = Field(description="recordings, their language, and how they become batches")
    training: TrainingConfig = Field(description="steps and batches")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="AdamW and its rates")
    noise: NoiseConfig = Field(
        NoiseConfig(),
        description="losses where noise is known: of where second attentions look, and of a clean teacher",
    )
    engine: EngineConfig = Field(EngineConfig(), description="one process, DDP or DeepSpeed ZeRO; precision")
    performance: PerformanceConfig = Field(PerformanceConfig(), description="options for speed and memory")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="decoding and error rates")
    checkpoints: CheckpointConfig = Field(CheckpointConfig(), description="resumable checkpoints")
    logging: LoggingConfig = Field(LoggingConfig(), description="metrics and what is recorded")

    @model_validator(mode="before")
    @classmethod
    def rates_of_the_strategy(cls, values: Any) -> Any:
        """Replace rates given by strategy with this strategy's; fill in learning_rate where none is given."""
        if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
            return values
        model, optimizer = values["model"], values.get("optimizer") or {}
        strategy = model.get("strategy", "full")
        if not isinstance(optimizer, dict):
            return values  # reported during field validation
        if not isinstance(strategy, str) or strategy not in STRATEGIES:
            strategy = "full"  # an unknown strategy is reported too, and should be the only mistake
        rates = dict(optimizer)
        for key in ("learning_rate", "encoder_learning_rate", "new_modules_learning_rate"):
            if isinstance(rates.get(key), dict):
                unknown = [name for name in rates[key] if name not in STRATEGIES]
                if unknown:
                    known = ", ".join(STRATEGIES)
                    raise ValueError(f"optimizer.{key} has a rate for {unknown[0]!r}; the strategies are {known}")
                rates[key] = rates[key].get(strategy)
                has_none = model.get("dual_attention") is False and not model.get("wider_feed_forward")
                if key == "new_modules_learning_rate" and has_none:
                    rates[key] = None
        if rates.get("learning_rate") is None:
            rates["learning_rate"] = STRATEGIES[strategy].learning_rate
        return values | {"optimizer": rates}

    @property
    def hears_recordings_clean(self) -> bool:
        """Whether a clean teacher hears recordings as they are, so that what it makes of them can be kept."""
        return self.noise.teacher is not None and self.data.only_adds_noise

    @model_validator(mode="after")
    def sections_agree(self) -> "RunConfig":
        for problems in CROSS_CHECKS:
            for problem in problems(self):
                raise ValueError(problem)
        return self


def of_strategy(config: RunConfig) -> Iterator[str]:
    """What in the optimizer and the engine does not go with the model's strategy."""
    model, frozen_steps = config.model, config.optimizer.primary_frozen_steps
    if model.chosen_strategy.is_quantized and config.engine.zero_stage == 3:
        yield (
            f"model.strategy is {model.strategy!r} and engine.zero_stage is 3, which spreads quantised weights but "
            "not their scales, and holds those in 8 bits whole on every rank: take zero_stage 2, or strategy lora"
        )
    kind = model.adapter.kind if model.adapter is not None else "lora"
    if kind in ("dora", "pissa") and config.engine.zero_stage == 3:
        yield (
            f"model.lora.kind is {kind!r}, which reads whole weights, and engine.zero_stage is 3, which spreads them: "
            "take zero_stage 2, or kind lora or rslora"
        )
    for key in ("new_modules_learning_rate", "primary_frozen_steps"):
        if getattr(config.optimizer, key) and not (model.dual_attention or model.wider_feed_forward):
            yield f"optimizer.{key} does nothing where model.dual_attention is false: take it out"
    for key, given in (("primary_frozen_steps", frozen_steps), ("layer_decay", config.optimizer.layer_decay < 1)):
        if given and model.chosen_strategy.trains_new_alone:
            yield f"optimizer.{key} does nothing where model.strategy is {model.strategy!r}: take it out"
    if frozen_steps > config.training.steps:
        yield (
            f"optimizer.primary_frozen_steps ({frozen_steps}) must not be above training.steps "
            f"({config.training.steps}); to freeze it for good, choose model.strategy: frozen_primary"
        )


def of_noise_loss(config: RunConfig) -> Iterator[str]:
    """What the losses on noise lack, or which of their keys does nothing."""
    noise, augmentation = config.noise, config.data.augmentation
    given = f"noise.loss_weight is {noise.loss_weight:g}"
    if noise.loss_weight and not config.model.dual_attention:
        yield f"{given}, for second attentions, which model.dual_attention: false lacks: take it out"
    yield from too_late(config, "noise.loss_warmup_steps", noise.loss_warmup_steps)
    if noise.teacher is not None:
        yield from of_teacher(noise.teacher, config.model, config.data)
        yield from too_late(config, "noise.teacher.warmup_steps", noise.teacher.warmup_steps)
    for key in ("loss_warmup_steps", "loss_frames", "loss_layers"):
        if not noise.loss_weight and getattr(noise, key) != NoiseConfig.model_fields[key].default:
            yield f"noise.{key} does nothing where noise.loss_weight is 0: take it out"
    if noise.loss_weight and not (augmentation and augmentation.knows_noise):
        yield (
            f"{given}, but nothing adds noise that is known: give data.augmentation a noise_share, babble_share, "
            "competing_share or silence_is_noise, or take it out"
        )
    if noise.loss_frames == "speech" and augmentation and augmentation.silence_is_noise:
        yield (
            "noise.loss_frames is 'speech', which leaves out the frames of data.augmentation.silence_is_noise: "
            "take one of them out"
        )


def of_second_recording(config: RunConfig) -> Iterator[str]:
    """Why nothing would be heard of a second recording."""
    heard = config.model.second_recording
    if heard != "none" and not any(source.has_second for source in config.data.training_sources):
        yield (
            f"model.second_recording is {heard!r}, but no training source has second recordings: name their column in "
            "data.train.columns.second_audio, or say in data.train.second where they come from"
        )


def of_encoder_cache(config: RunConfig) -> Iterator[str]:
    """Why the encoder's output cannot be cached."""
    if config.performance.cache_encoder is None:
        return
    model, given = config.model, "performance.cache_encoder is given"
    if model.trains_encoder:
        yield (
            f"{given}, but model.strategy {model.strategy!r} trains the encoder here, so its output changes: take it "
            "out, or choose frozen_encoder"
        )
    if model.dropout:
        yield (
            f"{given} and model.dropout is {model.dropout:g}, so the encoder's output differs each time: set dropout "
            "to 0, or take the cache out"
        )
    if model.secondary_layer is not None:
        yield (
            "performance.cache_encoder keeps only the encoder's last output, but model.secondary_layer reads another "
            "layer: take one of them out"
        )
    if model.second_recording_layers or model.second_recording == "before":
        key = "second_recording_layers" if model.second_recording_layers else "second_recording: before"
        yield (
            f"performance.cache_encoder keeps what the encoder makes of one recording, but with model.{key} it hears "
            "two: take one of them out"
        )
    if config.data.augmentation is not None:
        yield f"{given}, but data.augmentation changes each utterance in each epoch: take one of them out"
    if config.engine.zero_stage == 3:
        yield (
            f"{given} and engine.zero_stage is 3, under which all ranks must run the encoder at the same time: take "
            "zero_stage 2, or the cache out"
        )


def of_kernels(config: RunConfig) -> Iterator[str]:
    """Why cuDNN's attention cannot be allowed."""
    if config.performance.cudnn_attention and config.model.encoder_padding == "clip":
        yield (
            "performance.cudnn_attention is true, but under model.encoder_padding: clip nearly every batch has a new "
            "length, for which cuDNN builds a plan (23 to 500 ms), and masks, with which its gradient can be NaN: take "
            "it out, or take encoder_padding: window"
        )


def of_lengths(config: RunConfig) -> Iterator[str]:
    """Which counts of steps, lanes and seconds do not fit each other."""
    data, seconds = config.data, config.training.batch_seconds
    yield from too_late(config, "optimizer.warmup_steps", config.optimizer.warmup_steps)
    if data.workers and data.lanes and data.lanes % data.workers:
        yield f"data.lanes ({data.lanes}) must be a multiple of data.workers ({data.workers})"
    if seconds is not None and seconds < data.longest_seconds:
        key = "non_speech.max_seconds" if data.windows is None else "windows.seconds"
        key = "max_seconds" if data.max_seconds == data.longest_seconds else key
        yield (
            f"training.batch_seconds ({seconds:g}) must be at least data.{key} ({data.longest_seconds:g}): the "
            "longest clip must fit a microbatch"
        )
    if seconds is not None and config.model.encoder_padding == "window":
        yield (
            "training.batch_seconds goes with model.encoder_padding: clip; under window every clip takes 30 s, and "
            "training.batch_size alone says what a microbatch takes"
        )


def of_average(config: RunConfig) -> Iterator[str]:
    """Whether an average is to be evaluated where there is none."""
    if config.evaluation.average == "alone" and config.training.ema is None:
        yield "evaluation.average is 'alone', but without training.ema there is no average: give it, or take this out"


def too_late(config: RunConfig, key: str, warmup_steps: int) -> Iterator[str]:
    """Whether a warm-up would last as long as the training."""
    if warmup_steps and warmup_steps >= config.training.steps:
        yield f"{key} ({warmup_steps}) must be below training.steps ({config.training.steps})"


CROSS_CHECKS = (
    of_strategy,
    of_noise_loss,
    of_second_recording,
    of_encoder_cache,
    of_kernels,
    of_lengths,
    of_average,
)
