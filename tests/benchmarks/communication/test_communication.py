"""The formula for what engines send, held against what two processes do send."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.communication import __main__ as command
from benchmarks.communication.__main__ import planned_bytes
from benchmarks.communication.counting import CASES
from benchmarks.communication.formula import (
    ENGINES,
    PERSISTENT,
    REUSE_DISTANCE,
    bytes_sent,
    gathers_of_a_microbatch,
    tiny_config,
)
from tests import ROOT
from trainer.model.building import planned_model


@pytest.fixture(scope="module")
def model() -> Any:
    return planned_model(tiny_config())


def trained(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def counted(folder: Path, *arguments: str, timeout: int = 200) -> list[dict[str, Any]]:
    output = folder / "results.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_USE_CPU"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "benchmarks.communication", "--no-table", "--output", str(output), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    assert result["machine"]["versions"]["torch"]
    return result["counted"]


def check(result: dict[str, Any]) -> None:
    for kind, computed in result["computed"].items():
        assert result["counted"].get(kind, 0) == pytest.approx(computed, rel=0.02, abs=1000), (result["case"], kind)
    assert sum(result["counted"].values()) == pytest.approx(sum(result["computed"].values()), rel=0.02)


def test_ddp_sends_what_the_formula_says(tmp_path: Path, model: Any) -> None:
    (result,) = counted(tmp_path, "--case", "DDP, bf16, accumulation 3, full")
    check(result)
    assert sum(result["computed"].values()) == 4 * trained(model)  # two ranks: 2 x 1/2, once for three microbatches


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_engine_sends_what_the_formula_says(tmp_path: Path) -> None:
    results = counted(tmp_path, timeout=800)
    assert [result["case"] for result in results] == list(CASES)
    for result in results:
        check(result)


def test_the_formula_by_hand(model: Any) -> None:
    numbers = trained(model)
    assert bytes_sent(model, 0, 8).total == pytest.approx(2 * 7 / 8 * 4 * numbers)
    assert bytes_sent(model, 0, 8, "fp32", accumulation=4) == bytes_sent(model, 0, 8)
    for stage, times in ((1, 1), (2, 4)):
        sent = bytes_sent(model, stage, 8, "bf16", accumulation=4)
        assert sent.all_reduce == pytest.approx(times * 2 * 7 / 8 * 2 * numbers)
        assert sent.all_gather == pytest.approx(7 / 8 * 2 * numbers)
    once, four = bytes_sent(model, 3, 8), bytes_sent(model, 3, 8, accumulation=4)
    assert four.reduce_scatter == 4 * once.reduce_scatter == pytest.approx(4 * 7 / 8 * 2 * numbers, rel=1e-3)
    assert 3 * once.all_gather < four.all_gather < 4 * once.all_gather  # the small weights once a step
    assert bytes_sent(model, 3, 8, "fp32").total == pytest.approx(2 * once.total)
    for stage in range(4):
        assert bytes_sent(model, stage, 1).total == 0


def test_weights_that_are_needed_again_soon_are_gathered_once(model: Any) -> None:
    large = [parameter for parameter in model.parameters() if parameter.numel() > PERSISTENT]
    once = gathers_of_a_microbatch(model, REUSE_DISTANCE)
    assert dict(once) == dict.fromkeys(large, 1)
    again = gathers_of_a_microbatch(model, 0)
    positions = model.model.encoder.embed_positions.weight  # looked up, frozen: no backward pass
    assert again[positions] == 1
    assert again[model.proj_out.weight] == 4  # it is the token embeddings too
    assert again[model.model.encoder.layers[0].fc1.weight] == 2


def test_less_is_sent_where_less_is_trained() -> None:
    full, lora = (planned_bytes("small", strategy, 1) for strategy in ("full", "lora"))
    assert [row["engine"] for row in full] == list(ENGINES)
    for engine in range(3):
        assert lora[engine]["gpus"]["64"]["bytes"] < 0.2 * full[engine]["gpus"]["64"]["bytes"]
    zero3 = lora[3]["gpus"]["64"]
    assert zero3["all_gather"] > zero3["reduce_scatter"]  # the frozen weights travel all the same
    for row in full:
        sent = [row["gpus"][str(gpus)]["bytes"] for gpus in command.GPUS]
        assert sent == sorted(sent) and sent[-1] < 1.15 * sent[0]
        at = row["gpus"]["1024"]
        assert at["seconds"]["100 Gb/s"] == pytest.approx(at["bytes"] / 12.5e9)
