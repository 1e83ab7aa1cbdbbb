"""Augmentation of both recordings: each is a microphone of its own, and what they share is the same in both."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from data.audio.cutting import speech_region
from data.augmentation.augmenter import Augmenter
from data.augmentation.change import OtherSpeech
from data.augmentation.config import CHANGES, AugmentationConfig
from data.augmentation.noise_mixing import power
from data.config import DataConfig
from data.utterance import SecondKind, Utterance

RATE = 16_000
DELAY = 1603  # samples, no whole number of any tone's periods


def tone(hertz: float, seconds: float = 1.0, begin: float = 0.0, end: float | None = None) -> np.ndarray:
    """A tone between two times, silence elsewhere."""
    times = np.arange(round(RATE * seconds)) / RATE
    heard = (times >= begin) & (times < (seconds if end is None else end))
    return (0.3 * heard * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(power(one) / power(other)))


def hertz_of(audio: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(audio)).argmax() * RATE / len(audio))


OTHERS = OtherSpeech(3, lambda index: tone(2000 + 500 * index))


def augmented(
    config: dict[str, Any],
    audio: np.ndarray,
    second: np.ndarray | None,
    kind: SecondKind = "microphone",
    name: str = "a",
    lengths: tuple[float, float] = (0.1, 30.0),
) -> Utterance:
    augmenter = Augmenter(AugmentationConfig.model_validate(config), 3, lengths)
    utterance = Utterance(name, audio, "", second=second, second_kind=None if second is None else kind)
    return augmenter(utterance, 0, 0, OTHERS)[0]


def pair_of(utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    assert utterance.second is not None
    return utterance.audio, utterance.second


def noises_of(utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    assert utterance.noise is not None and utterance.second_noise is not None
    return utterance.noise, utterance.second_noise


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("noises")
    soundfile.write(folder / "hiss.wav", 0.1 * np.random.default_rng(0).standard_normal(80_000), RATE)
    return str(folder)


ALL: dict[str, Any] = {
    "noise_share": 0.3,
    "babble_share": 0.3,
    "babble_speakers": (1, 2),
    "competing_share": 0.3,
    "speed": (0.8, 1.2),
    "reverberation_share": 0.5,
    "band_share": 0.5,
    "codec_share": 0.3,
    "codecs": ("ulaw",),
    "gain": (-10, 10),
    "silence_is_noise": True,
}


@pytest.mark.parametrize("kind", ["microphone", "speaker", "party"])
def test_the_first_recording_is_changed_as_without_a_second(kind: SecondKind, noises: str) -> None:
    config, audio = ALL | {"noise": {"folder": noises}}, tone(440, 0.5)
    more = {"second_delay": (-0.2, 0.2), "second_missing_share": 0.5}
    without = 0
    for name in map(str, range(6)):
        alone = augmented(config, audio, None, name=name)
        both = augmented(config | more, audio, audio, kind, name)
        np.testing.assert_array_equal(alone.audio, both.audio)
        assert (alone.noise is None) == (both.noise is None)
        if alone.noise is not None and both.noise is not None:
            np.testing.assert_array_equal(alone.noise, both.noise)
        assert alone.second is None and alone.second_kind is None and both.text == alone.text
        without += both.second is None
        assert both.second_kind == (None if both.second is None else kind)
        assert both.second is None or float(np.abs(both.second).max()) <= 1.0
    assert 0 < without < 6, "second_missing_share"


def test_the_second_is_drawn_alone_and_the_speed_is_shared(noises: str) -> None:
    config = {"noise": {"folder": noises}, "noise_share": 1.0, "noise_ratio": (-5, 20), "gain": (-9, 0)}
    utterance = augmented(config, tone(440), tone(440))
    first, second = noises_of(utterance)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2, "an excerpt of its own"
    ratios = [decibels(audio - noise, noise) for audio, noise in zip(pair_of(utterance), (first, second), strict=True)]
    assert abs(ratios[0] - ratios[1]) > 0.1 and all(-5.1 < ratio < 20.1 for ratio in ratios)
    for name in "abc":
        audio, other = pair_of(augmented({"speed": (0.6, 1.4)}, tone(500), tone(500, 0.5), "speaker", name))
        assert len(other) == pytest.approx(len(audio) / 2, abs=2) and len(audio) != RATE
        assert hertz_of(other) == pytest.approx(hertz_of(audio), abs=3)
    audio, other = pair_of(augmented({"speed": (0.5, 0.5)}, tone(500, 0.5), tone(500, 0.9), lengths=(0.1, 1.0)))
    assert (len(audio), len(other)) == (RATE, RATE), "a longer one is cut at the most seconds"


def test_another_microphone_begins_later_or_earlier() -> None:
    audio = tone(440, 1.0, 0.3, 0.7) + tone(900, 1.0, 0.5, 0.6)
    for delay in (0.125, -0.125):
        _, second = pair_of(augmented({"second_delay": (delay, delay)}, audio, audio))
        shift = round(delay * RATE)
        expected = audio[shift:] if delay > 0 else np.concatenate([np.zeros(-shift, np.float32), audio])
        np.testing.assert_array_equal(second, expected)
        for kind in ("speaker", "party"):
            assert len(pair_of(augmented({"second_delay": (delay, delay)}, audio, audio, kind))[1]) == RATE
    _, second = pair_of(augmented({"second_delay": (5, 5)}, audio, audio))
    assert len(second) == RATE // 2, "half stays"
    _, second = pair_of(augmented({"second_delay": (-5, -5)}, audio, audio, lengths=(0.1, 2.0)))
    assert len(second) == 2 * RATE
    augmenter = Augmenter(
        AugmentationConfig.model_validate({"second_delay": (-0.5, 1), "speed": (0.5, 2)}), 0, (0.1, 30)
    )
    assert [augmenter.longest_second(seconds) for seconds in (0.0, 2.0, 14.9, 30.0)] == [0.0, 4.5, 30.0, 30.0]
    assert augmenter.longest(2.0) == 4.0


@pytest.mark.parametrize("voices", ["competing", "babble"])
def test_the_voices_of_a_scene_are_in_both_recordings(voices: str) -> None:
    config = {f"{voices}_share": 1.0, f"{voices}_ratio": (-5, 5), "second_delay": (DELAY / RATE, DELAY / RATE)}
    config |= {"babble_speakers": (1, 1)} if voices == "babble" else {}
    first, second = noises_of(augmented(config, tone(440), tone(440)))
    assert hertz_of(first) >= 2000
    later = first[DELAY:]
    alike = np.dot(later, second) / np.sqrt(np.dot(later, later) * np.dot(second, second))
    assert alike == pytest.approx(1.0, abs=1e-4), "at the same time, the second begins later"
    assert abs(decibels(later, second)) > 0.1, "at a ratio of its own"
    for kind in ("speaker", "party"):
        utterance = augmented(config, tone(440), tone(440), kind)
        assert utterance.noise is not None and utterance.second_noise is None


def test_noise_is_as_frequent_in_the_second(noises: str) -> None:
    config = {"noise": {"folder": noises}, "noise_share": 0.4, "competing_share": 0.3}
    for kind, shares in {"microphone": (0.4, 0.3), "party": (0.4, 0.0)}.items():
        counts = np.zeros(2)
        for name in map(str, range(60)):
            noise = augmented(config, tone(440, 0.2), tone(440, 0.2), kind, name).second_noise  # type: ignore[arg-type]
            if noise is not None:
                spectrum = np.abs(np.fft.rfft(noise))
                counts[int(spectrum.max() > 10 * np.median(spectrum))] += 1  # one tone, or hiss
        assert counts / 60 == pytest.approx(shares, abs=0.2), kind


def test_a_competing_voice_over_a_part_of_the_clip() -> None:
    config = {"competing_share": 1.0, "competing_ratio": (3, 3), "competing_part": (0.25, 0.5)}
    begins = []
    for name in "abcdef":
        first, second = noises_of(augmented(config | {"second_delay": (0.05, 0.05)}, tone(440), tone(440), name=name))
        heard = np.flatnonzero(first)
        begin, end = int(heard[0]), int(heard[-1]) + 1
        assert 0.25 * RATE - 9 <= end - begin <= 0.5 * RATE + 1
        utterance = augmented(config, tone(440), None, name=name)
        assert utterance.noise is not None
        speech = utterance.audio - utterance.noise
        assert decibels(speech[begin:end], utterance.noise[begin:end]) == pytest.approx(3, abs=0.2), "where it is heard"
        there = np.flatnonzero(second)
        assert there[0] == pytest.approx(max(0, begin - 800), abs=9) and there[-1] + 1 == pytest.approx(
            end - 800, abs=9
        )
        begins.append(begin)
    assert len(set(begins)) == 6


@pytest.mark.parametrize("kind", ["party", "microphone"])
def test_two_parties_leak_into_each_other(kind: SecondKind, noises: str) -> None:
    """At the ratio of the powers where each speaks; the leak is noise, and goes into the codec and the level."""
    config = {"leakage_share": 1.0, "leakage_ratio": (-6, -6), "back_leakage_ratio": (9, 9)}
    mine, theirs = tone(440, 1.0, 0.1, 0.9), tone(1000, 1.0, 0.6, 1.0)
    utterance = augmented(config, mine, theirs, kind)
    first, second = noises_of(utterance)
    assert hertz_of(first) == pytest.approx(1000, abs=2) and hertz_of(second) == pytest.approx(440, abs=2)
    for audio, noise, own, ratio in ((utterance.audio, first, mine, -6), (utterance.second, second, theirs, 9)):
        assert audio is not None
        speech = audio - noise
        assert speech / np.linalg.norm(speech) == pytest.approx(own / np.linalg.norm(own), abs=1e-5)
        spoken = [part[slice(*speech_region(part))] for part in (speech, noise)]
        assert decibels(spoken[0], spoken[1]) == pytest.approx(ratio, abs=0.05)
    noisy = augmented(config | {"noise": {"folder": noises}, "noise_share": 1.0, "noise_ratio": (10, 10)}, mine, theirs)
    first, second = noises_of(noisy)
    speech = noisy.audio - first
    assert speech / np.linalg.norm(speech) == pytest.approx(mine / np.linalg.norm(mine), abs=1e-3), "all else is noise"
    assert float(np.abs(noisy.audio).max()) <= 1.0


def test_where_nobody_speaks_nothing_leaks() -> None:
    config = {"leakage_share": 1.0, "leakage_ratio": (0, 0)}
    for second in (np.zeros(RATE, np.float32), 1e-4 * tone(1000)):
        utterance = augmented(config, tone(440), second, "party")
        np.testing.assert_array_equal(utterance.audio, tone(440))
        assert utterance.noise is None and utterance.second_noise is None
    speaker = augmented(config, tone(440), tone(440, 0.5), "speaker")
    assert speaker.noise is None and speaker.second_noise is None, "a clip of the speaker leaks nowhere"


@pytest.mark.parametrize(
    ("augmentation", "second", "told"),
    [
        ({"second_delay": (-0.1, 0.1)}, None, "augmentation.second_delay is"),
        ({"second_delay": (-0.1, 0.1)}, "speaker", "another microphone's"),
        ({"second_missing_share": 0.1}, None, "augmentation.second_missing_share is 0.1"),
        ({"leakage_share": 0.5}, "speaker", "augmentation.leakage_share is 0.5"),
        ({"second_delay": (0, 0.1), "leakage_share": 0.5}, "channel", "with leakage_share they are the other party's"),
        ({"leakage_ratio": (0, 1)}, "other_speaker", "leakage_ratio is given, but leakage_share is 0"),
        ({"competing_part": (0.1, 1)}, None, "competing_part is given, but competing_share is 0"),
    ],
)
def test_keys_without_a_use_are_refused(augmentation: dict[str, Any], second: str | None, told: str) -> None:
    train = {"files": "x", "columns": {"speaker": "speaker"}, "second": second}
    with pytest.raises(ValidationError, match=told):
        DataConfig.model_validate({"train": train, "augmentation": augmentation})
    noise = {"noise_share": 0.1, "noise": {"dataset": {"files": "x", "second": "copy"}}}
    with pytest.raises(ValidationError, match=r"dataset\.second is given"):
        AugmentationConfig.model_validate(noise)


def test_every_key_of_a_second_recording_belongs_to_its_change() -> None:
    for kind in CHANGES:
        assert set(kind.of_second) <= set(kind.fields.model_fields)
    train = {"files": "x", "second": "channel"}
    for key in ({"second_delay": (-0.1, 0.1)}, {"leakage_share": 0.5}):
        accepted = {"second_missing_share": 0.1, **key}
        assert DataConfig.model_validate({"train": train, "augmentation": accepted}).augmentation is not None


def test_a_folder_of_noises_stays(tmp_path: Path) -> None:
    """A config that was written with every key, as a run's own is, is read again."""
    config = DataConfig.model_validate({"train": {"files": "x"}, "augmentation": {}})
    assert DataConfig.model_validate(config.model_dump()) == config
