"""The benchmark of wrong transcripts: its kinds are what they say, and its figures are of the scores."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

import benchmarks.input.wrong_transcripts as benchmark
from tests.end_to_end import run
from tests.support.untrained import save_checkpoint


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Twenty clips of four speakers."""
    rows = []
    for number in range(20):
        file = io.BytesIO()
        soundfile.write(file, np.sin(np.arange(4800) * (number + 1) / 30), 16_000, format="WAV")
        audio = {"bytes": file.getvalue(), "path": None}
        rows.append({"audio": audio, "text": f"ab cd e{number}", "speaker": str(number % 4)})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "speech.parquet")
    return tmp_path / "speech.parquet"


def test_kinds_of_transcripts(speech: Path) -> None:
    clips = benchmark.read_clips(str(speech), 10, 0, None)
    assert len(clips) == 10
    for clip in clips:
        own, other, first, last = clip["texts"].values()
        assert own == clip["text"] and other in {one["text"] for one in clips} - {own}
        assert f"{first} {last}" == own


def test_halves_of_the_speakers_are_apart(speech: Path) -> None:
    even, odd = ({clip["speaker"] for clip in benchmark.read_clips(str(speech), None, 0, half)}
                 for half in ("even", "odd"))  # fmt: skip
    assert even | odd == set("0123") and not even & odd


def test_a_limit_chosen_on_some_speakers_is_applied_to_others() -> None:
    clips: list[dict[str, Any]] = []
    for number in range(40):
        scores = {kind: {"evidence": 3.0 - place} for place, kind in enumerate(benchmark.KINDS)}
        clips.append({"speaker": number % 8, "scores": scores})
    shares = benchmark.crossed(clips, lambda score: score["evidence"])
    assert shares == {"own": 0.0, "of another clip": 1.0, "first half": 1.0, "last half": 1.0}
    limits = benchmark.at_limit(clips, lambda score: score["evidence"] < 1.5)
    assert limits["of another clip"] == pytest.approx([0.0, 0.0, 0.088], abs=1e-3)  # Clopper and Pearson's, of 40
    assert limits["first half"] == pytest.approx([1.0, 0.912, 1.0], abs=1e-3)
    assert benchmark.shuffled_corpora(clips, 2.5, seeds=2) == {"found": [1.0, 1.0], "lost": [0.0, 0.0]}


@pytest.mark.slow
def test_the_command(speech: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "model", ("en",), positions=24)
    arguments = ("--checkpoint", checkpoint, "--data", speech, "--output", tmp_path / "found.json")
    outcome = run(benchmark.main, *arguments)
    assert outcome.code == 0, outcome.errors
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["clips"] == 20 and found["speakers"] == 4
    assert found["crossed"].keys() == benchmark.MEASURES.keys()
    assert "| evidence |" in outcome.output
