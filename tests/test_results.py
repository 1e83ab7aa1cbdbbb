"""Committed results: what the README says is what the files say, and the files keep what was promised."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHILDREN = ROOT / "benchmarks" / "results" / "children_speech"


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
    from trainer.error_rates import build_normalizer, error_rates

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
