"""Running out of memory: told in a message with the keys that help, wherever in a run it happens, on every rank."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

import launch.eval
import launch.train
from modeling.network.decoder import DualWhisperDecoder
from tests import ROOT
from tests.end_to_end import Outcome, run
from trainer.config.reading import load_config
from trainer.engine.running_out import is_out_of_memory
from trainer.memory import savings
from trainer.memory.out_of_memory import as_written

MORE_THAN_ANY = 10**15  # numbers: no machine has so much memory, so that the allocator refuses


def ask_for_too_much() -> None:
    torch.empty(MORE_THAN_ANY)


@contextmanager
def lacking(where: str) -> Iterator[None]:
    """Ask torch for more memory than there is, in the forward pass, the backward pass, the update or in decoding."""

    def at_decoder(module: Any, arguments: Any) -> None:
        if isinstance(module, DualWhisperDecoder) and module.training == (where == "forward"):
            ask_for_too_much()

    def after_decoder(module: Any, arguments: Any, output: Any) -> None:
        if isinstance(module, DualWhisperDecoder) and module.training:
            output.last_hidden_state.register_hook(lambda gradient: ask_for_too_much())

    hooks: dict[str, Callable[[], Any]] = {
        "forward": lambda: register_module_forward_pre_hook(at_decoder),
        "decoding": lambda: register_module_forward_pre_hook(at_decoder),
        "backward": lambda: register_module_forward_hook(after_decoder),
        "update": lambda: register_optimizer_step_pre_hook(lambda *anything: ask_for_too_much()),
    }
    hook = hooks[where]()
    try:
        yield
    finally:
        hook.remove()


def train(config: Path, *overrides: str, where: str) -> Outcome:
    with lacking(where):
        return run(launch.train.main, "--config", config, *overrides)


def message(outcome: Outcome) -> list[str]:
    """The lines from ``error:`` on."""
    assert outcome.code == 1 and "Traceback" not in outcome.errors, outcome.errors
    lines = outcome.errors.splitlines()
    return lines[next(number for number, line in enumerate(lines) if line.startswith("error: ")) :]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("forward", "step 1, forward pass of microbatch 1 of 2"),
        ("backward", "step 1, backward pass of microbatch 1 of 2"),
    ],
)
def test_a_step_says_where_it_ran_out_and_names_three_keys(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    """Without figures where there is no time to predict them."""
    monkeypatch.setattr(savings, "SECONDS", 0.0)
    first, *rest = message(train(tiny_config, "training.accumulation=2", where=where))
    assert first.startswith(f"error: {said}: this machine ran out of memory on 4 clips with ")
    assert "more were asked for" in first and "s of audio, the longest" in first and "were free" in first
    assert rest[0] == "These take less. In the config:"
    assert rest[1].startswith("  training: {batch_size: 2, accumulation: 4}") and "stays the same" in rest[1]
    assert rest[2].startswith("  model: {gradient_checkpointing: all}")
    assert rest[-1].startswith("There is no checkpoint yet")


def test_what_an_update_takes_is_not_put_down_to_the_batch(tiny_config: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(savings, "SECONDS", 0.0)
    first, *rest = message(train(tiny_config, "training.batch_size=8", where="update"))
    assert first.startswith("error: step 1, optimizer's step: this machine ran out of memory; ")
    assert rest[1].startswith("  optimizer: {name: adamw_8bit}") and "training:" not in "".join(rest)


def test_a_model_that_cannot_be_prepared(tiny_config: Path, monkeypatch: Any) -> None:
    """On a GPU it is where a model that is too large fails."""
    monkeypatch.setattr(savings, "SECONDS", 0.0)
    monkeypatch.setattr(accelerate.Accelerator, "prepare", lambda *anything: ask_for_too_much())
    first, *rest = message(run(launch.train.main, "--config", tiny_config))
    assert first.startswith("error: preparing the model and the engine: this machine ran out of memory; ")
    assert rest[1].startswith("  optimizer: {name: adamw_8bit}")


@pytest.mark.slow
def test_an_evaluation_says_what_makes_it_smaller_by_how_much(tiny_config: Path) -> None:
    """The checkpoint before it is whole, and a resume with the smaller batch goes on from it."""
    settings = (
        "evaluation.beams=2",
        "checkpoints.every_steps=2",
        "evaluation.every_steps=3",
        "training.steps=4",
        "optimizer.warmup_steps=0",
    )
    first, *rest = message(train(tiny_config, *settings, where="decoding"))
    assert first.startswith("error: evaluation before step 1: this")
    assert rest[-1].startswith("There is no checkpoint yet")
    shutil.rmtree(tiny_config.parent / "run")
    assert run(launch.train.main, "--config", tiny_config, *settings, "training.steps=2").code == 0
    first, *rest = message(train(tiny_config, *settings, "--resume", where="decoding"))
    assert first.startswith("error: evaluation after step 2: this machine ran out of memory on 4 clips")
    assert rest[0] == "These take less, as predicted for this config and such a batch. In the config:"
    keys = [line.split("  ")[1] for line in rest[1:-1]]
    assert keys[0] == "evaluation: {batch_size: 2}"
    assert len(keys) == 3 and "evaluation: {beams: 1}" in keys
    assert all(" less (" in line for line in rest[1:-1])
    assert "step_00000002 is whole. --resume goes on from it" in rest[-1]
    outcome = run(launch.train.main, "--config", tiny_config, *settings, "--resume", "evaluation.batch_size=2")
    assert outcome.code == 0, outcome.errors
    rows = [json.loads(line) for line in (tiny_config.parent / "run/metrics.jsonl").read_text().splitlines()]
    resumed = [row for row in rows if row["kind"] == "resumed"][-1]  # which launch/compare.py shows
    assert (resumed["step"], resumed["changed"]) == (2, ["evaluation.batch_size: 4 -> 2"])


def test_a_checkpoints_evaluation_says_it_too(tiny_config: Path, tmp_path: Path, monkeypatch: Any) -> None:
    assert run(launch.train.main, "--config", tiny_config, "training.steps=4", "optimizer.warmup_steps=1").code == 0
    monkeypatch.setattr(savings, "SECONDS", 0.0)
    with lacking("decoding"):
        outcome = run(launch.eval.main, "--checkpoint", tmp_path / "run/final", "evaluation.batch_size=8")
    first, *rest = message(outcome)
    assert first.startswith("error: evaluation: this machine ran out of memory on 8 clips")
    assert rest[1].startswith("  evaluation: {batch_size: 4}") and "resume" not in outcome.errors


def test_figures_are_those_of_the_prediction(tiny_config: Path) -> None:
    config = load_config(tiny_config, ["training.batch_size=8"])
    question = savings.Question(config.model_dump(mode="json"), "passes", 8, 10.0, 60, 1, "fp32", on_gpu=True)
    found = {as_written(saving.settings): saving for saving in savings.savings(question)}
    assert list(found) == [
        "training: {batch_size: 4, accumulation: 2}",
        "model: {gradient_checkpointing: all}",
        "optimizer: {name: adamw_8bit}",
        "optimizer: {name: auto}, engine: {zero_stage: 2, cpu_offload: optimizer}",
    ]
    assert found["training: {batch_size: 4, accumulation: 2}"].saved > 2**20
    assert len({saving.before for saving in found.values()}) == 1


def test_an_evaluation_in_training_lies_beside_the_optimizers_states(tiny_config: Path) -> None:
    """They are 8 bytes a parameter; a checkpoint's evaluation has none."""
    values = load_config(tiny_config, []).model_dump(mode="json")
    for in_training, keys in ((True, 3), (False, 2)):
        question = savings.Question(values, "decoding", 4, 10.0, 0, 1, "fp32", on_gpu=True, in_training=in_training)
        tried = savings.settings_to_try(question)
        sections = [next(iter(one)).split(".")[0] for one in tried[:keys]]
        assert sections == ["evaluation", "evaluation", "optimizer"][:keys]
        assert in_training or len(tried) == keys


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_say_that_memory_ran_out(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) == is_one


def test_a_rank_left_alone_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where there are other ranks."""

    def left(arguments: list[str]) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:46798.")

    with pytest.raises(RuntimeError):
        run(left)
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = run(left)
    assert outcome.code == 1 and outcome.complaint == "error: another rank has ended; its message says why"


def test_other_commands_say_it_in_a_line() -> None:
    outcome = run(lambda arguments: ask_for_too_much())
    assert outcome.code == 1 and "memory ran out: " in outcome.complaint and "smaller batch" in outcome.complaint


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_two_ranks_end_when_one_of_them_has_no_memory_left(tiny_config: Path, tmp_path: Path) -> None:
    """Rank 1 really cannot allocate; rank 0, which waits for it, ends in a line and does not wait for a timeout."""
    command = [Path(sys.executable).parent / "torchrun", "--standalone", "--nproc_per_node", "2", "-m"]
    shape = "model.architecture={d_model: 256, encoder_layers: 2, decoder_layers: 1, attention_heads: 2}"
    large = ["training.batch_size=48", "model.encoder_padding=window", "data.validation=null"]
    finished = subprocess.run(
        [*command, "tests.support.limited_rank", "--config", tiny_config, shape, *large],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    told = [line for line in finished.stderr.splitlines() if "error: " in line]
    assert finished.returncode == 1, finished.stderr
    assert any(line.startswith("[rank 1] error: step 1, forward pass: this machine ran out of") for line in told), told
    # Rank 0 says whom it lost, unless torchrun's SIGTERM comes before its connection breaks.
    lost = "rank 1 has ended; its message says why"
    ends = {f"error: {lost}", "ended by SIGTERM", f"ended by SIGTERM: {lost}"}
    assert ends & set(finished.stderr.splitlines()), finished.stderr
    assert "  training: {batch_size: 24, accumulation: 2}" in finished.stderr
    assert not list((tmp_path / "run").glob("checkpoints/*"))
