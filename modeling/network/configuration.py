"""The configuration of a dual-attention Whisper. Travels inside a checkpoint, so it needs transformers alone."""

from typing import Any

from transformers import (
    AutoFeatureExtractor,
    AutoProcessor,
    AutoTokenizer,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperProcessor,
    WhisperTokenizer,
    WhisperTokenizerFast,
)

ENCODER_PADDINGS = ("clip", "window")


class DualWhisperConfig(WhisperConfig):
    """Whisper's configuration and how the encoder's input was padded in training.

    On disk the model type is ``dual_whisper``, so that no stock class opens the checkpoint by mistake; at run time it
    is ``whisper``, which ``generate()`` and the pipelines compare with.

    Args:
        encoder_padding: ``window``: every clip fills Whisper's 30 s window, nothing is masked; ``clip``: the input is
            as long as the longest clip and what lies beyond each clip is masked. Decoding follows it.
        dual_attention: whether the decoder has the second attentions and gates; without them it is plain Whisper's.
        secondary_layer: the encoder layer (from 1) after which the second attentions read; None: its output, as the
            first ones do. With it a lifted model is near plain Whisper, no longer equal to it, unless they are added.
        secondary_added: what second attentions find is added to what the first ones do, p + (1 - α) s, instead of
            taking its place; a lifted model's begin with an output of zero, and it is equal to plain Whisper.
        gate_bias: what the gates' bias starts at when a plain Whisper is lifted: above 0 nearer the primary.
        wider_feed_forward: in a decoder without second attentions as many parameters more, in its feed-forward blocks:
            what second attentions are compared with.

    Raises:
        ValueError: if ``encoder_padding`` is neither of the two, if there is no such ``secondary_layer``, if second
            attentions that are not there are to be added, if they and wider feed-forward blocks are both asked for, or
            if layers are to be dropped at random.
    """

    model_type = "dual_whisper"

    def __init__(
        self,
        encoder_padding: str = "window",
        dual_attention: bool = True,
        secondary_layer: int | None = None,
        secondary_added: bool = False,
        gate_bias: float = 0.0,
        wider_feed_forward: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder_padding = encoder_padding
        self.dual_attention = dual_attention
        self.secondary_layer = secondary_layer
        self.secondary_added = secondary_added
        self.gate_bias = gate_bias
        self.wider_feed_forward = wider_feed_forward
        self.model_type = "whisper"
        self.check()

    def check(self) -> None:
        """Raises ValueError for a model that cannot be; ``from_pretrained`` sets values after they were checked."""
        if self.encoder_padding not in ENCODER_PADDINGS:
            known = ", ".join(ENCODER_PADDINGS)
            raise ValueError(f"encoder_padding is {self.encoder_padding!r}; it must be one of {known}")
        for name in ("encoder_layerdrop", "decoder_layerdrop"):
            if getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0: dropped layers get no gradient")
        if self.secondary_layer is not None and not 1 <= self.secondary_layer <= self.encoder_layers:
            last = self.encoder_layers
            raise ValueError(f"secondary_layer is {self.secondary_layer}; the encoder has layers 1 to {last}")
        if self.secondary_added and not self.dual_attention:
            raise ValueError("secondary_added is for second attentions, which dual_attention: false has not")
        if self.wider_feed_forward and self.dual_attention:
            raise ValueError("wider_feed_forward takes the second attentions' place: with dual_attention: false alone")


DualWhisperConfig.register_for_auto_class()
# Here, since a pipeline reads a checkpoint's configuration first, and with it learns what else to open.
AutoFeatureExtractor.register(DualWhisperConfig, WhisperFeatureExtractor)
AutoTokenizer.register(DualWhisperConfig, WhisperTokenizer, WhisperTokenizerFast)
AutoProcessor.register(DualWhisperConfig, WhisperProcessor)
