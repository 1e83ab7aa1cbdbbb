"""What this project promises of a GPU, measured on the one that is here, in eight minutes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --tokenizer openai-whisper-small --seconds 470
    python -m benchmarks.gpu --cpu                 (everything in the small, so that no fault waits for the GPU)
    python -m benchmarks.gpu --page benchmarks/results/gpu/nvidia-h200-2027-01-31

Cells run in order, each in a process of its own with a time limit; after each, results.json, report.html and report.md
are written. What does not fit before the deadline is dropped, from the end. Nothing is fetched: weights are random, in
published shapes, and clips are noise that packs as speech does. Nothing else may run on the GPU. Exit code: 0 where
every cell ran to its end, else 1.
"""

import datetime
import json
import re
import shlex
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.outcomes import FAILED, MEASURED, OUT_OF_MEMORY
from trainer.command_line import CommandLine, number, run_command
from trainer.config.reading import ConfigError
from trainer.record.durable import check_place

from . import BEGUN
from .driver import run_cells, save
from .page import write_page
from .setting import Setting
from .table import CELLS

RESULTS = Path("benchmarks/results/gpu")
SECONDS, TO_CLOSE = 470.0, 4.0  # the second: for the last page, and to remove what the cells made
NAME = "results.json"


def results_folder(device: str, date: str) -> Path:
    """``benchmarks/results/gpu/nvidia-h200-2027-01-31``."""
    return RESULTS / f"{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}-{date}"


def told(cell: dict[str, Any]) -> str:
    """A line on a cell and on each part that has no figures."""
    lines = [f"{cell['title']}: {cell['status']} in {cell['seconds']:.0f} of {cell['budget']:.0f} s"]
    if cell["reason"]:
        lines[0] += f", {cell['reason']}"
    lines += [
        f"  {part['name']}: {part['status'].replace('_', ' ')}: {part['reason']}"
        for part in cell["parts"]
        if part["status"] != MEASURED
    ]
    return "\n".join(lines)


def is_whole(cells: list[dict[str, Any]]) -> bool:
    """Whether every cell ran to its end and no part of one failed."""
    parts = [part for cell in cells for part in cell["parts"]]
    return all(cell["status"] == MEASURED for cell in cells) and not any(
        part["status"] in (FAILED, OUT_OF_MEMORY) for part in parts
    )


def main(arguments: list[str]) -> int:
    started = BEGUN if __name__ == "__main__" else time.monotonic()
    parser = CommandLine(__doc__)
    parser.add_argument("--seconds", type=number(float, 1, 86_400), default=SECONDS, help="until the deadline")
    parser.add_argument("--cpu", action="store_true", help="in the small, without a GPU")
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="of a Whisper; without it, bytes")
    parser.add_argument("--only", action="append", default=[], metavar="CELL", help="may be given several times")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=f"default: {RESULTS}/DEVICE-DATE")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="measure nothing, write the page of its results")
    options = parser.parse_args(arguments)
    if options.page is not None:
        return only_page(options.page)
    if options.tokenizer is not None and not (options.tokenizer / "tokenizer_config.json").exists():
        raise ConfigError(f"--tokenizer {options.tokenizer} holds no tokenizer_config.json")
    unknown = set(options.only) - {cell.name for cell in CELLS}
    if unknown:
        raise ConfigError(f"--only {min(unknown)}: the cells are {', '.join(cell.name for cell in CELLS)}")
    device = device_name(options.cpu)
    about = {
        "command": shlex.join(["python", "-m", "benchmarks.gpu", *arguments]),
        "device": device,
        "on_cpu": options.cpu,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": options.seconds,
    }
    output = options.output or results_folder(device, about["date"])
    check_place(output, "--output")

    def keep(found: list[dict[str, Any]]) -> None:
        print(told(found[-1]), flush=True)
        save(output / NAME, about | {"took_seconds": round(time.monotonic() - started, 1)}, found)
        write_page(json.loads((output / NAME).read_text("utf-8")), output)

    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        tokenizer = None if options.tokenizer is None else str(options.tokenizer.resolve())
        setting = Setting(folder, options.cpu, 0.0, tokenizer)
        cells = [cell for cell in CELLS if not options.only or cell.name in options.only]
        gone = time.monotonic() - started + TO_CLOSE
        found = run_cells(cells, setting, options.seconds, keep, gone=gone)
    print(f"{output / 'report.html'} in {time.monotonic() - started:.0f} s")
    return 0 if is_whole(found) else 1


def only_page(folder: Path) -> int:
    """Write the page of results that are there.

    Raises:
        ConfigError: if they cannot be read, or are not what this command writes.
    """
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--page {folder}: {NAME} cannot be read: {error}") from None
    check_place(folder, "--page")
    try:
        write_page(content, folder)
    except (LookupError, TypeError, AttributeError) as error:  # of a file that something else wrote
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"--page {folder}: {NAME} is not what this command writes ({why})") from error
    print(folder / "report.html")
    return 0


def device_name(on_cpu: bool) -> str:
    """The GPU's name, or ``cpu``.

    Raises:
        ConfigError: where there is no GPU, and none is not what was asked for.
    """
    import torch

    if on_cpu:
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError("torch sees no CUDA GPU here", "--cpu runs everything in the small")
    return str(torch.cuda.get_device_name())


if __name__ == "__main__":
    run_command(main)
