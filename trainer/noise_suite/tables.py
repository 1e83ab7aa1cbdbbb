"""The suite's figures as tables, shared by the console, the Markdown and the page."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from data.terminal import print_table

from ..pages.formats import NONE, bracketed, counted, decimal, percent, signed
from ..pages.tables import FigureTable
from .conditions import DESCRIBED, NON_SPEECH

MOST_NAMED = 20  # recordings in a remark; all are in noise_suite.json


def label_of(figures: dict[str, Any]) -> str:
    """``babble, -5 dB``; ``two microphones, 0 and 10 dB``."""
    ratios = [ratio for ratio in (figures["ratio"], figures.get("second_ratio")) if ratio is not None]
    decibels = " and ".join(f"{ratio:g}" for ratio in ratios)
    return DESCRIBED[figures["kind"]] + (f", {decibels} dB" if ratios else "")


def spoken(result: dict[str, Any]) -> list[str]:
    """The names of the conditions in which somebody speaks."""
    first = result["checkpoints"][0]["conditions"]
    return [name for name in result["conditions"] if first[name]["kind"] != NON_SPEECH]


def rate_tables(result: dict[str, Any]) -> list[FigureTable]:
    """Word and character error rates by condition; none where nobody speaks."""
    tables = [
        by_condition(result, f"{title}, %", partial(with_interval, key=key), result["checkpoints"])
        for title, key in (("Word error rate", "word_error_rate"), ("Character error rate", "character_error_rate"))
    ]
    return [table for table in tables if table.rows]


def by_condition(
    result: dict[str, Any], title: str, cell: Callable[[dict[str, Any]], str], checkpoints: list[dict[str, Any]]
) -> FigureTable:
    """A row for each condition and each kind over all its ratios, a column for each of the checkpoints."""
    rows: list[tuple[str, ...]] = []
    for name in spoken(result) if checkpoints else []:
        figures = [checkpoint["conditions"][name] for checkpoint in checkpoints]
        rows.append((label_of(figures[0]), *map(cell, figures)))
    for kind in result["checkpoints"][0]["types"] if checkpoints else []:
        parts = [checkpoint["types"][kind] for checkpoint in checkpoints]
        if len(parts[0]["ratios"]) > 1:
            rows.append((f"{DESCRIBED[kind]}, all ratios", *map(cell, parts)))
    names = [checkpoint["name"] for checkpoint in checkpoints]
    return FigureTable(title, ("condition", *names), rows, numbers=range(1, 1 + len(names)))


def difference_table(result: dict[str, Any]) -> FigureTable:
    """Each further checkpoint's word error rate less the first's, by condition."""
    first = result["checkpoints"][0]["name"]

    def cell(figures: dict[str, Any]) -> str:
        found = figures["difference"]
        return NONE if found is None else signed(found["value"], 1) + bracketed(found["interval"], 1)

    return by_condition(result, f"Word error rate less that of {first}, points", cell, result["checkpoints"][1:])


def other_voice_table(result: dict[str, Any]) -> FigureTable:
    """Words of the one other voice in each checkpoint's transcripts, by condition, for 100 words of the speaker."""
    rows = []
    for name in spoken(result):
        parts = [one["conditions"][name] for one in result["checkpoints"]]
        found = [part["other_voice"] for part in parts if "other_voice" in part]
        if found:
            cells = (f"{one['words']}: {with_interval(one, 'rate')}" for one in found)
            rows.append((label_of(parts[0]), str(found[0]["said"]), *cells))
    names = [one["name"] for one in result["checkpoints"]]
    title = "Words of the other voice in transcripts, and for 100 words of the speaker"
    return FigureTable(title, ("condition", "said", *names), rows, numbers=range(1, 2 + len(names)))


def invented_table(result: dict[str, Any]) -> FigureTable:
    """Words that each checkpoint hears in noise without speech."""
    found = {one["name"]: one["conditions"].get(NON_SPEECH) for one in result["checkpoints"]}
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "clips with words, %": lambda one: with_interval(one, "hallucination_rate"),
        "words a minute": lambda one: with_interval(one, "words_per_minute", decimal),
        "heard most": heard_most,
    }
    return by_checkpoint("Noise without speech", found, columns, (1, 2))


def odds_table(result: dict[str, Any]) -> FigureTable:
    """How much each attention looks at noise; a row for each checkpoint with two attentions."""
    found = {one["name"]: one["attention_odds"] for one in result["checkpoints"]}
    condition = next((one["condition"] for one in found.values() if one), "")
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "primary odds": lambda one: decimal(one["primary_odds"], 3),
        "secondary odds": lambda one: decimal(one["secondary_odds"], 3),
        "their ratio": lambda one: decimal(one["odds_ratio"], 3) + bracketed(one["odds_ratio_interval"], 3, decimal),
        "gate": lambda one: decimal(one["gate"], 3),
        "frames of noise, %": lambda one: percent(one["noise_dominated_frames"]),
    }
    return by_checkpoint(f"Attention on noise ({condition})", found, columns, range(1, 6))


def by_checkpoint(
    title: str,
    found: dict[str, dict[str, Any] | None],
    columns: dict[str, Callable[[dict[str, Any]], str]],
    numbers: Collection[int],
) -> FigureTable:
    """A row for each checkpoint that has figures."""
    rows = [(name, *(text(one) for text in columns.values())) for name, one in found.items() if one is not None]
    return FigureTable(title, ("checkpoint", *columns), rows, numbers=numbers)


def heard_most(figures: dict[str, Any]) -> str:
    """What was heard most where nobody speaks, and how often."""
    if not figures["heard_most"]:
        return "nothing"
    text, times = figures["heard_most"][0]
    return f"{text[:60]!r}, {times} times"


def with_interval(figures: dict[str, Any], key: str, written: Callable[[float, int], str] = percent) -> str:
    """A figure and its interval, with one digit after the point."""
    return written(figures[key], 1) + bracketed(figures[f"{key}_interval"], 1, written)


def remarks_of(result: dict[str, Any]) -> list[str]:
    """Warnings that belong with the figures."""
    remarks = [*result["warnings"], *unreadable_noises(result)]
    remarks += [f"{one['name']} {warning}" for one in result["checkpoints"] for warning in one["warnings"]]
    for checkpoint in result["checkpoints"]:
        for name, figures in checkpoint["conditions"].items():
            if figures["skipped"]:
                first = figures["skipped"][0]
                told = f"{len(figures['skipped'])} left out, the first {first['id']}: {first['reason']}"
                remarks.append(f"{checkpoint['name']}, {name}: {told}")
    return remarks


def unreadable_noises(result: dict[str, Any]) -> list[str]:
    """A remark on recordings of noise that could not be used; empty if there are none."""
    names = [one["id"] for one in result["noises_unreadable"]]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    many = f"{counted(len(names), 'recording')} of noise"
    return [f"{many} could not be used: {', '.join(names[:MOST_NAMED])}{more}"] if names else []


def measured_with(result: dict[str, Any]) -> str:
    """One line on how the figures were made: data, engine, hardware, versions, date."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{result['speech']}; noises: {noises_of(result)}; 95 % intervals by a bootstrap over "
        f"{result['interval_units']}; {result['engine']}; {result['hardware']}; {versions}; {result['date'][:10]}"
    )


def noises_of(result: dict[str, Any]) -> str:
    """Where the noise comes from, and the number of its recordings."""
    noise = result["suite"]["noise"]
    if noise is None:
        return "none"
    where = "synthetic" if isinstance(noise, str) else noise["folder"] or "a dataset"
    return f"{where}, {len(result['noises'])}"


def print_tables(result: dict[str, Any]) -> None:
    """The tables and remarks for the console."""
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    tables = [difference_table(result), other_voice_table(result), invented_table(result), odds_table(result)]
    for one in [*rate_tables(result), *tables]:
        if one.rows:
            print_table(one.columns, one.rows, one.numbers, one.title)
    for remark in remarks_of(result):
        console.print(f"note: {remark}", markup=False)
