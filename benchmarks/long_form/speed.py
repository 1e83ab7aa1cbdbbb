"""How fast long recordings are transcribed: this project's ways, transformers' own, and faster-whisper.

    python -m benchmarks.long_form speed --recordings long --checkpoint openai/whisper-base --threads 2 \
        --systems pieces sequential transformers faster_whisper_int8 --faster-whisper .venv-faster-whisper \
        --output benchmarks/results/long_form/speed.json

Each system is a command in a process of its own, with as many threads, which writes its transcripts as
``launch/transcribe.py`` does. Its last line has the seconds from the first file to the last transcript. CPU seconds are
those of the whole process, with the opening of the checkpoint: they tell more where other work runs on the machine.
With ``--repeats`` the systems take turns, and the fastest turn counts. What the file has already is kept.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.outcomes import shortened
from benchmarks.peers import faster_whisper_environment as environment
from benchmarks.written import table_head, write_result
from trainer.command_line import CommandLine, number
from trainer.config.reading import ConfigError
from trainer.evaluation.error_rates import error_rates
from trainer.evaluation.normalizers import build_normalizer
from trainer.transcription.long_form.known import Known, read_known
from trainer.transcription.long_form.measures import Written
from trainer.transcription.long_form.results import evaluated, figures
from trainer.transcription.long_form.transcribed import read_written

from .measuring import read_before
from .scored import ERROR_COLUMNS, KEPT, described, error_cells, time_cells

SPEED_LINE = re.compile(r"([\d.]+) s of audio in ([\d.]+) s, real-time factor [\d.]+")
SAME_AS = ("sequential", "transformers")  # that are to write the same: neither decodes anything again


@dataclass(frozen=True)
class Job:
    """What every system is asked for."""

    checkpoint: str
    language: str
    batch_size: int
    faster_whisper: Path | None

    @property
    def asked(self) -> list[str]:
        return ["--language", self.language, "--batch-size", str(self.batch_size)]


def ours(*options: str) -> Callable[[Job], list[str]]:
    """``launch/transcribe.py`` with options."""

    def command(job: Job) -> list[str]:
        own = [sys.executable, "-m", "launch.transcribe", "--checkpoint", job.checkpoint, "--format", "json"]
        return [*own, *job.asked, *options]

    return command


def transformers(job: Job) -> list[str]:
    """transformers' sequential long form."""
    return [
        sys.executable,
        "-m",
        "benchmarks.peers.sequential_transformers",
        "--checkpoint",
        job.checkpoint,
        *job.asked,
    ]


def faster_whisper(compute_type: str, *options: str) -> Callable[[Job], list[str]]:
    """faster-whisper with its voice activity detection, from its own environment."""

    def command(job: Job) -> list[str]:
        if job.faster_whisper is None:
            raise ConfigError("--faster-whisper is missing: the folder of its environment, which is made if need be")
        environment.make_environment(job.faster_whisper)
        converted = environment.convert(job.faster_whisper, job.checkpoint)
        script = Path(environment.__file__).with_name("faster_whisper_files.py")
        start = [str(environment.python_of(job.faster_whisper)), str(script), "--checkpoint", str(converted)]
        return [*start, "--compute-type", compute_type, *job.asked, *options]

    return command


SYSTEMS: dict[str, Callable[[Job], list[str]]] = {
    "pieces": ours("--segments", "tokens"),
    "pieces_vad": ours("--segments", "tokens", "--vad", "silero"),
    "sequential": ours("--windows", "sequential", "--no-speech-threshold", "1", "--no-fallback"),
    "sequential_rules": ours("--windows", "sequential"),
    "sequential_vad": ours("--windows", "sequential", "--vad", "silero"),
    "transformers": transformers,
    "faster_whisper_int8": faster_whisper("int8"),
    "faster_whisper_float32": faster_whisper("float32"),
    "faster_whisper_sequential_int8": faster_whisper("int8", "--batch-size", "0"),
}


@dataclass(frozen=True)
class Run:
    """One run of a system.

    Attributes:
        seconds: from the first file to the last transcript.
        cpu_seconds: of the whole process.
        peak_bytes: of its memory.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    written: list[Written]


def add_speed(parser: CommandLine) -> None:
    """The options of ``speed``."""
    add = parser.add_argument
    add("--recordings", required=True, type=Path, metavar="FOLDER", help="recordings with segments")
    add("--checkpoint", required=True, help="plain Whisper")
    add("--systems", nargs="+", choices=SYSTEMS, default=["pieces", "transformers"], help="what is measured")
    add("--batch-size", type=number(int, 1, 4096), default=8, help="pieces or recordings decoded together (8)")
    add("--threads", type=number(int, 1, 1024), default=2, help="of each system (2)")
    add("--repeats", type=number(int, 1, 100), default=1, help="runs of each system, by turns (1)")
    add("--faster-whisper", type=Path, metavar="FOLDER", help="its environment, which is made if need be")
    add("--output", required=True, type=Path, metavar="FILE", help="a JSON file; the table goes beside it as .md")
    add("--remark", default="", help="what is to be said with the figures, such as other work on the machine")


def measure_speed(options: argparse.Namespace) -> int:
    """Measure the systems that are not done yet, and write after each turn."""
    known = read_known(str(options.recordings))
    if known.language is None:
        raise ConfigError("--recordings has several languages or an unknown one; the systems are told one")
    source = described(known, options.recordings) | {
        "checkpoint": options.checkpoint, "batch_size": options.batch_size, "threads": options.threads,
    }  # fmt: skip
    found = read_before(options.output, source)
    job = Job(options.checkpoint, known.language, options.batch_size, options.faster_whisper)
    failed = 0
    for _ in range(options.repeats):
        for name in dict.fromkeys(options.systems):
            if len(found.get(name, {}).get("turns", ())) >= options.repeats:
                continue
            try:
                run = run_system(SYSTEMS[name](job), known, options.threads)
            except SystemFailed as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed += 1
                continue
            found[name] = with_turn(found.get(name), run, known)
            found |= sameness(found)
            result = {
                "source": source,
                "machine": described_machine(found),
                "remark": options.remark,
                "measured": found,
            }
            write_result(options.output, result, table(result))
    if found:
        print(table({"source": source, "remark": options.remark, "measured": found}), end="")
    return 1 if failed else 0


def described_machine(found: dict[str, Any]) -> dict[str, Any]:
    """The machine; with the versions of faster-whisper's environment, if it was measured."""
    machine = describe_machine()
    if any(name.startswith("faster_whisper") for name in found):
        pinned = environment.REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        machine["versions"] |= dict(line.split("==") for line in pinned if "==" in line)
    return machine


class SystemFailed(RuntimeError):
    """A system's command failed; the message is its last line."""


def run_system(command: list[str], known: Known, threads: int) -> Run:
    """Run a system on all recordings. Raises SystemFailed if its command fails, or does not say how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        files = [str(one.path) for one in known.recordings]
        errors = Path(folder, "errors")
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                [*command, "--output", str(Path(folder, "transcripts")), *files],
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        told = errors.read_text(encoding="utf-8", errors="replace").strip()
        timed = SPEED_LINE.findall(told)
        if process.returncode or not timed:
            raise SystemFailed(
                f"ended with {process.returncode}: {shortened((told.splitlines() or ['no reason'])[-1])}"
            )
        written = read_written(Path(folder, "transcripts"), known.recordings)
    return Run(float(timed[-1][1]), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, written)


def with_turn(before: dict[str, Any] | None, run: Run, known: Known) -> dict[str, Any]:
    """A system's figures with one more turn; errors and texts are those of the last."""
    all_figures = figures(evaluated(known.recordings, run.written))
    turns = [*(before or {}).get("turns", ()), {"seconds": run.seconds, "cpu_seconds": round(run.cpu_seconds, 2)}]
    best = min(turn["seconds"] for turn in turns)
    least = min(turn["cpu_seconds"] for turn in turns)
    return {
        **{key: all_figures[key] for key in KEPT},
        "seconds": best,
        "cpu_seconds": least,
        "audio_seconds_per_second": all_figures["audio_seconds"] / best,
        "audio_seconds_per_cpu_second": all_figures["audio_seconds"] / least,
        "peak_bytes": run.peak_bytes,
        "turns": turns,
        "texts": [" ".join(part.text for part in one.segments) for one in run.written],
        "times": [[[part.start, part.end] for part in one.segments] for one in run.written],
    }


def sameness(found: dict[str, Any]) -> dict[str, Any]:
    """How far the two systems that are to write the same do; nothing where one of them was not measured."""
    if any(name not in found for name in SAME_AS):
        return {}
    first, second = ({str(place): text for place, text in enumerate(found[name]["texts"])} for name in SAME_AS)
    spread = error_rates(first, second, build_normalizer("none", None))
    same = {
        "equal_texts": sum(first[key] == second[key] for key in first),
        "recordings": len(first),
        "word_difference": spread.word_error_rate,
        "equal_times": sum(a == b for a, b in zip(*(found[name]["times"] for name in SAME_AS), strict=True)),
    }
    return {SAME_AS[0]: found[SAME_AS[0]] | {"beside_transformers": same}}


def table(result: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    source, found = result["source"], result["measured"]
    columns = ("", "audio s a second", "audio s a CPU second", "CPU seconds", "memory, GB", *ERROR_COLUMNS,
               "starts: median, 95 %, s")  # fmt: skip
    rows = [
        [
            name,
            f"{one['audio_seconds_per_second']:.1f}",
            f"{one['audio_seconds_per_cpu_second']:.1f}",
            f"{one['cpu_seconds']:.0f}",
            f"{one['peak_bytes'] / 1e9:.1f}",
            *error_cells(one),
            time_cells(one["boundaries"])[0],
        ]
        for name, one in found.items()
    ]
    lines = [table_head(columns), *(f"| {' | '.join(row)} |" for row in rows)]
    minutes = source["audio_seconds"] / 60
    on = f"{source['number']} recordings, {minutes:.1f} minutes; {source['threads']} threads, batches of "
    lines += ["", f"{on}{source['batch_size']}. {result['remark']}".rstrip()]
    same = found.get(SAME_AS[0], {}).get("beside_transformers")
    if same is not None:
        lines.append(
            f"Sequential beside transformers: {same['equal_texts']} of {same['recordings']} texts are equal to the "
            f"letter, and {same['equal_times']} have equal times; {100 * same['word_difference']:.2f} % of the words "
            "differ."
        )
    return "\n".join(lines) + "\n"
