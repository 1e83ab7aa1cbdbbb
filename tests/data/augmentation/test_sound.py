"""Speed, rooms, bands, codecs, levels and silence: each does to a clip what its name says, and never breaks it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from data.augmentation.augmenter import Augmenter
from data.augmentation.change import OtherSpeech
from data.augmentation.changes import channel
from data.augmentation.changes.channel import (
    ENCODINGS,
    at_rate_of,
    band_limited,
    check_codecs,
    delay_of,
    noise_of_coded,
    through_codec,
)
from data.augmentation.changes.reverberation import reverberated, synthetic_response
from data.augmentation.changes.silence import FRAME, speech_frames, without_speech
from data.augmentation.config import AugmentationConfig
from data.augmentation.noise_mixing import power
from data.errors import DataError
from data.utterance import Utterance
from trainer.step.noise_target import noise_target

RATE = 16_000


def sine(frequency: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def words(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades five times a second: as uneven as speech, below 3 kHz as most of it."""
    samples = band_limited(np.random.default_rng(seed).standard_normal(int(seconds * RATE)), 300, 3000)
    swell = np.sin(np.pi * 5 * np.arange(len(samples)) / RATE) ** 2
    return (0.3 * samples * swell / np.abs(samples).max()).astype(np.float32)


def augmented(config: dict[str, Any], audio: np.ndarray, name: str = "a", seconds: tuple = (0.1, 30.0)) -> Utterance:
    augmenter = Augmenter(AugmentationConfig.model_validate(config), 0, seconds)
    return augmenter(Utterance(name, audio, ""), 0, 0, OtherSpeech(3, lambda index: words(1.5, index + 1)))[0]


def lag(late: np.ndarray, early: np.ndarray) -> int:
    """Samples by which one is later than the other."""
    size = 2 * len(early)
    likeness = np.fft.irfft(np.fft.rfft(late, size) * np.conj(np.fft.rfft(early, size)), size)
    found = int(likeness.argmax())
    return found - size if found > size // 2 else found


def test_speed_changes_length_and_pitch() -> None:
    for speed in (0.8, 1.25):
        audio = augmented({"speed": (speed, speed)}, sine(400, 2.0)).audio
        assert len(audio) == pytest.approx(2 * RATE / speed, abs=1)
        loudest = np.abs(np.fft.rfft(audio)).argmax() * RATE / len(audio)
        assert loudest == pytest.approx(400 * speed, abs=1)
    lengths = [len(augmented({"speed": (0.9, 1.1)}, sine(400), str(i)).audio) for i in range(200)]
    assert min(lengths) == pytest.approx(RATE / 1.1, rel=0.01) and max(lengths) == pytest.approx(RATE / 0.9, rel=0.01)
    kept = [len(augmented({"speed": (0.9, 1.1), "speed_share": 0.3}, sine(400), str(i)).audio) for i in range(200)]
    assert kept.count(RATE) == pytest.approx(140, abs=25)


def test_speed_keeps_the_limits_of_length() -> None:
    for seconds, expected in ((1.0, 1.0), (0.9, 1.0), (0.6, 0.6 / 0.7)):
        audio = augmented({"speed": (0.7, 0.7)}, sine(400, seconds), seconds=(0.1, 1.0)).audio
        assert len(audio) <= RATE and len(audio) == pytest.approx(expected * RATE, abs=2)
        loudest = np.abs(np.fft.rfft(audio)).argmax() * RATE / len(audio)
        assert loudest == pytest.approx(400 * seconds / expected, abs=2)  # not cut instead
    assert len(augmented({"speed": (2, 2)}, sine(400, 0.5), seconds=(0.4, 1.0)).audio) >= 0.4 * RATE
    config = AugmentationConfig(speed=(0.8, 1.2))
    augmenter = Augmenter(config, 0, (0.1, 10.0))
    assert [augmenter.longest(seconds) for seconds in (4.0, 9.0, 10.01)] == [5.0, 10.0, 10.01]
    assert Augmenter(config.model_copy(update={"speed": (1.1, 1.2)}), 0, (0.1, 10.0)).longest(4.0) == 4.0


@pytest.mark.parametrize("seconds", [0.2, 0.8])
def test_a_synthetic_room_decays_by_60_decibel_in_its_time(seconds: float) -> None:
    response = synthetic_response(seconds, np.random.default_rng(0)).astype(np.float64)
    assert response[0] == 1.0
    energy = np.cumsum(np.square(response[200:])[::-1])[::-1]  # Schroeder's backward integration
    decibel = 10 * np.log10(energy / energy[0])
    begin, end = (int(np.argmax(decibel < level)) for level in (-5, -25))
    assert (end - begin) / RATE * 3 == pytest.approx(seconds, rel=0.15)
    direct = 10 * np.log10(1 / np.square(response[1:]).sum())
    assert -0.1 <= direct <= 12.1


def test_a_room_leaves_length_place_and_loudness() -> None:
    speech = words(2.0)
    for seed in range(5):
        wet = reverberated(speech, synthetic_response(0.5, np.random.default_rng(seed)))
        assert wet.dtype == np.float32 and wet.shape == speech.shape and np.isfinite(wet).all()
        assert power(wet) == pytest.approx(power(speech), rel=1e-4)
        assert lag(wet, speech) == 0 and not np.allclose(wet, speech, atol=0.01)
    assert not reverberated(np.zeros(8000, np.float32), synthetic_response(0.5, np.random.default_rng(0))).any()


def test_recorded_responses_are_drawn_as_often_as_synthetic_ones(tmp_path: Path) -> None:
    echo = np.zeros(8000, np.float32)
    echo[100], echo[4100] = 0.8, 0.4  # the direct sound 100 samples late: what comes before it is left out
    soundfile.write(tmp_path / "hall.wav", echo, RATE)
    config = {"reverberation_share": 1.0, "reverberation_responses": {"folder": str(tmp_path)}}
    speech = words()
    expected = speech + 0.5 * np.concatenate([np.zeros(4000, np.float32), speech[:-4000]])
    expected *= np.sqrt(power(speech) / power(expected))
    recorded = [np.allclose(augmented(config, speech, str(i)).audio, expected, atol=1e-3) for i in range(60)]
    assert sum(recorded) == pytest.approx(30, abs=15)


def test_a_band_keeps_what_is_inside() -> None:
    for low, high in ((300, 3400), (0, 4000), (1000, 8000)):
        for frequency in (100, 500, 2000, 6000):
            heard = power(band_limited(sine(frequency), low, high)[4000:]) / power(sine(frequency)[4000:])
            inside = low < frequency < high
            assert heard > 0.9 if inside else heard < 0.01, (low, high, frequency)


def test_speech_and_noise_go_through_the_same_band() -> None:
    config = {"babble_share": 1.0, "babble_ratio": (0, 0), "babble_speakers": (1, 1)}
    before = augmented(config, words())
    after = augmented(config | {"band_share": 1.0, "bands": [(500, 2000)]}, words())
    assert before.noise is not None and after.noise is not None
    assert after.noise == pytest.approx(band_limited(before.noise, 500, 2000), abs=1e-6)
    assert after.audio == pytest.approx(band_limited(before.audio, 500, 2000), abs=1e-6)


@pytest.mark.parametrize("codec", sorted(ENCODINGS))
def test_a_codec_changes_a_clip_but_not_its_place(codec: Any) -> None:
    speech = words(1.0)
    heard = through_codec(speech, codec, np.random.default_rng(0))
    assert heard.dtype == np.float32 and heard.shape == speech.shape and np.isfinite(heard).all()
    assert abs(lag(heard, speech)) <= 2
    error = 10 * np.log10(power(speech) / power(heard - speech))
    assert 2 < error < 60, error
    assert through_codec(speech[:1700], codec, np.random.default_rng(0)).shape == (1700,)


def test_a_late_codec_is_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    real = channel.decoded

    def late(*arguments: Any) -> np.ndarray:
        return np.concatenate([np.zeros(529, np.float32), real(*arguments)])

    monkeypatch.setattr(channel, "decoded", late)
    delay_of.cache_clear()
    speech = words(1.0)
    heard = through_codec(speech, "adpcm", np.random.default_rng(0))
    delay_of.cache_clear()
    assert lag(heard, speech) == 0 and len(heard) == len(speech)


@pytest.mark.parametrize("codec", ["ulaw", "alaw"])
def test_a_telephone_codec_clips_what_resampling_made_too_loud(codec: Any) -> None:
    loud = 1.5 * sine(400, level=1.0)
    heard = channel.decoded(loud, ENCODINGS[codec], None)
    assert np.array_equal(heard, channel.decoded(np.clip(loud, -1, 1), ENCODINGS[codec], None))
    assert heard == pytest.approx(np.clip(loud, -1, 1), abs=0.05)


def target_of(utterance: Utterance) -> np.ndarray:
    """The share of noise that the noise loss is told of each encoder frame."""
    assert utterance.noise is not None
    audio, noise = (torch.from_numpy(part)[None] for part in (utterance.audio, utterance.noise))
    return noise_target(audio, noise, -(-len(utterance.audio) // FRAME))[0].numpy()


@pytest.mark.parametrize("codec", sorted(ENCODINGS))
def test_a_codec_leaves_noise_its_share_of_every_frame(codec: Any) -> None:
    gap = np.zeros(RATE // 2, np.float32)
    clip = np.concatenate([gap, words(1.0), gap, words(0.7, seed=9), gap])[:-77]  # no whole frame at the end
    config = {"babble_share": 1.0, "babble_ratio": (0, 0), "babble_speakers": (2, 2)}
    before = augmented(config, clip)
    after = augmented(config | {"codec_share": 1.0, "codecs": [codec]}, clip)
    assert after.noise is not None and after.noise.dtype == np.float32 and after.noise.shape == after.audio.shape
    assert not np.array_equal(after.audio, before.audio)
    expected, found = target_of(before), target_of(after)
    assert found == pytest.approx(expected, abs=1e-3 if ENCODINGS[codec].rate == RATE else 0.1)
    assert np.abs(found - expected).mean() < 0.05
    alone = np.array([not clip[max(0, 320 * s - 640) : 320 * s + 640].any() for s in range(len(found))])
    assert alone.sum() > 50 and found[alone].min() > 0.95


def test_a_clip_without_noise_has_none_after_a_codec_and_one_of_noise_alone_nothing_else() -> None:
    speech, nothing = words(), np.zeros(RATE, np.float32)
    coded = through_codec(speech, "gsm", np.random.default_rng(0))
    assert not noise_of_coded(coded, speech, nothing).any()
    whole = noise_of_coded(coded, speech, speech)
    loud = np.repeat(np.square(speech).reshape(-1, FRAME).mean(axis=1) > 1e-4, FRAME)
    assert np.array_equal(whole[loud][FRAME:-FRAME], coded[loud][FRAME:-FRAME])
    assert not noise_of_coded(coded, nothing, nothing).any()  # where nothing sounded, a codec's hiss is no noise


def test_noise_above_a_telephone_codecs_band_is_none_in_what_comes_out() -> None:
    speech, bird = words(), sine(6000)
    heard = noise_of_coded(
        through_codec(speech + bird, "ulaw", np.random.default_rng(0)),
        at_rate_of(speech + bird, "ulaw"),
        at_rate_of(bird, "ulaw"),
    )
    assert power(bird) > 10 * power(speech) and power(heard) < 0.01 * power(speech)


def test_a_codec_that_this_libsndfile_has_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_codecs(tuple(ENCODINGS), "data.augmentation.codecs")
    monkeypatch.setattr(channel, "is_available", lambda codec: codec != "mp3")
    with pytest.raises(DataError, match=r"data\.augmentation\.codecs: libsndfile .* cannot write 'mp3' here; it has"):
        Augmenter(AugmentationConfig(codec_share=0.1), 0, (0.1, 30.0))
    Augmenter(AugmentationConfig(codec_share=0.1, codecs=("opus",)), 0, (0.1, 30.0))


def test_gain_is_in_decibel_and_never_clips() -> None:
    quiet = sine(400, level=0.1)
    assert augmented({"gain": (6, 6)}, quiet).audio == pytest.approx(quiet * 10 ** (6 / 20), abs=1e-5)
    assert np.abs(augmented({"gain": (60, 60)}, quiet).audio).max() == pytest.approx(0.999, abs=1e-4)
    full = sine(400, level=1.0)
    assert np.array_equal(augmented({}, full).audio, full)
    square = np.sign(sine(100, 0.5))  # a filter overshoots at its edges
    assert np.abs(band_limited(square, 0, 4000)).max() > 1.05
    narrow = augmented({"band_share": 1.0, "bands": [(0, 4000)]}, square).audio
    assert np.abs(narrow).max() == pytest.approx(0.999, abs=1e-4)


def test_frames_without_speech_are_the_quiet_ones() -> None:
    audio = np.concatenate([sine(400, 0.5, 0.002), sine(400, 1.0, 0.5), sine(400, 0.5, 0.002)])
    spoken = speech_frames(audio)
    assert spoken.shape == (100,)
    assert np.flatnonzero(spoken).tolist() == list(range(20, 80))  # 0.1 s more on both sides
    noise = without_speech(audio)
    assert np.array_equal(noise[: 20 * FRAME], audio[: 20 * FRAME]) and not noise[20 * FRAME : 80 * FRAME].any()
    assert speech_frames(audio[:999]).shape == (4,) and without_speech(audio[:999]).shape == (999,)
    assert speech_frames(np.zeros(1000, np.float32)).all()
    assert speech_frames(sine(400, 0.05)).all()  # shorter than the margins


def test_silence_counts_as_noise_alone_and_beside_an_overlay() -> None:
    clip = np.concatenate([sine(400, 0.5, 0.002), words(), sine(400, 0.5, 0.002)])
    alone = augmented({"silence_is_noise": True}, clip)
    assert np.array_equal(alone.audio, clip) and alone.noise is not None
    assert np.array_equal(alone.noise, without_speech(clip))
    config = {"competing_share": 1.0, "competing_ratio": (10, 10)}
    over = augmented(config, clip)
    both = augmented(config | {"silence_is_noise": True}, clip)
    assert over.noise is not None and both.noise is not None and np.array_equal(over.audio, both.audio)
    assert both.noise - over.noise == pytest.approx(without_speech(clip), abs=1e-6)
    assert both.audio[:1000] == pytest.approx(both.noise[:1000], abs=1e-6)  # nothing but noise there


HARD = {
    "speed": (0.5, 2.0),
    "reverberation_share": 1.0,
    "reverberation_seconds": (0.05, 2.0),
    "babble_share": 1.0,
    "babble_ratio": (-100, 100),
    "silence_is_noise": True,
    "band_share": 0.5,
    "bands": [(0, 100), (20, 120), (7900, 8000), (300, 3400)],
    "codec_share": 0.3,
    "codecs": ("adpcm", "gsm", "ulaw", "mp3"),
    "gain": (-60, 60),
}


@pytest.mark.parametrize(
    "audio",
    [
        words(0.3),
        sine(400, 0.3, 1.0),
        np.sign(sine(100, 0.3)),
        np.zeros(3000, np.float32),
        np.eye(1, 3000, 1500, dtype=np.float32)[0],
        np.full(3000, 1e-7, np.float32),
        np.full(1600, -1.0, np.float32),
    ],
)
def test_nothing_ever_clips_or_stops_being_a_number(audio: np.ndarray) -> None:
    augmenter = Augmenter(AugmentationConfig.model_validate(HARD), 0, (0.1, 1.0))
    for number in range(40):
        others = OtherSpeech(3, lambda index: words(0.4, index))
        found, seed = augmenter(Utterance(str(number), audio, ""), 0, 0, others)
        assert found.noise is not None and found.audio.shape == found.noise.shape
        for part in (found.audio, found.noise):
            assert part.dtype == np.float32 and np.isfinite(part).all() and np.abs(part).max() <= 1.0
        assert 1600 <= len(found.audio) <= RATE and 0 <= seed < 2**63
