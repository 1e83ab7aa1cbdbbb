"""The ways in which a suite gives a checkpoint two recordings: both, one of them, or one that is made of both."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from data.audio.mixing import without_leak
from data.augmentation.noise_mixing import LOUDEST, SILENT_POWER, power
from data.utterance import SAMPLING_RATE, Utterance

from .conditions import CLEAN_PAIR, MEANT_SPEAKER, MICROPHONES, OTHER_PARTY, PAIRED, Condition

Heard = Literal["both", "first", "fused", "average", "aligned", "better", "subtracted", "before"]
MOST_APART = SAMPLING_RATE // 2  # samples, that alignment looks for
PAUSE = SAMPLING_RATE // 2  # samples, between a clip and the mixture after it
LONGEST = 30 * SAMPLING_RATE  # samples that a model hears at once


@dataclass(frozen=True)
class Way:
    """One of the ways.

    Attributes:
        told: what happens, for the reference.
        kinds: the kinds of condition for which it means something.
        change: makes an utterance without a second recording of one with it; None to leave it as it is.
    """

    told: str
    kinds: tuple[str, ...] = PAIRED
    change: Callable[[Utterance, Condition], Utterance] | None = None


def alone(utterance: Utterance, audio: np.ndarray) -> Utterance:
    """The utterance with this as its one recording; what of it is noise is not known."""
    return replace(utterance, audio=audio, noise=None, second=None, second_noise=None)


def first_alone(utterance: Utterance, condition: Condition) -> Utterance:
    return replace(utterance, second=None, second_noise=None)


def averaged(utterance: Utterance, condition: Condition) -> Utterance:
    """The mean of both signals, each at the same power, from their beginnings on."""
    assert utterance.second is not None
    return alone(utterance, mean_of(utterance.audio, utterance.second))


def aligned(utterance: Utterance, condition: Condition) -> Utterance:
    """The same, the second recording moved by :func:`delay_between`; as long as the first."""
    first, second = utterance.audio, utterance.second
    assert second is not None
    later = delay_between(first, second)
    moved = np.pad(second, (later, 0)) if later >= 0 else second[-later:]
    moved = np.pad(moved, (0, max(0, len(first) - len(moved))))[: len(first)]
    return alone(utterance, mean_of(first, moved))


def better(utterance: Utterance, condition: Condition) -> Utterance:
    """The recording with the higher ratio, which only who mixed them knows; the first of two alike."""
    assert utterance.second is not None
    is_second = condition.ratio is not None and (condition.second_ratio or 0.0) > condition.ratio
    return alone(utterance, utterance.second) if is_second else first_alone(utterance, condition)


def subtracted(utterance: Utterance, condition: Condition) -> Utterance:
    """The first recording less what of the second is in it, as ``launch/transcribe.py --subtract`` hears it."""
    assert utterance.second is not None
    return alone(utterance, without_leak(utterance.audio, utterance.second))


def before(utterance: Utterance, condition: Condition) -> Utterance:
    """The second recording, a pause, and the first; the end of the second alone where both are too long."""
    first, second = utterance.audio, utterance.second
    assert second is not None
    room = LONGEST - PAUSE - len(first)
    clip = second[max(0, len(second) - room) :] if room > 0 else second[:0]
    return alone(utterance, np.concatenate([clip, np.zeros(PAUSE, np.float32), first]))


WAYS: dict[str, Way] = {
    "both": Way("as the model hears them"),
    "first": Way("the second is left out", change=first_alone),
    "fused": Way("log-probabilities of both averaged at each token", (CLEAN_PAIR, MICROPHONES, OTHER_PARTY)),
    "average": Way("the mean of both signals at equal power", (CLEAN_PAIR, MICROPHONES, OTHER_PARTY), averaged),
    "aligned": Way("the same after alignment by cross-correlation", (CLEAN_PAIR, MICROPHONES), aligned),
    "better": Way("the one with the higher ratio (an oracle)", (CLEAN_PAIR, MICROPHONES), better),
    "subtracted": Way("the first less what of the second is in it (a Wiener filter)", (OTHER_PARTY,), subtracted),
    "before": Way("the clip before the mixture, its words cut from the transcript", (MEANT_SPEAKER,), before),
}


def given(utterance: Utterance, condition: Condition, heard: str) -> Utterance:
    """An utterance as a checkpoint gets it; one without a second recording stays as it is."""
    change = WAYS[heard].change
    return utterance if change is None or utterance.second is None else change(utterance, condition)


def mean_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both at the first one's power, halved, and quieter where the sum would clip; float32, as long as the longer."""
    samples = max(len(first), len(second))
    of_first, of_second = power(first), power(second)
    gain = np.sqrt(of_first / of_second) if min(of_first, of_second) >= SILENT_POWER else 1.0
    one, other = (np.pad(part, (0, samples - len(part))) for part in (first, gain * second))
    mean = (one + other) / 2
    return (mean * min(1.0, LOUDEST / max(float(np.abs(mean).max()), 1e-9))).astype(np.float32)


def delay_between(first: np.ndarray, second: np.ndarray) -> int:
    """Samples by which the second recording began later than the first, half a second at most; below 0 earlier.

    The place of the highest cross-correlation, every frequency counting alike (GCC-PHAT; Knapp and Carter, 1976), so
    that a loud hum in either does not decide.
    """
    size = 1 << (len(first) + len(second)).bit_length()
    cross = np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size))
    found = np.fft.irfft(cross / np.maximum(np.abs(cross), 1e-12), size)
    around = np.concatenate([found[-MOST_APART:], found[: MOST_APART + 1]])
    return int(around.argmax()) - MOST_APART


def without_clip(hypothesis: str, clip: str) -> str:
    """What was heard after the words of a clip: without the words at the beginning that are nearest to it, by letters.

    Nothing is cut where less than half of the clip's letters was heard.
    """
    words, wanted = hypothesis.split(), letters(clip)
    costs = list(range(len(wanted) + 1))  # edits between the letters so far and the first letters of the clip
    best, fewest = 0, len(wanted) // 2 + 1
    for number, word in enumerate(words, 1):
        for letter in letters(word):
            row = [costs[0] + 1]
            for place, other in enumerate(wanted):
                row.append(min(costs[place] + (letter != other), costs[place + 1] + 1, row[-1] + 1))
            costs = row
        if wanted and costs[-1] < fewest:
            best, fewest = number, costs[-1]
    return " ".join(words[best:])


def letters(text: str) -> str:
    """Letters and digits alone, small ones."""
    return "".join(letter for letter in text.lower() if letter.isalnum())
