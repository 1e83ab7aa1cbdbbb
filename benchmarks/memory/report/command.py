"""The report of memory and speed, from whatever results are there: report.html, and report.md with its pictures.

    python -m benchmarks.memory report
    python -m benchmarks.memory report --results my_results --output my_report

Reads predictions.json, check.json, measured*.json, growth.json, side_by_side.json and options.json of the folder, and
communication.json beside it. For a file that is missing the report names the command that makes it.
"""

import datetime
import shlex
from pathlib import Path

from trainer.command_line import CommandLine
from trainer.config.reading import ConfigError
from trainer.pages.page import chart_file, rendered_report

from .growth import communication_section, growth_section
from .inputs import FOLDER, Inputs, read_inputs
from .measurements import check_section, measured_sections, options_section, side_by_side_section
from .predictions import prediction_sections
from .sections import Section, sections_from

PICTURES = "report_pictures"  # older pictures in it are deleted


def sections_of(inputs: Inputs) -> list[Section]:
    """The report's sections in reading order."""
    return [
        *sections_from(inputs, "predictions", "Predicted memory", prediction_sections),
        *sections_from(inputs, "check", "Predicted against torch.profiler, on CPUs", check_section),
        *measured_sections(inputs),
        *sections_from(inputs, "side_by_side", "Side by side with the usual recipe", side_by_side_section),
        *sections_from(inputs, "options", "Options, each with its gain", options_section),
        *sections_from(inputs, "growth", "Cost of growth", growth_section),
        *sections_from(inputs, "communication", "What a step sends", communication_section),
    ]


def write_report(inputs: Inputs, output: Path, command: str, date: datetime.date) -> list[Section]:
    """Write both files and the pictures into ``output``, over older ones.

    Raises:
        ConfigError: for a file of results that lacks what its command writes, before anything is written.
    """
    try:
        sections = sections_of(inputs)
        day = date.isoformat()
        report = rendered_report(
            "benchmarks/memory/report", "report", sections=sections, command=command, date=day, folder=PICTURES
        )
        pictures = {picture.name: chart_file(picture) for one in sections for picture in one.pictures}
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"--results {inputs.folder} holds a file that its command did not write so "
            f"({type(error).__name__}: {error}): make it anew"
        ) from error
    folder = output / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    for older in folder.glob("*.svg"):
        older.unlink()
    for name, picture in pictures.items():
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
    for name, text in report.items():
        (output / name).write_text(text, encoding="utf-8")
    return sections


def main(arguments: list[str]) -> int:
    """Returns 0 if a report was written, even if all inputs are missing; the report then says so."""
    parser = CommandLine(__doc__)
    parser.add_argument("--results", type=Path, default=FOLDER, metavar="FOLDER", help=f"default: {FOLDER}")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for the report; default: that of --results")
    options = parser.parse_args(arguments)
    if not options.results.is_dir():
        raise ConfigError(f"--results {options.results} is no folder; `make bench` fills {FOLDER}")
    inputs = read_inputs(options.results)
    output = options.output or options.results
    command = shlex.join(["python", "-m", "benchmarks.memory", "report", *arguments])
    write_report(inputs, output, command, datetime.datetime.now(datetime.UTC).date())
    for kind, problem in inputs.problems.items():
        print(f"{problem}: {inputs.command(kind)}")
    print(f"{output / 'report.html'} and {output / 'report.md'} from {sum(map(len, inputs.files.values()))} files")
    return 0
