"""Committed results: what the README says is what the files say, and the files keep what was promised."""

import json
from typing import Any

from tests import ROOT

CHILDREN = ROOT / "benchmarks" / "results" / "children_speech"
DECODING = ROOT / "benchmarks" / "results" / "decoding"


def read(name: str) -> dict[str, Any]:
    return json.loads((CHILDREN / name).read_text(encoding="utf-8"))


def test_both_sides_were_evaluated_on_the_same_utterances() -> None:
    sides = [
        [json.loads(line) for line in (CHILDREN / f"{side}_predictions.jsonl").read_text("utf-8").splitlines()]
        for side in ("plain", "trained")
    ]
    plain, trained = ({row["id"]: row["reference"] for row in side} for side in sides)
    assert plain == trained
    assert len(plain) == 160


def test_the_error_rates_follow_from_the_predictions() -> None:
    from trainer.evaluation.error_rates import error_rates
    from trainer.evaluation.normalizers import build_normalizer

    for side in ("plain", "trained"):
        rows = [json.loads(line) for line in (CHILDREN / f"{side}_predictions.jsonl").read_text("utf-8").splitlines()]
        references = {row["id"]: row["reference"] for row in rows}
        hypotheses = {row["id"]: row["hypothesis"] for row in rows}
        rates = error_rates(references, hypotheses, build_normalizer("auto", "en"))
        assert rates.word_error_rate == read(f"{side}_evaluation.json")["word_error_rate"]


def test_the_readme_says_what_the_files_say() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for side in ("plain", "trained"):
        assert f"{read(f'{side}_evaluation.json')['word_error_rate']:.1%}".replace("%", " %") in readme
    assert read("summary.json")["seconds"] <= 20 * 60


def test_the_decoding_page_says_what_the_files_say() -> None:
    from benchmarks.decoding.tokens import table

    page = (ROOT / "docs" / "decoding.md").read_text(encoding="utf-8")
    files = [json.loads((DECODING / f"{name}.json").read_text("utf-8")) for name in ("tiny_small", "base", "medium")]
    sizes = {size: cells for file in files for size, cells in file.items() if isinstance(cells, list)}
    assert sorted(sizes) == ["base", "medium", "small", "tiny"]
    for size, cells in sizes.items():
        assert table(size, cells) in page
    transcription = json.loads((DECODING / "transcription.json").read_text("utf-8"))
    assert f"{transcription['ratio']:.1f} times as many utterances a second" in page


def test_decoding_is_as_fast_as_was_asked() -> None:
    limits = {1: 1.15, 8: 1.35}
    cells = json.loads((DECODING / "base.json").read_text("utf-8"))["base"]
    assert {(cell["batch"], cell["input_seconds"]) for cell in cells} == {(1, 4), (8, 4), (1, 30), (8, 30)}
    for cell in cells:
        assert cell["token_ratio"] <= limits[cell["batch"]]
    assert json.loads((DECODING / "transcription.json").read_text("utf-8"))["ratio"] >= 4


STRATEGIES = ROOT / "benchmarks" / "results" / "strategies"
ARMS = ("plain", "lora", "selective", "frozen_encoder", "full", "dual_frozen_primary", "dual_full")


def test_the_comparison_of_strategies_follows_from_the_predictions() -> None:
    """Every table of the committed Markdown, from the committed runs; and each way beats plain Whisper by a quarter."""
    import datetime

    from trainer.comparison.comparison import compare
    from trainer.comparison.page import comparison_report
    from trainer.comparison.reading import read_arms

    comparison = compare(read_arms([STRATEGIES / arm for arm in ARMS]))
    made = comparison_report(comparison, "", datetime.date(2026, 11, 22))["comparison.md"].splitlines()
    committed = (STRATEGIES / "comparison.md").read_text(encoding="utf-8").splitlines()
    tables = [line for line in made if line.startswith("|")]
    assert len(tables) > 40
    assert [line for line in committed if line.startswith("|")] == tables
    rates = {result.arm.name: result.word_error_rate for result in comparison.results}
    assert all(rates[arm] <= 0.75 * rates["plain"] for arm in ARMS if arm != "plain")
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/strategies.md")]
    assert all(f"{100 * rate:.1f} %" in page for rate in rates.values() for page in pages)


def test_strategies_were_trained_on_the_same_utterances_as_their_configs_say() -> None:
    import yaml

    configs = [yaml.safe_load((STRATEGIES / arm / "config.yaml").read_text("utf-8")) for arm in ARMS if arm != "plain"]
    assert all(config["data"] == configs[0]["data"] for config in configs)
    assert all(config["training"] == configs[0]["training"] for config in configs)


def test_the_usual_recipe_was_scored_on_the_same_utterances_and_errs_no_less() -> None:
    from trainer.evaluation.error_rates import error_rates
    from trainer.evaluation.normalizers import build_normalizer

    results = ROOT / "benchmarks" / "results"
    rates, references = {}, {}
    for name in ("peer", "strategies/full", "strategies/dual_full"):
        rows = [json.loads(line) for line in (results / name / "predictions.jsonl").read_text("utf-8").splitlines()]
        references[name] = {row["id"]: row["reference"] for row in rows}
        hypotheses = {row["id"]: row["hypothesis"] for row in rows}
        found = error_rates(references[name], hypotheses, build_normalizer("auto", "en")).word_error_rate
        assert found == json.loads((results / name / "evaluation.json").read_text("utf-8"))["word_error_rate"]
        rates[name] = found
    assert references["peer"] == references["strategies/full"] == references["strategies/dual_full"]
    assert rates["peer"] >= max(rates["strategies/full"], rates["strategies/dual_full"])
    page = (results / "peer" / "README.md").read_text("utf-8")
    assert all(f"{rate:.1%}".replace("%", " %") in page for rate in rates.values())
