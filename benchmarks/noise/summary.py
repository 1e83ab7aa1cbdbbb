"""The experiment in tables and a picture, from the arms' results alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from trainer.config.reading import ConfigError
from trainer.evaluation.intervals import Interval
from trainer.noise_suite.charts import draw_curve
from trainer.noise_suite.conditions import CLEAN, CLEAN_PAIR
from trainer.pages.charts import Point, Series
from trainer.pages.page import rendered
from trainer.pages.tables import FigureTable
from trainer.record.durable import write_text

from .comparing import Compared, Side, compare, words_of_other
from .measuring import Row, measured, wanted_suites
from .plan import DEVELOPMENT, REPORT, NoisePlan

Sides = dict[str, Side]


def write_summary(plan: NoisePlan, folder: Path) -> str:
    """Write summary.md and its picture beside the plan, and return the tables.

    Raises:
        ConfigError: if no arm is done.
    """
    found = {arm: measured(plan, folder, arm) for arm in plan.arms}
    results = {arm: result for arm, result in found.items() if result.keys() & plan.suites.keys()}
    if not results:
        raise ConfigError(f"{folder}: no arm is done yet; begin with: python -m benchmarks.noise run --plan ...")
    sides = sides_of(plan, results)
    families = {name: side for name, side in sides.items() if side.suite == REPORT}
    if families:
        draw(sides, folder / "summary.png")
    wanted = {arm: wanted_suites(plan, arm) for arm in results}
    text = rendered(
        "benchmarks/noise/summary.md.j2",
        title=Markup(plan.title),
        development=development_table(plan, {arm: found for arm, found in results.items() if DEVELOPMENT in found}),
        first=Markup(next(iter(families), "")),
        families=report_table(sides),
        capped=report_table(sides, capped=True),
        against=against_table(plan, sides),
        others=others_table(sides),
        missing=[Markup(arm) for arm in plan.arms if arm not in results],
        unreported=[Markup(arm) for arm, keys in wanted.items() if {*keys} - {DEVELOPMENT} - results[arm].keys()],
    )
    write_text(folder / "summary.md", text)
    return text


def sides_of(plan: NoisePlan, results: dict[str, Row]) -> Sides:
    """The sides of which something is measured, by their names; the first family first."""
    sides = {}
    for name, (family, suite) in plan.sides.items():
        found = [results[arm] for arm in plan.families[family] if suite in results.get(arm, {})]
        if found:
            sides[name] = Side(found, suite)
    return sides


def development_table(plan: NoisePlan, results: dict[str, Row]) -> FigureTable:
    """Every arm on the speakers set aside, with what its attentions look at."""
    names = list(next(iter(results.values()))[DEVELOPMENT]["conditions"]) if results else []
    rows = []
    for arm, result in results.items():
        rates = {name: figures["word_error_rate"] for name, figures in result[DEVELOPMENT]["conditions"].items()}
        noisy = [rates[name] for name in names if name not in (CLEAN, CLEAN_PAIR)]
        shown = [*(rates[name] for name in names), sum(noisy) / len(noisy)]
        told = (told_odds(result[DEVELOPMENT]["attention_odds"]), told_distance(result))
        rows.append((arm, described(plan.arms[arm]), *(f"{rate:.1%}"[:-1] for rate in shown), *told))
    return marked(["arm", "sets", *names, "mean in noise", "odds on noise, secondary / primary", "distance"], rows)


def report_table(sides: Sides, capped: bool = False) -> FigureTable:
    """Every side on the other speakers: all seeds together, and how much fewer errors than the first family."""
    first = next(iter(sides.values()), None)
    names = conditions_of(sides)
    rows = []
    for name, side in sides.items():
        base = None if side is first else first
        rows.append((name, *(cell(compare(side, base, one, capped)) if side.has(one) else "" for one in names)))
    return marked(["", *names], rows)


def against_table(plan: NoisePlan, sides: Sides) -> FigureTable:
    """How much fewer errors a side makes than others, with intervals over speakers and over utterances."""
    names = conditions_of(sides)
    rows = []
    for one, others in plan.against.items():
        for other in others:
            if one in sides and other in sides:
                pair = sides[one], sides[other]
                shared = [all(side.has(name) for side in pair) for name in names]
                found = [compare(*pair, name) if both else None for name, both in zip(names, shared, strict=True)]
                rows.append((f"{one} against {other}", *map(relative_cell, found)))
    return marked(["", *names], rows)


def others_table(sides: Sides) -> FigureTable:
    """Words of the one other voice in the transcripts of a seed, and how many of the first family's these are."""
    names = conditions_of(sides)
    found = {
        name: [words_of_other(side, one) if side.has(one) else None for one in names] for name, side in sides.items()
    }
    counted = [place for place in range(len(names)) if any(parts[place] for parts in found.values())]
    first = next(iter(found.values()), [])
    rows = []
    for name, parts in found.items() if counted else ():
        cells = []
        for place in counted:
            here, base = parts[place], first[place]
            text = "" if here is None else f"**{here[0]:.0f}**, {here[1]:.1%}"
            cells.append(f"{text} ({here[0] / base[0]:.2f})" if here and base and base[0] else text)
        rows.append((name, *cells))
    return marked(["", *(names[place] for place in counted)], rows)


def conditions_of(sides: Sides) -> list[str]:
    """The names of the report's conditions."""
    first = next(iter(sides.values()), None)
    return list(first.results[0][first.suite]["conditions"]) if first else []


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


def relative_cell(found: Compared | None) -> str:
    if found is None or found.relative is None:
        return ""
    text = f"**{found.relative[0]:+.1%}** {spanned(found.relative[1])}"
    return text + (f"<br>{spanned(found.over_utterances)}" if found.over_utterances else "")


def spanned(interval: Interval) -> str:
    return f"({interval[0]:.1%} to {interval[1]:.1%})"


def draw(sides: Sides, path: Path) -> None:
    """Word error rate against the ratio, a line for each side that was measured at two ratios at least, with its
    interval; pairs of ratios side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    first = next(side for side in sides.values() if side.suite == REPORT)
    about = first.results[0][first.suite]["conditions"]
    are_pairs = any(one.get("second_ratio") is not None for one in about.values())
    if are_pairs:
        places = {name: float(number) for number, name in enumerate(about)}
        axes.set_xticks(list(places.values()), [name.replace("_", " ") for name in places])
    else:
        places = {name: one["ratio"] for name, one in about.items() if one["ratio"] is not None}
        axes.set_xlabel("speech over noise, dB")
    names = sorted(places, key=lambda name: places[name])
    there = {
        name: [one for one in names if one in side.results[0][side.suite]["conditions"]] for name, side in sides.items()
    }
    drawn = {name: found for name, found in there.items() if len(found) > 1}
    width = 0.6 / len(drawn) if are_pairs else 0.12  # so that no interval hides another
    for number, (name, found) in enumerate(drawn.items()):
        shift = width * (number - (len(drawn) - 1) / 2)
        compared = [(places[one] + shift, compare(sides[name], None, one)) for one in found]
        points = [Point(place, one.mean, one.interval) for place, one in compared]
        draw_curve(axes, Series(name, points, number))
    axes.set(ylabel="word error rate, %", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)
