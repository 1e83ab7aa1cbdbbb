"""Pitch and formants, changed apart: measured on vowels of a known source and a known filter, and on spoken digits."""

from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter, welch

from data.augmentation.augmenter import Augmenter
from data.augmentation.change import OtherSpeech
from data.augmentation.config import AugmentationConfig
from data.augmentation.noise_mixing import power
from data.augmentation.voice import with_pitch, with_vocal_tract
from data.digit_speech import speak_texts
from data.utterance import SecondKind, Utterance

RATE = 16_000
FORMANTS = 500.0, 1500.0, 2500.0, 3500.0  # hertz, of a neutral vowel


def vowel(hertz: float, factor: float = 1.0, seconds: float = 1.0) -> np.ndarray:
    """Overtones of a pitch that sways by 2 %, through a neutral vowel's resonances, ``factor`` times as high."""
    times = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(hertz * (1 + 0.02 * np.sin(2 * np.pi * 5 * times))) / RATE
    sound = sum(np.cos(number * phase) / number**0.7 for number in range(1, int(7800 / hertz)))
    for formant in FORMANTS:
        radius = np.exp(-np.pi * (60 + 0.04 * formant) / RATE)
        sound = lfilter([1.0], [1, -2 * radius * np.cos(2 * np.pi * factor * formant / RATE), radius**2], sound)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def likeness(frame: np.ndarray) -> np.ndarray:
    """A frame's autocorrelation, by lag."""
    return np.fft.irfft(np.abs(np.fft.rfft(frame, 2 * len(frame))) ** 2)[: len(frame)]


def pitch_of(audio: np.ndarray) -> float:
    """Hertz, the median over frames of 0.1 s."""
    found = []
    window = np.hanning(1600)
    for begin in range(RATE // 10, len(audio) - 1600, 400):
        peaks = likeness(audio[begin : begin + 1600] * window) / likeness(window)
        lags = np.arange(RATE // 500, RATE // 70)
        first = next(
            lag
            for lag in lags
            if peaks[lag] > 0.85 * peaks[lags].max() and peaks[lag - 1] <= peaks[lag] >= peaks[lag + 1]
        )
        before, here, after = peaks[first - 1 : first + 2]
        found.append(RATE / (first + (before - after) / (2 * (before - 2 * here + after))))
    return float(np.median(found))


def formants_of(audio: np.ndarray) -> np.ndarray:
    """Hertz of the second to fourth resonance, by linear prediction over the whole vowel."""
    lags = likeness(np.append(audio[0], audio[1:] - 0.9 * audio[:-1]).astype(np.float64) * np.hanning(len(audio)))[:13]
    roots = np.roots(np.append(1.0, -solve_toeplitz(lags[:-1] * (1 + 1e-9), lags[1:])))
    hertz = np.sort(np.angle(roots[(roots.imag > 0) & (np.abs(roots) > 0.85)])) * RATE / (2 * np.pi)
    return hertz[hertz > 800][:3]


@pytest.mark.parametrize("hertz", [120, 210, 280])
@pytest.mark.parametrize("semitones", [-4, -1.5, 2, 5])
def test_pitch_moves_and_formants_stay(hertz: float, semitones: float) -> None:
    ratio = 2 ** (semitones / 12)
    audio = vowel(hertz)
    changed = with_pitch(audio, ratio)
    assert pitch_of(changed) / pitch_of(audio) == pytest.approx(ratio, rel=0.02)
    assert formants_of(changed) == pytest.approx(formants_of(vowel(hertz * ratio)), rel=0.05)


@pytest.mark.parametrize("hertz", [120, 160, 210])  # overtones farther apart would not tell where a resonance is
@pytest.mark.parametrize("factor", [0.85, 0.93, 1.1, 1.2])
def test_formants_move_and_pitch_stays(hertz: float, factor: float) -> None:
    audio = vowel(hertz)
    changed = with_vocal_tract(audio, factor)
    assert pitch_of(changed) == pytest.approx(pitch_of(audio), rel=0.02)
    assert formants_of(changed) == pytest.approx(formants_of(vowel(hertz, factor)), rel=0.05)


CHANGED = {
    "pitch": lambda audio: with_pitch(audio, 1.25),
    "low pitch": lambda audio: with_pitch(audio, 0.6),
    "vocal tract": lambda audio: with_vocal_tract(audio, 1.15),
    "long vocal tract": lambda audio: with_vocal_tract(audio, 0.75),
}


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    return speak_texts(["bir iki üç"], voices=["az+f4"], seed=1)[0].samples


def test_pitch_and_formants_of_spoken_digits(spoken: np.ndarray) -> None:
    for ratio in (0.8, 1.25):
        assert pitch_of(with_pitch(spoken, ratio)) / pitch_of(spoken) == pytest.approx(ratio, rel=0.03)
    for factor in (0.85, 1.15):
        changed = with_vocal_tract(spoken, factor)
        assert pitch_of(changed) == pytest.approx(pitch_of(spoken), rel=0.02)
        assert warp_between(spoken, changed) == pytest.approx(factor, abs=0.03)
    assert warp_between(spoken, with_pitch(spoken, 1.25)) == pytest.approx(1.0, abs=0.03)


def warp_between(before: np.ndarray, after: np.ndarray) -> float:
    """The factor by which the long-term spectrum of one is most like the other's, from 300 to 5000 Hz."""
    hertz, *levels = welch(before, RATE, nperseg=128)[0], *(welch(one, RATE, nperseg=128)[1] for one in (before, after))
    places, (old, new) = np.linspace(300, 5000, 200), np.log(levels)
    wanted = np.interp(places, hertz, new)
    alike = {
        factor: np.corrcoef(np.interp(places / factor, hertz, old), wanted)[0, 1]
        for factor in np.arange(0.7, 1.4, 0.01)
    }
    return max(alike, key=lambda factor: alike[factor])


@pytest.mark.parametrize("kind", CHANGED)
def test_length_loudness_and_silence_stay(kind: str, spoken: np.ndarray) -> None:
    quiet = np.zeros(RATE // 2, np.float32)
    audio = np.concatenate([quiet, spoken, quiet])
    changed = CHANGED[kind](audio)
    assert changed.dtype == np.float32 and changed.shape == audio.shape and np.isfinite(changed).all()
    assert power(changed) == pytest.approx(power(audio), rel=1e-3) and np.abs(changed).max() < 3 * np.abs(audio).max()
    for rest in (changed[:7000], changed[-7000:]):
        assert power(rest) < 1e-6 * power(audio), "60 dB below the words"
    frames = np.square(audio[: len(audio) // 800 * 800]).reshape(-1, 800).mean(axis=1)  # 50 ms
    after = np.square(changed[: len(frames) * 800]).reshape(-1, 800).mean(axis=1)
    assert np.corrcoef(np.sqrt(frames), np.sqrt(after))[0, 1] > 0.9, "words stay where they were"


@pytest.mark.parametrize("kind", CHANGED)
def test_no_clip_is_too_short_too_quiet_or_too_odd(kind: str) -> None:
    for samples in (0, 1, 255, 799, 800, 801, 5001):
        for audio in (np.zeros(samples, np.float32), vowel(200)[:samples], np.ones(samples, np.float32)):
            changed = CHANGED[kind](audio)
            assert changed.shape == audio.shape and changed.dtype == np.float32 and np.isfinite(changed).all()
            assert audio.any() or not changed.any()


@pytest.mark.parametrize("kind", CHANGED)
def test_a_steady_tone_gets_no_clicks(kind: str) -> None:
    audio = vowel(200)
    changed = CHANGED[kind](audio)
    for sound in (audio, changed):  # what a click would add above 7 kHz, where a vowel is faint
        high = np.fft.rfft(sound)
        high[: 7000 * len(sound) // RATE] = 0
        level = np.square(np.fft.irfft(high, len(sound)))[800:-800].reshape(-1, 160).mean(axis=1)
        assert level.max() < 1e-4 * power(sound)


def augmented(config: dict[str, Any], audio: np.ndarray, kind: SecondKind | None = None, **values: Any) -> Utterance:
    augmenter = Augmenter(AugmentationConfig.model_validate(config), 0, (0.1, 30.0))
    second = None if kind is None else audio
    utterance = Utterance(values.get("name", "a"), audio, "", second=second, second_kind=kind)
    return augmenter(utterance, values.get("epoch", 0), 0, OtherSpeech(0, lambda index: None))[0]


@pytest.mark.parametrize(("key", "values"), [("pitch", (-3, 4)), ("vocal_tract", (0.85, 1.15))])
def test_it_is_drawn_as_often_as_asked_and_again_the_same(key: str, values: tuple[float, float]) -> None:
    audio = vowel(200, seconds=0.1)
    config = {key: values, f"{key}_share": 0.5}
    names = [str(number) for number in range(100)]
    found = [augmented(config, audio, name=name).audio for name in names]
    assert sum(np.array_equal(one, audio) for one in found) == pytest.approx(50, abs=15)
    assert len({one.tobytes() for one in found}) > 30, "each by another draw"
    again = [augmented(config, audio, name=name).audio for name in names[:20]]
    assert all(map(np.array_equal, again, found))
    later = [augmented(config, audio, name=name, epoch=1).audio for name in names[:20]]
    assert not all(map(np.array_equal, later, found))
    assert augmented({key: AugmentationConfig.model_fields[key].default}, audio).audio is audio


@pytest.mark.parametrize(("key", "values"), [("pitch", (-3, 4)), ("vocal_tract", (0.85, 1.15))])
def test_a_speakers_second_recording_changes_alike_and_the_other_partys_by_itself(
    key: str, values: tuple[float, float]
) -> None:
    audio = vowel(200, seconds=0.2)
    for kind in ("microphone", "speaker", "party"):
        utterance = augmented({key: values}, audio, kind)
        assert not np.array_equal(utterance.audio, audio)
        assert utterance.second is not None
        assert np.array_equal(utterance.audio, utterance.second) == (kind != "party"), kind
        assert np.array_equal(utterance.audio, augmented({key: values}, audio).audio)


def test_ranges_beyond_a_voice_are_refused() -> None:
    for config in ({"pitch": (-13, 0)}, {"vocal_tract": (0.5, 1)}, {"pitch": (2, -2)}, {"vocal_tract": (1, "nan")}):
        with pytest.raises(ValueError, match=r"must (lie within|be two numbers)"):
            AugmentationConfig.model_validate(config)
    with pytest.raises(ValueError, match="pitch is given, but pitch_share is 0"):
        AugmentationConfig.model_validate({"pitch": (-2, 2), "pitch_share": 0})
