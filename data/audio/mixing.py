"""Channels to one: their mean, one of them where the mean cancels what they hold, one less what leaks into it."""

import numpy as np

from ..utterance import SAMPLING_RATE

# Of the mean's energy that channels without anything in common have. Stereo is then 15 dB louder than its mean; a voice
# in one of many channels is at 1.
CANCELLED = 1 / 16
STRETCH = 2**14  # frames that are judged together, 0.3 to 1 s: a recorder may turn a channel round half-way
CANCELLED_SHARE = 0.1  # of a recording's energy in stretches that cancel, from which on one channel is kept
AS_LOUD = 0.5  # of the loudest channel's energy; the first such channel is kept
ADDED_IN_ORDER = 7  # numbers, one after the other by numpy; it adds more of them in pairs
OUT_OF_PHASE = "channels out of phase, which cancel each other: one of them was kept"
SIDES = ("left", "right")  # channels of stereo, in their order
# As users say that both are wanted: which of them is the first recording, and which the second.
CHANNELS = {"channel": (0, 1), "left_channel": (1, 0)}

LEAK_TAPS = 2048  # samples of the filter through which a leak is thought to pass, 0.13 s: a room's first echoes
LEAK_BLOCK = 20 * SAMPLING_RATE  # samples, each with a filter of its own: people and microphones move
LEAST_OTHER = 1e-4  # of the other recording's power, added to it so that silence in it has no say


class Mixer:
    """Mixes a recording's channels block by block, and finds out whether they cancel each other in much of it.

    Stretches of :data:`STRETCH` frames are counted from the first frame, however the recording comes in blocks.

    Args:
        channel: the one to keep; None for the mean of all.
    """

    def __init__(self, channel: int | None = None) -> None:
        self.channel = channel
        self.energies: np.ndarray | None = None  # float64 [channels], of what was mixed so far
        self.cancelled = 0.0  # energy of all channels in stretches that cancel
        self.stretch: np.ndarray | None = None  # float64 [channels + 1]: energies and the mean's, of the last stretch
        self.frames = 0

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
        begin, columns = 0, [*block.T, mean]
        if self.stretch is None:
            self.energies, self.stretch = np.zeros(len(columns) - 1), np.zeros(len(columns))
        while begin < len(mean):
            end = min(len(mean), begin + STRETCH - self.frames % STRETCH)
            self.stretch += [float(np.dot(column[begin:end], column[begin:end])) for column in columns]
            self.frames += end - begin
            begin = end
            if self.frames % STRETCH == 0:
                self.energies, self.cancelled = self.with_stretch
                self.stretch = np.zeros(len(columns))

    @property
    def with_stretch(self) -> tuple[np.ndarray, float]:
        """The channels' energies and the cancelled energy, the unfinished stretch included."""
        assert self.energies is not None and self.stretch is not None
        energies, mean_energy = self.stretch[:-1], float(self.stretch[-1])
        cancels = mean_energy < CANCELLED * float(energies.sum()) / len(energies) ** 2  # False of what is no number
        return self.energies + energies, self.cancelled + float(energies.sum()) * cancels

    @property
    def kept(self) -> int | None:
        """The channel to keep of a recording all of which was mixed; None where its mean is right."""
        if self.energies is None:
            return self.channel
        energies, cancelled = self.with_stretch
        if not cancelled >= CANCELLED_SHARE * float(energies.sum()) > 0:
            return None
        return int(np.argmax(energies >= AS_LOUD * energies.max()))


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


def without_leak(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The first recording less what of the second is in it: in each 20 s by the filter that leaves the least power.

    Args:
        first, second: float32 [N] and [M], of the same rate and clock, at best two channels of one file.

    Returns:
        float32 [N].

    Source: N. Wiener's filter of finite length, by Levinson's recursion.
    """
    from scipy.linalg import solve_toeplitz  # some tenths of a second to import

    cleaned = first.copy()
    second = np.pad(second, (0, max(0, len(first) - len(second))))[: len(first)]
    blocks = max(1, round(len(first) / LEAK_BLOCK))
    for begin, end in zip(bounds := np.linspace(0, len(first), blocks + 1).astype(int), bounds[1:], strict=False):
        before = min(begin, LEAK_TAPS)
        other = second[begin - before : end]
        size = 1 << (len(other) + LEAK_TAPS).bit_length()
        of_other = np.fft.rfft(other.astype(np.float64), size)
        of_first = np.fft.rfft(np.pad(first[begin:end].astype(np.float64), (before, 0)), size)
        own = np.fft.irfft(np.abs(of_other) ** 2, size)[:LEAK_TAPS]
        if own[0] <= 0:
            continue
        own[0] *= 1 + LEAST_OTHER
        taps = solve_toeplitz(own, np.fft.irfft(of_first * np.conj(of_other), size)[:LEAK_TAPS])
        leak = np.fft.irfft(of_other * np.fft.rfft(taps, size), size)[before : before + end - begin]
        cleaned[begin:end] -= leak.astype(np.float32)
    return cleaned
