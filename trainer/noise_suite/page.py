"""The suite as one HTML file that needs nothing else: pictures inline, no script, no request.

Names and texts come from outside: every one goes through :func:`escaped`.
"""

import json
from typing import Any

import yaml

from data.preparation.inspection_page import POLICY, escaped, section
from data.preparation.inspection_style import STYLE

from ..comparison.page import bullets, card, definition_list, hint, optional, plain_table
from ..comparison.style import COMPARISON_STYLE
from .charts import difference_charts, layer_charts, legend, rate_charts
from .conditions import CLEAN, NON_SPEECH
from .tables import measured_with, noises_of, percent, remarks_of, spoken, tables_of

OWN_STYLE = ".reference[class*=run] { stroke: var(--c); opacity: .7; }"
MEANINGS = (
    ("word error rate", "Substituted, missed and added words over the words that were said, summed over utterances."),
    ("ratio", "Power of speech over that of noise where there is speech, in decibels; at 0 dB both are as loud."),
    ("babble", "Several other utterances of the same recordings at once; competing: a single one."),
    ("interval", "95 % of the rates that other utterances or speakers of the same kind would give (a bootstrap)."),
    ("difference", "Of the same utterances in the same mixtures; where its interval holds 0, it may be chance."),
    ("clips with words", "Share of clips of noise alone in which anything was heard: the hallucination rate."),
    (
        "odds",
        "Share of an attention that falls on frames which noise dominates, over the share that does not; means over "
        "heads and the reference's tokens. Their ratio is the secondary's over the primary's: above 1, the second "
        "attention looks at noise more than the first.",
    ),
    ("gate", "The share that the decoder takes from the primary attention; the rest is the secondary's."),
)


def suite_page(result: dict[str, Any]) -> str:
    """noise_suite.html, of what noise_suite.json holds."""
    names = ", ".join(one["name"] for one in result["checkpoints"])
    tiles = "".join(f"<div><b>{escaped(value)}</b><span>{escaped(key)}</span></div>" for key, value in tiles_of(result))
    tables = {table.title: card(plain_table(table)) for table in tables_of(result)}
    rates = [title for title in tables if " error rate, %" in title]
    differences = [title for title in tables if "less that of" in title]
    alone = [title for title in tables if title == "Noise without speech"]
    odds = [title for title in tables if title.startswith("Attention on noise")]
    told = hint("Dashed: on clean speech. Lower is better; noise grows to the right. Bars are 95 % intervals.")
    lower = hint("Below 0 are fewer errors than the first checkpoint's, in the same mixtures.")
    grey = hint("Odds by layer. Grey crosses: the primary attention; the checkpoint's own colour: the secondary.")
    charts = rate_charts(result) if result["checkpoints"][0]["types"] else ""
    remarks = remarks_of(result)
    suite = yaml.safe_dump(json.loads(json.dumps(result["suite"])), sort_keys=False, allow_unicode=True)
    parts = [
        f'<header><p class="kind">Noise suite · {result["date"][:10]}</p><h1>{escaped(names, 200)}</h1></header>',
        f'<section class="tiles">{tiles}</section>',
        section("Word error rate by noise", told + legend(result) + charts) if charts else "",
        optional("Differences", differences_section(lower, result, "".join(tables[title] for title in differences))),
        section("Error rates", "".join(folded(title, tables[title], not n) for n, title in enumerate(rates))),
        optional("Words where nobody speaks", "".join(tables[title] for title in alone)),
        section("Where the attentions look", grey + layer_charts(result) + "".join(tables[title] for title in odds))
        if odds
        else "",
        section("Read with care", bullets(remarks)) if remarks else "",
        section("What the figures mean", definition_list(MEANINGS)),
        section("Measured with", f"<p>{escaped(measured_with(result), 2000)}</p><pre>{escaped_lines(suite)}</pre>"),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escaped(names)} – noise suite</title>\n<style>{STYLE}{COMPARISON_STYLE}{OWN_STYLE}</style>\n"
        "</head>\n<body>\n<main>\n" + "\n".join(filter(None, parts)) + "\n</main>\n</body>\n</html>\n"
    )


def escaped_lines(text: str) -> str:
    return "\n".join(escaped(line, 400) for line in text.splitlines())


def folded(title: str, content: str, is_open: bool) -> str:
    return f"<details{' open' if is_open else ''}><summary>{escaped(title)}</summary>{content}</details>"


def differences_section(told: str, result: dict[str, Any], tables: str) -> str:
    return told + legend(result) + difference_charts(result) + tables if tables else ""


def tiles_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The first checkpoint's main figures."""
    first = result["checkpoints"][0]
    conditions = first["conditions"]
    tiles = []
    if CLEAN in conditions:
        tiles.append(("word error rate on clean speech", f"{percent(conditions[CLEAN]['word_error_rate'])} %"))
    for kind, figures in first["types"].items():
        tiles.append((f"in {kind}, all ratios", f"{percent(figures['word_error_rate'])} %"))
    if NON_SPEECH in conditions:
        tiles.append(("clips of noise with words", f"{percent(conditions[NON_SPEECH]['hallucination_rate'])} %"))
    if names := spoken(result):
        tiles.append(("utterances", f"{conditions[names[0]]['utterances']:,}"))
    return [*tiles, ("noises", noises_of(result).rpartition(", ")[2])]
