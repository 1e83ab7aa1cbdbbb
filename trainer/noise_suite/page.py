"""The suite as one HTML file, laid out by ``page.html.j2``."""

import json
from typing import Any

import yaml

from ..pages.formats import percent
from ..pages.page import rendered
from .charts import difference_charts, layer_charts, rate_charts
from .conditions import CLEAN, NON_SPEECH
from .tables import (
    difference_table,
    invented_table,
    measured_with,
    noises_of,
    odds_table,
    rate_tables,
    remarks_of,
    spoken,
)

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
    """The content of noise_suite.html, made from noise_suite.json."""
    return rendered(
        "trainer/noise_suite/page.html.j2",
        date=result["date"][:10],
        names=[one["name"] for one in result["checkpoints"]],
        tiles=tiles_of(result),
        rate_charts=rate_charts(result) if result["checkpoints"][0]["types"] else [],
        rates=rate_tables(result),
        difference_charts=difference_charts(result),
        differences=difference_table(result),
        alone=invented_table(result),
        layer_charts=layer_charts(result),
        odds=odds_table(result),
        remarks=remarks_of(result),
        meanings=MEANINGS,
        measured_with=measured_with(result),
        suite=yaml.safe_dump(json.loads(json.dumps(result["suite"])), sort_keys=False, allow_unicode=True),
    )


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
