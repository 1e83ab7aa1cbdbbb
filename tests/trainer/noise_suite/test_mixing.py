"""The suite's mixtures: drawn from seed, kind and id alone, at the asked ratio, of other people's speech."""

from pathlib import Path

import numpy as np
import pytest

from data.augmentation.synthetic_noise import SyntheticNoises, synthetic_noises
from data.batches.collation import row_id
from data.batches.evaluation_rows import EvaluationRows
from data.config import ColumnNames, SourceConfig
from data.errors import DataError
from data.sources.source import Source
from data.utterance import SAMPLING_RATE, Utterance
from tests.support.ratios import ratio_in_decibel
from trainer.config.reading import ConfigError
from trainer.noise_suite.conditions import Condition
from trainer.noise_suite.config import NonSpeechConfig, suite_of
from trainer.noise_suite.mixing import Mixer
from trainer.noise_suite.speech import HeldSource, Speech, Talker, gather_speech, non_speech_source


def source_of(corpus: Path) -> Source:
    config = SourceConfig(files=str(corpus / "validation-*.parquet"), columns=ColumnNames(id="id"))
    return Source(config, "speech")


def speech_of(corpus: Path, cluster: str | None = None, **values: object) -> Speech:
    return gather_speech(source_of(corpus), suite_of({"noise": "synthetic", **values}), cluster)


def mixer_of(speech: Speech, seed: int = 0, babble_speakers: int = 3) -> Mixer:
    return Mixer(seed, SyntheticNoises(seed), speech.talkers, speech.speakers, babble_speakers)


def tone(name: str, pitch: float, seconds: float = 1.0, seed: int = 0) -> Utterance:
    time = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    return Utterance(name, (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32), "a")


def talker(name: str, pitch: float, speaker: str = "") -> Talker:
    return Talker(name, speaker, tone(name, pitch).audio)


def test_synthetic_noises_are_loud_alike_and_drawn_from_the_seed() -> None:
    one, again, other = (synthetic_noises(seed, 2.0) for seed in (0, 0, 1))
    assert sorted(one) == ["brown", "chirps", "clicks", "hum", "pink", "white"]
    for name, sound in one.items():
        assert sound.shape == (2 * SAMPLING_RATE,) and sound.dtype == np.float32
        assert np.abs(sound).max() <= 1 and np.isfinite(sound).all()
        assert np.array_equal(sound, again[name]) and not np.array_equal(sound, other[name])
        if name != "clicks":  # whose peaks are held within full scale
            assert np.sqrt(np.square(sound).mean()) == pytest.approx(0.1, rel=0.01)
    # More of the power lies low in pink than in white, and in brown than in pink.
    low = {name: np.square(np.abs(np.fft.rfft(one[name]))[:2000]).sum() for name in ("white", "pink", "brown")}
    assert low["white"] < low["pink"] < low["brown"]


def test_an_excerpt_is_as_long_as_asked_also_beyond_the_noise() -> None:
    noises = SyntheticNoises(0, seconds=1.0)
    for samples in (100, SAMPLING_RATE, 3 * SAMPLING_RATE):
        assert len(noises.excerpt(samples, np.random.default_rng(0))) == samples


@pytest.mark.parametrize("kind", ["noise", "babble", "competing"])
def test_a_mixture_has_the_ratio_and_the_same_noise_at_every_ratio(kind: str, corpus: Path) -> None:
    speech = speech_of(corpus)
    mixer = mixer_of(speech)
    utterance = next(EvaluationRows(source_of(corpus), 1).turns()).audio
    assert utterance is not None
    clean = Utterance(utterance.ids[0], utterance.audio[0].numpy(), "")
    noises = []
    for ratio in (20.0, 0.0, -5.0):
        found = mixer.mixed(clean, Condition(kind, ratio))
        assert found.noise is not None and found.audio.shape == clean.audio.shape
        assert ratio_in_decibel(found.audio - found.noise, found.noise) == pytest.approx(ratio, abs=0.05)
        assert np.abs(found.audio).max() <= 1
        noises.append(found.noise / np.abs(found.noise).max())
    for one in noises[1:]:
        np.testing.assert_allclose(one, noises[0], atol=1e-4)


def test_other_seeds_ids_and_kinds_give_other_noise(corpus: Path) -> None:
    speech = speech_of(corpus)
    one, other = (mixer_of(speech, seed) for seed in (0, 1))
    voice = tone("a", 200.0)
    condition = Condition("noise", 0.0)
    first = one.mixed(voice, condition).audio
    assert np.array_equal(first, one.mixed(voice, condition).audio)
    assert not np.array_equal(first, other.mixed(voice, condition).audio)
    assert not np.array_equal(first, one.mixed(tone("b", 200.0), condition).audio)
    assert not np.array_equal(first, one.mixed(voice, Condition("babble", 0.0)).audio)


@pytest.mark.parametrize("kind", ["noise", "babble", "competing"])
def test_batches_and_ranks_do_not_change_a_mixture(kind: str, corpus: Path) -> None:
    speech = speech_of(corpus, utterances=9)

    def heard(batch_size: int, ranks: int) -> dict[str, np.ndarray]:
        found = {}
        for rank in range(ranks):
            rows = EvaluationRows(speech.source, batch_size, rank=rank, world_size=ranks)
            rows.change = mixer_of(speech_of(corpus, utterances=9)).change_for(Condition(kind, 5.0))
            for turn in rows.turns():
                if turn.audio is not None:
                    assert turn.audio.noise is None
                    lengths = turn.audio.audio_lengths.tolist()
                    parts = zip(turn.audio.ids, turn.audio.audio.numpy(), lengths, strict=True)
                    found |= {name: samples[:length].copy() for name, samples, length in parts}
        return found

    one, other = heard(2, 1), heard(4, 3)
    assert len(one) == 9 and one.keys() == other.keys()
    for name, samples in one.items():
        assert np.array_equal(samples, other[name])


def test_the_subset_is_of_the_ids_and_what_is_beyond_it_may_be_heard(corpus: Path) -> None:
    small, large = (speech_of(corpus, utterances=number) for number in (3, 6))
    names = [[row_id(row, speech.source) for row in speech.source.rows()] for speech in (small, large)]
    assert len(names[0]) == 3 and names[1][:3] == names[0]
    assert {one.id for one in small.talkers} == {one.id for one in large.talkers} > set(names[1])
    assert small.ids != large.ids


def test_nobody_is_heard_beside_themselves() -> None:
    talkers = [talker("a1", 100.0, "a"), talker("a2", 150.0, "a"), talker("b1", 900.0, "b")]
    mixer = Mixer(0, None, talkers, {"a1": "a", "a2": "a", "b1": "b"}, 2)
    assert [one.id for one in mixer.others_than("a1", 1)] == ["b1"]
    assert [one.id for one in mixer.others_than("a1", 2)] == [
        "a2",
        "b1",
    ]  # but never "a1"
    noise = mixer.mixed(tone("a1", 100.0), Condition("competing", 0.0)).noise
    assert noise is not None
    spectrum = np.abs(np.fft.rfft(noise))
    assert int(np.argmax(spectrum)) == pytest.approx(900, abs=2)


def test_a_babble_is_of_so_many() -> None:
    talkers = [talker(f"{number}", 200.0 * number) for number in range(1, 8)]
    noise = Mixer(0, None, talkers, {}, 4).mixed(tone("0", 50.0), Condition("babble", 0.0)).noise
    assert noise is not None
    spectrum = np.abs(np.fft.rfft(noise))
    heard = [number for number in range(1, 8) if spectrum[200 * number] > 0.2 * spectrum.max()]
    assert len(heard) == 4


def test_silent_speech_is_left_out_of_clean_speech_too() -> None:
    silent = Utterance("x", np.zeros(SAMPLING_RATE, np.float32), "a")
    mixer = Mixer(0, SyntheticNoises(0), [], {}, 2)
    for condition in (Condition("clean"), Condition("noise", 0.0)):
        change = mixer.change_for(condition)
        assert change is not None
        with pytest.raises(DataError, match="the speech is silence"):
            change(silent)


class MostlySilent:
    """Noise in one of eight draws, as of a folder whose recordings are silent for long."""

    names = ("one",)

    def __init__(self) -> None:
        self.draws = 0

    def excerpt(self, samples: int, generator: np.random.Generator) -> np.ndarray:
        self.draws += 1
        loud = self.draws % 8 == 0
        return generator.standard_normal(samples).astype(np.float32) if loud else np.zeros(samples, np.float32)


def test_a_noise_that_is_silent_under_the_speech_is_drawn_again() -> None:
    noises = MostlySilent()
    found = Mixer(0, noises, [], {}, 2).mixed(tone("a", 300.0), Condition("noise", 0.0))
    assert noises.draws == 8 and found.noise is not None and np.abs(found.noise).max() > 0


class Barks:
    """Hiss under the first half and so many times as loud in the second, one of ``louder`` at each draw."""

    names = ("dog",)

    def __init__(self, louder: tuple[float, ...]) -> None:
        self.louder = louder

    def excerpt(self, samples: int, generator: np.random.Generator) -> np.ndarray:
        noise = 0.01 * generator.standard_normal(samples)
        noise[samples // 2 :] *= self.louder[int(generator.integers(len(self.louder)))]
        return noise.astype(np.float32)


def spoken_first(name: str) -> Utterance:
    """Half a second of a tone, and as much silence."""
    voice = tone(name, 300.0)
    voice.audio[SAMPLING_RATE // 2 :] = 0
    return voice


def test_a_noise_that_would_drown_the_speech_at_one_ratio_is_taken_at_none() -> None:
    # 30 times as loud, at 20 dB it would fit; at 0 dB it would not.
    mixer = Mixer(0, Barks((30.0, 2.0)), [], {}, 2)
    for number in range(10):
        voice = spoken_first(str(number))
        shapes = []
        for ratio in (20.0, 10.0, 0.0, -5.0, -40.0):
            found = mixer.mixed(voice, Condition("noise", ratio))
            assert found.noise is not None
            half = SAMPLING_RATE // 2
            speech = (found.audio - found.noise)[:half]
            gain = np.linalg.norm(speech) / np.linalg.norm(voice.audio)
            assert gain > 0.1 * min(1.0, 10 ** (ratio / 20))
            assert np.std(found.noise[half:]) < 3 * np.std(found.noise[:half])
            shapes.append(found.noise / np.abs(found.noise).max())
        for shape in shapes[1:]:
            np.testing.assert_allclose(shape, shapes[0], atol=1e-4)


def test_an_utterance_without_a_noise_is_left_out_at_every_ratio_and_named() -> None:
    audio = [{"array": spoken_first(str(number)).audio, "sampling_rate": SAMPLING_RATE} for number in range(3)]
    rows = [{"audio": one, "text": "a", "id": f"u{number}"} for number, one in enumerate(audio)]
    config = SourceConfig(folder="held", columns=ColumnNames(id="id"))
    reader = EvaluationRows(HeldSource(config, "held", rows), 2)
    mixer = Mixer(0, Barks((30.0,)), [], {}, 2)
    for ratio in (20.0, 0.0, -5.0):
        reader.change = mixer.change_for(Condition("noise", ratio))
        turns = list(reader.turns())
        assert all(turn.audio is None for turn in turns)
        skipped = {one.id: one.reason for turn in turns for one in turn.skipped}
        assert sorted(skipped) == ["u0", "u1", "u2"]
        assert all(
            "8 draws of noise, none of which can be mixed; the last: the noise is faint" in one
            for one in skipped.values()
        )
    reader.change = mixer.change_for(Condition("clean"))
    assert sum(len(turn.audio.ids) for turn in reader.turns() if turn.audio is not None) == 3


def test_too_few_others_for_a_babble(corpus: Path) -> None:
    with pytest.raises(ConfigError, match=r"speech has 11 utterances .* babble and competing need at least 21"):
        speech_of(corpus, babble_speakers=20)


def test_clips_of_noise_alone() -> None:
    config = NonSpeechConfig(clips=3, seconds=0.5)
    one, again, other = (non_speech_source(SyntheticNoises(0), config, seed) for seed in (0, 0, 1))
    turn = next(EvaluationRows(one, 4).turns()).audio
    assert turn is not None
    assert turn.texts == ["", "", ""] and turn.audio.shape == (3, SAMPLING_RATE // 2)
    clips = [[row["audio"]["array"] for row in source.rows()] for source in (one, again, other)]
    assert all(np.array_equal(*pair) for pair in zip(clips[0], clips[1], strict=True))
    assert not np.array_equal(clips[0][0], clips[2][0]) and not np.array_equal(clips[0][0], clips[0][1])
