"""The page of a corpus inspection: written to any address, the same figures as the table in the terminal."""

import base64
import datetime
from collections.abc import Sequence

from markupsafe import Markup

from data import storage
from data.inspection.counts import Histogram
from data.inspection.findings import problems, would_fail
from data.inspection.tally import RATES, Inspection

from .charts import Axis, Bars
from .corpus_tables import figures, headline, print_inspection, public_address, reading, tables, verdict
from .formats import minus
from .page import rendered

MOST_BARS = 60

Marks = Sequence[tuple[float, str]]  # values where something begins, such as a limit, and its name


def check_page(page: str) -> None:
    """Check that the page can be written before hours are spent on the inspection.

    Raises:
        StorageError: if it cannot.
    """
    if not storage.exists(page):
        storage.write_bytes(page, b"")
        storage.remove(page)


def write_page(inspection: Inspection, address: str, page: str, date: datetime.date | None = None) -> None:
    """Write the page of the corpus at ``address`` to ``page``, any address.

    Args:
        date: of the inspection; today if None.

    Raises:
        StorageError: if it cannot be written.
    """
    date = date or datetime.datetime.now(datetime.UTC).date()
    storage.write_bytes(page, inspection_page(inspection, address, date).encode("utf-8", "replace"))


def tell_inspection(inspection: Inspection, address: str, page: str) -> int:
    """Print the table, write the page (any address), and return 1 if training would fail on something, else 0."""
    print_inspection(inspection, address)
    write_page(inspection, address, page)
    print(f"the same as a page, with plots: {page}")
    return int(would_fail(problems(inspection)))


def inspection_page(inspection: Inspection, address: str, date: datetime.date) -> str:
    """The page of the corpus at ``address``, inspected on ``date``."""
    findings = problems(inspection)
    return rendered(
        "corpus.html.j2",
        address=public_address(address),
        date=date.isoformat(),
        findings=findings,
        fails=would_fail(findings),
        verdict=verdict(findings),
        headline=headline(inspection),
        distributions=distributions(inspection) if inspection.decoded else [],
        reading=reading(inspection),
        samples=[
            (sample, [sound_address(flac) for flac in (sample.flac, sample.second) if flac])
            for sample in inspection.samples_to_hear.kept
        ],
        figures=figures(inspection),
        tables=tables(inspection),
    )


def sound_address(flac: bytes) -> Markup:
    """Sound as an address that holds it, so that the page needs no other file."""
    return Markup(f"data:audio/flac;base64,{base64.b64encode(flac).decode()}")


def distributions(inspection: Inspection) -> list[Bars]:
    """The distributions that say most about a corpus."""
    longest = inspection.settings.max_seconds
    limit = ((longest, f"{longest:g} s"),)
    found = [
        bars_of("Length of the clips, in seconds", inspection.lengths, "s", limit),
        bars_of("Level of the clips, RMS in dBFS", inspection.levels, "dBFS"),
    ]
    if inspection.rates.total:
        usual = inspection.usual_rates()
        marks = ((RATES.edge(usual[0]), "too little"), (RATES.edge(usual[1] + 1), "too much")) if usual else ()
        found.append(bars_of("Speech rate, characters a second", inspection.rates, "characters a second", marks))
    return found


def bars_of(title: str, histogram: Histogram, unit: str, marks: Marks = ()) -> Bars:
    """A histogram over an axis no wider than its values; a logarithmic axis holds its marks too."""
    scale = histogram.scale
    edges = [histogram.smallest, histogram.largest, *(value for value, _ in marks if scale.is_log)]
    first, last = scale.bin(min(edges)), scale.bin(max(edges)) + 1
    if scale.is_log:
        first, last = max(first - 1, 0), min(last + 1, scale.bins)
    elif scale.low == 0:
        first = 0
    each = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200) if (last - first) / n <= MOST_BARS)
    first -= 0 if scale.is_log else first % each
    last = min(first + -(-(last - first) // each) * each, scale.bins)
    axis = Axis(scale.edge(first), scale.edge(last), scale.is_log)
    written = ".3g" if scale.is_log else ".0f" if (scale.high - scale.low) / scale.bins * each >= 1 else ".1f"
    bars = [(f"{low:{written}} to {high:{written}} {unit}", count)
            for low, high, count in histogram.joined(each, first, last)]  # fmt: skip
    if histogram.largest > scale.high:
        bars[-1] = (f"{bars[-1][0].split(' to ')[0]} {unit} and more", bars[-1][1])
    ticks = [(axis.place(tick), minus(f"{tick:g}")) for tick in axis.ticks(9 if scale.is_log else 6)]
    return Bars(title, bars, ticks, placed(marks, axis))


def placed(marks: Marks, axis: Axis) -> list[tuple[float, str]]:
    """The marks within an axis by their place on it."""
    return [(axis.place(value), name) for value, name in marks if axis.low <= value <= axis.high]
