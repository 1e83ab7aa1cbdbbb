"""Long recordings made of utterances: what prepare reads of them is what sounds in them, and when."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.long_form.__main__ import main
from benchmarks.long_form.joining import fitted_lengths, levelled
from data.corpora.census import Census
from data.corpora.readers.segments import read_segments
from data.corpora.settings import CorpusSettings
from data.sources.config import SourceConfig
from data.sources.source import Source
from trainer.config.reading import ConfigError

SHORT = ("--minutes", "0.3", "1", "--pauses", "0.5", "4")


def make(corpus: Path, output: Path, *options: str) -> Path:
    files = str(corpus / "validation-*.parquet")
    assert main(["recordings", "--source", files, "--output", str(output), *SHORT, *options]) == 0
    return output


def test_segments_are_where_the_utterances_sound(corpus: Path, tmp_path: Path) -> None:
    folder = make(corpus, tmp_path / "long", "--recordings", "2", "--language", "az", "--beginnings", "0")
    records = list(read_segments(str(folder), CorpusSettings(input=str(folder)), Census()))
    texts = [str(row["text"]) for row in Source(SourceConfig(files=str(corpus / "validation-*.parquet")), "x").rows()]
    assert sorted(record.text or "" for record in records) == sorted(texts)  # each once
    assert {record.language for record in records} == {"az"}
    for recording in folder.glob("*.flac"):
        audio, rate = soundfile.read(recording)
        assert rate == 16_000
        spoken = np.zeros(len(audio), bool)
        for record in records:
            if str(record.audio).endswith(recording.name):
                assert record.end is not None
                part = slice(round(record.start * rate), round(record.end * rate))
                assert np.sqrt(np.square(audio[part]).mean()) > 0.01
                spoken[max(0, part.start - rate // 10) : part.stop + rate // 10] = True
        level = 20 * np.log10(np.sqrt(np.square(audio[~spoken]).mean()))
        assert -66 < level < -60  # faint noise, no digital silence


def test_lengths_and_beginnings_are_as_asked_and_a_seed_makes_the_same(corpus: Path, tmp_path: Path) -> None:
    asked = ("--recordings", "2", "--beginnings", "1", "--minutes", "0.5", "2")
    first, again, other = (
        make(corpus, tmp_path / name, *asked, "--seed", seed) for name, seed in (("a", "5"), ("b", "5"), ("c", "6"))
    )
    made = json.loads((first / "made.json").read_text())["recordings"]
    assert [one["order"] for one in made] == ["turns", "mixed"]
    for one in made:
        assert 30 <= one["seconds"] <= 120
        assert one["beginning"] == "music"
        assert 10 <= one["beginning_seconds"] <= 30
        segments = json.loads((first / f"{one['name']}.json").read_text())["segments"]
        assert segments[0]["start"] >= one["beginning_seconds"]
        audio, _ = soundfile.read(first / f"{one['name']}.flac")
        assert np.sqrt(np.square(audio[32_000:128_000]).mean()) > 0.005  # it sounds before anybody speaks
    for path in first.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    assert (first / "recording_1.json").read_text() != (other / "recording_1.json").read_text()


def test_noise_and_music_take_turns(corpus: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.mkdir()
    soundfile.write(noise / "hiss.wav", np.random.default_rng(0).standard_normal(16_000) * 0.1, 16_000)
    folder = make(corpus, tmp_path / "long", "--recordings", "2", "--beginnings", "1", "--noise", str(noise))
    made = json.loads((folder / "made.json").read_text())["recordings"]
    assert [one["beginning"] for one in made] == ["noise", "music"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recordings", "90"), r"--recordings is 90 of at least 0.3 minutes, .* fewer recordings"),
        (("--pauses", "4", "1"), r"--pauses is 4 1: the lower one comes first"),
    ],
)
def test_what_cannot_be_made_is_told(corpus: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(corpus, tmp_path / "long", *options)


def test_lengths_sum_to_the_total_within_the_limits() -> None:
    lengths = fitted_lengths(100.0, np.array([1.0, 2.0, 30.0]), 10.0, 60.0)
    assert lengths.sum() == pytest.approx(100.0)
    assert lengths.min() >= 10.0
    assert lengths.max() <= 60.0


def test_a_beginning_has_the_level_that_was_drawn() -> None:
    sound = levelled(np.random.default_rng(0).standard_normal(160_000).astype(np.float32), -30.0)
    assert 20 * np.log10(np.sqrt(np.square(sound[16_000:-16_000]).mean())) == pytest.approx(-30, abs=0.1)
