"""Windows shorter than 30 s for checkpoints that were trained on windows of 30 s, plain Whisper's among them.

Whisper's encoder costs the same for a second of speech as for 30. transformers' refuses shorter input; the project's
takes any length with the same weights.
"""

import math
from typing import Any

import numpy as np
import torch

from data.batches.features import SAMPLES_PER_FRAME, WINDOW_FRAMES, LogMel
from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.network.encoder import DualWhisperEncoder

STEP_FRAMES = 1000  # windows are a multiple of 10 s, the shortest that was measured
MARGIN_FRAMES = 50  # of silence after the audio, at least
OF_ENCODER = (
    "d_model",
    "num_mel_bins",
    "max_source_positions",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "activation_function",
    "scale_embedding",
)


class ShortWindows:
    """The encoder of a checkpoint, for windows as long as the audio needs. Shares the checkpoint's weights."""

    def __init__(self, model: Any, log_mel: LogMel) -> None:
        self.log_mel, self.device, self.dtype = log_mel, model.device, model.dtype
        self.encoder = model.get_encoder()
        if not isinstance(model, DualWhisperForConditionalGeneration):
            config = DualWhisperConfig(**{name: getattr(model.config, name) for name in OF_ENCODER})
            weights = self.encoder.state_dict()
            with torch.device("meta"):
                self.encoder = DualWhisperEncoder(config)
            self.encoder.load_state_dict(weights, assign=True)
            self.encoder.eval()

    @torch.no_grad()
    def encode(self, audio: np.ndarray) -> Any:
        """The encoder's output [1, T, width] for float32 [N], 16 kHz, at most 30 s."""
        frames = window_frames(len(audio))
        features = self.log_mel(torch.from_numpy(audio)[None].to(self.device), frames)
        return self.encoder(features.to(self.dtype), feature_lengths=[frames])


def window_frames(samples: int) -> int:
    """Mel frames of the shortest window for so much audio: a multiple of 10 s, at most 30 s."""
    frames = math.ceil(samples / SAMPLES_PER_FRAME) + MARGIN_FRAMES
    return min(math.ceil(frames / STEP_FRAMES) * STEP_FRAMES, WINDOW_FRAMES)
