"""Channels to one: their mean, or one of them where the mean cancels what they hold."""

import numpy as np

# Of the mean's energy that channels without anything in common have. Stereo is then 15 dB louder than its mean; a voice
# in one of many channels is at 1.
CANCELLED = 1 / 16
AS_LOUD = 0.5  # of the loudest channel's energy; the first such channel is kept
ADDED_IN_ORDER = 7  # numbers, one after the other by numpy; it adds more of them in pairs
OUT_OF_PHASE = "channels out of phase, which cancel each other: one of them was kept"


class Mixer:
    """Mixes a recording's channels block by block, and finds out whether they cancel each other in all of it.

    Args:
        channel: the one to keep; None for the mean of all.
    """

    def __init__(self, channel: int | None = None) -> None:
        self.channel = channel
        self.energies: np.ndarray | None = None  # float64 [channels], of what was mixed so far
        self.mean_energy = 0.0

    def mix(self, block: np.ndarray) -> np.ndarray:
        """Float32 samples [N] of a block [N, channels]."""
        if block.shape[1] == 1:
            return block[:, 0]
        if self.channel is not None:
            return block[:, self.channel]
        mean = mean_of(block)
        self.take(block, mean)
        return mean

    def take(self, block: np.ndarray, mean: np.ndarray) -> None:
        """Count the energy of a block [N, channels] and of its mean [N]."""
        energies = np.array([float(np.dot(channel, channel)) for channel in block.T])
        self.energies = energies if self.energies is None else self.energies + energies
        self.mean_energy += float(np.dot(mean, mean))

    @property
    def kept(self) -> int | None:
        """The channel to keep of a recording all of which was mixed; None where its mean is right."""
        if self.energies is None:
            return self.channel
        uncorrelated = float(self.energies.sum()) / len(self.energies) ** 2
        if not self.mean_energy < CANCELLED * uncorrelated:  # not a number where samples are none
            return None
        return int(np.argmax(self.energies >= AS_LOUD * self.energies.max()))


def mean_of(block: np.ndarray) -> np.ndarray:
    """numpy's mean of a block [N, channels] of float32 over its channels, to the bit, in a fraction of its time."""
    channels = block.shape[1]
    if channels > ADDED_IN_ORDER:
        return np.asarray(block.mean(axis=1))
    mean = block[:, 0] + np.float32(0)  # of negative zeros numpy's is positive
    for channel in range(1, channels):
        mean += block[:, channel]
    mean /= channels
    return mean


def mixed(samples: np.ndarray, axis: int) -> tuple[np.ndarray, int | None]:
    """All samples of a recording as one channel, float32 [N], and the channel that was kept (None: the mean).

    Args:
        samples: float32, two-dimensional.
        axis: that of the channels.
    """
    mean, mixer = samples.mean(axis=axis), Mixer()
    mixer.take(samples.T if axis == 0 else samples, mean)
    kept = mixer.kept
    return (mean, None) if kept is None else (np.take(samples, kept, axis=axis), kept)
