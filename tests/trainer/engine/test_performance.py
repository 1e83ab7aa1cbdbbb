"""Options of speed and memory: the same training with and without them, and no waiting for the device within a step."""

import functools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import trainer.loop
import trainer.step.agreement
import trainer.step.loss
from benchmarks.decoding.live_bytes import peak_live_bytes
from data.batches.loader import BatchGroup, TrainingBatches
from modeling.network.linear import onednn_is_faster
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.loop import Trainer
from trainer.run import train
from trainer.step.agreement import Agreement, Verdict
from trainer.step.gradients import NonFiniteLoss
from trainer.step.loss import TrainingLoss

STEPS = ("training.steps=4", "data.validation=null", "checkpoints.every_steps=99", "logging.every_steps=1")
WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "item")


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] != "attention"]


class Operations(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        self.counts[operation.overloadpacket.__name__] += 1
        return operation(*arguments, **(options or {}))


@pytest.mark.parametrize("option", ["model.gradient_checkpointing=all", "performance.offload_activations=true"])
def test_a_step_reads_nothing_back_but_what_is_agreed(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """On a GPU every such operation waits until the device has done all it was given."""
    onednn_is_faster()  # which measures it once
    seen: list[Counter[str]] = []
    step = Trainer.train_step

    def train_step(self: Trainer, *arguments: Any) -> Any:
        with Operations() as operations:
            result = step(self, *arguments)
        seen.append(operations.counts)
        return result

    def uncounted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            with _disable_current_modes():
                return function(*arguments, **options)

        return call

    on_cpu = functools.partial(trainer.step.loss.OffloadedActivations, on_cpu=True)
    monkeypatch.setattr("trainer.step.loss.OffloadedActivations", on_cpu)
    monkeypatch.setattr(Trainer, "train_step", train_step)
    # What is agreed, and what works on the CPU whatever the device.
    monkeypatch.setattr(trainer.loop, "Agreement", uncounted(trainer.loop.Agreement))
    monkeypatch.setattr(trainer.step.loss, "to_batch", uncounted(trainer.step.loss.to_batch))
    monkeypatch.setattr(TrainingBatches, "next_group", uncounted(TrainingBatches.next_group))
    monkeypatch.setattr(BatchGroup, "target_tokens", property(uncounted(BatchGroup.target_tokens.fget)))
    train(load_config(tiny_config, [*STEPS, option, "logging.every_steps=99"]))
    assert len(seen) == 4
    for counts in seen:
        assert counts["_fused_adamw_"] > 0
        waits = {name: counts[name] for name in WAITS if counts[name]}
        assert waits == {"_local_scalar_dense": 1}, "the batch's seconds, which the CPU has"


@pytest.mark.parametrize(
    "option",
    [
        "model.gradient_checkpointing=encoder",
        "model.gradient_checkpointing=decoder",
        "model.gradient_checkpointing=all",
        "performance.offload_activations=true",
        "performance.onednn=false",
    ],
)
def test_training_is_the_same(tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr("trainer.step.offload.SMALLEST", 16)
    on_cpu = functools.partial(trainer.step.loss.OffloadedActivations, on_cpu=True)
    monkeypatch.setattr("trainer.step.loss.OffloadedActivations", on_cpu)
    rows = []
    for name, more in (("without", ()), ("with", (option,))):
        train(load_config(tiny_config, [*STEPS, *more, f"output_dir={tmp_path / name}"]))
        rows.append([(row["loss"], row["gradient_norm"]) for row in metrics(tmp_path / name)])
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_checkpointing_by_part_keeps_less(tiny_values: dict[str, Any]) -> None:
    from trainer.model.building import build_model

    def peak(which: str) -> int:
        values = tiny_values | {"model": tiny_values["model"] | {"gradient_checkpointing": which}}
        model = build_model(RunConfig.model_validate(values))[0].train()
        tokens = torch.ones(4, 60, dtype=torch.int64)
        features = torch.randn(4, 80, 400)
        return peak_live_bytes(
            lambda: model(features, decoder_input_ids=tokens, labels=tokens, loss_only=True).loss.backward(),
            torch.device("cpu"),
        )

    peaks = {which: peak(which) for which in ("none", "encoder", "decoder", "all")}
    assert peaks["all"] < min(peaks["encoder"], peaks["decoder"]) < max(peaks["encoder"], peaks["decoder"])
    assert max(peaks["encoder"], peaks["decoder"]) < peaks["none"]


@pytest.mark.parametrize(("given", "meant"), [(True, "all"), (False, "none"), ("encoder", "encoder")])
def test_older_configs_say_true_or_false(tiny_values: dict[str, Any], given: Any, meant: str) -> None:
    values = tiny_values | {"model": tiny_values["model"] | {"gradient_checkpointing": given}}
    assert RunConfig.model_validate(values).model.gradient_checkpointing == meant


@pytest.mark.parametrize("override", ["model.gradient_checkpointing=some", "performance.onednn=perhaps"])
def test_bad_values(tiny_config: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=override.split("=")[0]):
        load_config(tiny_config, [override])


def test_an_infinite_gradient_is_told_a_step_later_and_was_not_stepped_on(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = TrainingLoss.__call__, []

    def loss(self: TrainingLoss, audio: Any, targets: Any, step: int) -> torch.Tensor:
        seen.append([parameter.detach().clone() for parameter in self.model.parameters()])
        value = original(self, audio, targets, step)
        if step == 2:
            value.register_hook(lambda gradient: gradient * float("inf"))
        return value

    monkeypatch.setattr(TrainingLoss, "__call__", loss)
    with pytest.raises(NonFiniteLoss, match="step 2: the gradient is not a finite number"):
        train(load_config(tiny_config, [*STEPS, "logging.every_steps=99"]))
    assert len(seen) == 3
    assert any(not torch.equal(one, other) for one, other in zip(*seen[:2], strict=True))
    assert all(torch.equal(one, other) for one, other in zip(*seen[1:], strict=True))
    row = json.loads((tmp_path / "run" / "non_finite_loss.jsonl").read_text())
    assert row["step"] == 2 and len(row["ids"]) > 0


@pytest.mark.parametrize("where", ["in the next step", "before a line is logged"])
def test_what_the_ranks_agree_on_a_gradient_ends_the_run_on_each(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Also where its own norm is finite, whose batch is then not to blame; else it would wait for the others."""
    in_step = where == "in the next step"

    class ToldOfAnother(Agreement):
        def __init__(self, accelerator: Any, report: Any, loss: Any = None, gradient_norm: Any = None) -> None:
            super().__init__(accelerator, report, loss, gradient_norm)
            self.is_told = gradient_norm is not None and (loss is not None) is in_step

        def verdict(self) -> Verdict:
            return replace(super().verdict(), finite_gradient=not self.is_told)

    monkeypatch.setattr(trainer.loop if in_step else trainer.step.agreement, "Agreement", ToldOfAnother)
    with pytest.raises(NonFiniteLoss, match=f"step {1 if not in_step else 2}: the gradient is not a finite number"):
        train(load_config(tiny_config, [*STEPS, "logging.every_steps=99"]))
    assert not (tmp_path / "run" / "non_finite_loss.jsonl").exists()
