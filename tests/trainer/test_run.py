"""How a run asks for its batches."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import trainer.run


@pytest.mark.parametrize(("device", "separate"), [("cpu", False), ("cuda", True)])
def test_only_where_another_device_computes_lanes_are_read_in_processes(
    device: str, separate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There Python's interpreter gives it its work; a CPU run would pay for processes and gain nothing."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(trainer.run, "TrainingBatches", lambda *arguments, **options: asked.update(options))
    accelerator = SimpleNamespace(device=torch.device(device), process_index=0, num_processes=1)
    config: Any = SimpleNamespace(
        training=SimpleNamespace(batch_size=1, seed=0, batch_seconds=None),
        performance=SimpleNamespace(pin_memory=False),
        data=None,
    )
    trainer.run.training_batches(config, accelerator, None, [], {})  # type: ignore[arg-type]
    assert asked["in_processes"] is separate
