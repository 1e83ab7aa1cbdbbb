"""What launch/tune.py does with its arguments: check, search, write the page, the JSON and a config to train."""

import argparse
import datetime
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace

from ...config.reading import ConfigError, load_config
from ...config.run import RunConfig
from ...engine.stopping import StopRequest
from ...record.durable import check_place, write_text
from ...record.lock import only_one
from ..planning import check_checkpoint
from ..running import Runner, Stopped, launcher_words
from .findings import Findings, best_config, compared, data_remarks, found
from .page import tuning_json, tuning_page
from .search import Search, check_begun, run_trials, shared_by_trials
from .space import default_space, read_space

TRIALS = 12  # where neither --trials nor --minutes is given


def tune(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Search, print and write what was found; the exit code.

    Args:
        options: launch/tune.py's.
        arguments: of the command line, which the page repeats.

    Raises:
        ConfigError, DataError: for a mistake of the user's, before anything is trained.
        CommandFailed: if trials fail.
    """
    check_place(options.output, "--output")
    start = [sys.executable] if options.launcher is None else launcher_words(options.launcher)
    config = load_config(options.config, options.overrides)
    remarks = checked(config)
    space = default_space(config) if options.space is None else read_space(options.space, config)
    search = Search(shared_by_trials(config, options.output), space, options.output)
    for remark in [*remarks, *of_evaluations(config, search)]:
        print(f"note: {remark}", file=sys.stderr)
    print(f"searched: {', '.join(one.key for one in space)}; judged by data.validation, the test is left alone")
    most = TRIALS if options.trials is None and options.minutes is None else options.trials
    command, why = shlex.join(["python", "launch/tune.py", *arguments]), "It was stopped"
    with StopRequest() as stop, only_one(search.output, "a search") as lock:
        check_begun(search)
        study, runner = search.open_study(), Runner(search.output, start, stop, lock)

        def written(compare: bool) -> Findings:
            findings = found(search, config.evaluation.every_steps, study.trials, remarks)
            if compare:
                findings = replace(findings, comparison=compared(findings, runner))
            write(findings, options, command, why)
            return findings

        try:
            why = run_trials(search, study, runner, most, options.minutes)
            findings = written(compare=True)
        except Stopped:
            written(compare=False)
            print("stopped; the same command goes on where it stood", file=sys.stderr)
            return 130
    show(findings, options, why)
    return 0


def checked(config: RunConfig) -> list[str]:
    """Check what the search stands on; remarks on the data.

    Raises:
        ConfigError, DataError: for what is missing.
    """
    if config.data.validation is None:
        raise ConfigError(
            "data.validation is missing: trials are compared on speakers set aside, and the test is left alone"
        )
    checkpoint = config.model.checkpoint
    if checkpoint is not None and os.path.isdir(checkpoint):
        check_checkpoint(checkpoint)
    return data_remarks(config)


def of_evaluations(config: RunConfig, search: Search) -> list[str]:
    """A remark where trials are evaluated more often than the config says."""
    own, every = config.evaluation.every_steps, search.config.evaluation.every_steps
    if own == every:
        return []
    return [f"trials are evaluated every {every} steps instead of {own}, so that a bad one can be given up early"]


def write(findings: Findings, options: argparse.Namespace, command: str, why: str) -> None:
    """Write tuning.html, tuning.json and, if something better was found, best.yaml."""
    date = datetime.date.today().isoformat()
    write_text(options.output / "tuning.html", tuning_page(findings, command, date, why))
    write_text(options.output / "tuning.json", tuning_json(findings, command, date, why))
    if findings.lines:
        write_text(options.output / "best.yaml", best_config(findings, options.config, options.overrides))
    else:
        (options.output / "best.yaml").unlink(missing_ok=True)


def show(findings: Findings, options: argparse.Namespace, why: str) -> None:
    """Print what was found, the lines to paste, and where everything is."""
    print(f"\n{why}.\n{findings.verdict}")
    if findings.lines:
        print(f"\n{findings.pasted}")
        print(f"train with it: python launch/train.py --config {options.output / 'best.yaml'}")
    for warning in findings.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"{options.output / 'tuning.html'}\n{options.output / 'tuning.json'}")
