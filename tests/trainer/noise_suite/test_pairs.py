"""Second recordings in the suite: how they are mixed, in which ways they are given, whose words are counted."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.audio.cutting import speech_region
from data.augmentation.noise_mixing import power
from data.augmentation.synthetic_noise import SyntheticNoises
from data.config import ColumnNames, SourceConfig
from data.sources.source import Source
from data.utterance import SAMPLING_RATE, Utterance
from modeling import DualWhisperForConditionalGeneration
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoints import open_model
from tests.support.ratios import ratio_in_decibel
from tests.support.untrained import save_checkpoint
from trainer.config.evaluation import EvaluationConfig
from trainer.config.reading import ConfigError
from trainer.evaluation.error_rates import Prediction, score
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.normalizers import build_normalizer
from trainer.noise_suite.attention_odds import attention_odds
from trainer.noise_suite.conditions import MEANT_SPEAKER, MICROPHONES, OTHER_PARTY, Condition
from trainer.noise_suite.config import suite_of
from trainer.noise_suite.figures import condition_figures
from trainer.noise_suite.heard import delay_between, given, without_clip
from trainer.noise_suite.mixing import Mixer, Said
from trainer.noise_suite.results import Measured, keep, kept
from trainer.noise_suite.speech import Clips, HeldSource, Talker, gather_speech
from trainer.noise_suite.suite import run_suite
from trainer.noise_suite.tables import label_of, other_voice_table


def spoken(name: str, seconds: float = 2.0, seed: int = 0) -> Utterance:
    """Noise in syllables, as a voice is, with no two places alike."""
    samples = int(seconds * SAMPLING_RATE)
    generator = np.random.default_rng(seed)
    loudness = np.repeat(generator.uniform(0.2, 1.0, 1 + samples // 3200), 3200)[:samples]
    return Utterance(name, (0.1 * loudness * generator.standard_normal(samples)).astype(np.float32), "one two")


NOISES = SyntheticNoises(0, seconds=3.0)


def mixer(clips: Clips | None = None, seed: int = 0) -> Mixer:
    talkers = [Talker(f"b{n}", "b", spoken("", 1.5, 10 + n).audio, f"other {n}") for n in range(3)]
    return Mixer(seed, NOISES, talkers, {"a1": "a", "a2": "a", "lone": "c"}, 2, clips)


def clips_of(*names: str) -> Clips:
    rows = [
        {"audio": {"array": spoken(name, 0.5, 20 + n).audio, "sampling_rate": SAMPLING_RATE}, "text": name, "id": name}
        for n, name in enumerate(names)
    ]
    source = HeldSource(SourceConfig(folder="x", columns=ColumnNames(id="id")), "speech", rows)
    return Clips(source, {"a": rows})


def test_two_microphones_have_ratios_noises_levels_and_a_delay_of_their_own() -> None:
    voice, noises = spoken("a1"), {}
    for pair in ((0.0, 10.0), (0.0, 0.0), (10.0, 0.0)):
        found = mixer().mixed(voice, Condition(MICROPHONES, *pair))
        assert found.noise is not None and found.second is not None and found.second_noise is not None
        assert ratio_in_decibel(found.audio - found.noise, found.noise) == pytest.approx(pair[0], abs=0.05)
        assert ratio_in_decibel(found.second - found.second_noise, found.second_noise) == pytest.approx(
            pair[1], abs=0.05
        )
        noises[pair] = [part / np.abs(part).max() for part in (found.noise, found.second_noise)]
        shared = min(map(len, noises[pair]))
        assert not np.allclose(noises[pair][0][:shared], noises[pair][1][:shared], atol=0.1)
    for parts in list(noises.values())[1:]:
        for one, other in zip(noises[0.0, 10.0], parts, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
    clean = mixer().mixed(voice, Condition("clean_pair"))
    assert clean.noise is None and clean.second is not None
    later = delay_between(clean.audio, clean.second)
    assert 0 < abs(later) <= 0.3 * SAMPLING_RATE and len(clean.second) == len(voice.audio) - later
    level, second_level = (10 * np.log10(power(one) / power(voice.audio)) for one in (clean.audio, clean.second))
    assert -9.5 < level < 0 and -9.5 < second_level < 1 and level != pytest.approx(second_level, abs=0.1)
    other_seed = mixer(seed=1).mixed(voice, Condition("clean_pair")).second
    assert other_seed is not None and len(other_seed) != len(clean.second)


@pytest.mark.parametrize("ratio", [6.0, 0.0])
def test_the_other_party_leaks_at_the_ratio_and_hears_the_first_faintly(ratio: float) -> None:
    voice = spoken("a1")
    found, said = mixer().mixture(voice, Condition(OTHER_PARTY, ratio))
    assert found.noise is not None and found.second is not None and found.second_noise is not None
    own, leak = found.audio - found.noise, found.noise
    heard = np.flatnonzero(leak)
    assert 0.7 * SAMPLING_RATE < len(heard) <= 1.5 * SAMPLING_RATE  # half of the shorter at least
    assert 10 * np.log10(power(own) / power(leak[heard])) == pytest.approx(ratio, abs=1.0)
    assert len(found.second) == len(found.audio)
    other, back = found.second - found.second_noise, found.second_noise
    assert np.corrcoef(other, leak)[0, 1] > 0.999  # the same voice in the same place
    assert 10 * np.log10(power(other[heard]) / power(back)) == pytest.approx(20, abs=1.0)
    again, _ = mixer().mixture(voice, Condition(OTHER_PARTY, ratio))
    assert np.array_equal(found.audio, again.audio)
    assert said.other.startswith("other ") and not said.clip
    assert said == mixer().mixture(voice, Condition(OTHER_PARTY, ratio - 3))[1]  # the same voice at every ratio


def test_a_competing_speaker_covers_a_part_and_the_clip_is_of_the_one_meant() -> None:
    make = mixer(clips_of("a1", "a2", "a3"))
    found, said = make.mixture(spoken("a1", 3.0), Condition(MEANT_SPEAKER, 5.0))
    assert found.noise is not None and found.second is not None and found.second_noise is None
    heard = np.flatnonzero(found.noise)
    covered = heard[-1] + 1 - heard[0]
    assert 0.4 * 3 * SAMPLING_RATE - 2 <= covered <= 1.5 * SAMPLING_RATE + 1  # never longer than the voice
    own = found.audio - found.noise
    begin, end = speech_region(own)
    ratio = 10 * np.log10(power(own[begin:end]) / power(found.noise[heard]))
    assert ratio == pytest.approx(5, abs=0.05)
    assert said.clip in ("a2", "a3") and len(found.second) == SAMPLING_RATE // 2
    louder, as_before = make.mixture(spoken("a1", 3.0), Condition(MEANT_SPEAKER, 0.0))
    assert as_before == said and louder.second is not None and np.array_equal(louder.second, found.second)
    assert louder.noise is not None and np.array_equal(louder.noise != 0, found.noise != 0)
    alone, beside = make.mixture(spoken("lone"), Condition(MEANT_SPEAKER, 5.0))
    assert alone.second is None and beside.clip == "" and beside.other  # of whom there is no other utterance


def test_what_is_said_beside_an_utterance_is_noted() -> None:
    said: dict[str, Said] = {}
    for condition in (Condition("competing", 0.0), Condition(MICROPHONES, 0.0, 0.0), Condition("babble", 0.0)):
        change = mixer().change_for(condition, said=said)
        assert change is not None
        changed = change(spoken(f"{condition.kind}1"))
        assert changed.noise is None and changed.second_noise is None
    assert list(said) == ["competing1"] and said["competing1"].other.startswith("other ")


def test_recordings_are_given_in_the_way_that_is_asked_for() -> None:
    condition = Condition(MICROPHONES, 0.0, 10.0)
    both = mixer().mixed(spoken("a1"), condition)
    assert both.second is not None
    assert given(both, condition, "both") is both and given(both, condition, "fused") is both
    assert given(both, condition, "first").audio is both.audio
    assert given(both, condition, "better").audio is both.second
    assert given(both, Condition(MICROPHONES, 10.0, 0.0), "better").audio is both.audio
    assert given(both, Condition(MICROPHONES, 0.0, 0.0), "better").audio is both.audio
    for heard in ("first", "better", "average", "aligned", "before"):
        assert given(both, condition, heard).second is None
    clip = given(both, condition, "before").audio
    assert len(clip) == len(both.second) + SAMPLING_RATE // 2 + len(both.audio)
    lone = spoken("a1")
    assert all(given(lone, condition, heard) is lone for heard in ("first", "average", "before"))


@pytest.mark.parametrize("condition", [Condition(MICROPHONES, 0.0, 10.0), Condition(OTHER_PARTY, 0.0)])
def test_every_way_begins_with_the_same_mixture(condition: Condition) -> None:
    changes = {heard: mixer().change_for(condition, heard) for heard in ("both", "first", "fused", "average")}
    found = {heard: change(spoken("a1")) for heard, change in changes.items() if change is not None}
    assert np.array_equal(found["both"].audio, found["first"].audio)
    assert np.array_equal(found["both"].audio, found["fused"].audio)
    assert found["both"].second is not None and found["fused"].second is not None
    assert np.array_equal(found["both"].second, found["fused"].second)
    assert np.array_equal(found["average"].audio, given(found["both"], condition, "average").audio)


def test_what_leaks_can_be_subtracted_where_the_other_channel_is_known() -> None:
    voice, condition = spoken("a1"), Condition(OTHER_PARTY, 0.0)
    both = mixer().mixed(voice, condition)
    assert both.noise is not None
    left = given(both, condition, "subtracted").audio
    own = both.audio - both.noise
    # A tenth of the speaker's own, which leaks back, is taken off with it.
    assert np.corrcoef(both.audio, own)[0, 1] < 0.9 < 0.96 < np.corrcoef(left, own)[0, 1]


def test_the_other_party_may_leak_through_a_room() -> None:
    """The same utterances at the same places and ratio, reverberated; the other's own channel stays as it is."""
    voice, condition = spoken("a1"), Condition(OTHER_PARTY, 0.0)
    near, far = mixer().mixed(voice, condition), replace(mixer(), leak_room=0.4).mixed(voice, condition)
    assert near.noise is not None and far.noise is not None
    assert near.second is not None and far.second is not None
    assert np.array_equal(near.second, far.second)
    assert power(far.noise) == pytest.approx(power(near.noise), rel=0.1)
    assert not np.allclose(far.noise, near.noise, atol=1e-3)
    again = replace(mixer(), leak_room=0.4).mixed(voice, condition)
    assert np.array_equal(again.audio, far.audio)


@pytest.mark.parametrize("later", [-4000, 0, 3000])
def test_alignment_finds_the_delay_and_makes_the_mean_cleaner(later: int) -> None:
    voice, generator = spoken("a1").audio, np.random.default_rng(1)
    moved = voice[later:] if later >= 0 else np.pad(voice, (-later, 0))
    first, second = (part + 0.06 * generator.standard_normal(len(part)).astype(np.float32) for part in (voice, moved))
    assert delay_between(first, second) == later
    found = given(Utterance("a", first, "", second=second), Condition("clean_pair"), "aligned").audio
    assert len(found) == len(first)

    def likeness(sound: np.ndarray) -> float:
        return float(np.corrcoef(sound[8000:20000], voice[8000:20000])[0, 1])

    assert likeness(found) > likeness(first) + 0.05


@pytest.mark.parametrize(
    ("hypothesis", "clip", "left"),
    [
        ("The cat sat. Where is it?", "the cat sat", "Where is it?"),
        ("The bat sat. Where is it?", "the cat sat", "Where is it?"),
        ("the cat where is it", "the cat sat", "where is it"),
        ("where is it", "the cat sat", "where is it"),
        ("where is it", "", "where is it"),
        ("", "the cat", ""),
    ],
)
def test_the_words_of_a_clip_are_cut_from_the_transcript(hypothesis: str, clip: str, left: str) -> None:
    assert without_clip(hypothesis, clip) == left


def measured(hypothesis: str, others: dict[str, str]) -> Measured:
    said = [Prediction("x", "he has a dog", hypothesis, "en", 2.0)]
    return Measured(score(said, lambda own: build_normalizer("basic", own)), "basic", [], 1.0, 0.1, {}, others=others)


def test_words_of_the_other_voice_are_counted_as_often_as_they_were_said(tmp_path: Path) -> None:
    others = {"x": "A cat, a bird."}
    ours, theirs = measured("he has a a cat cat bird", others), measured("he has a dog", others)
    assert ours.words_of_other(ours.scored[0]) == 3  # the second a, one cat, bird
    figures = condition_figures(Condition(OTHER_PARTY, 3.0), theirs, ours, None)
    found = figures["other_voice"]
    assert (found["words"], found["said"], found["rate"]) == (0, 4, 0.0)
    assert found["difference"]["value"] == pytest.approx(-3 / 4)
    assert condition_figures(Condition(OTHER_PARTY, 3.0), ours, None, None)["other_voice"]["rate"] == pytest.approx(
        3 / 4
    )
    assert "other_voice" not in condition_figures(Condition(MICROPHONES, 0.0, 0.0), ours, None, None)
    keep(tmp_path, "other_party_3", ours)
    again = kept(tmp_path, "other_party_3", {}, lambda own: build_normalizer("basic", own))
    assert again is not None and again.others == others
    result = {"conditions": ["other_party_3"], "checkpoints": [{"name": "m", "conditions": {"other_party_3": figures}}]}
    (row,) = other_voice_table(result).rows
    assert row[:2] == ("the other party leaks, 3 dB", "4") and row[2].startswith("0: 0.0")


def test_conditions_have_names_and_labels() -> None:
    suite = suite_of(
        {
            "noise": "synthetic",
            "types": [],
            "microphones": [[0, 10], [0, -2.5]],
            "clean_pair": True,
            "other_party": [0, 3],
        }
    )
    names = ["clean", "clean_pair", "microphones_0_10", "microphones_0_-2.5", "other_party_3", "other_party_0"]
    assert [one.name for one in suite.conditions] == names
    pair = {"kind": "microphones", "ratio": 0.0, "second_ratio": -2.5}
    assert label_of(pair) == "two microphones, 0 and -2.5 dB"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"microphones": [[0, 10]]}, "microphones needs noise"),
        ({"noise": "synthetic", "microphones": [[0, 100]]}, "a ratio is 100"),
        ({"noise": "synthetic", "microphones": [[0, 1], [0, 1]]}, "stands twice"),
        ({"other_party": [0], "heard": "better"}, "take out other_party"),
        ({"noise": "synthetic", "microphones": [[0, 1]], "heard": "before"}, "take out microphones"),
        ({"heard": "first", "fused_share": 0.5}, "fused_share is given, but heard is 'first'"),
        ({"other_party": [], "clean": False}, "nothing is measured"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        suite_of({"types": []} | values)


def test_clips_need_to_know_who_speaks(corpus: Path) -> None:
    source = Source(SourceConfig(files=str(corpus / "validation-*.parquet"), columns=ColumnNames(id="id")), "speech")
    suite = suite_of({"types": [], "meant_speaker": [0]})
    with pytest.raises(ConfigError, match="meant_speaker needs cluster"):
        gather_speech(source, suite, None)
    speech = gather_speech(source, suite, "speaker")
    assert speech.clips is not None and set(speech.clips.rows) == set(speech.speakers.values())
    name, speaker = next(iter(speech.speakers.items()))
    audio, text = speech.clips.drawn(speaker, name, np.random.default_rng(0))
    assert audio is not None and text


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives an untrained checkpoint that hears second recordings in some way."""

    def save(**settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("model")
        save_checkpoint(folder, padding=None, positions=40)
        model = DualWhisperForConditionalGeneration.from_pretrained(folder, encoder_padding="clip", **settings)
        model.save_pretrained(folder)
        return folder

    return save


def test_second_attention_is_looked_at_where_it_looks(hearing: Callable[..., Path], corpus: Path) -> None:
    from accelerate import Accelerator

    folder = hearing(second_recording="attention")
    model = open_model(Checkpoint(str(folder)))
    assert isinstance(model, DualWhisperForConditionalGeneration)
    source = Source(SourceConfig(files=str(corpus / "validation-*.parquet"), columns=ColumnNames(id="id")), "speech")
    evaluator = Evaluator(
        Accelerator(cpu=True),
        Checkpoint(str(folder)).processor,
        source,
        language="az",
        task="transcribe",
        config=EvaluationConfig(batch_size=2, max_new_tokens=4),
        in_training=False,
    )
    for layer in model.model.decoder.layers:  # of equal weights, both attentions are even over what they may read
        for projections in (layer.encoder_attn, layer.secondary_attn):
            torch.nn.init.zeros_(projections.k_proj.weight)
    found = attention_odds(model, evaluator, mixer(), Condition(MICROPHONES, -20.0, 40.0), 2)
    assert found is not None and found["condition"] == "microphones_-20_40"
    assert found["primary_share"] > 0.5 and found["secondary_share"] < 0.5


@pytest.mark.slow
def test_checkpoints_hear_two_recordings_from_end_to_end(
    hearing: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "speech": {"files": str(corpus / "validation-*.parquet"), "columns": {"id": "id"}, "language": "az"},
        "noise": "synthetic",
        "types": [],
        "microphones": [[0, 10]],
        "other_party": [0],
        "utterances": 4,
        "max_new_tokens": 4,
        "attention_utterances": 2,
        "cluster": "speaker",
    }
    models = {
        "attention": hearing(second_recording="attention"),
        "joined": hearing(dual_attention=False, second_recording="joined"),
        "one": hearing(dual_attention=False),
    }

    def texts(folder: Path, model: str, condition: str) -> list[str]:
        lines = (folder / "predictions" / model / f"{condition}.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line)["hypothesis"] for line in lines]

    told: list[str] = []
    result = run_suite(values | {"meant_speaker": [0]}, models, tmp_path / "both", say=told.append)
    assert result is not None
    assert result["conditions"] == ["clean", "microphones_0_10", "other_party_0", "meant_speaker_0"]
    for checkpoint in result["checkpoints"]:
        assert (checkpoint["attention_odds"] is not None) == (checkpoint["name"] == "attention")
        assert checkpoint["conditions"]["other_party_0"]["other_voice"]["said"] > 0
        assert checkpoint["conditions"]["microphones_0_10"]["second_ratio"] == 10
    assert "the other party leaks, 0 dB" in (tmp_path / "both" / "noise_suite.md").read_text("utf-8")
    assert "Words of the other voice" in (tmp_path / "both" / "noise_suite.html").read_text("utf-8")
    folders = {"both": tmp_path / "both"}
    for heard in ("first", "fused"):
        folders[heard] = tmp_path / heard
        shutil.copytree(tmp_path / "both" / "predictions", folders[heard] / "predictions")
        told.clear()
        run_suite(values | {"heard": heard}, models, folders[heard], say=told.append)
        known = [line for line in told if "known already" in line]
        assert len(known) == 3 and all(": clean: " in line for line in known)  # alike in every way
    for model, hears in (("attention", True), ("joined", True), ("one", False)):
        both, first, fused = (texts(folders[heard], model, "microphones_0_10") for heard in ("both", "first", "fused"))
        assert (both != first) == hears and fused != first
