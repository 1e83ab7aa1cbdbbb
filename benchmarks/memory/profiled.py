"""The peak of a real step's tensors on a CPU, measured by torch.profiler, to compare the prediction with.

`python -m benchmarks.memory.profiled JOB RESULT`, started by :mod:`.measuring`. The profiler is there before the model
is made; every allocation and every free of torch's allocator is one of its memory events, and the running sum of their
bytes is what is alive. Nothing of the predictor's own is used.
"""

import sys
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.memory.cell_process import attempt, build, leave
from benchmarks.memory.jobs import Job
from trainer.engine.stopping import StopRequest

STEPS = 2  # the optimizer's states are made in the first
MARK = "step under the profiler"


def measure(job: Job, folder: Path) -> dict[str, Any]:
    """The peak in the last of two steps, and what was there before it, in bytes."""
    with (
        StopRequest() as stop,
        profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler,
    ):
        trainer = build(job, job.run_config(), folder, stop)
        group, targets = trainer.find_data()
        for _ in range(STEPS):
            with record_function(MARK):
                verdict = trainer.train_step(group, targets)
            group, targets = trainer.find_data(verdict)
        trainer.accelerator.wait_for_everyone()
    return {"profiled": peak_of_last_step(profiler)}


def peak_of_last_step(profiler: Any) -> dict[str, int]:
    """From the profiler's own events, in the order of their times."""
    events = profiler.profiler.kineto_results.events()
    marks = [event for event in events if event.name() == MARK]
    last = max(marks, key=lambda event: event.start_ns())
    begin, end = last.start_ns(), last.start_ns() + last.duration_ns()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    live = before = peak = 0
    for time, size in changes:
        live += size
        if time < begin:
            before = live
        elif time <= end:
            peak = max(peak, live)
    return {"peak_bytes": max(peak, before), "before_bytes": before}


if __name__ == "__main__":
    leave(attempt(measure, sys.argv[1:]))
