"""The moving average of the weights: what it is, how it is exchanged, kept and gone on with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import launch.train
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.config.reading import ConfigError, load_config
from trainer.engine.accelerator import build_accelerator
from trainer.engine.moving_average import (
    FILE,
    MovingAverage,
    UpdatedWeights,
    decay_of,
    moving_average,
    updated_weights,
)
from trainer.record.best import read_record
from trainer.record.checkpoints import latest_checkpoint, read_state

Train = Callable[..., Outcome]
EMA = "training.ema=0.9"
EACH = ("evaluation.every_steps=1", "checkpoints.every_steps=1", "checkpoints.keep=99", "optimizer.warmup_steps=0")
CHARACTERS = "evaluation.best_metric=character_error_rate"


@pytest.fixture
def train(tiny_config: Path) -> Train:
    """Trains the tiny model into ``run``, with overrides and flags."""
    return lambda *arguments: run(launch.train.main, "--config", tiny_config, *EACH, *arguments)


def rows(folder: Path, kind: str = "validation") -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def step(folder: Path, number: int) -> Path:
    return folder / "checkpoints" / f"step_{number:08d}"


# The mean


def of(*values: float) -> MovingAverage:
    tensors = {"w": torch.tensor([float(one) for one in values], requires_grad=True)}
    return MovingAverage(UpdatedWeights(tensors, lambda: None), 0.5, 0.5)


def test_a_share_of_a_half_is_the_plain_mean_until_the_decay_is_less() -> None:
    assert [decay_of(update, 0.9, 0.5) for update in (1, 2, 3, 4)] == pytest.approx([0, 1 / 2, 2 / 3, 3 / 4])
    assert decay_of(1000, 0.9, 0.5) == 0.9


def test_the_mean_age_is_the_share_of_the_updates_and_at_most_what_the_decay_gives() -> None:
    def mean_age(updates: int, decay: float, share: float) -> float:
        age = 0.0
        for update in range(1, updates + 1):
            age = decay_of(update, decay, share) * (age + 1)
        return age

    for share in (0.05, 0.1, 0.3):
        assert mean_age(2000, 0.99999, share) == pytest.approx(share * 2000, rel=0.02)
    assert mean_age(5000, 0.99, 0.1) == pytest.approx(0.99 / 0.01, rel=0.01)


def test_the_first_update_leaves_nothing_of_the_weights_before_training() -> None:
    average = of(1.0, 2.0)
    (weights,) = average.weights.tensors.values()
    for values in ((3.0, 5.0), (5.0, 5.0), (5.0, 8.0)):
        weights.data.copy_(torch.tensor(values))
        average.update()
    assert torch.equal(average.tensors["w"], torch.tensor([4.5, 6.5]))  # decays 0, 1/2, 1/2


def test_exchanging_changes_no_bit_and_is_undone() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {"a": torch.randn(7, 3, generator=generator), "b": torch.randn(3, 7, generator=generator).t()}
    told: list[int] = []
    average = MovingAverage(UpdatedWeights(tensors, lambda: told.append(1)), 0.9, 0.1)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    for tensor in tensors.values():
        tensor.add_(1)
    after = {name: tensor.clone() for name, tensor in tensors.items()}
    with average.in_place():
        assert all(torch.equal(tensors[name], before[name]) for name in tensors)
        assert all(torch.equal(average.tensors[name], after[name]) for name in tensors)
        assert len(told) == 1
    assert all(torch.equal(tensors[name], after[name]) for name in tensors)
    assert all(torch.equal(average.tensors[name], before[name]) for name in tensors)
    assert len(told) == 2


def test_a_large_tensor_is_exchanged_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.engine.moving_average.CHUNK", 4)
    average = of(*range(11))
    (weights,) = average.weights.tensors.values()
    weights.data += 1
    average.exchange()
    assert weights.tolist() == list(range(11))


def test_quantised_weights_that_are_trained_have_no_mean(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quantised(torch.nn.Module):
        def named_parameters(self, *_: Any, **__: Any) -> Any:
            yield "layer.weight", torch.zeros(3, dtype=torch.uint8).requires_grad_(False)

    accelerator = build_accelerator(load_config(tiny_config))
    monkeypatch.setattr(torch.Tensor, "requires_grad", True)
    with pytest.raises(ConfigError, match=r"training\.ema is given, but layer\.weight is trained in quantised form"):
        updated_weights(accelerator, Quantised())


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("training.ema=1",), "training.ema"),
        (("training.ema=0",), "training.ema"),
        (("training.ema_share=0.2",), "does nothing without ema"),
        (("training.ema=0.9", "training.ema_share=0.6"), "training.ema_share"),
        (("evaluation.average=alone",), "without training.ema there is no average"),
    ],
)
def test_settings_that_make_no_sense(train: Train, tmp_path: Path, overrides: tuple[str, ...], told: str) -> None:
    outcome = train(*overrides)
    assert outcome.code == 2 and told in outcome.complaint
    assert not (tmp_path / "run").exists()


# A run


def test_the_average_of_a_run_is_the_mean_of_its_steps(train: Train, tmp_path: Path) -> None:
    """Of share 0.5 the plain mean, which the run's own checkpoints give too; and final/ holds it."""
    folder = tmp_path / "run"
    outcome = train("training.ema=0.99", "training.ema_share=0.5", "training.steps=5")
    assert outcome.code == 0, outcome.errors
    steps = [load_file(step(folder, number) / "model.safetensors") for number in range(1, 6)]
    final = load_file(folder / "final" / "model.safetensors")
    kept = load_file(step(folder, 5) / FILE)
    trained = [name for name in kept if "embed_positions" not in name]
    assert trained and kept.keys() <= steps[0].keys()
    for name in kept:
        mean = torch.stack([one[name].double() for one in steps]).mean(0)
        assert (kept[name] - mean).abs().max() < 1e-6, name
        assert torch.equal(final[name], kept[name])
    assert any(not torch.equal(final[name], steps[-1][name]) for name in kept)
    with safe_open(step(folder, 5) / FILE, framework="pt") as stored:
        assert stored.metadata()["updates"] == "5"


def test_training_itself_is_not_changed(train: Train, tmp_path: Path) -> None:
    train("training.steps=3", f"output_dir={tmp_path / 'without'}")
    train("training.steps=3", EMA)
    one, other = (load_file(step(tmp_path / name, 3) / "model.safetensors") for name in ("without", "run"))
    assert all(torch.equal(other[name], value) for name, value in one.items())


def test_an_evaluation_measures_both_and_best_is_the_better(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert (
        train(EMA, "training.ema_share=0.5", CHARACTERS, "training.steps=8", "optimizer.learning_rate=0.01").code == 0
    )
    measured = rows(folder)
    assert [row["step"] for row in measured] == list(range(1, 9))
    key = "character_error_rate"
    both = [(min(row[key], row[f"average_{key}"]), row["step"], row[f"average_{key}"] < row[key]) for row in measured]
    value, at, averaged = min(both, key=lambda found: found[:2])
    record, state = read_record(folder / "best"), read_state(step(folder, 8))
    assert record is not None and (record.value, record.step, record.averaged) == (value, at, averaged)
    assert (state.best, state.best_step, state.best_averaged) == (value, at, averaged)
    assert any(row[key] != row[f"average_{key}"] for row in measured[1:]), "else the test shows nothing"
    source = FILE if averaged else "model.safetensors"
    best, expected = load_file(folder / "best" / "model.safetensors"), load_file(step(folder, at) / source)
    assert all(torch.equal(best[name], expected[name]) for name in best.keys() & expected.keys())
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["best_is_average"], summary["best_step"]) == (averaged, at)


def test_the_average_may_be_evaluated_alone(train: Train, tmp_path: Path) -> None:
    outcome = train(EMA, "training.ema_share=0.5", "training.steps=3", "evaluation.average=alone")
    assert outcome.code == 0
    record = read_record(tmp_path / "run" / "best")
    assert record is not None and record.averaged
    assert all(row["average_word_error_rate"] == row["word_error_rate"] for row in rows(tmp_path / "run"))
    assert "step 3, the average: word error rate" in outcome.output
    assert "(the average)" in outcome.output


def test_where_the_average_is_better_best_holds_it(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.evaluation.evaluator import Evaluator
    from trainer.evaluation.result import Evaluation

    original, calls = Evaluator.run, []

    def ran(self: Any, *arguments: Any, **options: Any) -> Evaluation:
        found = original(self, *arguments, **options)
        if not options.get("first_batch_alone"):
            calls.append(found)
            object.__setattr__(found.rates, "word_error_rate", (0.9, 0.8, 0.9, 0.7)[len(calls) - 1])
        return found

    monkeypatch.setattr(Evaluator, "run", ran)
    outcome = train(EMA, "training.ema_share=0.5", "training.steps=2")
    assert outcome.code == 0, outcome.errors
    assert "step 2, the average: word error rate 70.00%" in outcome.output
    folder = tmp_path / "run"
    best, average = load_file(folder / "best" / "model.safetensors"), load_file(step(folder, 2) / FILE)
    weights = load_file(step(folder, 2) / "model.safetensors")
    assert all(torch.equal(best[name], value) for name, value in average.items())
    assert any(not torch.equal(weights[name], value) for name, value in average.items())


# Going on


def test_resumed_twice_it_equals_the_run_left_alone(train: Train, tmp_path: Path) -> None:
    options = (EMA, "training.ema_share=0.5", "optimizer.schedule=constant")
    assert train(*options, "training.steps=7", f"output_dir={tmp_path / 'whole'}").code == 0
    for steps in (2, 5, 7):
        outcome = train(*options, f"training.steps={steps}", "--resume")
        assert outcome.code == 0, outcome.errors
    for name in (f"checkpoints/step_00000007/{FILE}", "final/model.safetensors"):
        whole, resumed = load_file(tmp_path / "whole" / name), load_file(tmp_path / "run" / name)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(resumed[key], value) for key, value in whole.items())
    keys = ("step", "word_error_rate", "average_word_error_rate", "average_character_error_rate")
    measured = [[[row[key] for key in keys] for row in rows(tmp_path / name)] for name in ("whole", "run")]
    assert measured[0] == measured[1]


def test_switched_on_later_it_begins_there_and_says_so(train: Train, tmp_path: Path) -> None:
    train("training.steps=2")
    outcome = train("training.steps=4", "training.ema=0.99", "training.ema_share=0.5", "--resume")
    assert outcome.code == 0, outcome.errors
    assert "training.ema: None -> 0.99" in outcome.output
    assert "has no average: it begins with the next step" in outcome.output
    folder = tmp_path / "run"
    average = load_file(step(folder, 4) / FILE)
    third, fourth = (load_file(step(folder, number) / "model.safetensors") for number in (3, 4))
    for name, value in average.items():
        assert (value - (third[name].double() + fourth[name].double()) / 2).abs().max() < 1e-6


def test_switched_off_later_it_is_gone(train: Train, tmp_path: Path) -> None:
    train("training.steps=2", EMA)
    outcome = train("training.steps=3", "--resume")
    assert outcome.code == 0, outcome.errors
    assert "training.ema: 0.9 -> None" in outcome.output
    folder = tmp_path / "run"
    assert (step(folder, 2) / FILE).exists() and not (step(folder, 3) / FILE).exists()
    weights, final = load_file(step(folder, 3) / "model.safetensors"), load_file(folder / "final" / "model.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in final.items())


def test_an_average_of_other_weights_is_refused(train: Train, tmp_path: Path) -> None:
    train("training.steps=2", EMA)
    last = latest_checkpoint(tmp_path / "run")
    assert last is not None
    (last / "manifest.json").unlink()
    save_file({"other": torch.zeros(3)}, last / FILE, metadata={"updates": "2"})
    outcome = train("training.steps=3", EMA, "--resume")
    assert outcome.code == 2 and "lacks averages of" in outcome.complaint


def test_of_a_model_with_adapters_the_adapters_and_new_modules_are_averaged(train: Train, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "base", positions=64)
    options = (f"model.checkpoint={checkpoint}", "model.architecture=null", "model.strategy=lora", EMA)
    assert train(*options, "training.steps=2").code == 0
    outcome = train(*options, "training.steps=3", "--resume")
    assert outcome.code == 0, outcome.errors
    average = load_file(step(tmp_path / "run", 3) / FILE)
    assert any(".lora_A." in name for name in average) and any("secondary_attn" in name for name in average)
    assert not any("base_layer" in name for name in average)
    final = load_file(tmp_path / "run" / "final" / "adapter_model.safetensors")
    assert len(final) == len(average)
    shutil.rmtree(tmp_path / "run")


def test_without_it_there_is_none(tiny_config: Path) -> None:
    assert moving_average(load_config(tiny_config), None, None) is None
