"""Dual-attention Whisper: configuration, decoder, cache, losses. Knows nothing of data or engines.

Importing the package registers ``dual_whisper`` with transformers' Auto classes, so that a folder written by the
trainer opens with ``AutoModelForSpeechSeq2Seq.from_pretrained``.
"""

from transformers import AutoConfig, AutoModelForSpeechSeq2Seq

from .configuration import DualWhisperConfig
from .dual_whisper import DualWhisperForConditionalGeneration

AutoConfig.register("dual_whisper", DualWhisperConfig)
AutoModelForSpeechSeq2Seq.register(DualWhisperConfig, DualWhisperForConditionalGeneration)

__all__ = ["DualWhisperConfig", "DualWhisperForConditionalGeneration"]
