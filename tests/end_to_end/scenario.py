"""Runs many short trainings on real engines from one start: `python -m tests.end_to_end.scenario JOBS RESULTS`.

The imports are paid once; every job then gets fresh processes, forked before anything was computed, with the
environment that a launcher would give them.
"""

import json
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate
import deepspeed
import torch

import trainer.engine.accelerator
import trainer.loop
import trainer.record.checkpoints
import trainer.run
import trainer.step.gradients
import trainer.step.loss
from data.errors import DataError
from trainer.config.reading import load_config
from trainer.errors import SaveError


def run_job(job: dict[str, Any]) -> list[int]:
    """Exit codes of a job's ranks, negative for a signal. When one rank dies the others are ended, as launchers do."""
    processes = job.get("processes", 1)
    if "flip" in job:
        flip_a_bit(Path(job["flip"]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = {}
    for rank in range(processes):
        pid = os.fork()
        if pid == 0:
            os._exit(child(job, rank, processes, port))
        children[pid] = rank
    codes = {}
    while children:
        pid, status = os.wait()
        codes[children.pop(pid)] = code = os.waitstatus_to_exitcode(status)
        if code:
            for other in children:
                os.kill(other, signal.SIGKILL)
    return [codes[rank] for rank in range(processes)]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def child(job: dict[str, Any], rank: int, processes: int, port: int) -> int:
    if processes > 1:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(processes),
            LOCAL_WORLD_SIZE=str(processes),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
    output = os.open(f"{job['log']}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    partition_everything()
    send_signals(job, rank)
    if job.get("unlike_speeds"):
        write_slowly() if rank == 0 else list_slowly()
    if job.get("poison") == rank:
        poison_loss()
    if job.get("starve") == rank:
        starve()
    if job.get("full_disk") and rank == 0:
        fill_disk(Path(job["full_disk"]["folder"]))
    if job.get("full_disk", {}).get("unseen"):
        trainer.record.checkpoints.check_space = lambda *_: None
    try:
        trainer.run.train(load_config(job["config"], job.get("overrides", [])), job.get("resume", False))
    except (DataError, SaveError, trainer.step.gradients.NonFiniteLoss) as error:
        print(type(error).__name__, error, flush=True)
        return 3
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
    return 0


def partition_everything() -> None:
    """Under ZeRO-3 spread even the smallest parameter, or a tiny model would not be spread at all."""
    original = trainer.engine.accelerator.deepspeed_config

    def without_threshold(*arguments: Any) -> dict[str, Any]:
        settings = original(*arguments)
        settings["zero_optimization"].pop("stage3_param_persistence_threshold", None)
        if settings["zero_optimization"]["stage"] == 3:
            settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return settings

    trainer.engine.accelerator.deepspeed_config = without_threshold


def send_signals(job: dict[str, Any], rank: int) -> None:
    """Send this process a signal right after a step, before that step's checkpoint."""
    wanted = job.get("signal")
    original = trainer.loop.Trainer.log_step

    def log_step(self: trainer.loop.Trainer) -> None:
        if job.get("describe"):
            Path(f"{job['describe']}.{rank}").write_text(json.dumps(describe(self)))
        if wanted and rank in wanted["ranks"] and self.state.step == wanted["step"]:
            os.kill(os.getpid(), wanted["number"])
        original(self)

    trainer.loop.Trainer.log_step = log_step  # type: ignore[method-assign]


def describe(run: trainer.loop.Trainer) -> dict[str, Any]:
    """What really runs."""
    is_deepspeed = isinstance(run.model, deepspeed.DeepSpeedEngine)
    bare = run.accelerator.unwrap_model(run.model)
    optimizer = run.optimizer
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return {
        "optimizer": type(optimizer).__name__,
        "engine": type(run.model).__name__,
        "stage": run.model.zero_optimization_stage() if is_deepspeed else 0,
        "processes": torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1,
        "held": sum(parameter.numel() for parameter in bare.parameters()),
        "accelerate": accelerate.__version__,
    }


def fill_disk(folder: Path) -> None:
    """Leave a megabyte of the folder's disk after step 6."""
    original = trainer.loop.Trainer.log_step

    def log_step(self: trainer.loop.Trainer) -> None:
        if self.state.step == 6:
            (folder / "filler").write_bytes(b"\0" * (shutil.disk_usage(folder).free - 10**6))
        original(self)

    trainer.loop.Trainer.log_step = log_step  # type: ignore[method-assign]


def starve() -> None:
    """No data can be read any more while step 6 is taken."""
    original = trainer.loop.TrainingBatches.next_group
    calls: list[int] = []

    def next_group(self: Any, microbatches: int) -> Any:
        calls.append(1)
        if len(calls) == 7:
            raise DataError("the store is gone")
        return original(self, microbatches)

    trainer.loop.TrainingBatches.next_group = next_group  # type: ignore[method-assign]


def write_slowly() -> None:
    """A checkpoint's weights take half a second, and have another name so long, as safetensors writes them."""
    original = accelerate.Accelerator.save_state

    def save_state(self: Any, folder: str, **options: Any) -> Any:
        unfinished = Path(folder) / ".tmp_weights"
        unfinished.touch()
        saved = original(self, folder, **options)
        time.sleep(0.5)
        unfinished.unlink()
        return saved

    accelerate.Accelerator.save_state = save_state


def list_slowly() -> None:
    """A second passes between the listing of a folder and the opening of what was listed."""
    original = os.walk

    def walk(folder: Any) -> Iterator[Any]:
        for found in original(folder):
            time.sleep(1.0)
            yield found

    os.walk = walk  # type: ignore[assignment]


def poison_loss() -> None:
    """Make the loss not a number at the third step."""
    original = trainer.step.loss.TrainingLoss.__call__

    def loss(self: trainer.step.loss.TrainingLoss, audio: Any, targets: Any, step: int) -> torch.Tensor:
        value = original(self, audio, targets, step)
        return value * float("nan") if step == 3 else value

    trainer.step.loss.TrainingLoss.__call__ = loss  # type: ignore[method-assign]


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps([run_job(job) for job in jobs]))
