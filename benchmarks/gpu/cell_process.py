"""One cell in a process of its own: ``python -m benchmarks.gpu.cell_process NAME SETTING RESULT``.

RESULT is written after each part, so that one which crashes, hangs or is ended costs no part before it.
"""

import faulthandler
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.outcomes import FAILED, MEASURED, OUT_OF_MEMORY, SKIPPED, shortened
from benchmarks.written import write_whole
from trainer.engine.running_out import is_out_of_memory

from .setting import Part, Setting, Skipped

LAST_WORDS = 2.0  # seconds before the end of a cell's time, when the log is told where it hangs


def measure_part(part: Part) -> dict[str, Any]:
    """A part's name, status, reason, seconds, and its figures; never raises."""
    found: dict[str, Any] = {"name": part.name, "status": MEASURED, "reason": None}
    started = time.perf_counter()
    try:
        found["figures"] = part.measure()
    except Skipped as skipped:
        found |= {"status": SKIPPED, "reason": str(skipped)}
    except Exception as error:
        traceback.print_exc()
        said = shortened(" ".join(str(error).split()) or type(error).__name__)
        lacking = is_out_of_memory(error)
        found |= {"status": OUT_OF_MEMORY if lacking else FAILED, "reason": f"{type(error).__name__}: {said}"}
    return found | {"seconds": round(time.perf_counter() - started, 2)}


def measure_parts(name: str, given: Iterable[Part], result: Path) -> None:
    """All parts of a cell, written after each."""
    parts: list[dict[str, Any]] = []
    write_whole(result, {"parts": parts})
    for part in given:
        print(f"{name}: {part.name}", flush=True)
        parts.append(measure_part(part))
        write_whole(result, {"parts": parts})


def main(name: str, setting_path: str, result: str) -> int:
    setting = Setting.read(Path(setting_path))
    faulthandler.dump_traceback_later(max(setting.seconds - LAST_WORDS, 1.0), exit=False)
    # Imported here: one that cannot be imported costs its own cell alone.
    parts = getattr(importlib.import_module(f"{__package__}.cells.{name}"), name)
    measure_parts(name, parts(setting), Path(result))
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that read ahead, and waiting processes, keep nobody
