"""Errors and times of several checkpoints on the same long recordings, kept in one file and a table beside it.

    python -m benchmarks.long_form measure --recordings long --checkpoint plain=openai/whisper-base \
        --checkpoint own=runs/children/best --output benchmarks/results/long_form/checkpoints.json --segments tokens

What is not an option here is one of ``launch/transcribe.py``. A checkpoint that the file has, measured on the same
recordings with the same options, is not decoded again. The same one may be measured with several options under several
names.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.written import table_head, write_result
from trainer.command_line import CommandLine
from trainer.config.reading import ConfigError
from trainer.transcription.long_form.command import check, evaluate_recordings
from trainer.transcription.long_form.known import read_known
from trainer.transcription.long_form.report import write_evaluation
from trainer.transcription.long_form.results import figures

from .scored import ERROR_COLUMNS, KEPT, described, error_cells, time_cells


def add_measure(parser: CommandLine) -> None:
    """The options of ``measure``."""
    parser.allow_abbrev = False
    add = parser.add_argument
    add("--recordings", required=True, type=Path, metavar="FOLDER", help="recordings with segments")
    add("--checkpoint", required=True, action="append", metavar="NAME=PATH", help="what is measured; may be repeated")
    add("--output", required=True, type=Path, metavar="FILE", help="a JSON file; the table goes beside it as .md")
    add("--details", type=Path, metavar="FOLDER", help="also write what launch/eval.py writes, a folder for each name")


def named(checkpoints: list[str]) -> dict[str, str]:
    """Paths by names. Raises ConfigError for a name that is missing or given twice."""
    found: dict[str, str] = {}
    for value in checkpoints:
        name, sign, path = value.partition("=")
        if not (name and sign and path) or name in found:
            raise ConfigError(f"--checkpoint is {value!r}; NAME=PATH is right, each name once")
        found[name] = path
    return found


def read_before(output: Path, source: dict[str, Any]) -> dict[str, Any]:
    """What an earlier call has measured. Raises ConfigError if that was measured on something else.

    Args:
        source: what is measured on now, and with what settings.
    """
    if not output.exists():
        return {}
    before = json.loads(output.read_text(encoding="utf-8"))
    differ = [key for key in source if before["source"].get(key) != source[key]]
    if differ:
        now, then = source[differ[0]], before["source"].get(differ[0])
        raise ConfigError(f"--output is {output}, whose {differ[0]} was {then} and is {now} now: name another file")
    found: dict[str, Any] = before["measured"]
    return found


def measure(options: argparse.Namespace, rest: list[str]) -> int:
    """Measure what is not done yet, and write after each.

    Args:
        rest: options of ``launch/transcribe.py``.
    """
    checkpoints = named(options.checkpoint)
    check(rest)
    known = read_known(str(options.recordings))
    source = described(known, options.recordings)
    found = read_before(options.output, source)
    for name, path in checkpoints.items():
        asked = {"checkpoint": path, "options": rest}
        if name in found and {key: found[name][key] for key in asked} == asked:
            print(f"{name}: done before")
            continue
        evaluation = evaluate_recordings(known, path, rest)
        all_figures = figures(evaluation)
        found[name] = {**asked, **{key: all_figures[key] for key in KEPT}, "machine": describe_machine()}
        if options.details is not None:
            write_evaluation(options.details / name, path, evaluation, options=rest, recordings=str(options.recordings))
        write_result(options.output, {"source": source, "measured": found}, table(source, found))
        print(
            f"{name}: word error rate {found[name]['word_error_rate']:.1%}, {found[name]['cpu_seconds']:.0f} s of CPU"
        )
    print(table(source, found), end="")
    return 0


def table(source: dict[str, Any], found: dict[str, Any]) -> str:
    """The figures as a Markdown table, with what they were measured on."""
    columns = ("", *ERROR_COLUMNS, "starts: median, 95 %, s", "ends: median, 95 %, s", "CPU seconds")
    rows = [
        [
            name,
            *error_cells(one),
            *time_cells(one["boundaries_by_words"] or one["boundaries"]),
            f"{one['cpu_seconds']:.0f}",
        ]
        for name, one in found.items()
    ]
    lines = [table_head(columns), *(f"| {' | '.join(row)} |" for row in rows)]
    on = (
        f"{source['number']} recordings, {source['audio_seconds'] / 60:.1f} minutes, of which "
        f"{source['speech_seconds'] / 60:.1f} are speech. Starts and ends of segments: the share within 0.5 s, and "
        "how many were compared."
    )
    return "\n".join(lines) + f"\n\n{on}\n"
