"""The suite as one HTML file, laid out by ``page.html.j2``, and as Markdown by ``page.md.j2``."""

import json
from typing import Any

import yaml

from ..pages.formats import percent
from ..pages.page import rendered_report
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
    tables_of,
)


def suite_report(result: dict[str, Any]) -> dict[str, str]:
    """The contents of noise_suite.html and noise_suite.md, made from noise_suite.json."""
    return rendered_report(
        "trainer/noise_suite",
        "noise_suite",
        date=result["date"][:10],
        names=[one["name"] for one in result["checkpoints"]],
        paths={one["name"]: one["path"] for one in result["checkpoints"]},
        tiles=tiles_of(result),
        tables=tables_of(result),
        rate_charts=rate_charts(result),
        rates=rate_tables(result),
        difference_charts=difference_charts(result),
        differences=difference_table(result),
        alone=invented_table(result),
        layer_charts=layer_charts(result),
        odds=odds_table(result),
        remarks=remarks_of(result),
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
