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

    Raises:
        ValueError: if ``encoder_padding`` is neither of the two, or if layers are to be dropped at random.
    """

    model_type = "dual_whisper"

    def __init__(self, encoder_padding: str = "window", dual_attention: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if encoder_padding not in ENCODER_PADDINGS:
            raise ValueError(f"encoder_padding is {encoder_padding!r}; it must be one of {', '.join(ENCODER_PADDINGS)}")
        if self.encoder_layerdrop or self.decoder_layerdrop:
            raise ValueError("encoder_layerdrop and decoder_layerdrop must be 0: dropped layers get no gradient")
        self.encoder_padding = encoder_padding
        self.dual_attention = dual_attention
        self.model_type = "whisper"


DualWhisperConfig.register_for_auto_class()
# Here, since a pipeline reads a checkpoint's configuration first, and with it learns what else to open.
AutoFeatureExtractor.register(DualWhisperConfig, WhisperFeatureExtractor)
AutoTokenizer.register(DualWhisperConfig, WhisperTokenizer, WhisperTokenizerFast)
AutoProcessor.register(DualWhisperConfig, WhisperProcessor)
