"""The report as one HTML page, laid out by ``page.html.j2``, and as Markdown with its pictures beside it."""

import datetime
from collections.abc import Sequence

from trainer.pages.page import rendered
from trainer.pages.tables import plain, table_lines

from .sections import Section

TITLE = "Memory and speed of training"
ANSWERS = (
    "Which batch fits a GPU, what a step takes of its memory, how near the predictions are, how fast training is, and "
    "what it costs to grow. Each part says what was measured and what was predicted."
)
OPEN_ROWS = 40  # of a table; longer ones are folded away


def report_page(sections: Sequence[Section], command: str, date: datetime.date) -> str:
    """The page of a report made by ``command`` on ``date``."""
    return rendered(
        "benchmarks/memory/report/page.html.j2",
        title=TITLE,
        answers=ANSWERS,
        date=date.isoformat(),
        sections=sections,
        open_rows=OPEN_ROWS,
        command=command,
    )


def report_markdown(sections: Sequence[Section], command: str, date: datetime.date, pictures: str) -> str:
    """The report as Markdown.

    Args:
        pictures: path of the pictures' folder, relative to the Markdown file.
    """
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
