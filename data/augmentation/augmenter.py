"""What is done to an utterance before it is trained on, drawn from the seed, the epoch and the utterance's id alone.

So the result is the same for any number of processes, lanes and workers and after a resume, and another in each epoch.
"""

import hashlib
from dataclasses import replace

import numpy as np

from ..utterance import Utterance
from .change import OtherSpeech, Sound
from .config import CHANGES, AugmentationConfig

MASKS_STREAM = 5  # as Change.stream, for what is drawn on the device


class Augmenter:
    """Changes utterances as the config says. Threads may share it.

    Args:
        lengths: the fewest and the most seconds that another speed may bring an utterance to.

    Raises:
        DataError: if recordings that the config names cannot be used.
    """

    def __init__(self, config: AugmentationConfig, seed: int, lengths: tuple[float, float]) -> None:
        self.seed = seed
        self.changes = [kind(config, lengths) for kind in CHANGES]

    def __call__(self, utterance: Utterance, epoch: int, window: int, others: OtherSpeech) -> tuple[Utterance, int]:
        """The utterance changed, and a seed for what is still to be drawn for it on the device.

        Args:
            window: in a mixture, which has no epochs, the window that the utterance comes in; else 0.
        """
        entropy = self.seed, epoch, window, number_of(utterance.id)

        def generator(stream: int) -> np.random.Generator:
            # One for each kind of change: switching one on draws nothing else anew.
            return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(stream,)))

        sound = Sound(utterance.audio)
        for change in self.changes:
            sound = change(sound, generator(change.stream), others)
        seed = int(generator(MASKS_STREAM).integers(2**63))
        return replace(utterance, audio=sound.audio, noise=sound.noise), seed

    def longest(self, seconds: float) -> float:
        """The most seconds that a clip of ``seconds`` may have once it is changed."""
        for change in self.changes:
            seconds = change.longest(seconds)
        return seconds


def number_of(name: str) -> int:
    """A number of 64 bits for an id, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
