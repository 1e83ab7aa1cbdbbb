"""How a measuring process ended: the words for it, the result that it wrote, the signal that ended it; no torch."""

import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

MEASURED, OUT_OF_MEMORY, KILLED, FAILED = "measured", "out_of_memory", "killed", "failed"
SKIPPED, DROPPED = "skipped", "dropped"  # it cannot be measured here; no time was left
SHELL_SIGNAL = 128  # a shell between adds it to a signal's number


def read_result(path: Path) -> dict[str, Any]:
    """A process's result; empty where it wrote none."""
    with suppress(OSError, ValueError):
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result
    return {}


def signal_name(code: int) -> str | None:
    """The signal that an exit code stands for, also through a shell (137 is SIGKILL)."""
    number = -code if code < 0 else code - SHELL_SIGNAL
    with suppress(ValueError):
        return signal.Signals(number).name
    return None


def shortened(text: str, most_letters: int = 300) -> str:
    return text if len(text) <= most_letters else f"{text[: most_letters - 1]}…"
