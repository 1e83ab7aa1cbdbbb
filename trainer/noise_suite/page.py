"""The suite as one HTML file, laid out by ``page.html.j2``, and as Markdown by ``page.md.j2``."""

import json
from typing import Any

import yaml

from ..pages.formats import percent
from ..pages.page import rendered_report
from . import charts, tables
from .conditions import CLEAN, NON_SPEECH


def suite_report(result: dict[str, Any]) -> dict[str, str]:
    """The contents of noise_suite.html and noise_suite.md, made from noise_suite.json."""
    return rendered_report(
        "trainer/noise_suite",
        "noise_suite",
        date=result["date"][:10],
        names=[one["name"] for one in result["checkpoints"]],
        paths={one["name"]: one["path"] for one in result["checkpoints"]},
        tiles=tiles_of(result),
        rate_charts=charts.rate_charts(result),
        rates=tables.rate_tables(result),
        difference_charts=charts.difference_charts(result),
        differences=tables.difference_table(result),
        others=tables.other_voice_table(result),
        alone=tables.invented_table(result),
        layer_charts=charts.layer_charts(result),
        odds=tables.odds_table(result),
        remarks=tables.remarks_of(result),
        measured_with=tables.measured_with(result),
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
    if names := tables.spoken(result):
        tiles.append(("utterances", f"{conditions[names[0]]['utterances']:,}"))
    return [*tiles, ("noises", str(len(result["noises"])) if result["suite"]["noise"] else "none")]
