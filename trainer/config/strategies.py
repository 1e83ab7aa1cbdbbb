"""The tuning strategies, one entry each: what is trained of Whisper's own weights, and what goes with it.

The second attentions and gates are trained under every strategy. Imports neither torch nor transformers: a config is
read without them, and the functions here only ask a model for its parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

SELECTIVE_SHARE = 0.35  # of Whisper's own parameters, which the default choice of layers comes nearest to
IMBALANCE_COST = 0.1  # a share of the encoder's layers that differs from the decoder's by 0.1 weighs as much as 1 %


@dataclass(frozen=True)
class Strategy:
    """A value of ``model.strategy``.

    Attributes:
        trains: what of Whisper's own, in a few words for the reference of the config.
        learning_rate: where the config names none; low enough for every size. The recipes have what suits each.
        choose: makes what is trained trainable, in a frozen :class:`~modeling.DualWhisperForConditionalGeneration`;
            also takes the options of :attr:`section`, or None. Without it nothing of Whisper's own is chosen.
        section: the section of ``model`` that holds its options.
        trains_encoder: whether anything of the encoder is trained, where the options do not say.
        from_scratch: can train a model from nothing; the others keep something of a checkpoint.
        lighter: strategies that need less memory, the nearest first, for the advice where memory runs out.
        has_adapters: LoRA adapters are put in, and checkpoints hold those and the new modules alone.
        is_quantized: the frozen weights are held in 4 or 8 bits.
    """

    trains: str
    learning_rate: float
    choose: Callable[[Any, Any], None] | None = None
    section: str | None = None
    trains_encoder: bool = False
    from_scratch: bool = False
    lighter: tuple[str, ...] = ()
    has_adapters: bool = False
    is_quantized: bool = False

    @property
    def trains_new_alone(self) -> bool:
        """Only second attentions and gates, without which there is nothing to train."""
        return self.choose is None and not self.has_adapters


def choose_decoder(model: Any, options: Any) -> None:
    model.requires_grad_(True)
    model.model.encoder.requires_grad_(False)


def choose_encoder(model: Any, options: Any) -> None:
    model.model.encoder.requires_grad_(True)


def choose_top_layers(model: Any, options: Any) -> None:
    """The layers nearest the output, as many as ``options`` say, else :func:`default_top_layers`.

    Raises ValueError if there are fewer.
    """
    numbers = (options.encoder_layers, options.decoder_layers) if options else default_top_layers(model)
    for which, number in zip(("encoder", "decoder"), numbers, strict=True):
        layers = getattr(model.model, which).layers
        if number > len(layers):
            raise ValueError(f"{which}_layers is {number}; the model's {which} has {len(layers)}")
        for layer in layers[len(layers) - number :]:
            layer.requires_grad_(True)


LORA = Strategy("adapters", learning_rate=3e-4, section="lora", trains_encoder=True, has_adapters=True)
STRATEGIES = {
    "full": Strategy(
        "everything",
        learning_rate=1e-5,
        choose=lambda model, options: model.requires_grad_(True),
        trains_encoder=True,
        from_scratch=True,
        lighter=("frozen_encoder", "lora"),
    ),
    "frozen_encoder": Strategy("the decoder", learning_rate=1e-5, choose=choose_decoder, lighter=("lora",)),
    "frozen_decoder": Strategy(
        "the encoder", learning_rate=1e-5, choose=choose_encoder, trains_encoder=True, lighter=("lora",)
    ),
    "frozen_primary": Strategy("nothing", learning_rate=1e-4),
    "selective": Strategy(
        "the top layers", 2e-5, choose_top_layers, section="selective", trains_encoder=True, lighter=("lora",)
    ),
    "lora": LORA,
    "qlora": replace(LORA, trains="adapters, over weights in 4 or 8 bits", is_quantized=True),
}


def choose_trained(model: Any, strategy: Strategy, options: Any = None) -> None:
    """Freeze what a strategy leaves alone, before its adapters are put in.

    Args:
        model: a :class:`~modeling.DualWhisperForConditionalGeneration`; on the meta device will do.
        options: the section of the config that goes with the strategy, or None.

    Raises:
        ValueError: if the options do not fit the model.
    """
    model.requires_grad_(False)
    if strategy.choose is not None:
        strategy.choose(model, options)
    model.model.encoder.embed_positions.requires_grad_(False)  # fixed
    for name in model.new_modules():
        model.get_parameter(name).requires_grad_(True)


def default_top_layers(model: Any) -> tuple[int, int]:
    """The top layers of encoder and decoder that are near to 35 % of Whisper's own parameters, and balanced."""
    encoder, decoder = model.model.encoder.layers, model.model.decoder.layers
    new = set(model.new_modules())
    own = {name: p.numel() for name, p in model.named_parameters() if name not in new}
    whole = sum(own.values())
    of_encoder = sum(numbers for name, numbers in own.items() if "encoder.layers.0." in name)
    of_decoder = sum(numbers for name, numbers in own.items() if "decoder.layers.0." in name)

    def cost(pair: tuple[int, int]) -> float:
        share = (pair[0] * of_encoder + pair[1] * of_decoder) / whole
        return abs(share - SELECTIVE_SHARE) + IMBALANCE_COST * abs(pair[0] / len(encoder) - pair[1] / len(decoder))

    return min(((n, m) for n in range(len(encoder) + 1) for m in range(1, len(decoder) + 1)), key=cost)
