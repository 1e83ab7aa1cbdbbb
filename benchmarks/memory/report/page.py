"""The report as one HTML page that needs nothing else, and as Markdown with its pictures beside it.

What comes out of files goes through :func:`escaped` or :func:`plain`.
"""

import datetime
from collections.abc import Sequence

from data.preparation.inspection_page import POLICY, escaped, section
from data.preparation.inspection_style import STYLE
from data.preparation.inspection_table import FigureTable
from trainer.comparison.markdown import plain, table_lines
from trainer.comparison.page import plain_table
from trainer.comparison.style import COMPARISON_STYLE

from ..report_drawing import CHART_STYLE
from .sections import Section

TITLE = "Memory and speed of training"
ANSWERS = (
    "Which batch fits a GPU, what a step takes of its memory, how near the predictions are, how fast training is, and "
    "what it costs to grow. Each part says what was measured and what was predicted."
)
OPEN_ROWS = 40  # of a table; longer ones are folded away
PAGE_STYLE = """
.provenance { margin: .7rem 0 0; color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
.provenance span { display: block; }
figure + .card, .plots + .card { margin-top: .75rem; }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); }
.scroll { max-height: 52rem; overflow-y: auto; }
.scroll th { z-index: 3; }
.card h3 { margin-bottom: .3rem; }
.lead a { color: inherit; }
"""


def report_page(sections: Sequence[Section], command: str, date: datetime.date) -> str:
    """The page of a report made by ``command`` on ``date``."""
    parts = [
        f'<header><p class="kind">Benchmarks · {date.isoformat()}</p><h1>{TITLE}</h1>'
        f'<p class="hint">{ANSWERS}</p></header>',
        contents(sections),
        *(
            f'<div id="part{number}">{section(escaped(one.title), section_content(one))}</div>'
            for number, one in enumerate(sections)
        ),
        section("To get this page again", f"<pre>{escaped(command, 2000)}</pre>"),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{TITLE}</title>\n<style>{STYLE}{COMPARISON_STYLE}{CHART_STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n"
        "<main>\n" + "\n".join(filter(None, parts)) + "\n</main>\n</body>\n</html>\n"
    )


def contents(sections: Sequence[Section]) -> str:
    """The sections by name, with what is missing."""
    items = ""
    for number, one in enumerate(sections):
        absence = " <small>not there</small>" if is_empty(one) else ""
        items += f'<li><a href="#part{number}">{escaped(one.title)}</a>{absence}</li>'
    return f'<ul class="lead">{items}</ul>'


def is_empty(one: Section) -> bool:
    return not one.tables and not one.pictures


def section_content(one: Section) -> str:
    """Missing input, sentences, pictures, tables, where from."""
    found = ""
    if one.missing:
        told, *commands = one.missing
        shown = "".join(f"<pre>{escaped(line, 1000)}</pre>" for line in commands)
        found += f'<div class="card"><p class="hint">{escaped(told, 1000)}</p>{shown}</div>'
    found += "".join(f'<p class="hint">{escaped(line, 2000)}</p>' for line in one.lines)
    if one.pictures:
        drawn = "".join(
            f"<figure><figcaption>{escaped(picture.title)}</figcaption>{picture.svg()}</figure>"
            for picture in one.pictures
        )
        found += f'<div class="plots">{drawn}</div>'
    found += "".join(f'<div class="card">{table_content(table)}</div>' for table in one.tables)
    if one.provenance:
        lines = "".join(f"<span>{escaped(line, 2000)}</span>" for line in one.provenance)
        found += f'<p class="provenance">{lines}</p>'
    return found


def table_content(table: FigureTable) -> str:
    if len(table.rows) <= OPEN_ROWS:
        return f"<h3>{escaped(table.title)}</h3>{plain_table(table)}"
    summary = f"<summary>{escaped(table.title)} ({len(table.rows)} rows)</summary>"
    return f"<details>{summary}{plain_table(table)}</details>"


def report_markdown(sections: Sequence[Section], command: str, date: datetime.date, pictures: str) -> str:
    """The same as Markdown; ``pictures``: the folder of the pictures, from the file's own."""
    made = f"Made on {date.isoformat()} by `{command}`; as a page: [report.html](report.html)."
    lines = [f"# {TITLE}", "", ANSWERS, "", made]
    for one in sections:
        lines += ["", f"## {plain(one.title)}", ""]
        if one.missing:
            told, *commands = one.missing
            lines += [plain(told), "", *(f"    {line}" for line in commands), ""]
        lines += [sentence for line in one.lines for sentence in (plain(line), "")]
        lines += [f"![{plain(picture.title)}]({pictures}/{picture.name}.svg)" for picture in one.pictures]
        for table in one.tables:
            lines += ["", f"### {plain(table.title)}", "", *table_lines(table)]
        if one.provenance:
            machine, *commands = one.provenance
            lines += ["", plain(machine), *(f"\n    {line}" for line in commands)]
    return "\n".join(lines) + "\n"
