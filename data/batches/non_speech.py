"""Clips where nobody speaks, among the clips that are trained on: noise or silence with an empty text.

For training on windows, :mod:`.windows` has its own, ``data.windows.silence``.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..augmentation.noise_clips import NoiseClips
from ..augmentation.synthetic_noise import MAKERS
from ..augmentation.windows import NonSpeechConfig
from ..errors import DataError
from ..utterance import SAMPLING_RATE, Utterance
from .collation import TimedRow, language_of, read_audio
from .labels import LabelEncoder
from .spoken import WindowText
from .windows.assembly import at_any_level, room_noise
from .windows.plan import SHORTEST_SILENCE, Window

NON_SPEECH_SOUNDS = "data.non_speech.sounds"  # the config's key
STREAM = 102  # as .windows.plan.STREAM: of random numbers that nothing else draws


class NonSpeech:
    """Makes clips without speech. Threads may share it.

    Raises:
        DataError: if the recordings without speech cannot be used.
    """

    def __init__(self, config: NonSpeechConfig, labels: LabelEncoder) -> None:
        self.config, self.labels = config, labels
        self.sounds = None if config.sounds is None else NoiseClips(config.sounds, NON_SPEECH_SOUNDS)

    def plan(self, rows: Sequence[TimedRow], *entropy: int) -> list[Window]:
        """So many clips without speech for the rows of a lane's window, each with the language of one of them.

        Args:
            entropy: the seed, the epoch, the lane and the number of its window of rows.
        """
        generator = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(STREAM,)))
        often = self.config.share / (1 - self.config.share)
        number = math.floor(often * len(rows) + generator.random()) if rows else 0
        return [self.planned(rows[int(generator.integers(len(rows)))], generator) for _ in range(number)]

    def planned(self, example: TimedRow, generator: np.random.Generator) -> Window:
        seconds = generator.uniform(SHORTEST_SILENCE, self.config.max_seconds)
        return Window((), (seconds,), seconds, False, example=example, seed=int(generator.integers(2**63)))

    def read(self, clip: Window) -> tuple[Utterance, tuple[list[int], list[int]]]:
        """A clip and its tokens: the prompt, and end of text after it.

        Raises:
            DataError: where its language is none of the tokenizer's.
        """
        language = language_of(clip.example.row, clip.example.source)
        audio = self.audio(clip, np.random.default_rng(clip.seed))
        tokens = self.labels.encode_window(WindowText((), timestamps=False), language)
        return Utterance(f"non-speech-{clip.seed:x}", audio, "", language), tokens

    def audio(self, clip: Window, generator: np.random.Generator) -> np.ndarray:
        """Digital silence, noise made from the seed, a recording, or the noise of a clip's room: float32 [samples]."""
        samples, point = round(clip.seconds * SAMPLING_RATE), generator.random()
        if point < self.config.digital:
            return np.zeros(samples, np.float32)
        if point >= self.config.digital + self.config.synthetic:
            if self.sounds is not None:
                return at_any_level(self.sounds.excerpt(samples, generator), generator)
            try:
                return room_noise([read_audio(clip.example.row, clip.example.source)], samples, generator)
            except DataError:  # the row is named where it is read for itself
                pass
        make = list(MAKERS.values())[int(generator.integers(len(MAKERS)))]
        return at_any_level(make(samples, generator), generator)
