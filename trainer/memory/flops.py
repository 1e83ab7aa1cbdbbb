"""Floating-point operations of a training step: those of the model, whatever a memory saver computes twice.

Products of matrices, convolutions and attention, two operations for a multiplication and an addition, attention in full
also where it is causal, as is usual (Chowdhery et al., arXiv 2204.02311, appendix B). The backward pass costs a product
for what goes on to the layers below, if anything trained lies there, and one for the weight, if that is trained.
"""

import functools

from ..config.run import RunConfig
from .cells import Cell
from .fake_model import known_model

CONVOLUTION_WIDTH = 3


class Trained:
    """Which weights of a model are trained, and above which layer something is."""

    def __init__(self, config_json: str) -> None:
        model = known_model(RunConfig.model_validate_json(config_json))
        self.shape = model.config
        self.names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    def weight(self, path: str) -> bool:
        return f"{path}.weight" in self.names or f"{path}.base_layer.weight" in self.names

    def within(self, *prefixes: str) -> bool:
        """Whether anything under these is trained, adapters too."""
        return any(name.startswith(prefixes) for name in self.names)


trained_of = functools.lru_cache(maxsize=16)(Trained)


def second_recording(cell: Cell) -> str:
    """How a cell's model hears second recordings; ``none`` where it hears none.

    Raises:
        ConfigError: if only the hub knows the model's shape.
    """
    shape = trained_of(cell.config.model_dump_json()).shape
    return str(shape.second_recording) if cell.hears_second(shape) else "none"


def step_flops(cell: Cell) -> int:
    """The operations of a cell's step, of all microbatches on all ranks.

    Raises:
        ConfigError: as :func:`utterance_flops`.
    """
    return round(utterance_flops(cell) * cell.batch_size * cell.config.training.accumulation * cell.processes)


def utterance_flops(cell: Cell) -> float:
    """The operations of one of a cell's utterances, forward and backward.

    Raises:
        ConfigError: if only the hub knows the model's shape.
    """
    trained, positions = trained_of(cell.config.model_dump_json()), cell.encoder_positions
    how = second_recording(cell)
    one = Utterance(trained)
    below = one.add_encoder(cell.frames, positions, second=how)
    one.add_decoder(2 * positions if how == "joined" else positions, cell.tokens, cell.targets, below)
    return one.operations


class Utterance:
    """Operations of one utterance, as they are added up.

    What adds a part of the model returns whether anything trained lies in it or ``below`` it, where its input comes
    from: then a gradient goes on to there.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained, self.shape, self.width = trained, trained.shape, trained.shape.d_model
        self.operations = 0.0

    def add_product(self, operations: float, path: str, below: bool) -> None:
        """A product with the weight of a module."""
        self.operations += operations * (1 + self.trained.weight(path) + below)

    def add_encoder(self, frames: int, positions: int, *, second: str) -> bool:
        """The encoder's pass over the first recording, and over the second one, which is as long."""
        root, within = "model.encoder", self.trained.within
        mel = 2 * CONVOLUTION_WIDTH * self.width * frames
        self.add_product(mel * self.shape.num_mel_bins, f"{root}.conv1", False)
        self.add_product(mel * self.width / 2, f"{root}.conv2", within(f"{root}.conv1"))
        below = within(f"{root}.conv")
        first_of_both = self.shape.encoder_layers - self.shape.second_recording_layers
        for number in range(self.shape.encoder_layers):
            layer = f"{root}.layers.{number}"
            is_seen = second == "before" or (second != "none" and number >= first_of_both)
            of_the_other = positions if is_seen else 0
            below = self.add_attention(f"{layer}.self_attn", positions, positions, below, also_seen=of_the_other)
            below = self.add_feed_forward(layer, self.shape.encoder_ffn_dim, positions, below)
        self.operations *= 1 if second == "none" else 2
        return below or within(f"{root}.layer_norm")

    def add_decoder(self, frames: int, tokens: int, targets: int, encoder: bool) -> None:
        """The decoder and the vocabulary's projection; ``encoder``: a gradient goes on into the encoder."""
        root, shape, within = "model.decoder", self.shape, self.trained.within
        below = within(f"{root}.embed_tokens", f"{root}.embed_positions", "proj_out")
        attentions = ("encoder_attn", "secondary_attn") if shape.dual_attention else ("encoder_attn",)
        for number in range(shape.decoder_layers):
            layer = f"{root}.layers.{number}"
            below = self.add_attention(f"{layer}.self_attn", tokens, tokens, below)
            flows = [
                self.add_attention(f"{layer}.{name}", tokens, frames, below, encoder=encoder) for name in attentions
            ]
            below = below or any(flows)
            if shape.dual_attention:
                self.add_product(2 * 3 * self.width**2 * tokens, f"{layer}.gate.hidden", below)
                self.add_product(2 * self.width * tokens, f"{layer}.gate.score", below)
                below = below or within(f"{layer}.gate")
            below = self.add_feed_forward(layer, shape.decoder_ffn_dim, tokens, below)
        self.add_product(2 * self.width * shape.vocab_size * targets, f"{root}.embed_tokens", below or encoder)

    def add_attention(
        self, path: str, queries: int, keys: int, below: bool, *, encoder: bool | None = None, also_seen: int = 0
    ) -> bool:
        """One attention's projections and products.

        Args:
            queries, keys: positions.
            encoder: as ``below``, of what keys and values are made of; None where that is the same.
            also_seen: keys of the other recording, which are projected there.
        """
        within = self.trained.within
        asks = below or within(f"{path}_layer_norm.")
        answers = asks if encoder is None else encoder
        flows = asks or answers or within(f"{path}.q_proj", f"{path}.k_proj", f"{path}.v_proj")
        self.add_product(2 * self.width**2 * queries, f"{path}.q_proj", asks)
        for name in ("k_proj", "v_proj"):
            self.add_product(2 * self.width**2 * keys, f"{path}.{name}", answers)
        self.operations += (
            4 * queries * (keys + also_seen) * self.width * (1 + 2 * flows)
        )  # both factors have a gradient
        self.add_product(2 * self.width**2 * queries, f"{path}.out_proj", flows)
        return below or flows or within(f"{path}.")

    def add_feed_forward(self, layer: str, inner_width: int, positions: int, below: bool) -> bool:
        """Both linear layers."""
        operations = 2 * self.width * inner_width * positions
        inside = below or self.trained.within(f"{layer}.final_layer_norm.")
        self.add_product(operations, f"{layer}.fc1", inside)
        inside = inside or self.trained.within(f"{layer}.fc1.")
        self.add_product(operations, f"{layer}.fc2", inside)
        return inside or self.trained.within(f"{layer}.fc2.")
