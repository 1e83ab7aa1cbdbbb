"""What is done to an utterance before it is trained on, drawn from the seed, the epoch and the utterance's id alone.

So the result is the same for any number of processes, lanes and workers and after a resume, and another in each epoch.
"""

import hashlib
from dataclasses import replace

from ..utterance import Utterance
from .change import Draws, OtherSpeech, Pair, Sound
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
        self.seed, self.config = seed, config
        self.changes = [kind(config, lengths) for kind in CHANGES]

    def __call__(self, utterance: Utterance, epoch: int, window: int, others: OtherSpeech) -> tuple[Utterance, int]:
        """The utterance changed, both of its recordings, and a seed for what is still to be drawn on the device.

        Args:
            window: in a mixture, which has no epochs, the window that the utterance comes in; else 0.
        """
        entropy = self.seed, epoch, window, number_of(utterance.id)
        pair = self.pair_of(utterance)
        for change in self.changes:
            pair = change.both(pair, Draws(entropy, change.stream), others)
        seed = int(Draws(entropy, MASKS_STREAM).first.integers(2**63))
        changed = replace(utterance, audio=pair.first.audio, noise=pair.first.noise)
        if utterance.second is not None:
            second, noise = (None, None) if pair.second is None else pair.second
            kind = None if second is None else utterance.second_kind
            changed = replace(changed, second=second, second_noise=noise, second_kind=kind)
        return changed, seed

    def pair_of(self, utterance: Utterance) -> Pair:
        """The recordings before all changes."""
        if utterance.second is None:
            return Pair(Sound(utterance.audio))
        kind = self.config.kind_of(utterance.second_kind or "microphone")
        return Pair(Sound(utterance.audio), Sound(utterance.second), kind)

    def longest(self, seconds: float) -> float:
        """The most seconds that a clip of ``seconds`` may have once it is changed."""
        for change in self.changes:
            seconds = change.longest(seconds)
        return seconds

    def longest_second(self, seconds: float) -> float:
        """The most seconds that a second recording of ``seconds`` may have once it is changed; 0 without one."""
        for change in self.changes if seconds else ():
            seconds = change.longest_second(seconds)
        return seconds


def number_of(name: str) -> int:
    """A number of 64 bits for an id, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
