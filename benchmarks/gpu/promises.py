"""What a GPU must show, beside what was measured: reached, missed or not measured. Knows the cells' results alone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.pages.formats import decimal, percent

from .table import MEMORY_CELLS, SMALL_BATCHES

Results = Mapping[str, Any]
REACHED, MISSED, NOT_MEASURED = "reached", "missed", "not measured"


@dataclass(frozen=True)
class Promise:
    """A figure and its threshold.

    Attributes:
        must: what it must be at least, or, with ``at_most``, at most.
        goal: what is hoped for beyond it.
        find: the figure in the results; None where it was not measured.
        form: writes a figure.
        each: a cell, a figure of its parts, and how many parts must have it: with fewer, nothing is reached.
    """

    name: str
    must: float
    find: Callable[[Results], float | None]
    form: Callable[[float], str]
    goal: float | None = None
    at_most: bool = False
    each: tuple[str, str, int] | None = None

    def verdict(self, found: float | None, whole: bool = True) -> str:
        """Reached, missed, or not measured; what is not a number is missed.

        Args:
            whole: whether all that was asked for was measured.
        """
        if found is None:
            return NOT_MEASURED
        reached = found <= self.must if self.at_most else found >= self.must
        if reached and not whole:
            return NOT_MEASURED
        hoped = self.goal is not None and (found <= self.goal if self.at_most else found >= self.goal)
        return f"{REACHED}, and the goal" if reached and hoped else REACHED if reached else MISSED

    def row(self, results: Results) -> tuple[str, ...]:
        """Name, threshold, goal, measured, verdict."""
        found = None if results.get("on_cpu") else self.find(results)
        told, whole = "" if found is None else self.form(found), True
        if found is not None and self.each is not None:
            cell, figure, asked = self.each
            measured = len(figures_of(results, cell, figure))
            whole = measured >= asked
            told += "" if whole else f" ({measured} of {asked} measured)"
        sign = "at most" if self.at_most else "at least"
        goal = "" if self.goal is None else self.form(self.goal)
        return (self.name, f"{sign} {self.form(self.must)}", goal, told, self.verdict(found, whole))


def share(value: float) -> str:
    return f"{percent(value)} %"


def parts_of(results: Results, cell: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and figures of the parts of a cell that were measured."""
    for one in results["cells"]:
        if one["name"] == cell:
            yield from ((part["name"], part["figures"]) for part in one["parts"] if "figures" in part)


def figures_of(results: Results, cell: str, figure: str) -> list[float]:
    """A figure of each part of a cell that has it."""
    found = (one.get(figure) for _, one in parts_of(results, cell))
    return [one for one in found if one is not None]


def furthest_off(results: Results) -> float | None:
    """The largest share by which a prediction of memory is off."""
    return max(map(abs, figures_of(results, "memory", "off_by")), default=None)


def fastest(results: Results, cell: str) -> float | None:
    """The most utterances a second of a cell's parts."""
    return max(filter(None, figures_of(results, cell, "utterances_per_second")), default=None)


def times_the_recipe(results: Results) -> float | None:
    own, peer = fastest(results, "small"), fastest(results, "usual_recipe")
    return None if own is None or peer is None else own / peer


def best_utilisation(results: Results) -> float | None:
    """Of clips that are all 30 s long."""
    found = (one.get("utilisation") for name, one in parts_of(results, "medium") if name == "equal lengths")
    return max(filter(None, found), default=None)


def longest_wait(results: Results) -> float | None:
    """The largest share of time that the device waited for data."""
    return max(figures_of(results, "small", "data_wait_share"), default=None)


MEMORY = ("memory", "off_by", len(MEMORY_CELLS))
WAITS = ("small", "data_wait_share", len(SMALL_BATCHES))
PROMISES = (
    Promise("predicted memory, off by", 0.05, furthest_off, share, at_most=True, each=MEMORY),
    Promise("small, times the utterances a second of the usual recipe", 5.0, times_the_recipe, decimal, 8.0),
    Promise("medium with clips of 30 s, share of the device's peak", 0.40, best_utilisation, share, 0.50),
    Promise("small from the stream, device idle for data", 0.03, longest_wait, share, at_most=True, each=WAITS),
)
