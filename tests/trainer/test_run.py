"""How a run asks for its batches, and keeps what it measured at its start."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import trainer.run
from trainer.config.reading import load_config
from trainer.step.gradients import Gradients


@pytest.mark.parametrize(("device", "separate"), [("cpu", False), ("cuda", True)])
def test_only_where_another_device_computes_lanes_are_read_in_processes(
    device: str, separate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There Python's interpreter gives it its work; a CPU run would pay for processes and gain nothing."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(trainer.run, "TrainingBatches", lambda *arguments, **options: asked.update(options))
    accelerator = SimpleNamespace(device=torch.device(device), process_index=0, num_processes=1)
    config: Any = SimpleNamespace(
        training=SimpleNamespace(microbatch=1, step_utterances=None, seed=0, batch_seconds=None),
        performance=SimpleNamespace(pin_memory=False),
        data=None,
        hears_recordings_clean=False,
    )
    trainer.run.training_batches(config, accelerator, None, [], {})  # type: ignore[arg-type]
    assert asked["in_processes"] is separate


def test_a_resumed_run_multiplies_as_it_began(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new measurement could come out otherwise; it is asked for once, and a silent config is no change."""
    measured = [True]
    monkeypatch.setattr("modeling.network.linear.onednn_is_faster", lambda: measured.pop())
    for steps in (2, 4):
        config = load_config(tiny_config, [f"training.steps={steps}", "optimizer.warmup_steps=1"])
        trainer.run.train(config, resume=steps > 2)
        written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
        assert written["performance"]["onednn"] is True
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    (resumed,) = [line for line in lines if line["kind"] == "resumed"]
    assert resumed["changed"] == ["training.steps: 2 -> 4"]


def test_all_ranks_multiply_as_the_first_measured(monkeypatch: pytest.MonkeyPatch, tiny_config: Path) -> None:
    """Its choice is the one that is written."""
    chosen: list[bool] = []
    monkeypatch.setattr("modeling.network.linear.onednn_is_faster", lambda: False)
    monkeypatch.setattr("modeling.network.linear.choose_onednn", lambda model, value: chosen.append(value))
    monkeypatch.setattr(trainer.run, "gather_objects", lambda accelerator, own: [not own, own])
    second = SimpleNamespace(device=torch.device("cpu"), mixed_precision="no", process_index=1, num_processes=2)
    config = trainer.run.with_products_chosen(load_config(tiny_config), second, None, resume=False)
    assert chosen == [True] and config.performance.onednn is True


def test_a_resumed_run_updates_at_the_end_of_its_steps(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate's checkpoints hold a count of microbatches, of a step that was split otherwise."""
    updates: list[bool] = []
    clip = Gradients.clip

    def clipped(self: Gradients, *arguments: Any) -> None:
        updates.append(self.accelerator.sync_gradients)
        clip(self, *arguments)

    monkeypatch.setattr(Gradients, "clip", clipped)
    usual = ("optimizer.warmup_steps=1", "training.step_utterances=4", "data.validation=null")
    trainer.run.train(load_config(tiny_config, [*usual, "training.steps=3"]))
    trainer.run.train(load_config(tiny_config, [*usual, "training.steps=5", "training.batch_size=2"]), resume=True)
    assert updates == [True] * 3 + [False, True] * 2


def test_a_run_on_windows_is_resumed_to_the_last_bit_and_noted(tiny_config: Path, tmp_path: Path) -> None:
    """Generation configs tell transcription which models write timestamps."""
    windows = "data.windows={seconds: [4, 9], silence: 0.2, joined: 0.7}"
    often = "checkpoints.every_steps=2"
    usual = ("optimizer.warmup_steps=1", "data.validation=null", windows, often, "training.steps=4")
    trainer.run.train(load_config(tiny_config, [*usual, f"output_dir={tmp_path / 'whole'}"]))
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for written in ("checkpoints/step_00000004", "final"):
        shutil.rmtree(tmp_path / "resumed" / written)
    trainer.run.train(load_config(tiny_config, [*usual, f"output_dir={tmp_path / 'resumed'}"]), resume=True)
    found = []
    for folder in ("whole", "resumed"):
        found.append(load_file(tmp_path / folder / "final" / "model.safetensors"))
        noted = json.loads((tmp_path / folder / "final" / "generation_config.json").read_text(encoding="utf-8"))
        assert noted["trained_on_timestamps"] is True
        assert noted["trained_on_seconds"] == 9
        assert noted["max_initial_timestamp_index"] == 1500
    assert found[0].keys() == found[1].keys()
    assert all(found[0][name].equal(found[1][name]) for name in found[0])
    trainer.run.train(load_config(tiny_config, ["training.steps=2", "optimizer.warmup_steps=1"]))
    noted = json.loads((tmp_path / "run" / "final" / "generation_config.json").read_text(encoding="utf-8"))
    assert noted["trained_on_timestamps"] is False
