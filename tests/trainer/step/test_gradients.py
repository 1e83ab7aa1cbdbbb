"""Clipping within the fused optimizer: torch's own clipping to the digit, and nothing changed by what is not finite."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer.step.gradients import clip_in_step, fused_optimizer, gradient_norm


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


def test_no_gradients_have_no_norm() -> None:
    assert gradient_norm([torch.zeros(2)]) == 0
