"""The collectives of real training steps on two CPU processes over gloo, counted beside the formula for them.

Counted is whatever ``trainer.loop.Trainer`` comes to call at a step, be it torch's DDP, DeepSpeed or the loop itself. A
collective on a tensor of S bytes over N ranks is taken at what each rank sends of it in a ring: all-reduce 2 (N-1)/N S,
all-gather and reduce-scatter (N-1)/N S.
"""

import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.communication.formula import ENGINES, REUSE_DISTANCE, bytes_sent, tiny_config
from benchmarks.machine import as_launched, free_port
from benchmarks.memory.jobs import Job

WARM_STEPS = 2  # ZeRO-3 records the order of modules at first
COUNTED = {"allreduce_": "all_reduce", "_allgather_base_": "all_gather", "_reduce_scatter_base_": "reduce_scatter"}


class CountedCollectives(TorchDispatchMode):
    """Adds up what this thread's collectives send, C++'s among them; on CPUs the backward pass is on this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.namespace == "c10d":
            self.add(func._opname, args)
        return func(*args, **(kwargs or {}))

    def add(self, name: str, args: tuple) -> None:
        share = 1 - 1 / torch.distributed.get_world_size()
        kind = COUNTED.get(name, name)
        payload = {
            "all_reduce": lambda: 2 * share * sum(tensor.nbytes for tensor in args[0]),
            "all_gather": lambda: share * args[0].nbytes,
            "reduce_scatter": lambda: share * args[1].nbytes,
            "barrier": lambda: 0,
        }
        if kind not in payload:
            raise NotImplementedError(f"c10d::{name} is called at a step, which the formula does not know")
        self.sent[kind] += payload[kind]()
        self.calls[kind] += 1


@dataclass(frozen=True)
class Case:
    """A step to be counted, on two processes."""

    stage: int
    precision: str = "bf16"
    accumulation: int = 1
    strategy: str = "full"
    reuse_distance: int = REUSE_DISTANCE

    @property
    def name(self) -> str:
        again = f", reuse distance {self.reuse_distance:,}" if self.reuse_distance < REUSE_DISTANCE else ""
        return f"{ENGINES[self.stage]}, {self.precision}, accumulation {self.accumulation}, {self.strategy}{again}"


EVERY_CASE = (
    *(Case(stage, precision) for stage in range(4) for precision in ("fp32", "bf16")),
    *(Case(stage, accumulation=3) for stage in range(4)),
    *(Case(stage, strategy="frozen_encoder") for stage in range(4)),
    Case(3, reuse_distance=0),
    Case(3, reuse_distance=1_000_000),  # a part of the weights is gathered again, as of a model of a thousand million
    Case(3, reuse_distance=0, strategy="frozen_encoder"),
)
CASES = {case.name: case for case in EVERY_CASE}


def count_step(case: Case, folder: Path) -> dict[str, Any]:
    """Counted and computed bytes of a case's step; called by each of two launched processes.

    Args:
        folder: for what a run writes.
    """
    import trainer.engine.accelerator
    from benchmarks.memory.cell_process import build
    from trainer.engine.stopping import StopRequest
    from trainer.memory.cells import with_settings
    from trainer.model.building import planned_model

    config = tiny_config(case.stage, case.precision, case.accumulation)
    job = Job(config.model_dump(mode="json"), seconds=1.0, tokens=8, processes=2)
    config = with_settings(config, "model", strategy=case.strategy)  # which a model from nothing may not have
    size = (case.stage, 2, case.precision, case.accumulation)
    computed = bytes_sent(planned_model(config), *size, reuse_distance=case.reuse_distance)
    original = trainer.engine.accelerator.deepspeed_config

    def with_distance(*arguments: Any) -> dict[str, Any]:
        settings = original(*arguments)
        if case.reuse_distance < REUSE_DISTANCE:  # what is fetched ahead, the whole of a tiny model, is kept, too
            ahead = {"stage3_max_reuse_distance": case.reuse_distance, "stage3_prefetch_bucket_size": 0}
            settings["zero_optimization"] |= ahead
        return settings

    trainer.engine.accelerator.deepspeed_config = with_distance  # type: ignore[assignment]
    run = build(job, config, folder, StopRequest())
    group, targets = run.find_data()
    for _ in range(WARM_STEPS):
        run.train_step(group, targets)
    torch.distributed.barrier()
    on_wire = loopback_bytes()
    with CountedCollectives() as counted:
        run.train_step(group, targets)
    torch.distributed.barrier()
    return {
        "case": case.name,
        "counted": dict(counted.sent),
        "calls": dict(counted.calls),
        "computed": asdict(computed),
        "loopback_bytes_per_process": (loopback_bytes() - on_wire) / 2,
    }


def loopback_bytes() -> int:
    """What this network namespace has sent to itself; 0 where that is not told. Other programs count too."""
    path = Path("/proc/self/net/dev")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((int(line.split()[9]) for line in lines if line.strip().startswith("lo:")), 0)


def count(case: Case) -> dict[str, Any]:
    """Fork two processes that count a case; this process must not have computed anything yet.

    Raises:
        RuntimeError: if one of them failed; its output has the reason.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        children = [os.fork() or child(case, rank, port, Path(folder)) for rank in range(2)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in children]
        if any(codes):
            raise RuntimeError(f"{case.name}: {(Path(folder) / 'log0').read_text(encoding='utf-8')[-2000:]}")
        result: dict[str, Any] = json.loads((Path(folder) / "result").read_text(encoding="utf-8"))
    return result


def child(case: Case, rank: int, port: int, folder: Path) -> int:
    """A process of :func:`count`; does not return."""
    code = 1
    try:
        output = os.open(folder / f"log{rank}", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ |= as_launched(rank, 2, port) | {"CUDA_VISIBLE_DEVICES": ""}
        torch.set_num_threads(1)
        result = count_step(case, folder)
        if rank == 0:
            (folder / "result").write_text(json.dumps(result), encoding="utf-8")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def count_all(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Each case in forked processes, with what is imported once; a note for each on standard error."""
    with redirect_stdout(sys.stderr):
        import accelerate  # noqa: F401

        import benchmarks.memory.cell_process  # noqa: F401

        if any(case.stage for case in cases):
            import deepspeed  # noqa: F401
    counts = []
    for case in cases:
        counts.append(count(case))
        print(f"counted: {case.name}", file=sys.stderr)
    return counts
