"""Peak of tensors, predicted and measured, of many cells, several of them at once in processes of their own.

What a process allocates does not depend on the others; what is taken of the device does, and is not told here.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

from benchmarks.memory.check_command import CELLS, GPU_CELLS, Checked, compared, measure, predict
from benchmarks.memory.measuring import MEASURED, OUT_OF_MEMORY, told_outcome

from ..setting import Part, Setting, Skipped
from ..table import MEMORY_CELLS

AT_ONCE = 6  # measured, and as many predicted
ON_CPU = ("full, batch 1",)


def memory(setting: Setting) -> Iterator[Part]:
    wanted = setting.size(MEMORY_CELLS, ON_CPU)
    cells = {cell.name: cell for cell in setting.size(GPU_CELLS, CELLS)}
    check = Checks(setting, [cells[name] for name in wanted])
    for name in wanted:
        yield Part(name, partial(check.result, name))
    check.close()


class Checks:
    """All cells under way at once; a result is waited for when it is asked for."""

    def __init__(self, setting: Setting, cells: list[Checked]) -> None:
        on_gpu, at_once = not setting.on_cpu, setting.size(AT_ONCE, 1)
        self.predicting = ProcessPoolExecutor(at_once, get_context("spawn"))
        self.measuring = ThreadPoolExecutor(at_once)
        self.predicted = {cell.name: self.predicting.submit(predict, cell, on_gpu) for cell in cells}
        self.measured: dict[str, Future[dict[str, Any]]] = {
            cell.name: self.measuring.submit(measure, cell, setting.seconds, on_gpu) for cell in cells
        }

    def result(self, name: str) -> dict[str, Any]:
        """A cell's prediction beside what was measured.

        Raises:
            RuntimeError: if it could not be measured.
            Skipped: where the device's memory does not hold it.
        """
        found = compared(self.predicted[name].result(), self.measured[name].result())
        if found["status"] == OUT_OF_MEMORY:
            gib = found["predicted"]["peak_bytes"] / 2**30
            raise Skipped(f"it does not fit beside the others: {gib:.1f} GiB are predicted")
        if found["status"] != MEASURED:
            raise RuntimeError(told_outcome(found))
        return {
            "batch_size": found["batch_size"],
            "precision": found["precision"],
            "predicted_bytes": found["predicted"]["peak_bytes"],
            "measured_bytes": found.get("profiled_bytes") or found["peak_bytes"]["allocated"],
            "off_by": found["off_by"],
        }

    def close(self) -> None:
        self.predicting.shutdown(cancel_futures=True)
        self.measuring.shutdown(cancel_futures=True)
