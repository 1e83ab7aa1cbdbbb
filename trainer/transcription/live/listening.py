"""A checkpoint that hears the same seconds again and again while they grow, and goes on from what is final."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.batches.features import SAMPLES_PER_FRAME, WINDOW_FRAMES
from data.utterance import SAMPLING_RATE
from modeling.alignment.words import words_of
from modeling.decoding import encode, encoder_padding, language_likelihoods
from modeling.greedy import decode

from ..hearing import REPEATING, Listener, compression_ratio
from ..transcripts import WRITTEN_WITHOUT_SPACES
from .agreement import Spoken

TOKENS_EACH_SECOND = 12  # more than anybody speaks: what is beyond is a loop
SURE = 0.8  # a language this likely is kept
STEP_FRAMES = 1000  # windows are a multiple of 10 s, the shortest that was measured
MARGIN_FRAMES = 50  # of silence after the audio, at least


@dataclass(frozen=True)
class Guess:
    """What a hearing finds after the final words.

    Attributes:
        is_speech: False where it is taken for invented, or is a loop.
    """

    words: list[Spoken]
    is_speech: bool = True


class LiveListener(Listener):
    """As :class:`trainer.transcription.hearing.Listener`, for one piece at a time, greedily and without timestamps.

    Checkpoints of 30 s windows hear shorter ones where the audio is shorter: the encoder costs the same for a second of
    speech in a window as for 30.
    """

    def hear_on(self, audio: np.ndarray, final: Sequence[int]) -> Guess:
        """What is said in a piece after the final words.

        Args:
            audio: float32 [N], 16 kHz, at most 30 s.
            final: tokens of the words of this piece that are final.
        """
        encoded = self.encode([audio]).states if encoder_padding(self.model) == "clip" else self.encode_short(audio)
        language = self.language or self.spoken_language(encoded)
        prompt = self.labels.prompt(language)
        most = round(len(audio) / SAMPLING_RATE * TOKENS_EACH_SECOND) + TOKENS_EACH_SECOND
        room = self.labels.max_tokens - len(prompt) - len(final)
        most = max(0, min(most - len(final), room))
        (said,) = decode(self.model, encoded, [[*prompt, *final]], most, begins=not final)
        text = self.processor.tokenizer.decode([*final, *said.tokens], skip_special_tokens=True)
        limits = self.silence
        invented = said.no_speech > limits.no_speech and said.log_probability < limits.log_probability and not final
        spelled = words_of(self.processor.tokenizer, said.tokens, language not in WRITTEN_WITHOUT_SPACES)
        words = [Spoken(word.text, word.tokens, word.spelled[:1].isspace()) for word in spelled if word.text]
        return Guess(words, not invented and compression_ratio(text) <= REPEATING)

    def encode_short(self, audio: np.ndarray) -> Any:
        """The encoder's output [1, T, width] for a window as long as float32 [N] needs."""
        frames = window_frames(len(audio))
        features = self.log_mel(torch.from_numpy(audio)[None].to(self.device), frames)
        return encode(self.model, features.to(self.model.dtype), [frames])

    def spoken_language(self, encoded: Any) -> str:
        """The likeliest language of a piece; kept for the rest of the stream once it is sure."""
        likelihoods = language_likelihoods(self.model, encoded)[0]
        best = int(likelihoods.argmax())
        if float(likelihoods[best].exp()) >= SURE:
            self.language = self.codes[best]
        return self.codes[best]


def window_frames(samples: int) -> int:
    """Mel frames of the shortest window for so much audio: a multiple of 10 s, at most 30 s."""
    frames = math.ceil(samples / SAMPLES_PER_FRAME) + MARGIN_FRAMES
    return min(math.ceil(frames / STEP_FRAMES) * STEP_FRAMES, WINDOW_FRAMES)
