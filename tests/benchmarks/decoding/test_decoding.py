"""The benchmarks of decoding and transcription: they run, and count what they say they count."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import benchmarks.decoding.tokens
import benchmarks.decoding.transcription
from benchmarks.decoding.live_bytes import peak_live_bytes
from tests.end_to_end import run
from tests.support.untrained import save_checkpoint

pytestmark = pytest.mark.usefixtures("exact_attention")

CPU = torch.device("cpu")


def three_at_once() -> None:
    first, second = torch.zeros(1000), torch.ones(1000)
    third = first + second
    del first, second
    for _ in range(10):
        third = third * 2


def views_are_no_copies() -> None:
    whole = torch.zeros(1000)
    whole.add_(1).view(10, 100)[2:].mul_(2)


@pytest.mark.parametrize(("work", "peak"), [(three_at_once, 12_000), (views_are_no_copies, 4_000)])
def test_live_bytes(work: Callable[[], None], peak: int) -> None:
    before = torch.zeros(100_000)  # not counted
    assert peak_live_bytes(work, CPU) == peak
    assert before.numel()


def test_decoding_figures(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    arguments = ("--size", "tiny", "--batch", 2, "--seconds", 2, "--tokens", 4, "--repeats", 2)
    outcome = run(benchmarks.decoding.tokens.main, *arguments, "--device", "cpu", "--output", output)
    assert outcome.code == 0
    figures = json.loads(output.read_text())
    (cell,) = figures["tiny"]
    width, layers, frames = 384, 4, 100
    assert cell["secondary_keys_and_values_bytes"] == 2 * layers * 2 * frames * width * 4
    # What is held for the third attention and nothing more; while it is made, one layer's twice.
    held, layer = cell["secondary_keys_and_values_bytes"], 2 * 2 * frames * width * 4
    assert held <= cell["peak_difference_bytes"] <= held + layer + 2**16
    assert cell["dual_bytes_read"]["cache"] - cell["plain_bytes_read"]["cache"] == held
    # Of a layer's 7 d² new weights a step reads five: queries, output and the gate.
    more = cell["dual_bytes_read"]["weights"] - cell["plain_bytes_read"]["weights"]
    assert more == pytest.approx(layers * 5 * width**2 * 4, rel=0.01)
    low, high = cell["token_ratio_range"]
    assert 0 < low <= cell["token_ratio"] <= high
    assert figures["machine"]["versions"]["torch"] == torch.__version__
    assert outcome.output.count("| tiny |") == 1


def test_transcription_figures(corpus: Path, tmp_path: Path) -> None:
    sides = [save_checkpoint(tmp_path / name, padding=padding) for name, padding in (("dual", "clip"), ("plain", None))]
    output = tmp_path / "figures.json"
    arguments = ("--checkpoint", sides[0], "--plain", sides[1], "--files", f"{corpus}/validation-*.parquet")
    limits = ("--language", "az", "--limit", 9)
    outcome = run(benchmarks.decoding.transcription.main, *arguments, *limits, "--output", output)
    assert outcome.code == 0, outcome.errors
    figures = json.loads(output.read_text())
    assert figures["utterances"] == 9
    speeds = [figures[side]["utterances_per_second"] for side in ("clip length", "30 s pipeline")]
    assert figures["ratio"] == pytest.approx(speeds[0] / speeds[1])
    assert "ratio:" in outcome.output
