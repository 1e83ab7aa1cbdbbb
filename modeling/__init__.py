"""Dual-attention Whisper: configuration, decoder, cache, losses. Knows nothing of data or engines.

Importing the package registers ``dual_whisper`` with transformers' Auto classes, so that a folder written by the
trainer opens with ``AutoModelForSpeechSeq2Seq.from_pretrained``, and without its head with ``AutoModel``.
"""

from transformers import AutoConfig, AutoModel, AutoModelForSpeechSeq2Seq

from .network.configuration import DualWhisperConfig
from .network.dual_whisper import DualWhisperForConditionalGeneration, DualWhisperModel

AutoConfig.register("dual_whisper", DualWhisperConfig)
AutoModel.register(DualWhisperConfig, DualWhisperModel)
AutoModelForSpeechSeq2Seq.register(DualWhisperConfig, DualWhisperForConditionalGeneration)

__all__ = ["DualWhisperConfig", "DualWhisperForConditionalGeneration", "DualWhisperModel"]
