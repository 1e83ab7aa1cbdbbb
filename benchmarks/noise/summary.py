"""The experiment in tables and a picture, from the arms' results alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from trainer.config.reading import ConfigError
from trainer.evaluation.intervals import Interval
from trainer.noise_suite.charts import draw_curve
from trainer.pages.charts import Point, Series
from trainer.pages.page import rendered
from trainer.pages.tables import FigureTable
from trainer.record.durable import write_text

from .comparing import Compared, compare
from .measuring import DEVELOPMENT, REPORT, Row, measured
from .plan import NoisePlan


def write_summary(plan: NoisePlan, folder: Path) -> str:
    """Write summary.md and its picture beside the plan, and return the tables.

    Raises:
        ConfigError: if no arm is done.
    """
    found = {arm: measured(plan, folder, arm) for arm in plan.arms}
    results = {arm: result for arm, result in found.items() if result.keys() & {DEVELOPMENT, REPORT}}
    if not results:
        raise ConfigError(f"{folder}: no arm is done yet; begin with: python -m benchmarks.noise run --plan ...")
    reported = {arm: result for arm, result in results.items() if REPORT in result}
    families = {family: [reported[arm] for arm in arms if arm in reported] for family, arms in plan.families.items()}
    families = {family: found for family, found in families.items() if found}
    if families:
        draw(families, folder / "summary.png")
    text = rendered(
        "benchmarks/noise/summary.md.j2",
        development=development_table(plan, {arm: found for arm, found in results.items() if DEVELOPMENT in found}),
        first=Markup(next(iter(families), "")),
        families=report_table(families),
        capped=report_table(families, capped=True),
        missing=[Markup(arm) for arm in plan.arms if arm not in results],
        unreported=[Markup(arm) for arm in results if arm in plan.reported and arm not in reported],
    )
    write_text(folder / "summary.md", text)
    return text


def development_table(plan: NoisePlan, results: dict[str, Row]) -> FigureTable:
    """Every arm on the speakers set aside, with what its attentions look at."""
    names = list(next(iter(results.values()))[DEVELOPMENT]["conditions"]) if results else []
    rows = []
    for arm, result in results.items():
        rates = {name: figures["word_error_rate"] for name, figures in result[DEVELOPMENT]["conditions"].items()}
        noisy = [rates[name] for name in names if name != "clean"]
        shown = [*(rates[name] for name in names), sum(noisy) / len(noisy)]
        told = (told_odds(result[DEVELOPMENT]["attention_odds"]), told_distance(result))
        rows.append((arm, described(plan.arms[arm]), *(f"{rate:.1%}"[:-1] for rate in shown), *told))
    return marked(["arm", "sets", *names, "mean in noise", "odds on noise, secondary / primary", "distance"], rows)


def report_table(families: dict[str, list[Row]], capped: bool = False) -> FigureTable:
    """Families on the other speakers: all seeds together, and how much fewer errors than the first family."""
    first = next(iter(families.values()), [])
    names = list(first[0][REPORT]["conditions"]) if first else []
    rows = []
    for family, found in families.items():
        base = None if found is first else first
        rows.append((family, *(cell(compare(found, base, REPORT, name, capped)) for name in names)))
    return marked(["", *names], rows)


def marked(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> FigureTable:
    """A table whose cells are Markdown."""
    return FigureTable("", [Markup(name) for name in columns], [tuple(map(Markup, row)) for row in rows])


def described(keys: dict[str, Any] | None) -> str:
    if keys is None:
        return "as published"
    return ", ".join(f"`{key.rpartition('.')[2]}: {value}`" for key, value in keys.items()) or "nothing"


def told_odds(odds: Row | None) -> str:
    if not odds or odds.get("secondary_odds") is None:
        return ""
    return f"{odds['secondary_odds']:.2f} / {odds['primary_odds']:.2f} = {odds['odds_ratio']:.2f}"


def told_distance(result: Row) -> str:
    attention = result["training"]["last_logged"]["attention"] if "training" in result else None
    return f"{sum(attention['distance']) / len(attention['distance']):.3f}" if attention else ""


def cell(found: Compared) -> str:
    text = f"**{found.mean:.1%}** {spanned(found.interval)}".replace("%", "")
    if found.relative is not None:
        text += f"<br>{found.relative[0]:+.1%} {spanned(found.relative[1])}"
    if len(found.rates) > 1:
        text += "<br>" + ", ".join(f"{rate:.1%}"[:-1] for rate in found.rates)
    return text


def spanned(interval: Interval) -> str:
    return f"({interval[0]:.1%} to {interval[1]:.1%})"


def draw(families: dict[str, list[Row]], path: Path) -> None:
    """Word error rate against the ratio, a line for each family, with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    first = next(iter(families.values()))[0][REPORT]["conditions"]
    names = sorted((name for name in first if first[name]["ratio"] is not None), key=lambda name: first[name]["ratio"])
    for number, (family, found) in enumerate(families.items()):
        shift = 0.12 * (number - len(families) / 2)  # so that no interval hides another
        compared = [(first[name]["ratio"] + shift, compare(found, None, REPORT, name)) for name in names]
        points = [Point(place, one.mean, one.interval) for place, one in compared]
        draw_curve(axes, Series(family, points, number))
    axes.set(xlabel="speech over noise, dB", ylabel="word error rate, %", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)
