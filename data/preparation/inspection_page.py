"""An inspection as one HTML file that needs nothing else: no script, no request, dark where the reader's screen is.

What stands in a corpus is data and never markup: every text goes through :func:`escaped`.
"""

import datetime
import html

from .. import storage
from ..inspection.characters import visible
from ..inspection.counts import Example
from ..inspection.findings import Finding, problems, would_fail
from ..inspection.tally import RATES, Inspection
from .inspection_plots import Mark, linear_plot, logarithmic_plot
from .inspection_style import STYLE
from .inspection_table import FigureTable, figures, headline, public_address, tables, verdict

BADGES = {"fails": "fails in training", "look": "worth a look"}
WIDE = frozenset(("characters",))
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_inspection_page(inspection: Inspection, address: str, path: str, date: datetime.date) -> None:
    """Write the page to a path or any address.

    Raises:
        StorageError: if it cannot be written.
    """
    storage.write_bytes(path, inspection_page(inspection, address, date).encode("utf-8", "replace"))


def inspection_page(inspection: Inspection, address: str, date: datetime.date) -> str:
    """The page of the corpus at ``address``, inspected on ``date``."""
    findings = problems(inspection)
    shown = escaped(public_address(address), 300)
    tiles = "".join(
        f"<div><b>{escaped(value)}</b><span>{escaped(name)}</span></div>" for name, value in headline(inspection)
    )
    parts = [
        f'<header><p class="kind">Corpus inspection · {date.isoformat()}</p><h1>{shown}</h1>'
        f'<p class="verdict {"fails" if would_fail(findings) else "fine"}">{escaped(verdict(findings))}</p></header>',
        f'<section class="tiles">{tiles}</section>',
        section("Findings", f'<div class="findings">{"".join(map(finding_card, findings))}</div>') if findings else "",
        section("Distributions", f'<div class="plots">{plots(inspection)}</div>') if inspection.decoded else "",
        section("Figures", figure_list(inspection)),
        section("Counts", f'<div class="tables">{"".join(map(count_table, tables(inspection)))}</div>'),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{shown} – corpus inspection</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def escaped(text: str, longest: int = 160) -> str:
    """Text for a page: no markup, and nothing that is not seen."""
    return html.escape(visible(text, longest))


def section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def finding_card(finding: Finding) -> str:
    """A finding with its meaning; its examples fold out, those of failures stand open."""
    examples = ""
    if finding.examples:
        rows = "".join(map(example_item, finding.examples))
        number = len(finding.examples)
        named = f"{number} example{'s' * (number != 1)}"
        is_open = " open" if finding.severity == "fails" and number <= 5 else ""
        examples = f"<details{is_open}><summary>{named}</summary><ol>{rows}</ol></details>"
    return (
        f'<article class="{finding.severity}"><h3><span class="badge">{BADGES[finding.severity]}</span>'
        f"{escaped(finding.title[:1].upper() + finding.title[1:])}"
        f' <span class="amount">{escaped(finding.amount)}</span></h3>'
        f"<p>{escaped(finding.meaning, 500)}</p>{examples}</article>"
    )


def example_item(example: Example) -> str:
    parts = [
        f'<code dir="auto">{escaped(example.id)}</code>' if example.id else "",
        f'<small dir="auto">{escaped(example.place)}</small>' if example.place not in ("", example.id) else "",
        f'<span dir="auto">{escaped(example.detail)}</span>' if example.detail else "",
        f'<q dir="auto">{escaped(example.text)}</q>' if example.text else "",
    ]
    return f"<li>{' '.join(filter(None, parts))}</li>"


def plots(inspection: Inspection) -> str:
    """The distributions that say most about a corpus."""
    settings = inspection.settings
    limits = (Mark(settings.max_seconds, f"{settings.max_seconds:g} s"),)
    found = [
        figure("Length of the clips, in seconds", linear_plot(inspection.lengths, "s", limits)),
        figure("Level of the clips, RMS in dBFS", linear_plot(inspection.levels, "dBFS")),
    ]
    if inspection.rates.total:
        usual = inspection.usual_rates()
        marks = (Mark(RATES.edge(usual[0]), "too little"), Mark(RATES.edge(usual[1] + 1), "too much")) if usual else ()
        title = "Speech rate, characters a second"
        found.append(figure(title, logarithmic_plot(inspection.rates, "characters a second", marks)))
    return "".join(found)


def figure(title: str, content: str) -> str:
    return f"<figure><figcaption>{title}</figcaption>{content}</figure>"


def figure_list(inspection: Inspection) -> str:
    rows = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value, 400)}</dd></div>" for name, value in figures(inspection)
    )
    return f"<dl>{rows}</dl>"


def count_table(table: FigureTable) -> str:
    """A table whose rows have bars behind their first cell."""
    most = max(table.weights, default=0) or 1
    head = "".join(
        f"<th{number_class(table, column)}>{escaped(name)}</th>" for column, name in enumerate(table.columns)
    )
    rows = []
    for row, weight in zip(table.rows, table.weights, strict=True):
        cells = "".join(
            f'<td{number_class(table, column)}><span dir="auto">{escaped(cell)}</span></td>'
            for column, cell in enumerate(row)
        )
        rows.append(f'<tr style="--bar-end:{weight / most:.1%}">{cells}</tr>')
    note = f'<p class="note">{escaped(table.note)}</p>' if table.note else ""
    wide = " wide" if table.title in WIDE else ""
    return (
        f'<div class="count{wide}"><h3>{escaped(table.title.capitalize())}</h3><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{note}</div>"
    )


def number_class(table: FigureTable, column: int) -> str:
    return ' class="number"' if column in table.numbers else ""
