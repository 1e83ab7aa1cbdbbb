"""The table of predictions: what it asks for, that its figures are the predictor's, and the public project's cells."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import benchmarks.memory.predictions_command
from benchmarks.memory import predictions
from benchmarks.memory.predictions import MODELS, Wanted, of_measured, predict, public_cell, settings_of, table, wanted
from tests.end_to_end import run
from trainer.memory.advice import largest_batch
from trainer.memory.gpus import Gpu, find_gpu
from trainer.memory.prediction import StepMemory

TINY = replace(wanted("tiny", "frozen_encoder", (0, 1)), seconds=2.0, tokens=12, batches=(2, 4))


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return predict(TINY)


def test_every_model_strategy_and_engine_is_asked_for() -> None:
    every = list(table())
    assert len({one.name() for one in every}) == len(every)
    for model in MODELS:
        own = [one for one in every if one.settings["model.checkpoint"] == f"openai/whisper-{model}"]
        engines = {(one.settings["engine.zero_stage"], one.processes) for one in own}
        assert engines == {(0, 1), (0, 8), (2, 8), (3, 8)}
        assert {one.settings["model.strategy"] for one in own} >= {"full", "frozen_encoder", "lora"}
    public = {one.name(): one.public_batches for one in every if one.public_batches}
    assert sorted(public.values()) == [(8, 16, 24), (8, 16, 24), (8, 16, 24, 28), (8, 16, 24, 28)]
    assert all("processes=1" in name and "gradient_checkpointing" not in name for name in public)


def test_figures_are_the_predictors(told: dict[str, Any]) -> None:
    memory = StepMemory(TINY.cell())
    for cell, batch in zip(told["cells"], (2, 4), strict=True):
        expected = memory.at(batch)
        assert cell["batch_size"] == batch and cell["seconds"] == 2.0 and cell["precision"] == "bf16"
        assert cell["predicted"]["peak_bytes"] == expected.peak_bytes
        assert cell["predicted"]["device_used_bytes"] == expected.device_used_bytes
    expected_largest = {name: largest_batch(memory, find_gpu(name)) for name in predictions.GPUS_SHOWN}
    assert told["largest"]["largest_batch"] == expected_largest
    first, second = (cell["model_flops_per_step"] for cell in told["cells"])
    assert second == pytest.approx(2 * first)
    assert told["largest"]["model_flops_per_utterance"] == pytest.approx(first / 2)


def test_what_does_not_fit_the_public_card_gets_advice() -> None:
    memory = StepMemory(replace(TINY, seconds=30.0, tokens=448).cell())
    used = memory.at(8).device_used_bytes or 0
    large, small = Gpu("large", 2 * used), Gpu("small", int(0.9 * used))
    assert public_cell(memory, 8, large)["fits"] and public_cell(memory, 8, large)["advice"] == []
    cell = public_cell(memory, 8, small)
    assert not cell["fits"] and cell["advice"]
    last = cell["advice"][-1]
    assert last["fits"] == (last["predicted"]["device_used_bytes"] <= 0.95 * small.memory_bytes)
    assert any(key.startswith("model.gradient_checkpointing") for key in last["settings"])


def test_a_description_gives_its_step_again(told: dict[str, Any]) -> None:
    cell = {key: value for key, value in told["cells"][0].items() if key != "predicted"}
    other = cell | {"batch_size": 4, "zero_stage": 2, "cpu_offload": "optimizer", "optimizer": "cpu_adam"}
    eight = cell | {"optimizer": "adamw_8bit", "gradient_checkpointing": "all"}
    found = of_measured([cell, cell | {"batch_size": 4}, other, eight])
    assert [one.measured for one in found] == [(2, 4), (4,), (2,)]
    for one, described in zip(found, (cell, other, eight), strict=True):
        again = one.cell().describe()
        assert again == {key: described[key] for key in again}
    assert settings_of(cell)["model.strategy"] == "frozen_encoder"


def test_measured_cells_of_a_gpu_are_predicted_too(told: dict[str, Any], tmp_path: Path) -> None:
    cell = {key: value for key, value in told["cells"][0].items() if key != "predicted"}
    on_gpu = cell | {"data": "synthetic", "peak_bytes": {"allocated": 1}}
    on_cpu = on_gpu | {"peak_bytes": {"allocated": None}}
    unknown, stream = on_gpu | {"model": "somebody/whisper"}, on_gpu | {"data": "stream"}
    content = {"cells": [on_gpu, on_cpu, unknown, stream, cell | {"data": "synthetic", "status": "killed"}]}
    (tmp_path / "measured_h100.json").write_text(json.dumps(content), encoding="utf-8")
    assert predictions.measured_cells(tmp_path) == [on_gpu]
    [one] = of_measured([on_gpu])
    assert predict(one)["cells"] == [told["cells"][0]]


def test_the_command_writes_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        """Workers of multiprocessing, in this process."""

        def __init__(self, workers: int, begin: Any) -> None:
            assert workers == 1

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *left: object) -> None: ...

        def imap(self, do: Any, every: list[Wanted]) -> Any:
            return map(do, every)

    class Context:
        Pool = Here

    monkeypatch.setattr("multiprocessing.get_context", lambda way: Context)
    monkeypatch.setattr(predictions, "table", lambda: iter([TINY, wanted("base", "full", (0, 1))]))
    output = tmp_path / "folder/predictions.json"
    done = run(benchmarks.memory.predictions_command.main, "--only", "whisper-tiny", "--output", output)
    assert done.code == 0 and "1 of 1" in done.output
    found = json.loads(output.read_text(encoding="utf-8"))
    assert [cell["batch_size"] for cell in found["cells"]] == [2, 4]
    assert found["machine"]["date"] and found["assumptions"] and "--only whisper-tiny" in found["command"]


def test_a_name_of_no_cell_is_refused(tmp_path: Path) -> None:
    done = run(benchmarks.memory.predictions_command.main, "--only", "huge", "--output", tmp_path / "none/p.json")
    assert done.code == 2 and "'huge'" in done.complaint
    assert not (tmp_path / "none").exists()
