"""Runs in bf16 with frozen weights: what is saved is in float32 and unchanged, and a resume goes on exactly."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from trainer.config.reading import load_config
from trainer.run import train

SHORT = ("optimizer.schedule=constant", "optimizer.warmup_steps=0", "data.validation=null", "checkpoints.every_steps=2")


@pytest.fixture
def other_precision() -> Iterator[None]:
    """Accelerate keeps the first precision of a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def losses(folder: Path) -> list[float]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["kind"] == "train"]


def test_a_frozen_encoder_is_saved_unrounded_and_resumes(
    tiny_config: Path, tmp_path: Path, other_precision: None
) -> None:
    train(load_config(tiny_config, [*SHORT, "training.steps=2", f"output_dir={tmp_path / 'base'}"]))
    AcceleratorState._reset_state(True)
    base = tmp_path / "base" / "final"
    usual = [*SHORT, "model.architecture=null", f"model.checkpoint={base}", "model.strategy=frozen_encoder"]
    usual += ["engine.precision=bf16"]
    train(load_config(tiny_config, [*usual, "training.steps=4", f"output_dir={tmp_path / 'whole'}"]))
    for steps, resume in ((2, False), (4, True)):
        AcceleratorState._reset_state(True)
        config = load_config(tiny_config, [*usual, f"training.steps={steps}", f"output_dir={tmp_path / 'halves'}"])
        train(config, resume=resume)
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    before = load_file(base / "model.safetensors")
    for folder in (tmp_path / "halves" / "final", tmp_path / "halves" / "checkpoints" / "step_00000004"):
        after = load_file(folder / "model.safetensors")
        assert {tensor.dtype for tensor in after.values()} == {torch.float32}
        assert all(torch.equal(after[name], before[name]) for name in before if ".encoder." in name)
        assert any(not torch.equal(after[name], before[name]) for name in before)
    assert json.loads((tmp_path / "halves" / "final" / "config.json").read_text())["dtype"] == "float32"
