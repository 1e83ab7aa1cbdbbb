"""Numbers as text: each kind of number is written the same way on every page."""

from collections.abc import Callable, Sequence

NONE = "–"

Bounds = Sequence[float]  # the lower and the upper bound of an interval


def minus(text: str) -> str:
    """The text of a number with a true minus sign."""
    return text.replace("-", "−")


def percent(rate: float, digits: int = 1) -> str:
    """A rate in percent without the percent sign: 0.1234 is ``12.3``."""
    return minus(f"{100 * rate:.{digits}f}")


def signed(rate: float, digits: int = 2) -> str:
    """A difference of rates in percentage points with its sign; zero has none."""
    text = minus(f"{100 * rate:+.{digits}f}").replace("inf", "∞")
    return text if text.strip("+−0.") else text[1:]


def decimal(value: float, digits: int = 1) -> str:
    """A number with a fixed count of digits after the point."""
    return minus(f"{value:.{digits}f}")


def bracketed(interval: Bounds | None, digits: int = 2, written: Callable[[float, int], str] = percent) -> str:
    """`` [1.23, 4.56]``, with a space before it; nothing where there is no interval."""
    return "" if interval is None else f" [{', '.join(written(bound, digits) for bound in interval)}]"


def share(value: float) -> str:
    """``12.3 %``, for the ticks of an axis."""
    return f"{100 * value:.3g} %"


def plain_number(value: float) -> str:
    """A number with three significant digits, or as an integer from 100 on: for charts."""
    return minus(f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}")


def short_number(value: float) -> str:
    """``39.6 M``."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def probability(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def compared_probability(value: float) -> str:
    """A p-value with its relation: ``= 0.012`` or ``< 0.001``."""
    text = probability(value)
    return text if text.startswith("<") else f"= {text}"


def duration(seconds: float) -> str:
    """A time of training or decoding: ``5.0 s``, ``90 s``, ``12 min`` or ``2.3 h``."""
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


def counted(number: int, noun: str) -> str:
    """``1 clip``, ``1,234 clips``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
