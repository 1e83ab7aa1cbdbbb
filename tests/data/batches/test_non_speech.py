"""Clips where nobody speaks: their share, sound, empty text and place in the data; other clips stay as they are."""
# ruff: noqa: F811 - fixtures of another file

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.batches.labels import IGNORED, LabelEncoder
from data.batches.lanes import Batching
from data.batches.loader import TrainingBatches
from data.batches.non_speech import NonSpeech
from data.config import DataConfig
from data.utterance import SAMPLING_RATE, AudioBatch
from tests.data.batches.test_windows import ROWS, batches, batching, clips, items, labels  # noqa: F401 - fixtures
from trainer.config.reading import ConfigError, load_config

SHARE = {"share": 0.4, "max_seconds": 3.0}


def rows_of(of: Batching) -> dict[str, tuple[np.ndarray, list[int], list[int]]]:
    """By id the audio, the decoder's input and the labels of what is trained on, without padding."""
    found = {}
    for batch in batches(of):
        assert batch.decoder_input_ids is not None and batch.labels is not None
        for row, name in enumerate(batch.ids):
            audio = batch.audio[row, : int(batch.audio_lengths[row])].numpy()
            found[name] = audio, batch.decoder_input_ids[row].tolist(), batch.labels[row].tolist()
    return found


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    soundfile.write(folder / "hum.wav", 0.2 * np.sin(np.arange(8000) * 0.1), SAMPLING_RATE)
    return folder


def with_non_speech(clips: str, labels: LabelEncoder, non_speech: dict[str, Any] | None, **values: Any) -> Batching:
    usual = batching(clips, labels, None, **values)
    config = usual.config.model_dump() | {"non_speech": non_speech}
    return Batching(usual.sources, DataConfig.model_validate(config), labels, 4, 7)


def test_a_share_of_the_clips_have_no_words_and_the_others_are_as_without(clips: str, labels: LabelEncoder) -> None:
    columns = {"id": "id", "language": "language"}
    usual = rows_of(with_non_speech(clips, labels, None, columns=columns))
    found = rows_of(with_non_speech(clips, labels, SHARE, columns=columns))
    silent = {name: one for name, one in found.items() if name.startswith("non-speech")}
    assert len(silent) in (ROWS * 2 // 3, ROWS * 2 // 3 + 1) and len(found) == len(silent) + ROWS
    languages = set()
    for audio, inputs, targets in silent.values():
        assert SAMPLING_RATE <= len(audio) <= 3 * SAMPLING_RATE
        assert audio.dtype == np.float32 and np.abs(audio).max() <= 1
        prompt = next(one for code in ("az", "tr") if (one := labels.prompt(code)) == inputs[:4])
        languages.add(tuple(prompt))
        assert [token for token in targets if token != IGNORED] == [labels.end_of_text]
        assert targets[len(prompt) - 1] == labels.end_of_text
    assert len(languages) == 2
    for name, (audio, inputs, targets) in usual.items():
        assert np.array_equal(audio, found[name][0])
        end = inputs.index(labels.end_of_text) if labels.end_of_text in inputs else len(inputs)
        assert inputs[:end] == found[name][1][:end] and targets[:end] == found[name][2][:end]


@pytest.mark.parametrize("kind", ["digital", "synthetic", "sounds", "rooms"])
def test_what_is_heard_in_them(clips: str, labels: LabelEncoder, sounds: Path, kind: str) -> None:
    given: dict[str, Any] = SHARE | {"digital": float(kind == "digital"), "synthetic": float(kind == "synthetic")}
    if kind == "sounds":
        given["sounds"] = {"folder": str(sounds)}
    found = rows_of(with_non_speech(clips, labels, given))
    levels = []
    for name, (audio, *_) in found.items():
        if name.startswith("non-speech"):
            levels.append(float(np.sqrt(np.square(audio).mean())))
    if kind == "digital":
        assert set(levels) == {0.0}
    elif kind == "rooms":
        assert max(levels) < 1e-3  # these clips' rooms are at -80 dB
    else:
        assert min(levels) < 0.02 < max(levels) < 0.2  # -60 to -15 dB


def test_each_kind_has_its_share(clips: str, labels: LabelEncoder, sounds: Path) -> None:
    config = with_non_speech(clips, labels, SHARE | {"share": 0.9, "sounds": {"folder": str(sounds)}})
    non_speech = config.non_speech
    assert isinstance(non_speech, NonSpeech)
    rows = [one for item in [config.sources[0]] for one in item.rows()]
    assert len(rows) == ROWS
    audios = [audio for name, (audio, *_) in rows_of(config).items() if name.startswith("non-speech")]
    assert len(audios) == 9 * ROWS
    assert np.mean([not audio.any() for audio in audios]) == pytest.approx(0.1, abs=0.06)


def batch_facts(batch: AudioBatch) -> tuple[list[str], float]:
    return batch.ids, float(batch.audio.abs().sum())


@pytest.mark.parametrize("augmentation", [None, {"gain": [-6, 0]}])
def test_a_lane_goes_on_anywhere_and_no_epoch_is_like_another(
    clips: str,
    labels: LabelEncoder,
    augmentation: dict[str, Any] | None,
) -> None:
    of = with_non_speech(clips, labels, SHARE, augmentation=augmentation, shuffle_window=11)
    whole = [item for item in items(of) if item.batch is not None]
    for stop in (1, len(whole) // 2):
        again = [item for item in items(of, whole[stop - 1].position) if item.batch is not None]
        assert [batch_facts(one.batch) for one in again] == [batch_facts(one.batch) for one in whole[stop:]]
    other = [item.batch for item in items(of, epoch=1) if item.batch is not None]
    names = [
        {name for one in side for name in one.ids if "speech" in name} for side in (other, [w.batch for w in whole])
    ]
    assert names[0] and not names[0] & names[1]
    seeds = [one.batch.seeds for one in whole]
    assert all((one is None) == (augmentation is None) for one in seeds)
    assert augmentation is None or all(len(one.batch.seeds) == len(one.batch.ids) for one in whole)


def test_other_clips_are_no_longer_at_another_speed_for_it(clips: str, labels: LabelEncoder) -> None:
    """It may last longer than data.max_seconds, which clips of the data must not."""
    slow = {"augmentation": {"speed": [0.5, 0.5]}, "shuffle_window": 11}
    of = with_non_speech(clips, labels, SHARE | {"max_seconds": 30.0}, **slow)
    of = Batching(of.sources, of.config.model_copy(update={"max_seconds": 2.0}), labels, 4, 7)
    batches_of, longest = TrainingBatches(of, 0, 1), 0.0
    while not (group := batches_of.next_group(1)).exhausted:
        for batch in group.batches:
            assert batch is not None
            for name, samples in zip(batch.ids, batch.audio_lengths.tolist(), strict=True):
                longest = max(longest, 0.0 if name.startswith("non-speech") else samples / SAMPLING_RATE)
    batches_of.close()
    assert 1.0 < longest <= 2.0


def test_two_ranks_have_together_what_one_has(clips: str, labels: LabelEncoder) -> None:
    of = with_non_speech(clips, labels, SHARE, shuffle_window=8)
    of = Batching(of.sources, of.config.model_copy(update={"lanes": 2}), labels, 4, 7)

    def names(rank: int, ranks: int) -> list[str]:
        found: list[str] = []
        batches_of = TrainingBatches(of, rank, ranks)
        while not (group := batches_of.next_group(1)).exhausted:
            found += [name for batch in group.batches if batch is not None for name in batch.ids]
        batches_of.close()
        return found

    assert sorted(names(0, 2) + names(1, 2)) == sorted(names(0, 1))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"data.non_speech.share": 0}, "data.non_speech.share"),
        ({"data.non_speech.share": 0.1, "data.windows.joined": 0.5}, "windows.silence"),
        ({"data.non_speech.share": 0.1, "data.non_speech.synthetic": 0.95}, "sum to 1"),
        ({"data.non_speech.share": 0.1, "training.batch_seconds": 4, "data.max_seconds": 4}, "non_speech.max_seconds"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tiny_config: Path, values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(tiny_config, [f"{key}={value}" for key, value in values.items()])


def test_a_folder_without_recordings_ends_the_run_before_it_begins(tiny_config: Path, tmp_path: Path) -> None:
    from trainer.plan import make_plan

    (tmp_path / "empty").mkdir()
    more = ["data.non_speech.share=0.1", f"data.non_speech.sounds.folder={tmp_path / 'empty'}"]
    with pytest.raises(Exception, match=r"data\.non_speech\.sounds"):
        make_plan(load_config(tiny_config, more))


def test_a_language_that_is_none_is_named(clips: str, labels: LabelEncoder) -> None:
    of = with_non_speech(clips, labels, SHARE, columns={"id": "id", "language": "text"})
    skipped = [one for item in items(of) for one in item.skipped]
    assert len(skipped) > ROWS and len({one.id for one in skipped}) == ROWS and not batches(of)
    assert all("is not one of the tokenizer's" in one.reason for one in skipped)
