"""Floating-point operations of a training step: those of the model, whatever a memory saver computes twice.

Products of matrices, convolutions and attention, two operations for a multiplication and an addition, attention in full
also where it is causal, as is usual (Chowdhery et al., arXiv 2204.02311, appendix B). The backward pass costs a product
for what goes on to the layers below, if anything trained lies there, and one for the weight, if that is trained.
"""

import functools
from dataclasses import dataclass

from trainer.config import RunConfig
from trainer.config_file import ConfigError
from trainer.plan import planned_model

from .cells import Cell

CONVOLUTION_WIDTH = 3


@dataclass(frozen=True)
class StepFlops:
    """Operations of a step on all ranks, all microbatches."""

    forward: int
    backward: int

    @property
    def total(self) -> int:
        return self.forward + self.backward


@dataclass
class Sum:
    """Operations of one utterance, as they are added up."""

    forward: float = 0.0
    backward: float = 0.0

    def add(self, operations: float, weight: bool, below: bool) -> None:
        """A product with a weight: is the weight trained, does a gradient go on below it?"""
        self.forward += operations
        self.backward += operations * (weight + below)

    def add_attention(self, operations: float, flows: bool) -> None:
        """Scores and weighted values, of which both factors have a gradient."""
        self.forward += operations
        self.backward += 2 * operations * flows


class Trained:
    """Which weights of a model are trained, and above which layer something is."""

    def __init__(self, config: RunConfig) -> None:
        model = planned_model(config)
        if model is None:
            raise ConfigError(
                f"model.checkpoint is {config.model.checkpoint!r}, whose shape only the hub knows: name a folder, or "
                "the published Whisper of the same size, such as openai/whisper-small"
            )
        self.shape = model.config
        self.names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    def weight(self, path: str) -> bool:
        return f"{path}.weight" in self.names or f"{path}.base_layer.weight" in self.names

    def within(self, *prefixes: str) -> bool:
        """Whether anything under these is trained, adapters too."""
        return any(name.startswith(prefixes) for name in self.names)


@functools.lru_cache(maxsize=16)
def trained_of(config_json: str) -> Trained:
    return Trained(RunConfig.model_validate_json(config_json))


def step_flops(cell: Cell) -> StepFlops:
    """The operations of a cell's step.

    Raises:
        ConfigError: if only the hub knows the model's shape.
    """
    trained = trained_of(cell.config.model_dump_json())
    total = Sum()
    below = add_encoder(total, trained, cell.frames, cell.encoder_positions)
    add_decoder(total, trained, cell.encoder_positions, cell.tokens, cell.targets, below)
    utterances = cell.batch_size * cell.config.training.accumulation * cell.processes
    return StepFlops(round(total.forward * utterances), round(total.backward * utterances))


def add_encoder(total: Sum, trained: Trained, frames: int, positions: int) -> bool:
    """The encoder's operations; whether anything in it is trained."""
    shape = trained.shape
    width, feed_forward, bins = shape.d_model, shape.encoder_ffn_dim, shape.num_mel_bins
    root = "model.encoder"
    total.add(2 * CONVOLUTION_WIDTH * bins * width * frames, trained.weight(f"{root}.conv1"), False)
    below = trained.within(f"{root}.conv1")
    total.add(2 * CONVOLUTION_WIDTH * width**2 * frames / 2, trained.weight(f"{root}.conv2"), below)
    below = trained.within(f"{root}.conv")
    for number in range(shape.encoder_layers):
        layer = f"{root}.layers.{number}"
        own = trained.within(f"{layer}.")
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            passes = below or (own and name == "out_proj")
            total.add(2 * width**2 * positions, trained.weight(f"{layer}.self_attn.{name}"), passes)
        total.add_attention(4 * positions**2 * width, below or own)
        for name in ("fc1", "fc2"):
            total.add(2 * width * feed_forward * positions, trained.weight(f"{layer}.{name}"), below or own)
        below = below or own
    return below or trained.within(f"{root}.layer_norm")


def add_decoder(total: Sum, trained: Trained, frames: int, tokens: int, targets: int, encoder: bool) -> None:
    """The decoder's operations and the vocabulary's; ``encoder``: a gradient goes on into the encoder."""
    shape = trained.shape
    width, feed_forward = shape.d_model, shape.decoder_ffn_dim
    root = "model.decoder"
    below = trained.within(f"{root}.embed_tokens", f"{root}.embed_positions", "proj_out")
    attentions = ("encoder_attn", "secondary_attn") if shape.dual_attention else ("encoder_attn",)
    for number in range(shape.decoder_layers):
        layer = f"{root}.layers.{number}"
        own = below or trained.within(f"{layer}.")
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            passes = below or (own and name == "out_proj")
            total.add(2 * width**2 * tokens, trained.weight(f"{layer}.self_attn.{name}"), passes)
        total.add_attention(4 * tokens**2 * width, own)
        for attention in attentions:
            for name in ("q_proj", "out_proj"):
                total.add(2 * width**2 * tokens, trained.weight(f"{layer}.{attention}.{name}"), own)
            for name in ("k_proj", "v_proj"):
                total.add(2 * width**2 * frames, trained.weight(f"{layer}.{attention}.{name}"), encoder)
            total.add_attention(4 * tokens * frames * width, own)
        if shape.dual_attention:
            total.add(2 * 3 * width**2 * tokens, trained.weight(f"{layer}.gate.hidden"), own)
            total.add(2 * width * tokens, trained.weight(f"{layer}.gate.score"), own)
        for name in ("fc1", "fc2"):
            total.add(2 * width * feed_forward * tokens, trained.weight(f"{layer}.{name}"), own)
        below = own
    total.add(2 * width * shape.vocab_size * targets, trained.weight(f"{root}.embed_tokens"), below or encoder)
