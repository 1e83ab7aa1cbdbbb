"""Floating-point operations of a training step: those of the model, whatever a memory saver computes twice.

Products of matrices, convolutions and attention, two operations for a multiplication and an addition, attention in full
also where it is causal, as is usual (Chowdhery et al., arXiv 2204.02311, appendix B). The backward pass costs a product
for what goes on to the layers below, if anything trained lies there, and one for the weight, if that is trained.
"""

import functools
from dataclasses import dataclass

from ..config.run import RunConfig
from .cells import Cell
from .fake_model import known_model

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
        model = known_model(config)
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
    width, bins = shape.d_model, shape.num_mel_bins
    root = "model.encoder"
    total.add(2 * CONVOLUTION_WIDTH * bins * width * frames, trained.weight(f"{root}.conv1"), False)
    below = trained.within(f"{root}.conv1")
    total.add(2 * CONVOLUTION_WIDTH * width**2 * frames / 2, trained.weight(f"{root}.conv2"), below)
    below = trained.within(f"{root}.conv")
    for number in range(shape.encoder_layers):
        layer = f"{root}.layers.{number}"
        below = add_attention(total, trained, f"{layer}.self_attn", positions, positions, below, None)
        below = add_feed_forward(total, trained, layer, shape.encoder_ffn_dim, positions, below)
    return below or trained.within(f"{root}.layer_norm")


def add_decoder(total: Sum, trained: Trained, frames: int, tokens: int, targets: int, encoder: bool) -> None:
    """The decoder's operations and the vocabulary's; ``encoder``: a gradient goes on into the encoder."""
    shape = trained.shape
    width = shape.d_model
    root = "model.decoder"
    below = trained.within(f"{root}.embed_tokens", f"{root}.embed_positions", "proj_out")
    attentions = ("encoder_attn", "secondary_attn") if shape.dual_attention else ("encoder_attn",)
    for number in range(shape.decoder_layers):
        layer = f"{root}.layers.{number}"
        below = add_attention(total, trained, f"{layer}.self_attn", tokens, tokens, below, None)
        flows = [
            add_attention(total, trained, f"{layer}.{name}", tokens, frames, below, encoder) for name in attentions
        ]
        below = below or any(flows)
        if shape.dual_attention:
            total.add(2 * 3 * width**2 * tokens, trained.weight(f"{layer}.gate.hidden"), below)
            total.add(2 * width * tokens, trained.weight(f"{layer}.gate.score"), below)
            below = below or trained.within(f"{layer}.gate")
        below = add_feed_forward(total, trained, layer, shape.decoder_ffn_dim, tokens, below)
    total.add(2 * width * shape.vocab_size * targets, trained.weight(f"{root}.embed_tokens"), below or encoder)


def add_attention(
    total: Sum, trained: Trained, path: str, queries: int, keys: int, below: bool, encoder: bool | None
) -> bool:
    """One attention's projections and products; whether anything trained lies below its output.

    Args:
        queries, keys: positions.
        below: whether anything trained lies below what it asks with.
        encoder: likewise of what keys and values are made of; None where that is the same.
    """
    width = trained.shape.d_model
    asks = below or trained.within(f"{path}_layer_norm.")
    answers = asks if encoder is None else encoder
    flows = asks or answers or trained.within(f"{path}.q_proj", f"{path}.k_proj", f"{path}.v_proj")
    total.add(2 * width**2 * queries, trained.weight(f"{path}.q_proj"), asks)
    for name in ("k_proj", "v_proj"):
        total.add(2 * width**2 * keys, trained.weight(f"{path}.{name}"), answers)
    total.add_attention(4 * queries * keys * width, flows)
    total.add(2 * width**2 * queries, trained.weight(f"{path}.out_proj"), flows)
    return below or flows or trained.within(f"{path}.")


def add_feed_forward(total: Sum, trained: Trained, layer: str, inner_width: int, positions: int, below: bool) -> bool:
    """Both linear layers; whether anything trained lies below their output."""
    operations = 2 * trained.shape.d_model * inner_width * positions
    inside = below or trained.within(f"{layer}.final_layer_norm.")
    total.add(operations, trained.weight(f"{layer}.fc1"), inside)
    inside = inside or trained.within(f"{layer}.fc1.")
    total.add(operations, trained.weight(f"{layer}.fc2"), inside)
    return inside or trained.within(f"{layer}.fc2.")
