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
SECOND_RECORDINGS = ("none", "attention", "joined", "before")


class DualWhisperConfig(WhisperConfig):
    """Whisper's configuration, how the encoder's input was padded in training, and what the decoder has beside it.

    On disk the model type is ``dual_whisper``, so that no stock class opens the checkpoint by mistake; at run time it
    is ``whisper``, which ``generate()`` and the pipelines compare with.

    Args:
        encoder_padding: ``window``: every clip fills Whisper's 30 s window, nothing is masked; ``clip``: the input is
            as long as the longest clip and what lies beyond each clip is masked. Decoding follows it.
        dual_attention: whether the decoder has the second attentions and gates; without them it is plain Whisper's.
        secondary_layer: experimental, as are those below. The encoder layer (from 1) after which the second attentions
            read; None: its output, as the first ones do. With it a lifted model is near plain Whisper but not equal to
            it, unless ``secondary_added`` is set.
        secondary_added: add the second attentions' output to the first ones', p + (1 - α) s, instead of mixing them. In
            a lifted model it begins as zero, so the model equals plain Whisper.
        gate_bias: initial bias of the gates when a plain Whisper is lifted: above 0 nearer the primary attention.
        second_recording: what hears a second recording of each clip, which the same encoder encodes. ``attention``: the
            second attentions; ``joined``: the one attention, over the frames of both; ``before``: the encoder alone,
            which hears it before the clip, as one recording, of which the decoder reads the clip's frames; ``none``:
            nothing does.
        second_recording_layers: in so many upper layers of the encoder, the frames of each recording also look at those
            of the other.
        wider_feed_forward: without second attentions, as many new parameters in wider feed-forward blocks: what second
            attentions are compared with.

    Raises:
        ValueError: for another ``encoder_padding`` or ``second_recording``, a ``secondary_layer`` or as many
            ``second_recording_layers`` as the encoder lacks, ``secondary_added`` without second attentions,
            ``wider_feed_forward`` beside them, second attentions that hear nothing of a second recording or two things
            at once, or layers dropped at random.
    """

    model_type = "dual_whisper"

    def __init__(
        self,
        encoder_padding: str = "window",
        dual_attention: bool = True,
        secondary_layer: int | None = None,
        secondary_added: bool = False,
        gate_bias: float = 0.0,
        second_recording: str = "none",
        second_recording_layers: int = 0,
        wider_feed_forward: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder_padding = encoder_padding
        self.dual_attention = dual_attention
        self.secondary_layer = secondary_layer
        self.secondary_added = secondary_added
        self.gate_bias = gate_bias
        self.second_recording = second_recording
        self.second_recording_layers = second_recording_layers
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
            raise ValueError("secondary_added is for second attentions, which dual_attention: false leaves out")
        if self.wider_feed_forward and self.dual_attention:
            raise ValueError("wider_feed_forward takes the second attentions' place: with dual_attention: false alone")
        self.check_second_recording()

    def check_second_recording(self) -> None:
        """Raises ValueError where what a second recording asks for does not go with the rest."""
        heard, layers = self.second_recording, self.second_recording_layers
        if heard not in SECOND_RECORDINGS:
            raise ValueError(f"second_recording is {heard!r}; it must be one of {', '.join(SECOND_RECORDINGS)}")
        if heard == "attention" and not self.dual_attention:
            raise ValueError("second_recording: attention is for second attentions: set dual_attention to true")
        if heard == "joined" and self.dual_attention:
            raise ValueError("second_recording: joined is for one attention: set dual_attention to false")
        if heard == "before" and (self.encoder_padding != "clip" or layers):
            what = "second_recording_layers" if layers else "encoder_padding: window"
            raise ValueError(f"second_recording: before puts both into one window, so it excludes {what}")
        if heard == "attention" and self.secondary_layer is not None:
            raise ValueError("second attentions read a second recording or secondary_layer, not both")
        if layers and heard == "none":
            raise ValueError("second_recording_layers does nothing where second_recording is none")
        if not 0 <= layers <= self.encoder_layers:
            raise ValueError(f"second_recording_layers is {layers}; the encoder has {self.encoder_layers} layers")


DualWhisperConfig.register_for_auto_class()
# Here, since a pipeline reads a checkpoint's configuration first, and with it learns what else to open.
AutoFeatureExtractor.register(DualWhisperConfig, WhisperFeatureExtractor)
AutoTokenizer.register(DualWhisperConfig, WhisperTokenizer, WhisperTokenizerFast)
AutoProcessor.register(DualWhisperConfig, WhisperProcessor)
