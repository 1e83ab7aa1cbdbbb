"""A voice's pitch and its vocal tract, changed apart: a clip keeps its length, its timing and its loudness.

Knows only samples, 16 kHz float32. Speech is a source (the pitch and its overtones) through a filter (the vocal tract,
whose resonances are the formants). The filter is read off as a smooth envelope of the spectrum, frame by frame.
"""

import functools

import numpy as np
import soxr

from ..utterance import SAMPLING_RATE
from .noise_mixing import SILENT_POWER, power

FRAME, STEP = 512, 256  # samples; 32 ms, every 16 ms
QUEFRENCIES = 26  # of the cepstrum, kept in an envelope: coarser than the overtones of every voice below 600 Hz
ITERATIONS = 6  # after which an envelope touches the overtones' peaks to about a decibel
LEAST_MAGNITUDE = 1e-5  # below it a spectrum is silent
MOST_GAIN = 3.0  # as a natural logarithm: 26 dB, up or down, at any frequency
STRAIGHT_BELOW = 0.8  # of the band: formants move by the whole factor; above it less, so that 8 kHz stays 8 kHz

PIECE = 200  # samples; pieces of twice as long overlap by half where time is stretched
SEARCHED = 100  # samples, either way, for where a piece goes on: together a period of 80 Hz
SHORTEST = 4 * PIECE  # samples of a clip that can be stretched


def with_vocal_tract(audio: np.ndarray, factor: float) -> np.ndarray:
    """Speech with its formants ``factor`` times as high, the pitch as it was: float32 [samples].

    A factor above 1 is a shorter vocal tract, as children have it. The warp is that of vocal tract length perturbation
    (Jaitly and Hinton, 2013), of the envelope in place of the mel filters.
    """
    spectra = spectra_of(audio)
    envelopes = envelopes_of(spectra)
    below, share = warp(factor)
    moved = envelopes[:, below] * (1 - share) + envelopes[:, below + 1] * share
    return as_loud(sound_of(filtered(spectra, moved - envelopes), len(audio)), audio)


def with_pitch(audio: np.ndarray, ratio: float) -> np.ndarray:
    """Speech with its pitch ``ratio`` times as high, the formants as they were: float32 [samples].

    The clip is stretched in time, then played faster, which moves pitch and formants; then it is given the envelope
    that it had. What a lower pitch leaves empty below 8 kHz is filled from the clip. A clip below 50 ms stays as it is.
    """
    if len(audio) < SHORTEST:
        return audio
    longer = stretched(audio, round(len(audio) * ratio))
    played = soxr.resample(longer, SAMPLING_RATE * ratio, SAMPLING_RATE)[: len(audio)]
    before = spectra_of(audio)
    spectra = spectra_of(np.pad(played, (0, len(audio) - len(played))))
    changed = filtered(spectra, envelopes_of(before) - envelopes_of(spectra))
    empty = int(0.97 * ratio * changed.shape[1])
    changed[:, empty:] = before[:, empty:]
    return as_loud(sound_of(changed, len(audio)), audio)


def as_loud(audio: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Samples with the power of others."""
    loudness = power(audio)
    if loudness < SILENT_POWER:
        return like
    return audio * np.float32(np.sqrt(power(like) / loudness))


@functools.cache
def halves_of_hann() -> np.ndarray:
    """The root of a Hann window: once before and once after a change, overlapping frames sum to one."""
    return np.sin(np.pi * np.arange(FRAME) / FRAME).astype(np.float32)


def spectra_of(audio: np.ndarray) -> np.ndarray:
    """Complex64 [frames, FRAME / 2 + 1]; the first frame begins STEP samples before the clip."""
    from scipy.fft import rfft  # some tenths of a second to import

    padded = np.pad(audio.astype(np.float32, copy=False), (STEP, STEP + -len(audio) % STEP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::STEP]
    return rfft(frames * halves_of_hann(), axis=1)


def sound_of(spectra: np.ndarray, samples: int) -> np.ndarray:
    """The inverse of :func:`spectra_of`: float32 [samples]."""
    from scipy.fft import irfft

    return overlapped(irfft(spectra, FRAME, axis=1) * halves_of_hann())[STEP : STEP + samples]


def overlapped(frames: np.ndarray) -> np.ndarray:
    """Frames [number, 2 n] added up, each n samples after the one before."""
    half = frames.shape[1] // 2
    sound = np.zeros((len(frames) + 1, half), frames.dtype)
    sound[:-1] = frames[:, :half]
    sound[1:] += frames[:, half:]
    return sound.ravel()


def filtered(spectra: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Spectra with other magnitudes and the same phases; gains are natural logarithms."""
    return spectra * np.exp(np.clip(gains, -MOST_GAIN, MOST_GAIN))


def envelopes_of(spectra: np.ndarray) -> np.ndarray:
    """The logarithms of smooth curves over the peaks of magnitudes: float32, as ``spectra``.

    The true envelope (Röbel and Rodet, 2005): the cepstrum's first part of whichever is higher, spectrum or curve.
    """
    from scipy.fft import dct, idct

    spectrum = np.log(np.maximum(np.abs(spectra), np.float32(LEAST_MAGNITUDE)))
    curve = spectrum
    for _ in range(ITERATIONS):
        cepstrum = dct(np.maximum(spectrum, curve), type=1, axis=1)
        cepstrum[:, QUEFRENCIES + 1 :] = 0.0
        curve = idct(cepstrum, type=1, axis=1, overwrite_x=True)
    return curve


def warp(factor: float) -> tuple[np.ndarray, np.ndarray]:
    """For each bin of a spectrum the bin of the envelope below the place that it is read at, and how far above it."""
    last = FRAME // 2
    edge = STRAIGHT_BELOW * last * min(1.0, factor)
    places = np.interp(np.arange(last + 1), (0.0, edge, last), (0.0, edge / factor, last))
    below = np.minimum(places.astype(int), last - 1)
    return below, (places - below).astype(np.float32)


def stretched(audio: np.ndarray, samples: int) -> np.ndarray:
    """A clip brought to so many samples, its pitch kept: float32.

    Pieces are laid over each other, each from where the clip best continues the piece before (WSOLA, Verhelst and
    Roelands, 1993). So a place may be heard up to 6 ms early or late.
    """
    margin = PIECE + SEARCHED
    padded = np.pad(audio.astype(np.float32, copy=False), (margin, 2 * margin + PIECE))
    summed = np.concatenate([[0.0], np.cumsum(np.square(padded, dtype=np.float64))])
    energy = np.sqrt(summed[PIECE:] - summed[:-PIECE] + 1e-9)
    number = -(-samples // PIECE) + 1
    centres = np.minimum(np.arange(number) * PIECE * len(audio) / samples, len(audio)).astype(int) + SEARCHED
    begins = [SEARCHED]
    for centre in centres[1:]:
        following = begins[-1] + PIECE
        first = centre - SEARCHED
        likeness = np.correlate(padded[first : centre + SEARCHED + PIECE], padded[following : following + PIECE])
        begins.append(first + int((likeness / energy[first : first + len(likeness)]).argmax()))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, 2 * PIECE)[begins]
    window = np.sin(np.pi * np.arange(2 * PIECE) / (2 * PIECE)) ** 2
    return overlapped(pieces * window.astype(np.float32))[PIECE : PIECE + samples]
