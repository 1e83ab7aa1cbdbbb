"""The proof that a run trains: it names what is not trained or has changed, and is silent where all is well."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modeling.network.precision import CastTogether
from trainer.config.run import RunConfig
from trainer.run import train
from trainer.step.first_step import FirstStep, UntrainedParameters, checksum
from trainer.step.gradients import Gradients
from trainer.step.loss import TrainingLoss


class Accelerator:
    """What the check asks of accelerate's."""

    device = torch.device("cpu")
    num_processes = 1


class TwoBranches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.frozen = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.frozen.requires_grad_(False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.frozen(self.used(states)).sum()


def test_a_trained_parameter_without_gradient_is_named() -> None:
    model = TwoBranches()
    proof = FirstStep(model)
    model(torch.ones(1, 2)).backward()
    with pytest.raises(UntrainedParameters, match=r"no gradient: unused\.bias, unused\.weight\. Nothing"):
        proof.check(Accelerator())


def test_a_parameter_without_gradient_among_others_that_are_cast_together_is_named() -> None:
    """Torch tells of all of them when the gradients of some come."""
    model = TwoBranches()
    proof = FirstStep(model)
    copies = CastTogether.apply(torch.bfloat16, model.used.weight, model.used.bias, model.unused.weight)
    (copies[0].sum() + copies[1].sum()).backward()
    assert model.used.weight.grad is not None and model.unused.weight.grad is None
    with pytest.raises(UntrainedParameters, match=r"no gradient: unused\.bias, unused\.weight\. Nothing"):
        proof.check(Accelerator())


def test_a_frozen_parameter_that_changes_is_named() -> None:
    model = TwoBranches()
    model.unused.requires_grad_(False)
    proof = FirstStep(model)
    model(torch.ones(1, 2)).backward()
    with torch.no_grad():
        model.frozen.weight[0, 0] = torch.nextafter(model.frozen.weight[0, 0], torch.tensor(9.0))
    with pytest.raises(UntrainedParameters, match=r"are frozen, but changed: frozen\.weight\. Nothing"):
        proof.check(Accelerator())


def test_nothing_is_said_where_all_is_well() -> None:
    model = TwoBranches()
    model.unused.requires_grad_(False)
    proof = FirstStep(model)
    model(torch.ones(1, 2)).backward()
    proof.check(Accelerator())
    assert not model.used.weight._backward_hooks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.uint8])
def test_a_checksum_of_any_kind_of_number(dtype: torch.dtype) -> None:
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    other = tensor.clone()
    other[1, 2] = 100
    assert checksum(tensor) == checksum(tensor.clone())
    assert checksum(tensor.t()) == checksum(tensor)
    assert checksum(tensor) != checksum(other)
    assert checksum(tensor[0, 0]) == checksum(tensor[0, 0].clone())


def test_a_run_that_leaves_a_parameter_out_ends_and_saves_nothing(
    tiny_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second attention that reuses the first one's keys and values: its own projections get no gradient."""
    original = TrainingLoss.__call__

    def loss(self: TrainingLoss, *arguments: Any) -> torch.Tensor:
        for layer in self.model.model.decoder.layers:
            layer.secondary_attn.keys_values = layer.encoder_attn.keys_values
        return original(self, *arguments)

    monkeypatch.setattr(TrainingLoss, "__call__", loss)
    with pytest.raises(
        UntrainedParameters, match=r"no gradient: model\.decoder\.layers\.0\.secondary_attn\.k_proj\.weight"
    ):
        train(RunConfig.model_validate(tiny_values | {"checkpoints": {"every_steps": 1}}))
    assert not list((tmp_path / "run").glob("checkpoints/step_*"))


def test_a_run_whose_optimizer_holds_a_frozen_parameter_ends(
    tiny_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Gradients.clip

    def clip(self: Gradients, *arguments: Any) -> None:
        with torch.no_grad():
            self.model.model.encoder.embed_positions.weight += 1e-6
        original(self, *arguments)

    monkeypatch.setattr(Gradients, "clip", clip)
    with pytest.raises(UntrainedParameters, match=r"are frozen, but changed: model\.encoder\.embed_positions\.weight"):
        train(RunConfig.model_validate(tiny_values))
