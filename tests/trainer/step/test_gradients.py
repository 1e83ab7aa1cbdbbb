"""Clipping within the fused optimizer: torch's own clipping to the digit, and nothing changed by what is not finite."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support.stand_in_gpu import OnGpu, StandInGpu
from trainer.step.gradients import Gradients, NonFiniteLoss, clip_in_step, fused_optimizer, gradient_norm


def optimizer_of(fused: bool = True) -> torch.optim.AdamW:
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(5, 7)), torch.nn.Parameter(torch.randn(3))]
    groups = [{"params": parameters[:1], "weight_decay": 0.1}, {"params": parameters[1:]}]
    optimizer = torch.optim.AdamW(groups, 1e-2, weight_decay=0.0, fused=fused)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return optimizer


def parameters_of(optimizer: torch.optim.AdamW) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@pytest.mark.parametrize("limit", [0.0, 0.5, 100.0])
def test_equal_to_clipping_first(limit: float) -> None:
    ours, theirs = optimizer_of(), optimizer_of()
    for _ in range(3):
        norm = gradient_norm(parameters_of(ours))
        expected = torch.nn.utils.clip_grad_norm_(parameters_of(theirs), limit or float("inf"))
        torch.testing.assert_close(norm, expected)
        clip_in_step(ours, norm, limit)
        for optimizer in (ours, theirs):
            optimizer.step()
            for parameter in parameters_of(optimizer):
                parameter.grad = parameter.detach() * 3
    for one, other in zip(parameters_of(ours), parameters_of(theirs), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(value: float) -> None:
    optimizer = optimizer_of()
    optimizer.step()
    before = [parameter.detach().clone() for parameter in parameters_of(optimizer)]
    states = [{key: tensor.clone() for key, tensor in state.items()} for state in optimizer.state.values()]
    parameters_of(optimizer)[0].grad[0, 0] = value
    clip_in_step(optimizer, gradient_norm(parameters_of(optimizer)), 1.0)
    optimizer.step()
    torch.testing.assert_close(parameters_of(optimizer), before, rtol=0, atol=0)
    torch.testing.assert_close(list(optimizer.state.values()), states, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("engine", "precision", "optimizer", "clips"),
    [
        ("NO", "no", optimizer_of(), True),
        ("MULTI_CPU", "bf16", optimizer_of(), True),
        ("NO", "fp16", optimizer_of(), False),
        ("DEEPSPEED", "bf16", optimizer_of(), False),
        ("NO", "no", optimizer_of(fused=False), False),
        ("NO", "no", torch.optim.SGD([torch.zeros(1)]), False),
    ],
)
def test_who_clips_in_the_step(engine: str, precision: str, optimizer: Any, clips: bool) -> None:
    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(name=engine), mixed_precision=precision)
    wrapped = SimpleNamespace(optimizer=optimizer)
    assert fused_optimizer(accelerator, wrapped) is (optimizer if clips else None)


def deepspeed(norm: Any, folder: Path) -> Gradients:
    """Clipping by DeepSpeed, whose step gave this norm. Nobody can be asked to agree: there is no process group."""
    accelerator = SimpleNamespace(
        distributed_type=SimpleNamespace(name="DEEPSPEED"),
        mixed_precision="bf16",
        sync_gradients=True,
        process_index=1,
        num_processes=2,
        device=torch.device("cpu"),
        wait_for_everyone=lambda: None,
    )
    return Gradients(accelerator, SimpleNamespace(get_global_grad_norm=lambda: norm), None, 1.0, folder)


@pytest.mark.parametrize("norm", [1.5, torch.tensor(1.5)])
def test_deepspeeds_norm_is_not_agreed_on(tmp_path: Path, norm: Any) -> None:
    """It is the same on all ranks, and DeepSpeed has looked at it."""
    gradients = deepspeed(norm, tmp_path)
    gradients.clip(3, None)
    assert gradients.norm == 1.5 and gradients.unchecked is None
    gradients.check()


def test_deepspeeds_norm_on_a_gpu_is_not_waited_for(tmp_path: Path) -> None:
    with StandInGpu() as gpu, gpu.strictly():
        gradients = deepspeed(norm := OnGpu(torch.tensor(1.5)), tmp_path)
        gradients.clip(3, None)
    assert gradients.unchecked_norm is norm, "the next step's agreement looks at it without a wait of its own"


@pytest.mark.parametrize("norm", [float("inf"), torch.tensor(float("nan"))])
def test_deepspeeds_norm_that_is_not_finite_ends_the_run(tmp_path: Path, norm: Any) -> None:
    audio: Any = SimpleNamespace(ids=["one"])
    with pytest.raises(NonFiniteLoss, match="step 3: the gradient"):
        deepspeed(norm, tmp_path).clip(3, audio)
    row = json.loads((tmp_path / "non_finite_loss.jsonl").read_text())
    assert (row["step"], row["rank"], row["ids"]) == (3, 1, ["one"])


def test_no_gradients_have_no_norm() -> None:
    assert gradient_norm([torch.zeros(2)]) == 0
