"""A comparison as one HTML file that needs nothing else: no script, no request, dark where the reader's screen is.

Names, texts and config values come from outside: every one goes through :func:`escaped`.
"""

import datetime
from collections.abc import Mapping, Sequence

from data.preparation.inspection_page import POLICY, escaped, section
from data.preparation.inspection_style import STYLE
from data.preparation.inspection_table import FigureTable

from .charts import (
    breakdown_chart,
    by_rate,
    chip,
    colours,
    error_kinds,
    forest,
    learning_curves,
    legend,
    run_name,
)
from .comparison import Comparison
from .cost_charts import cost_against_rate
from .examples import example_cards, setbacks, widest
from .figures import percent, probability, signed
from .style import COMPARISON_STYLE
from .tables import (
    NOT_DISTINGUISHABLE,
    against_baseline,
    cost_table,
    definitions,
    error_table,
    notes,
    pair_table,
    title,
    turned,
    verdict,
)

LONGEST_HEAD = 24  # letters of a word over a column of figures; longer ones are broken
MOST_OPEN_PAIRS = 10  # in the table of pairs; more are folded away


def comparison_page(
    comparison: Comparison,
    command: str,
    date: datetime.date,
    price_per_hour: float | None = None,
    missing: Mapping[str, str] | None = None,
) -> str:
    """The page of a comparison made by ``command`` on ``date``.

    Args:
        price_per_hour: dollars for all machines of a run.
        missing: arms of a plan that have no result, and why.
    """
    named = escaped(title(comparison))
    tiles = "".join(
        f"<div><b>{escaped(value)}</b><span>{escaped(name)}</span></div>" for name, value in tiles_of(comparison)
    )
    lead = "".join(f"<li>{escaped(line, 300)}</li>" for line in against_baseline(comparison))
    parts = [
        f'<header><p class="kind">Comparison · {date.isoformat()}</p><h1>{named}</h1>'
        f'<p class="verdict">{escaped(verdict(comparison), 600)}</p></header>',
        f'<section class="tiles">{tiles}</section>',
        f'<ul class="lead">{lead}</ul>' if lead else "",
        missing_section(missing or {}),
        section("Error rates", rates_section(comparison)),
        section("Which differences are real", pairs_section(comparison)) if comparison.pairs else "",
        section("What kind of errors", card(error_kinds(comparison))),
        optional("How they learned", learning_curves(comparison)),
        section("What it took", cost_section(comparison, price_per_hour)),
        optional("For whom and how long", breakdown_section(comparison)),
        optional("Where they differ most", examples_section(comparison)),
        section("What differs in their configs", card(differences_section(comparison))),
        section("Read with care", bullets(notes(comparison))) if notes(comparison) else "",
        section("What the figures mean", definition_list(definitions(comparison, price_per_hour))),
        section("To get this page again", f"<pre>{escaped(command, 4000)}</pre>"),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{named} – comparison</title>\n<style>{STYLE}{COMPARISON_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


def optional(title: str, content: str) -> str:
    return section(title, content) if content else ""


def card(content: str) -> str:
    return f'<div class="card">{content}</div>'


def hint(text: str) -> str:
    return f'<p class="hint">{text}</p>'


def bullets(lines: Sequence[str], kind: str = "notes") -> str:
    return f'<ul class="{kind}">{"".join(f"<li>{escaped(line, 600)}</li>" for line in lines)}</ul>'


def tiles_of(comparison: Comparison) -> list[tuple[str, str]]:
    best = comparison.results[comparison.best]
    tiles = [("lowest word error rate", f"{percent(best.word_error_rate)} %")]
    if best.saved is not None:
        baseline = comparison.arms[comparison.baseline].name
        tiles.append((f"points against {baseline}", signed(-best.saved, 1)))
    tiles += [("utterances", f"{comparison.utterances:,}"), ("words spoken", f"{comparison.words:,}")]
    if comparison.units != "utterances":
        tiles.append((f"resampled by {comparison.units}", f"{comparison.unit_count:,}"))
    return tiles


def missing_section(missing: Mapping[str, str]) -> str:
    if not missing:
        return ""
    lines = [f"{name}: {reason}" for name, reason in missing.items()]
    return section("What did not run", bullets(lines, "notes missing"))


def rates_section(comparison: Comparison) -> str:
    told = hint(
        "Word error rate with its 95 % interval, lowest first; the dashed line is "
        f"{escaped(comparison.arms[comparison.baseline].name)}. Lower is better."
    )
    return card(told + forest(comparison)) + card(run_table(comparison, error_table(comparison)))


def pairs_section(comparison: Comparison) -> str:
    told = hint(
        "Each row against each column: points of word error rate, and p of the paired test that decides, corrected "
        f"for {len(comparison.pairs)} {'pair' if len(comparison.pairs) == 1 else 'pairs'} (Holm). A pair's interval "
        "comes from the same test, so it leaves out 0 exactly where two runs differ. Intervals of single runs may "
        "overlap all the same: what is hard for both cancels in a pair. "
        "Blue: the row has fewer errors; orange: more; grey: " + NOT_DISTINGUISHABLE + "."
    )
    content = card(told + matrix(comparison))
    is_open = " open" if len(comparison.pairs) <= MOST_OPEN_PAIRS else ""
    summary = f"<summary>Every pair with its tests ({len(comparison.pairs)})</summary>"
    return content + card(f"<details{is_open}>{summary}{plain_table(pair_table(comparison))}</details>")


def matrix(comparison: Comparison) -> str:
    order, given = by_rate(comparison), colours(comparison)
    names = {index: escaped(comparison.arms[index].name, 40).replace("_", "_<wbr>") for index in order}
    head = "".join(f'<th scope="col">{chip(given[index])} {names[index]}</th>' for index in order)
    rows = []
    for row in order:
        cells = []
        for column in order:
            if row == column:
                cells.append("<td></td>")
                continue
            pair = comparison.pair(row, column)
            difference, _ = turned(pair, row)
            kind = "tie" if not pair.differs else "lower" if difference < 0 else "higher"
            p = escaped(probability(pair.p_adjusted))
            cells.append(f'<td class="{kind}"><b>{signed(difference, 1)}</b><small>p {p}</small></td>')
        rows.append(f'<tr><th scope="row">{chip(given[row])} {names[row]}</th>{"".join(cells)}</tr>')
    width = f"min-width:{11 + 5.4 * len(order):g}rem"
    return (
        f'<div class="scroll"><table class="matrix" style="{width}"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def cost_section(comparison: Comparison, price_per_hour: float | None) -> str:
    pictures = cost_against_rate(comparison)
    told = hint("Lower and further left is better. Bars are 95 % intervals.") if pictures else ""
    return told + pictures + card(run_table(comparison, cost_table(comparison, price_per_hour)))


def breakdown_section(comparison: Comparison) -> str:
    if not comparison.breakdowns:
        return ""
    charts = "".join(breakdown_chart(comparison, breakdown) for breakdown in comparison.breakdowns)
    told = hint("Word error rate in parts of the data, with 95 % intervals over the part's utterances.")
    return f'{told}{legend(comparison, by_rate(comparison))}<div class="plots breakdowns">{charts}</div>'


def examples_section(comparison: Comparison) -> str:
    if len(comparison.results) < 2:
        return ""
    chosen = widest(comparison)
    if not chosen:
        return ""
    told = hint(
        "What was spoken, and what each run heard: <ins>wrong or added words</ins> underlined, <del>missed words</del> "
        "struck through, with the errors counted."
    )
    content = f'{told}<div class="examples">{example_cards(comparison, chosen)}</div>'
    worse = setbacks(comparison, chosen)
    if worse:
        best, baseline = (escaped(comparison.arms[i].name, 60) for i in (comparison.best, comparison.baseline))
        content += f'<h3 class="minor">Where {best} does worse than {baseline}</h3>'
        content += f'<div class="examples">{example_cards(comparison, worse)}</div>'
    return content


def differences_section(comparison: Comparison) -> str:
    trained = [index for index, arm in enumerate(comparison.arms) if arm.is_trained]
    if not comparison.differences:
        return hint("Nothing but where they were written." if len(trained) > 1 else "One config alone is known here.")
    heads = ["key", *(run_name(comparison, index) for index in trained)]
    rows = [
        [f"<code>{escaped(row.key)}</code>", *(escaped(value, 200) for value in row.values)]
        for row in comparison.differences
    ]
    return table(heads, rows, frozenset())


def run_table(comparison: Comparison, figures: FigureTable) -> str:
    """A table whose rows are the runs, in the order they were given."""
    rows = [
        [run_name(comparison, index), *(escaped(cell) for cell in row[1:])] for index, row in enumerate(figures.rows)
    ]
    return table([escaped(column) for column in figures.columns], rows, figures.numbers)


def plain_table(figures: FigureTable) -> str:
    rows = [[escaped(cell) for cell in row] for row in figures.rows]
    return table([escaped(column) for column in figures.columns], rows, figures.numbers)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: frozenset[int]) -> str:
    """Cells are markup already; long texts are broken, so that the figures beside them stay in sight."""
    kinds = [' class="number"' if column in numbers else "" for column in range(len(columns))]
    heads = (held(cell, kind and not is_long(cell)) for kind, cell in zip(kinds, columns, strict=True))
    head = "".join(f"<th{kind}>{cell}</th>" for kind, cell in zip(kinds, heads, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{held(cell, kind)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def held(cell: str, as_it_is: object) -> str:
    """A cell's text in a span that breaks it where it is longer than a column should be wide."""
    return cell if as_it_is or not cell else f'<span class="cell">{cell}</span>'


def is_long(text: str) -> bool:
    return max(map(len, text.split()), default=0) > LONGEST_HEAD


def definition_list(rows: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(text, 800)}</dd></div>" for name, text in rows)
    return f"<dl>{items}</dl>"
