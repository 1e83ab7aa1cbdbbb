"""A cell of a benchmark: everything that a training step's memory and time depend on."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch

from data.batches.features import WINDOW_FRAMES, padded_frames, visible_frames
from data.batches.labels import IGNORED
from data.batches.loader import BatchGroup
from data.utterance import SAMPLING_RATE, AudioBatch, SecondRecordings

from ..config.run import RunConfig
from ..engine.optimizer import optimizer_name

DECODER_POSITIONS = 448
PROMPT_TOKENS = 4  # start of transcript, language, task, no timestamps
# What a description takes from the config as it stands; a cell's precision is never ``auto``.
CONFIG_KEYS = {
    "model": "model.checkpoint",
    "dual_attention": "model.dual_attention",
    "strategy": "model.strategy",
    "gradient_checkpointing": "model.gradient_checkpointing",
    "encoder_padding": "model.encoder_padding",
    "zero_stage": "engine.zero_stage",
    "cpu_offload": "engine.cpu_offload",
    "precision": "engine.precision",
    "accumulation": "training.accumulation",
}


@dataclass(frozen=True)
class Cell:
    """A config's step in one shape.

    Attributes:
        config: model, strategy, optimizer and engine.
        batch_size: utterances of a microbatch on one process, all alike.
        seconds: of audio in each.
        tokens: decoder positions of each, the prompt included.
        processes: one a GPU.
        precision: fp32, bf16 or fp16; the config's own may be ``auto``.
        has_second: each utterance comes with a second recording, as long as the first.
    """

    config: RunConfig
    batch_size: int
    seconds: float
    tokens: int
    processes: int = 1
    precision: str = "fp32"
    has_second: bool = False

    @property
    def samples(self) -> int:
        """Audio samples of each utterance."""
        return round(self.seconds * SAMPLING_RATE)

    @property
    def frames(self) -> int:
        """Mel frames of the batch as the model gets it on a CPU, padding included."""
        return self.frames_on(gpu=False)

    def frames_on(self, gpu: bool) -> int:
        """:attr:`frames` on a CPU or on a GPU."""
        if self.config.model.encoder_padding == "window":
            return WINDOW_FRAMES
        return padded_frames([visible_frames(self.samples)], on_gpu=gpu)

    @property
    def encoder_positions(self) -> int:
        """What the encoder's layers and both cross-attentions work on, for each utterance."""
        if self.config.model.encoder_padding == "window":
            return WINDOW_FRAMES // 2
        return visible_frames(self.samples) // 2

    @property
    def has_noise(self) -> bool:
        """Whether batches carry their noise, for the noise loss."""
        return self.config.data.augmentation is not None

    def hears_second(self, model_config: Any) -> bool:
        """Whether a model with this configuration hears the second recordings; another leaves them out."""
        return self.has_second and bool(model_config.second_recording != "none")

    @property
    def targets(self) -> int:
        """Positions of each utterance that have a loss: all but the prompt's before its last."""
        return self.tokens - (PROMPT_TOKENS - 1)

    def describe(self) -> dict[str, Any]:
        """Flat, fit for JSON; what two cells share is the same step."""
        shape = ("precision", "processes", "batch_size", "seconds", "tokens")
        return {
            **{name: attrgetter(key)(self.config) for name, key in CONFIG_KEYS.items()},
            **{name: getattr(self, name) for name in shape},
            "model": self.config.model.checkpoint or "own shape",
            "optimizer": optimizer_name(self.config),
            **({"noise_loss": self.config.noise.loss_weight} if self.config.noise.loss_weight else {}),
            **self.second_described(),
        }

    def second_described(self) -> dict[str, Any]:
        """What a description says of second recordings: nothing where there are none, or the config lets none hear."""
        how, layers = self.config.model.second_recording, self.config.model.second_recording_layers
        if not self.has_second or how == "none":
            return {}
        return {"second_recording": how} | ({"second_recording_layers": layers} if layers else {})


def with_settings(config: RunConfig, section: str, **values: Any) -> RunConfig:
    """A copy of the config with other values in a section, which are not validated."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def cell_of(
    config: RunConfig,
    *,
    precision: str,
    batch_size: int | None = None,
    seconds: float | None = None,
    tokens: int | None = None,
    processes: int = 1,
    has_second: bool | None = None,
) -> Cell:
    """The largest step that a settled config allows, unless shorter clips or labels are given.

    That is every clip ``data.max_seconds`` long, and labels that fill the decoder: one long row pads its whole batch.
    Where the data has second recordings, every clip has one, of the same length, unless ``has_second`` says otherwise.
    """
    if has_second is None:
        has_second = any(source.has_second for source in config.data.training_sources)
    return Cell(
        config,
        batch_size=batch_size or config.training.microbatch,
        seconds=config.data.longest_seconds if seconds is None else seconds,
        tokens=DECODER_POSITIONS if tokens is None else tokens,
        processes=processes,
        precision=precision,
        has_second=has_second,
    )


def synthetic_group(cell: Cell, vocabulary: int, seed: int = 0) -> BatchGroup:
    """A step's microbatches of noise and random labels in the cell's shape, fit for ``Trainer.train_step``."""
    generator = torch.Generator().manual_seed(seed)
    batches: list[AudioBatch | None] = []
    for number in range(cell.config.training.accumulation):
        audio = torch.randn(cell.batch_size, cell.samples, generator=generator) * 0.1
        ids = torch.randint(0, vocabulary, (cell.batch_size, cell.tokens), generator=generator)
        labels = torch.randint(0, vocabulary, (cell.batch_size, cell.tokens), generator=generator)
        labels[:, : cell.tokens - cell.targets] = IGNORED
        batch = AudioBatch(
            audio=audio,
            audio_lengths=torch.full((cell.batch_size,), cell.samples),
            noise=noise_in(cell, audio),
            decoder_input_ids=ids,
            labels=labels,
            ids=[f"synthetic-{number}-{row}" for row in range(cell.batch_size)],
            texts=[""] * cell.batch_size,
            languages=[None] * cell.batch_size,
            second=synthetic_seconds(cell, generator) if cell.has_second else None,
        )
        batches.append(batch)
    return BatchGroup(batches, exhausted=False)


def synthetic_seconds(cell: Cell, generator: torch.Generator) -> SecondRecordings:
    """A second recording of noise for each utterance of a microbatch."""
    audio = torch.randn(cell.batch_size, cell.samples, generator=generator) * 0.1
    lengths = torch.full((cell.batch_size,), cell.samples)
    return SecondRecordings(list(range(cell.batch_size)), audio, lengths, noise_in(cell, audio))


def noise_in(cell: Cell, audio: torch.Tensor) -> torch.Tensor | None:
    """Half of synthetic audio where batches carry their noise."""
    return audio / 2 if cell.has_noise else None
