"""The experiment in tables and a picture, from the arms' results alone."""

from pathlib import Path
from typing import Any

from trainer.config.reading import ConfigError
from trainer.evaluation.intervals import Interval
from trainer.record.durable import write_text

from .comparing import Compared, compare
from .measuring import DEVELOPMENT, REPORT, measured
from .plan import NoisePlan

Row = dict[str, Any]
CAPPED = (
    "The same, an utterance's errors counted up to the number of its words: a word repeated to the last token is "
    "otherwise as many errors as ten utterances hold."
)


def read_results(plan: NoisePlan, folder: Path) -> dict[str, Row]:
    """Of the arms that were measured by a suite their results; the others are left out."""
    found = {arm: measured(plan, folder, arm) for arm in plan.arms}
    return {arm: result for arm, result in found.items() if result.keys() & {DEVELOPMENT, REPORT}}


def write_summary(plan: NoisePlan, folder: Path) -> str:
    """Write summary.md and its picture beside the plan, and return the tables.

    Raises:
        ConfigError: if no arm is done.
    """
    results = read_results(plan, folder)
    if not results:
        raise ConfigError(f"{folder}: no arm is done yet; begin with: python -m benchmarks.noise run --plan ...")
    missing = [arm for arm in plan.arms if arm not in results]
    unreported = [arm for arm in results if arm in plan.reported and REPORT not in results[arm]]
    parts = ["# Does a second attention help in noise? The figures"]
    chose = {arm: result for arm, result in results.items() if DEVELOPMENT in result}
    if chose:
        parts.append(development_table(plan, chose))
    reported = {arm: result for arm, result in results.items() if REPORT in result}
    families = {family: [reported[arm] for arm in arms if arm in reported] for family, arms in plan.families.items()}
    families = {family: found for family, found in families.items() if found}
    if families:
        parts.append(report_table(families))
        draw(families, folder / "summary.png")
        parts.append("![word error rate by ratio](summary.png)")
    parts.append(f"Arms of the plan that have not run: {', '.join(missing) or 'none'}.")
    if unreported:
        parts.append(f"Arms that the report is still to be measured of: {', '.join(unreported)}.")
    text = "\n\n".join(parts) + "\n"
    write_text(folder / "summary.md", text)
    return text


def development_table(plan: NoisePlan, results: dict[str, Row]) -> str:
    """Every arm on the speakers set aside, with what its attentions look at."""
    names = list(next(iter(results.values()))[DEVELOPMENT]["conditions"])
    noisy = [name for name in names if name != "clean"]
    head = ["arm", "sets", *names, "mean in noise", "odds on noise, secondary / primary", "distance"]
    lines = [
        "## Speakers set aside: what chose",
        "Word error rate in %.",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
    ]
    for arm, result in results.items():
        conditions = result[DEVELOPMENT]["conditions"]
        mean = sum(conditions[name]["word_error_rate"] for name in noisy) / len(noisy)
        cells = [arm, described(plan.arms[arm])]
        cells += [f"{conditions[name]['word_error_rate']:.1%}"[:-1] for name in names]
        cells += [f"{mean:.1%}"[:-1], told_odds(result[DEVELOPMENT]["attention_odds"]), told_distance(result)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([lines[0], "", lines[1], "", *lines[2:]])


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


def report_table(families: dict[str, list[Row]]) -> str:
    """Families on the other speakers: all seeds together, and how much fewer errors than the first family."""
    first = next(iter(families))
    names = list(families[first][0][REPORT]["conditions"])
    lines = [
        "## Other speakers and other noises: the report",
        "",
        f"Word error rate in %, all seeds together with a 95 % interval over speakers; below it how much lower than "
        f"{first}'s, relative, with the interval of paired draws; last the seeds' own rates.",
    ]
    for capped in (False, True):
        if capped:
            lines += ["", CAPPED]
        lines += ["", f"| | {' | '.join(names)} |", f"|{'---|' * (len(names) + 1)}"]
        for family, found in families.items():
            base = None if family == first else families[first]
            compared = [compare(found, base, REPORT, name, capped) for name in names]
            lines.append(f"| {family} | {' | '.join(cell(one) for one in compared)} |")
    return "\n".join(lines)


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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    first = next(iter(families.values()))[0][REPORT]["conditions"]
    names = sorted((name for name in first if first[name]["ratio"] is not None), key=lambda name: first[name]["ratio"])
    for number, (family, found) in enumerate(families.items()):
        compared = [compare(found, None, REPORT, name) for name in names]
        places = [first[name]["ratio"] + 0.12 * (number - len(families) / 2) for name in names]
        below = [100 * (one.mean - one.interval[0]) for one in compared]
        above = [100 * (one.interval[1] - one.mean) for one in compared]
        axes.errorbar(places, [100 * one.mean for one in compared], [below, above], marker="o", capsize=2, label=family)
    axes.set(xlabel="speech over noise, dB", ylabel="word error rate, %", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
