"""Rates, points, times and counts as text; knows no runs."""

from collections.abc import Sequence

from ..evaluation.intervals import Interval

NONE = "–"


def percent(rate: float, digits: int = 1) -> str:
    return f"{100 * rate:.{digits}f}".replace("-", "−")


def signed(rate: float, digits: int = 2) -> str:
    """Points with their sign; what rounds to zero has none."""
    text = f"{100 * rate:+.{digits}f}".replace("-", "−").replace("inf", "∞")
    return text if text.strip("+−0.") else text[1:]


def bracketed(interval: Interval | None, digits: int = 2, is_signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (signed(bound, digits) if is_signed else percent(bound, digits) for bound in interval)
    return f" [{low}, {high}]"


def probability(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def time_unit(longest: float) -> tuple[float, str]:
    """The unit, in seconds, and its name, in which an axis up to ``longest`` seconds is read best."""
    return next(
        unit
        for unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
        if longest >= 2 * unit[0] or unit[0] == 1.0
    )


def short_number(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def spaced(value: float) -> str:
    text = probability(value)
    return text if text.startswith("<") else f"= {text}"
