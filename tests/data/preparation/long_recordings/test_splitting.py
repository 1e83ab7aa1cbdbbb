"""Segments that are too long are cut where it is quiet, and their transcripts where a model hears it; or not at all."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from data.corpora.settings import CorpusSettings
from data.preparation.long_recordings.splitting import boundaries
from data.preparation.prepare import prepare
from data.preparation.scores import Score, Scorer, ScoreSettings, Sounding
from data.preparation.settings import ClipSettings, PrepareSettings

WORDS = [f"word{n}" for n in range(50)]


def test_a_transcript_is_cut_where_the_words_are_heard() -> None:
    heard = [WORDS[:20], WORDS[20:37], WORDS[37:]]
    assert boundaries(WORDS, heard) == [20, 37]
    wrong = [["so", *WORDS[2:20]], ["x" if n % 4 == 1 else word for n, word in enumerate(heard[1])], WORDS[37:45]]
    assert boundaries(WORDS, wrong) == [20, 37]


@pytest.mark.parametrize(
    "heard",
    [
        [WORDS[:19], WORDS[20:]],  # the word between was heard in neither part
        [["x"] * 20, ["y"] * 30],  # something else is said
        [WORDS[:10] + ["x"] * 15, ["y"] * 15 + WORDS[40:]],
    ],
)
def test_where_it_cannot_be_told_nothing_is_cut(heard: list[list[str]]) -> None:
    assert boundaries(WORDS, heard) is None


@dataclass(frozen=True)
class Levels(Scorer):
    """Hears a word for each second of sound, by its level; digital silence between them is a pause."""

    deaf: bool = False

    def open(self) -> Callable[[Sequence[Sounding]], list[Score | None]]:
        def hear(clips: Sequence[Sounding]) -> list[Score | None]:
            found: list[Score | None] = []
            for clip in clips:
                numbers = np.round(np.abs(clip.audio)[::1600] * 100).astype(int)
                order = [n for n, before in zip(numbers, [0, *numbers], strict=False) if n and n != before]
                found.append(Score("az", "" if self.deaf else " ".join(f"Word{n}," for n in order)))
            return found

        return hear


def write_corpus(folder: Path) -> Path:
    """A recording of 45 words of half a second with pauses, in a segment of 45 s, and one of 2 s."""
    folder.mkdir()
    word = [np.concatenate([np.full(8000, n / 100), np.zeros(8000)]) for n in range(1, 48)]
    soundfile.write(folder / "long.wav", np.concatenate(word).astype(np.float32), 16_000, subtype="FLOAT")
    with (folder / "segments.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["audio", "start", "end", "text", "language"])
        rows.writerow(["long.wav", 0, 45, " ".join(f"word{n}" for n in range(1, 46)), "az"])
        rows.writerow(["long.wav", 45, 47, "word46 word47", "az"])
    return folder


def prepared(tmp_path: Path, scorer: Scorer, **values: Any) -> tuple[list[dict[str, Any]], Any]:
    settings = PrepareSettings(
        corpus=CorpusSettings(input=str(write_corpus(tmp_path / "in"))),
        clips=ClipSettings(),
        output=str(tmp_path / "out"),
        score=ScoreSettings(checkpoint="stub", weights=""),
        max_skipped_share=1.0,
        **values,
    )
    summary = prepare(settings, 0, None, False, scorer=scorer)
    files = sorted((tmp_path / "out").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()], summary


def test_a_segment_of_45_seconds_becomes_two_clips_with_their_words(tmp_path: Path) -> None:
    rows, _ = prepared(tmp_path, Levels(), split_long=True)
    assert len(rows) == 3
    assert " ".join(row["text"] for row in rows) == " ".join(f"word{n}" for n in range(1, 48))
    for row in rows:
        assert row["duration"] <= 30
        assert len(row["text"].split()) == pytest.approx(row["duration"], abs=1)


@pytest.mark.parametrize(("split_long", "deaf"), [(False, False), (True, True)])
def test_it_is_left_out_and_named_otherwise(tmp_path: Path, split_long: bool, deaf: bool) -> None:
    rows, _ = prepared(tmp_path, Levels(deaf), split_long=split_long)
    assert [row["text"] for row in rows] == ["word46 word47"]
    quarantine = (tmp_path / "out" / "quarantine.jsonl").read_text(encoding="utf-8")
    assert "too long" in quarantine
    assert ("does not tell where to cut its transcript" in quarantine) is split_long


def test_it_needs_a_model_that_hears(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--split-long goes with --score CHECKPOINT"):
        PrepareSettings(corpus=CorpusSettings(input="x"), output="y", split_long=True)
