"""The cost of second recordings in a training step: the same clips on all sides, and what is told of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.memory.spread_lengths import spread_group
from benchmarks.training import second_recording
from benchmarks.training.second_recording import PAIRS, SIDES, compare, configs_of, ratio_of, table
from trainer.memory.cells import cell_of, synthetic_group

SMALLEST: dict[str, Any] = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "attention_heads": 2}


def configs() -> dict[str, dict[str, Any]]:
    found = configs_of("openai/whisper-tiny")
    for config in found.values():
        config["model"] |= {"checkpoint": None, "architecture": SMALLEST}
    return found


def test_sides_take_turns_on_the_same_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    usual = second_recording.Side.step
    monkeypatch.setattr(
        second_recording.Side,
        "step",
        lambda side: (taken.append(side.trainer.config.model.second_recording), usual(side)),
    )
    wanted = {name: config for name, config in configs().items() if name in ("dual", "attention")}
    found = compare(wanted, (2, 0.5, 8), turns=1)
    assert taken == ["none", "attention"] * 2
    (ratio,) = found["ratios"]
    assert (ratio["with"], ratio["without"]) == ("attention", "dual") and ratio["seconds"] > 0
    assert 1 < ratio["operations"] < 2
    assert table(found).startswith("| 2 x 0.5 s | attention | dual | ")


def test_first_recordings_are_the_same_with_second_ones_and_without() -> None:
    batches = []
    for name in ("dual", "attention"):
        config = second_recording.whisper_config(SIDES[name])
        cell = cell_of(config, precision="fp32", batch_size=3, seconds=0.5, tokens=8)
        (batch,) = spread_group(synthetic_group(cell, 50), 0.5).batches
        assert batch is not None
        batches.append(batch)
    alone, with_second = batches
    assert alone.second is None and with_second.second is not None
    assert torch.equal(alone.audio, with_second.audio) and torch.equal(alone.audio_lengths, with_second.audio_lengths)
    second = with_second.second
    assert second.rows == [0, 1, 2] and not torch.equal(second.audio_lengths, alone.audio_lengths)
    assert second.audio[1, second.audio_lengths[1] :].abs().sum() == 0


def test_ratios_are_the_turns_medians() -> None:
    ours, others = ([{"seconds": one} for one in seconds] for seconds in ((2.0, 9.0, 4.0), (1.0, 3.0, 2.5)))
    assert ratio_of(ours, others, "seconds") == 2.0
    assert {name for pair in PAIRS for name in pair} == set(SIDES)


def test_results_lie_where_they_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code says whether a step takes more than twice as long."""
    ratio = {"with": "joined", "without": "plain", "operations": 1.9, "processor_seconds": 1.9}
    for seconds, code in ((1.9, 0), (2.1, 1)):
        sides = {name: {"seconds": 1.0} for name in ("joined", "plain")}
        cell = {"batch_size": 1, "clip_seconds": 1.0, "sides": sides, "ratios": [ratio | {"seconds": seconds}]}
        monkeypatch.setattr(second_recording, "compare", lambda *_, cell=cell: cell)
        told = ["--shape", "1", "1", "8", "--output", str(tmp_path / "steps.json")]
        assert second_recording.main(told) == code
    assert (tmp_path / "steps.json").exists()
