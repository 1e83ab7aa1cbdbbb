"""A search as one HTML file, laid out by ``page.html.j2``, and as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from ...pages.charts import Axis, Chart, Level, Point, Series, axis_over
from ...pages.formats import NONE, counted, duration, percent, plain_number, share, signed
from ...pages.page import rendered
from ...pages.tables import FigureTable
from .findings import Findings, Rows
from .search import Measured, lowest
from .space import Dimension, text_of
from .study import Trial

OWN, BEST, OTHERS, PRUNED = 0, 1, -1, 3  # colours
TOP = 1.0  # charts end at a word error rate of this


def tuning_page(findings: Findings, command: str, date: str, why: str) -> str:
    """The page.

    Args:
        command: that makes it.
        why: the search ended, in a few words.
    """
    return rendered(
        "trainer/comparison/tuning/page.html.j2",
        title=f"{counted(len(findings.rows), 'trial')} of {findings.search.config.model.checkpoint or 'a new model'}",
        date=date,
        verdict=findings.verdict,
        tiles=tiles_of(findings),
        pasted=findings.pasted,
        on_command_line=findings.on_command_line,
        trials=trial_table(findings),
        curves=curves(findings),
        by_value=[chart for one in findings.search.space for chart in by_value(findings, one)],
        warnings=findings.warnings,
        why=why,
        metric=findings.search.config.evaluation.best_metric.replace("_", " "),
        command=command,
    )


def tiles_of(findings: Findings) -> list[tuple[str, str]]:
    """The figures that come first: what each is, and its value."""
    trials = findings.trials
    ends = [sum(trial.state == state for trial in trials) for state in ("finished", "pruned")]
    tiles = [("trials to the end", f"{ends[0]}"), ("given up early", f"{ends[1]}")]
    tiles.append(("time of all", duration(sum(trial.seconds for trial in trials))))
    if findings.best is not None:
        at = findings.at(findings.best)
        tiles.insert(0, ("lowest word error rate", f"{percent(at.word_error_rate)} %"))
        if findings.is_better and findings.own is not None:
            less = at.word_error_rate - findings.at(findings.own).word_error_rate
            tiles.insert(1, ("points against the config's own", signed(less, 1)))
    return tiles


def named(findings: Findings, trial: Trial) -> str:
    """A trial in a legend or a table."""
    role = " (the config's own)" if trial.number == 0 else ""
    return f"trial {trial.number}{' (the best)' if findings.is_better and trial == findings.best else role}"


def trial_table(findings: Findings) -> FigureTable:
    """The trials from the fewest errors up, with their values."""

    def rate(kind: str) -> Any:
        return lambda row: percent(getattr(lowest(row[1]), kind), 2) if row[1] else NONE

    def state(row: tuple[Trial, list[Measured]]) -> str:
        trial, curve = row
        return f"given up after step {curve[-1].step}" if trial.state == "pruned" and curve else trial.state

    columns: dict[str, Any] = {
        "": lambda row: named(findings, row[0]),
        "WER %": rate("word_error_rate"),
        "CER %": rate("character_error_rate"),
        "step": lambda row: f"{lowest(row[1]).step:,}" if row[1] else NONE,
        "time": lambda row: duration(row[0].seconds),
        "state": state,
    }
    for one in findings.search.space:
        columns[short_key(one.key)] = lambda row, key=one.key: text_of(row[0].values[key])
    return FigureTable.of("Trials", findings.ranked, columns, range(1, 5))


def short_key(key: str) -> str:
    """A key without its sections where it stands over a column."""
    return key.removeprefix("optimizer.").removeprefix("data.augmentation.").removeprefix("model.")


def curves(findings: Findings) -> list[Chart]:
    """Word error rate by update, a line for each trial."""
    rows = [row for row in findings.rows if row[1]]
    if not rows:
        return []
    own, best = findings.own, findings.best
    series = [
        Series(
            named(findings, trial),
            [Point(at.step, min(at.word_error_rate, TOP), told=told(trial, at)) for at in curve],
            OWN if trial == own else BEST if trial == best else OTHERS,
            is_open=trial.state == "pruned",
        )
        for trial, curve in rows
    ]
    series.sort(key=lambda one: one.colour)  # grey lines lie below
    x = Axis(0.0, 1.03 * findings.search.config.training.steps)
    return [Chart("Word error rate by update", series, x, axis_of(rows), x_title="updates", y_text=share, height=260)]


def by_value(findings: Findings, dimension: Dimension) -> list[Chart]:
    """Word error rate by a key's value, a point for each trial."""
    rows = [row for row in findings.rows if row[1]]
    if not rows:
        return []
    choices = dimension.labels
    points: dict[str, list[Point]] = {"to the end": [], "given up": []}
    for trial, curve in rows:
        value, at = trial.values[dimension.key], lowest(curve)
        x = float(value) if dimension.range is not None else float(choices.index(text_of(value)))
        kind = "to the end" if trial.state == "finished" else "given up"
        points[kind].append(Point(x, min(at.word_error_rate, TOP), told=f"{text_of(value)}, {told(trial, at)}"))
    series = [
        Series(name, found, OWN if name == "to the end" else PRUNED, is_joined=False, is_open=name == "given up")
        for name, found in points.items()
        if found
    ]
    if dimension.range is not None:
        x_axis, note = Axis(float(dimension.range.low), float(dimension.range.high), dimension.range.log), ""
    else:
        x_axis = Axis(-0.5, len(choices) - 0.5)
        note = "; ".join(f"{number}: {label}" for number, label in enumerate(choices, start=1))
    levels = [Level(findings.at(findings.own).word_error_rate)] if findings.own is not None else []
    return [
        Chart(
            f"By {short_key(dimension.key)}",
            series,
            x_axis,
            axis_of(rows),
            x_title=dimension.key,
            x_text=plain_number if dimension.range is not None else lambda place: str(round(place) + 1),
            y_text=share,
            x_at=range(len(choices)),
            levels=levels,
            note=note,
        )
    ]


def axis_of(rows: Rows) -> Axis:
    """An axis that holds all word error rates up to :data:`TOP`."""
    return axis_over([min(at.word_error_rate, TOP) for _, curve in rows for at in curve])


def told(trial: Trial, at: Measured) -> str:
    """The tooltip of a trial's point."""
    return f"trial {trial.number}, step {at.step}: {percent(at.word_error_rate, 2)} %"


def tuning_json(findings: Findings, command: str, date: str, why: str) -> str:
    """What the page shows, for programs. Rates are fractions."""
    pair, best = findings.pair, findings.best
    interval = None if pair is None or pair.interval is None else [-pair.interval[1], -pair.interval[0]]
    values = {
        "command": command,
        "date": date,
        "ended": why,
        "verdict": findings.verdict,
        "best": None if best is None else best.number,
        "lines": findings.lines,
        "against_own": None
        if pair is None
        else {"difference": -pair.difference, "interval": interval, "p": pair.p_adjusted, "differs": pair.differs},
        "warnings": findings.warnings,
        "space": {one.key: one.described() for one in findings.search.space},
        "trials": [trial_values(trial, curve) for trial, curve in findings.rows],
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def trial_values(trial: Trial, curve: Sequence[Measured]) -> dict[str, Any]:
    """A trial and its curve."""
    return {
        "number": trial.number,
        "state": trial.state,
        "values": trial.values,
        "objective": trial.objective,
        "seconds": round(trial.seconds, 1),
        "reason": trial.reason,
        "curve": [
            {
                "step": at.step,
                "word_error_rate": at.word_error_rate,
                "character_error_rate": at.character_error_rate,
                "errors": at.errors,
            }
            for at in curve
        ],
    }
