"""Every figure of memory and speed that a machine without a GPU can give, and the report of them: `make bench`.

    python -m benchmarks.memory bench
    python -m benchmarks.memory bench --results my_results --minutes 30

In turn: predictions, training side by side with the usual recipe, growth, what ZeRO and DDP send, and predictions held
against torch.profiler; then the report. No step goes on beyond its share of the time: what it had written by then stays
and is reported. Nothing is fetched. Where openai/whisper-base or the recordings are not here, the comparison runs with
random weights and noise; without a tokenizer it is left out.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.command_line import CommandLine, number

from .report.inputs import FOLDER, SIDE_BY_SIDE_CONFIG, wanted_path

CHECKPOINT = "openai/whisper-base"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
SECONDS_TO_LEAVE = 15.0  # after an interrupt
SIDE_BY_SIDE = ("--steps", "2", "--own-steps", "16")


@dataclass(frozen=True)
class Step:
    """A command of the benchmarks, the share of the whole time that it may take, and a reason not to run it."""

    name: str
    arguments: tuple[str, ...] = ()
    share: float = 1.0
    skipped: str = ""


def steps(folder: Path, scratch: Path) -> Iterator[Step]:
    """The steps in their order: the last ones are the least needed if time runs out.

    Args:
        scratch: a folder for weights and clips that stand in.
    """
    predictions = ("benchmarks.memory", "predictions", "--output", f"{folder}/predictions.json")
    yield Step("predictions", predictions, 0.4)
    yield from side_by_side(folder, scratch)
    yield Step("growth", ("benchmarks.training.growth", "--steps", "2", "--output", f"{folder}/growth.json"), 0.25)
    communication = wanted_path(folder, "communication")
    if communication.exists():
        yield Step("communication", skipped=f"{communication} is there")
    else:
        output = ("--no-count", "--output", f"{folder}/communication.json")
        yield Step("communication", ("benchmarks.communication", *output), 0.1)
    yield Step("check", ("benchmarks.memory", "check", "--output", f"{folder}/check.json"))


def side_by_side(folder: Path, scratch: Path) -> Iterator[Step]:
    """The comparison with the usual recipe on real speech, or on what stands in for it, or why not."""
    output = (*SIDE_BY_SIDE, "--output", f"{folder}/side_by_side.json")
    if not is_here(CHECKPOINT):
        yield Step("side by side", skipped=f"{CHECKPOINT}, whose tokenizer it needs, is not here")
        return
    missing = missing_recordings()
    if not missing:
        yield Step("side by side", ("benchmarks.training.side_by_side", "--config", SIDE_BY_SIDE_CONFIG, *output), 0.35)
        return
    stand_in = ("--checkpoint", CHECKPOINT, "--clips", "400", "--output", str(scratch))
    yield Step(f"stand-ins, since {missing} is not here", ("benchmarks.training.stand_in", *stand_in), 0.1)
    config = ("--config", f"{scratch}/config.yaml", "training.batch_size=8", "data.workers=0")
    yield Step("side by side, on stand-ins", ("benchmarks.training.side_by_side", *config, *output), 0.35)


def is_here(checkpoint: str) -> bool:
    """Whether a checkpoint lies in a folder of that name or in the hub's cache."""
    if Path(checkpoint).is_dir():
        return True
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(checkpoint, "model.safetensors"), str)


def missing_recordings() -> str:
    """The files that the comparison's config trains on, if there are none."""
    from trainer.config.reading import load_config

    train = load_config(SIDE_BY_SIDE_CONFIG).data.train
    files = getattr(train, "files", None)
    return "" if isinstance(files, str) and list(Path().glob(files)) else str(files)


def run_step(arguments: Sequence[str], seconds: float) -> int | None:
    """A command's exit code; None if it was ended after ``seconds``, with all that it had started."""
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, env=os.environ | OFFLINE, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end_group(process)


def end_group(process: subprocess.Popen) -> None:
    """Interrupt a process and its own, so that they clean up; end them if they do not."""
    for way, patience in ((signal.SIGINT, SECONDS_TO_LEAVE), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, way)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def main(arguments: list[str]) -> int:
    """0 if all that was run ended well or for lack of time, else 1."""
    parser = CommandLine(__doc__)
    parser.add_argument("--results", type=Path, default=FOLDER, metavar="FOLDER", help=f"default: {FOLDER}")
    parser.add_argument("--minutes", type=number(float, 0.1, 1e5), default=14.0, help="for all; default: 14")
    options = parser.parse_args(arguments)
    options.results.mkdir(parents=True, exist_ok=True)
    whole, started = 60 * options.minutes, time.monotonic()
    failed = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for step in steps(options.results, Path(scratch)):
            left = whole - (time.monotonic() - started)
            if step.skipped or left <= 0:
                print(f"== {step.name}: left out, {step.skipped or 'no time is left'}", flush=True)
                continue
            print(f"== {step.name}: python -m {' '.join(step.arguments)}", flush=True)
            began = time.monotonic()
            code = run_step(step.arguments, min(left, step.share * whole))
            told = "out of time, what it had written stays" if code is None else f"exit code {code}"
            print(f"== {step.name}: {told}, {time.monotonic() - began:.0f} s", flush=True)
            if code:
                failed.append(step.name)
    if run_step(("benchmarks.memory", "report", "--results", str(options.results)), 120.0) != 0:
        failed.append("report")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))
