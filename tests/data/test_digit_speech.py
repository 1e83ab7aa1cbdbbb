"""The synthesised corpus is plain Parquet, repeats exactly, and never stands half written."""

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from data import digit_speech as synthesis
from data.digit_speech import DIGIT_WORDS, TRAINING_VOICES, UNSEEN_VOICES, synthesize_digit_corpus
from data.errors import DataError

VOICES = ("az", "az+f1", "az+m3")


def corpus(folder: Path, *, utterances: int = 10, seed: int = 7, shards: int = 3, split: str = "train") -> list[Path]:
    return synthesize_digit_corpus(folder, utterances=utterances, voices=VOICES, seed=seed, shards=shards, split=split)


def digests(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return corpus(tmp_path_factory.mktemp("corpus"))


def test_shards_are_named_and_evenly_divided(shards: list[Path]) -> None:
    assert [path.name for path in shards] == [f"train-0000{index}-of-00003.parquet" for index in range(3)]
    assert [pq.read_metadata(path).num_rows for path in shards] == [3, 3, 4]
    assert sorted(shards[0].parent.iterdir()) == shards


def test_rows_name_their_voice_and_hold_digits(shards: list[Path]) -> None:
    rows = [row for path in shards for row in pq.read_table(path).to_pylist()]
    assert [row["id"] for row in rows] == [f"train-{index:06d}" for index in range(10)]
    assert [row["speaker"] for row in rows[:4]] == ["az", "az+f1", "az+m3", "az"]
    for row in rows:
        words = row["text"].split(" ")
        assert 1 <= len(words) <= 4 and set(words) <= set(DIGIT_WORDS)
        assert row["language"] == "az"
        assert row["audio"]["path"] == f"{row['id']}.flac"


def test_audio_is_speech_with_short_silent_ends(shards: list[Path]) -> None:
    for path in shards:
        for row in pq.read_table(path).to_pylist():
            flac = io.BytesIO(row["audio"]["bytes"])
            header = soundfile.info(flac)
            assert (header.format, header.samplerate, header.channels) == ("FLAC", 16_000, 1)
            flac.seek(0)
            samples, _ = soundfile.read(flac)
            assert row["duration"] == len(samples) / 16_000
            assert 0.3 < row["duration"] < 3.0
            assert 0.02 < np.abs(samples).max() < 0.999
            assert not samples[:1600].any() and not samples[-1600:].any()
            assert samples[1600:1700].any() and samples[-1700:-1600].any()


def test_pitch_and_length_survive_resampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(22_050) / 22_050).astype(np.float32)
    monkeypatch.setattr(synthesis._Espeak, "speak", lambda *_, **__: tone / 2)
    (path,) = corpus(tmp_path, utterances=1, shards=1)
    row = pq.read_table(path).to_pylist()[0]
    samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
    assert frequencies[np.abs(np.fft.rfft(samples)).argmax()] == pytest.approx(1000, abs=2)
    assert row["duration"] == pytest.approx(1.2, abs=0.001)


def test_same_arguments_give_the_same_bytes_whatever_was_spoken_before(shards: list[Path], tmp_path: Path) -> None:
    corpus(tmp_path / "other", seed=99)
    assert digests(corpus(tmp_path / "again")) == digests(shards)


def test_the_projects_voices_speak_the_same_twice(tmp_path: Path) -> None:
    voices = (*TRAINING_VOICES, *UNSEEN_VOICES)
    first, second = (
        synthesize_digit_corpus(tmp_path / name, utterances=200, voices=voices, seed=0, shards=1, split="train")
        for name in ("first", "second")
    )
    assert digests(first) == digests(second)


@pytest.mark.parametrize("other", [{"seed": 8}, {"split": "test"}])
def test_seed_and_split_each_change_the_texts(shards: list[Path], tmp_path: Path, other: dict[str, int | str]) -> None:
    texts = [pq.read_table(path)["text"].to_pylist() for path in shards]
    assert [pq.read_table(path)["text"].to_pylist() for path in corpus(tmp_path, **other)] != texts  # type: ignore[arg-type]


def test_complete_corpus_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = corpus(tmp_path)
    monkeypatch.setattr(synthesis, "_Espeak", None)  # any attempt to speak would fail
    assert corpus(tmp_path) == first


def test_missing_shard_is_made_again(tmp_path: Path) -> None:
    paths = corpus(tmp_path)
    before = digests(paths)
    paths[1].unlink()
    assert digests(corpus(tmp_path)) == before


def test_other_arguments_replace_the_split_and_leave_the_other_splits(tmp_path: Path) -> None:
    kept = corpus(tmp_path, split="test", shards=1)
    corpus(tmp_path, shards=3)
    replaced = corpus(tmp_path, shards=2)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, *replaced])


def test_foreign_file_is_not_overwritten(tmp_path: Path) -> None:
    foreign = tmp_path / "train-00000-of-00003.parquet"
    foreign.write_bytes(b"recordings of somebody else")
    with pytest.raises(DataError, match=r"train-00000-of-00003\.parquet was not written by this"):
        corpus(tmp_path)
    assert foreign.read_bytes() == b"recordings of somebody else"


def test_interrupted_write_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests(corpus(tmp_path))
    write_table = pq.write_table

    def interrupted_in_the_second_shard(table: object, path: Path, **options: int) -> None:
        write_table(table, path, **options)
        if path.name.startswith("train-00001"):
            raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", interrupted_in_the_second_shard)
    with pytest.raises(KeyboardInterrupt):
        corpus(tmp_path, seed=8)
    assert digests(sorted(tmp_path.iterdir())) == before


def test_voices_are_many_disjoint_and_all_speak(tmp_path: Path) -> None:
    voices = (*TRAINING_VOICES, *UNSEEN_VOICES)
    assert len(set(TRAINING_VOICES)) >= 12 and len(set(UNSEEN_VOICES)) >= 4
    assert len(set(voices)) == len(voices)
    with synthesis._Espeak() as espeak:
        espeak.require_voices(voices)
        spoken = {
            voice: espeak.speak("sıfır üç dörd", voice=voice, speed=130, pitch=75, volume=100) for voice in voices
        }
    for voice, samples in spoken.items():
        assert 0.5 < len(samples) / espeak.sampling_rate < 2.5, voice
        assert 0.1 < np.abs(samples).max() < (1.0 if voice == "az+steph3" else 0.999), voice


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voices": ["az+f22"]}, r"no variant 'f22' for 'az\+f22'; the nearest is 'az\+f2'"),
        ({"voices": ["zz+f2"]}, r"no voice 'zz' for 'zz\+f2'"),
        ({"split": "../train"}, "split='../train'"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    right = {"utterances": 4, "voices": ["az"], "seed": 0, "shards": 2, "split": "train"}
    with pytest.raises(DataError, match=message):
        synthesize_digit_corpus(tmp_path, **{**right, **arguments})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_missing_espeak_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DataError, match="pip install espeakng-loader"):
        corpus(tmp_path)
