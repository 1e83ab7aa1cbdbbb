"""mix(): the ratio over what is said, known here from how the clip is made, and no speech that vanishes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio.cutting import QUIET_MARGIN, sound_bounds, speech_region
from data.augmentation.augmenter import Augmenter
from data.augmentation.change import OtherSpeech
from data.augmentation.config import AugmentationConfig
from data.augmentation.noise_mixing import LOUDEST, QUIETEST_GAIN, mix
from data.errors import DataError
from data.utterance import Utterance

RATE = 16_000
FRAME = RATE // 50


def hiss(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def spoken(before: float, seconds: float, after: float) -> tuple[np.ndarray, slice]:
    """A tone between stretches of silence, in seconds, and where it is."""
    place = slice(round(before * RATE), round((before + seconds) * RATE))
    clip = np.zeros(round((before + seconds + after) * RATE), np.float32)
    clip[place] = 0.3 * np.sin(2 * np.pi * 400 * np.arange(place.stop - place.start) / RATE)
    return clip, place


def decibel(speech: np.ndarray, noise: np.ndarray) -> float:
    energies = (np.square(part, dtype=np.float64).sum() for part in (speech, noise))
    return float(10 * np.log10(next(energies) / next(energies)))


@pytest.mark.parametrize(
    ("before", "seconds", "after", "within"),
    [
        (0.08, 0.3, 0.08, 0.01),  # whole frames of 20 ms
        (0.08, 0.3, 0.085, 0.01),  # of which the last is cut short
        (0.09, 0.3, 0.09, 0.3),  # half a frame of silence at each end counts as speech
        (0.02, 0.5, 0.5, 0.01),
        (0.5, 0.5, 0.02, 0.01),
        (0.0, 1.0, 0.0, 0.01),
        (0.5, 0.1, 0.5, 0.01),
    ],
)
def test_the_ratio_is_that_of_what_is_said_however_near_the_edges(
    before: float, seconds: float, after: float, within: float
) -> None:
    speech, place = spoken(before, seconds, after)
    noise = hiss(len(speech))
    mixture = mix(speech, noise, 5.0)
    assert decibel((mixture.audio - mixture.noise)[place], mixture.noise[place]) == pytest.approx(5.0, abs=within)
    begin, end = speech_region(speech)
    assert place.start - FRAME < begin <= place.start and place.stop <= end < place.stop + FRAME


@pytest.mark.parametrize("before", [0.0, 0.04, 0.1, 0.3])
@pytest.mark.parametrize("after", [0.0, 0.06, 0.1, 0.313])
def test_bounds_of_sound_are_those_of_what_is_loud_and_a_margin_within_the_clip(before: float, after: float) -> None:
    clip, _ = spoken(before, 0.2, after)
    begin, end = speech_region(clip)
    assert sound_bounds(clip) == (max(0, begin - QUIET_MARGIN), min(len(clip), end + QUIET_MARGIN))
    assert sound_bounds(clip)[0] == pytest.approx(max(0.0, before - 0.1) * RATE, abs=1)
    assert sound_bounds(clip)[1] == pytest.approx(min(before + 0.3, before + 0.2 + after) * RATE, abs=FRAME)


def barking(clip: np.ndarray, place: slice, louder: float) -> np.ndarray:
    """A noise with a bark after what is said, so many times as loud as under it."""
    noise = hiss(len(clip))
    noise[place.stop + FRAME :] *= louder
    return noise


def test_a_noise_that_would_make_the_speech_vanish_is_refused() -> None:
    speech, place = spoken(0.1, 0.4, 0.5)
    with pytest.raises(DataError, match=r"faint where the speech is and loud elsewhere: at 0 dB .* 5\d dB quieter"):
        mix(speech, barking(speech, place, 500.0), 0.0)
    loud = mix(speech, barking(speech, place, 5.0), 0.0)  # what is louder by less is mixed as ever
    assert np.abs(loud.audio).max() == pytest.approx(LOUDEST, abs=1e-4)
    assert np.abs((loud.audio - loud.noise)[place]).max() > QUIETEST_GAIN * 0.3
    quiet = mix(1e-4 * speech, barking(speech, place, 500.0), 0.0)  # there is room for it
    assert np.abs(quiet.audio - quiet.noise).max() == pytest.approx(3e-5, rel=0.05)


def test_a_ratio_that_asks_for_little_speech_gets_it() -> None:
    speech, place = spoken(0.1, 0.4, 0.5)
    for ratio in (-20.0, -40.0, -80.0):
        mixture = mix(speech, hiss(len(speech)), ratio)
        clean = speech[place] * np.float32(np.linalg.norm(mixture.noise[place]) / np.linalg.norm(speech[place]))
        assert mixture.audio - mixture.noise == pytest.approx(
            np.pad(clean, (place.start, len(speech) - place.stop)) * 10 ** (ratio / 20), abs=1e-5
        )


def test_what_can_be_mixed_at_0_decibel_can_be_at_every_ratio() -> None:
    speech, place = spoken(0.1, 0.4, 0.5)
    refused = 0
    for louder in np.geomspace(5.0, 50.0, 40):
        noise = barking(speech, place, float(louder))
        try:
            mix(speech, noise, 0.0)
        except DataError:
            refused += 1
            with pytest.raises(DataError):
                mix(speech, noise, -1.0)
            continue
        for ratio in (-60.0, -20.0, -5.0, -0.1, 0.1, 5.0, 60.0):
            mix(speech, noise, ratio)
    assert 10 < refused < 30


def test_the_augmenter_draws_another_noise_or_none(tmp_path: Path) -> None:
    speech, place = spoken(0.0, 0.4, 0.6)
    noise = 0.001 * hiss(RATE)
    noise[:2000] = 5.0 * hiss(2000)
    soundfile.write(tmp_path / "dog.wav", noise, RATE, subtype="FLOAT")
    values = {"noise": {"folder": str(tmp_path)}, "noise_share": 1.0, "noise_ratio": (0, 10)}
    augmenter = Augmenter(AugmentationConfig.model_validate(values), 0, (0.1, 30.0))
    noisy = 0
    for number in range(60):
        found, _ = augmenter(Utterance(str(number), speech, ""), 0, 0, OtherSpeech(0, lambda index: None))
        if found.noise is None:
            assert np.array_equal(found.audio, speech)
            continue
        noisy += 1
        assert 0 < decibel((found.audio - found.noise)[place], found.noise[place]) < 10
        assert np.abs(found.audio - found.noise)[place].max() >= 0.99 * QUIETEST_GAIN * 0.3
    assert 60 > noisy > 40  # of 60, some 25 have the bark under the words in the first draw
