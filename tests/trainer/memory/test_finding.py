"""``training.batch_size: auto``: what is found, what is halved, that nothing else changes, that a resume is equal."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import launch.train
from modeling.network.decoder import DualWhisperDecoder
from tests.end_to_end import Outcome, run
from trainer.config.microbatches import settled
from trainer.config.reading import load_config, read_yaml
from trainer.memory import finding, halving, savings
from trainer.memory.finding import find_microbatch, found_on, largest_microbatch
from trainer.memory.gpus import Gpu
from trainer.memory.needs import Needs
from trainer.memory.out_of_memory import OutOfMemory
from trainer.memory.trial import failure_of
from trainer.model.building import build_model
from trainer.record.folder import changed_settings, write_config
from trainer.record.resuming import found_before
from trainer.step.loss import TrainingLoss

MIB = 2**20
MORE_THAN_ANY = 10**15  # numbers
AUTO = (
    "training.batch_size=auto",
    "training.step_utterances=12",
    "data.validation=null",
    "data.max_seconds=5",
    "data.shuffle_window=36",
    "training.steps=4",
    "checkpoints.every_steps=2",
    "checkpoints.keep=3",
)


def needs(size: int, accumulates: bool) -> int:
    """A step of 10 MiB for each utterance, and as much again where gradients are kept between microbatches."""
    return 10 * MIB * (size + accumulates)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """200 MiB are free, and nothing is predicted by fake tensors: seconds."""
    monkeypatch.setattr(finding, "room_here", lambda *anything: 200 * MIB)
    monkeypatch.setattr(Needs, "predicted", lambda self, size, accumulates: needs(size, accumulates))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(savings, "SECONDS", 0.0)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Have torch refuse microbatches of more utterances than are given, from a step on."""
    usual, limits = TrainingLoss.__call__, dict[int, int]()

    def limited(self: Any, audio: Any, targets: Any, step: int) -> Any:
        most = [size for first, size in sorted(limits.items()) if step >= first]
        if audio is not None and most and len(audio.ids) > most[-1]:
            torch.empty(MORE_THAN_ANY)
        return usual(self, audio, targets, step)

    monkeypatch.setattr(TrainingLoss, "__call__", limited)
    yield lambda size, from_step=0: limits.update({from_step: size})


def train(config: Path, *overrides: str) -> Outcome:
    return run(launch.train.main, "--config", config, *overrides)


def rows(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["kind"] == kind]


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in rows(folder)]


def ids(folder: Path) -> list[list[str]]:
    """The utterances of each step, in their order."""
    lines = map(json.loads, (folder / "batches_rank0.jsonl").read_text(encoding="utf-8").splitlines())
    return [[one for microbatch in line["ids"] for one in microbatch] for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final" / "model.safetensors")


def test_the_most_that_fit() -> None:
    """A step of one microbatch keeps no gradients beside it: it may fit where one of several as large does not."""
    assert largest_microbatch(needs, 12, 120 * MIB) == 12
    assert largest_microbatch(needs, 12, 119 * MIB) == 10
    assert largest_microbatch(needs, 12, 20 * MIB) == 1
    assert largest_microbatch(needs, 12, 19 * MIB) == 0
    assert largest_microbatch(needs, 1, 10 * MIB) == 1
    assert largest_microbatch(needs, 1, 9 * MIB) == 0


def test_it_finds_halves_and_resumes_equal(tiny_config: Path, tmp_path: Path, limit: Callable[..., None]) -> None:
    """Microbatches decide nothing but rounding; a resume takes those that were found, without looking for them."""
    limit(5)
    found, folder = train(tiny_config, *AUTO), tmp_path / "run"
    assert found.code == 0, found.errors
    tried = "memory ran out in trying microbatches of {} utterances; trying {}"
    assert tried.format(12, 6) in found.output and tried.format(6, 3) in found.output
    assert "training.batch_size auto: microbatches of 3, 4 of them a step; predicted to take 120 MiB of 200" in (
        found.output
    )
    written = read_yaml(folder / "config.yaml")["training"]
    assert [written[key] for key in ("batch_size", "accumulation", "step_utterances")] == [3, 1, 12]
    assert all(len(one) <= 12 for one in ids(folder))

    limit(12)
    fixed = train(tiny_config, *AUTO, "training.batch_size=12", f"output_dir={tmp_path / 'fixed'}")
    assert fixed.code == 0, fixed.errors
    assert ids(tmp_path / "fixed") == ids(folder)
    assert losses(folder) == pytest.approx(losses(tmp_path / "fixed"), rel=1e-5)

    whole = weights(folder)
    shutil.rmtree(folder / "checkpoints" / "step_00000004")
    before = losses(folder)
    again = train(tiny_config, *AUTO, "--resume")
    assert again.code == 0 and "step_00000002" in again.output, again.errors
    assert "trying" not in again.output and "changed" not in again.output and not rows(folder, "resumed")
    assert losses(folder) == before
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(folder).items())


def test_memory_that_runs_out_later_halves_and_goes_on(
    tiny_config: Path, tmp_path: Path, limit: Callable[..., None]
) -> None:
    """In the same process, from the last step, which is saved; the last microbatch's turn has read the next data."""
    limit(12)
    assert train(tiny_config, *AUTO, f"output_dir={tmp_path / 'fixed'}").code == 0
    limit(4, from_step=3)
    found, folder = train(tiny_config, *AUTO, "checkpoints.every_steps=3"), tmp_path / "run"
    assert found.code == 0, found.errors
    lines = [line for line in found.output.splitlines() if "memory ran out" in line]
    assert lines == [
        "step 3: memory ran out with microbatches of 12 utterances; it goes on with 2 of 6",
        "step 3: memory ran out with microbatches of 6 utterances; it goes on with 4 of 3",
    ]
    assert f"step 2: saved {folder / 'checkpoints' / 'step_00000002'}" in found.output
    assert read_yaml(folder / "config.yaml")["training"]["batch_size"] == 3
    assert ids(folder) == ids(tmp_path / "fixed")
    assert losses(folder) == pytest.approx(losses(tmp_path / "fixed"), rel=1e-5)
    assert [row["gate_mean"] for row in rows(folder, "attention")] == [
        pytest.approx(row["gate_mean"], rel=1e-4) for row in rows(tmp_path / "fixed", "attention")
    ]
    ends = [
        json.loads((one / "checkpoints" / "step_00000004" / "run_state.json").read_text())
        for one in (folder, tmp_path / "fixed")
    ]
    assert ends[0]["utterances"] == ends[1]["utterances"] and ends[0]["data"] == ends[1]["data"]


def test_a_backward_pass_that_fails_in_the_last_microbatch_loses_no_data(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the next step's data have been read, and other microbatches have left gradients."""
    fixed = (*AUTO, "training.batch_size=6", "training.steps=4")
    assert train(tiny_config, *fixed, f"output_dir={tmp_path / 'fixed'}").code == 0
    usual, calls = accelerate.Accelerator.backward, list[int]()

    def failing(self: Any, loss: torch.Tensor, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 4:  # the second of step 2
            torch.empty(MORE_THAN_ANY)
        usual(self, loss, **options)

    monkeypatch.setattr(accelerate.Accelerator, "backward", failing)
    monkeypatch.setattr(finding, "room_here", lambda *anything: 90 * MIB)  # for 7, which makes two of 6
    found = train(tiny_config, *AUTO, "training.steps=4")
    assert found.code == 0 and "step 2: memory ran out with microbatches of 6" in found.output, found.errors
    assert ids(tmp_path / "run") == ids(tmp_path / "fixed")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "fixed"), rel=1e-5)


def test_an_update_that_fails_is_not_taken_anew(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of the weights may have changed."""
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *anything: torch.empty(MORE_THAN_ANY))
    found = train(tiny_config, *AUTO)
    assert found.code == 1 and "error: step 1, optimizer's step: this machine ran out of memory" in found.errors


def test_ranks_that_wait_for_another_end_and_a_resume_goes_on(
    tiny_config: Path, tmp_path: Path, limit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with DDP, whose wrapper holds the model: the halved microbatches are written down for the next start."""
    limit(4, from_step=3)
    monkeypatch.setattr(halving, "bare_model", lambda model: None)
    found, folder = train(tiny_config, *AUTO), tmp_path / "run"
    assert found.code == 1 and "error: step 3, forward pass: this machine ran out of memory on" in found.errors
    told = f"training.batch_size is auto: {folder / 'config.yaml'} now has microbatches of 6 utterances, with which"
    assert found.errors.splitlines()[-1].startswith(told)
    assert read_yaml(folder / "config.yaml")["training"]["batch_size"] == 6
    limit(6, from_step=3)
    again = train(tiny_config, *AUTO, "--resume")
    assert again.code == 0 and len(losses(folder)) == 4, again.errors
    assert "changed" not in again.output and "window being read" not in again.output


def test_another_number_of_processes_looks_again(tiny_config: Path, tmp_path: Path) -> None:
    """What one process had is no measure for two, whose share is half."""
    assert train(tiny_config, *AUTO, "training.steps=2", "optimizer.warmup_steps=0").code == 0
    config = load_config(tiny_config, AUTO)
    assert found_before(config, 1) == 12
    assert found_before(config, 2) is None
    assert found_before(load_config(tiny_config, [*AUTO, f"output_dir={tmp_path / 'none'}"]), 1) is None


def test_microbatches_alone_change_nothing_that_a_resume_must_tell(tiny_config: Path, tmp_path: Path) -> None:
    config = settled(load_config(tiny_config, AUTO), 1, 3)
    write_config(config)
    assert changed_settings(settled(load_config(tiny_config, AUTO), 1)) == []
    other = settled(load_config(tiny_config, [*AUTO, "training.step_utterances=24"]), 1, 3)
    told = changed_settings(other)
    assert (
        told[0] == "training.step_utterances: 12 -> 24"
        and len(told) == 2
        and told[-1].startswith("so the window being read is planned")
    )


@pytest.mark.slow
def test_deepspeed_gets_what_is_found(tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its engine exists, in which nothing can be tried."""
    for name in savings.LAUNCHERS:  # which a single DeepSpeed process sets
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    fixed = (*AUTO, "training.batch_size=12", f"output_dir={tmp_path / 'fixed'}")
    assert train(tiny_config, *fixed).code == 0
    AcceleratorState._reset_state(reset_partial_state=True)  # another engine in the same process
    monkeypatch.setattr(finding, "room_here", lambda *anything: 50 * MIB)
    found = train(tiny_config, *AUTO, "engine.zero_stage=2")
    assert found.code == 0 and "microbatches of 3, 4 of them a step; predicted" in found.output, found.errors
    assert "not tried" in found.output
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "fixed"), rel=1e-4)
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_run_that_named_its_microbatches_keeps_them(
    tiny_config: Path, tmp_path: Path, limit: Callable[..., None]
) -> None:
    limit(2, from_step=2)
    found = train(tiny_config, *AUTO, "training.batch_size=4")
    assert found.code == 1 and "step 2, forward pass of microbatch 1 of 3" in found.errors
    assert re.search(r"^  training: {batch_size: 2} +the step stays the same$", found.errors, re.MULTILINE)
    assert read_yaml(tmp_path / "run" / "config.yaml")["training"]["batch_size"] == 4


def test_not_even_one_utterance(tiny_config: Path, tmp_path: Path, limit: Callable[..., None]) -> None:
    limit(0)
    found = train(tiny_config, *AUTO)
    assert found.code == 1 and "Traceback" not in found.errors
    first = next(line for line in found.errors.splitlines() if line.startswith("error: "))
    assert first.startswith("error: trying a microbatch of one utterance before step 1: this machine ran out of memory")
    assert "  model: {gradient_checkpointing: all}" in found.errors and "batch_size" not in found.errors
    assert not (tmp_path / "run" / "config.yaml").exists()


class Rank:
    """An accelerator as far as the search needs it."""

    device = torch.device("cpu")
    mixed_precision = "no"
    is_main_process = True
    num_processes, process_index = 2, 0


@pytest.mark.parametrize(
    ("other_room", "other_size", "expected"), [(200 * MIB, 6, 6), (60 * MIB, 4, 3), (200 * MIB, 2, 2)]
)
def test_ranks_agree_on_the_smallest(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, other_room: int, other_size: int, expected: int
) -> None:
    """The least memory is predicted for; what the other rank held when it tried counts too."""
    said: list[Any] = []

    def gathered(accelerator: Any, value: Any) -> list[Any]:
        said.append(value)
        return [value, (other_room, None, other_size)[len(said) - 1]]

    monkeypatch.setattr(finding, "gather_objects", gathered)
    monkeypatch.setattr(finding, "failure_of", lambda *anything: None)
    config = settled(load_config(tiny_config, AUTO), 2)
    found = find_microbatch(config, Rank(), torch.nn.Linear(1, 1)).training
    assert (found.batch_size, found.accumulation) == (expected, -(-6 // expected))


def test_a_rank_without_memory_ends_the_others(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "failure_of", lambda *anything: None)
    monkeypatch.setattr(finding, "gather_objects", lambda accelerator, value: [value, 0 if value == 6 else value])
    with pytest.raises(OutOfMemory, match="rank 1 has no memory for a single utterance"):
        find_microbatch(settled(load_config(tiny_config, AUTO), 2), Rank(), torch.nn.Linear(1, 1))


def test_trying_leaves_no_trace(tiny_config: Path, limit: Callable[..., None]) -> None:
    """Weights, gradients, modes and random states are as before, whether it held or not."""
    overrides = (*AUTO, "model.dropout=0.1", "data.max_seconds=2")
    config = settled(load_config(tiny_config, overrides), 1, 3)
    accelerator = accelerate.Accelerator(cpu=True)
    model, _ = build_model(config, None)
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    assert failure_of(config, accelerator, model, 3) is None
    limit(2)
    assert "memory" in str(failure_of(config, accelerator, model, 3))
    assert torch.equal(torch.get_rng_state(), random) and not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_try_is_of_the_worst_shape(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest clips and labels that fill the decoder, beside gradients where a step has several microbatches."""
    seen: list[Any] = []

    def look(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        gradients = [parameter.grad is not None for parameter in module.parameters()]
        seen.append((named["input_ids"].shape if "input_ids" in named else arguments[0].shape, all(gradients)))

    config = settled(load_config(tiny_config, (*AUTO, "data.max_seconds=2")), 1, 3)
    accelerator = accelerate.Accelerator(cpu=True)
    model, _ = build_model(config, None)
    decoder = next(module for module in model.modules() if isinstance(module, DualWhisperDecoder))
    decoder.register_forward_pre_hook(look, with_kwargs=True)
    assert failure_of(config, accelerator, model, 3) is None
    assert seen == [((3, 448), True)]


def test_predictions_are_kept_until_something_changes(tiny_config: Path, tmp_path: Path) -> None:
    from trainer.memory.cells import cell_of

    cell = cell_of(settled(load_config(tiny_config, AUTO), 1), precision="fp32")
    first = Needs(cell, on_gpu=False, kept=tmp_path)
    first(3, True)
    again = Needs(cell, on_gpu=False, kept=tmp_path)
    assert again.known == {"3 of several": 40 * MIB}
    longer = settled(load_config(tiny_config, (*AUTO, "data.max_seconds=9")), 1)
    assert not Needs(cell_of(longer, precision="fp32"), on_gpu=False, kept=tmp_path).known
    smoothed = settled(load_config(tiny_config, (*AUTO, "training.label_smoothing=0.1")), 1)
    assert not Needs(cell_of(smoothed, precision="fp32"), on_gpu=False, kept=tmp_path).known
    assert not Needs(cell, on_gpu=True, kept=tmp_path).known
    next(tmp_path.glob("*.json")).write_text("half a fi", encoding="utf-8")
    assert not Needs(cell, on_gpu=False, kept=tmp_path).known


def test_what_is_found_on_a_gpu(tiny_config: Path) -> None:
    from trainer.memory.cells import cell_of

    cell = cell_of(settled(load_config(tiny_config, AUTO), 2), precision="fp32", processes=2)
    found = found_on(Needs(cell), Gpu("small", 60 * MIB), 0.0)
    assert found is not None and (found.size, found.accumulation, found.used) == (6, 1, 60 * MIB)
    found = found_on(Needs(cell), Gpu("small", 59 * MIB), 0.0)
    assert found is not None and (found.size, found.accumulation, found.used) == (3, 2, 40 * MIB)
    assert found_on(Needs(cell), Gpu("small", 19 * MIB), 0.0) is None
