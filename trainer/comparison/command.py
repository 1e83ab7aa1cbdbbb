"""What launch/compare.py does with its arguments: read, compute, write the page and the Markdown."""

import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..record.durable import check_place
from .comparison import Comparison, compare
from .page import comparison_report
from .planning import Plan, check_plan, common_rate
from .reading import read_arms
from .running import SplitEvaluation, Stopped, launcher_words, run_arms
from .tables import against_baseline, verdict


def write_comparison(
    folders: Sequence[Path],
    output: Path,
    arguments: Sequence[str],
    *,
    split: str | None = None,
    cluster: str | None = None,
    price_per_hour: float | None = None,
    missing: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare run folders; writes comparison.html and comparison.md into ``output``, over older ones.

    Args:
        arguments: of the command line, which the files repeat.
        split: whose evaluations are compared; test, else validation, if None.
        cluster: a column whose values are resampled instead of utterances.
        price_per_hour: dollars for all machines of a run.
        missing: arms of a plan that have no result, and why.

    Raises:
        ConfigError: for folders that cannot be compared, before anything is written.
    """
    check_place(output, "--output")
    comparison = compare(read_arms(folders, split), cluster)
    command = shlex.join(["python", "launch/compare.py", *arguments])
    report = comparison_report(comparison, command, datetime.date.today(), price_per_hour, missing)
    output.mkdir(parents=True, exist_ok=True)
    for name, text in report.items():
        (output / name).write_text(text, encoding="utf-8", errors="replace")
    return comparison


def print_comparison(comparison: Comparison, output: Path) -> None:
    """The verdict, and where the page is."""
    print(verdict(comparison))
    for line in against_baseline(comparison):
        print(f"  {line}")
    print(f"{output / 'comparison.html'}\n{output / 'comparison.md'}")


def run_and_write(
    plan: Plan,
    output: Path,
    arguments: Sequence[str],
    *,
    overrides: Sequence[str] = (),
    launcher: str | None = None,
    price_per_hour: float | None = None,
) -> int:
    """Run a plan's arms and write the comparison of those that have a result; the exit code.

    Raises:
        ConfigError: for a mistake in the plan or any arm's config, before anything is run.
    """
    check_place(output, "--output")
    arms = check_plan(plan, overrides, output)
    remark = common_rate(plan, arms)
    if remark is not None:
        print(f"note: {remark}", file=sys.stderr)
    try:
        start = [sys.executable] if launcher is None else launcher_words(launcher)
        missing = run_arms(arms, output, SplitEvaluation(), start=start)
    except Stopped:
        print("stopped; the same command goes on where it stood", file=sys.stderr)
        return 130
    folders = [arm.folder for arm in arms if arm.name not in missing]
    if folders:
        comparison = write_comparison(
            folders,
            output,
            arguments,
            split=arms[0].split,
            cluster=plan.cluster,
            price_per_hour=price_per_hour,
            missing=missing,
        )
        print_comparison(comparison, output)
    return 1 if missing else 0
