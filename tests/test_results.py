"""Committed results: what the README says is what the files say, and the files keep what was promised."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
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
    from trainer.scoring.error_rates import error_rates
    from trainer.scoring.normalizers import build_normalizer

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
    from benchmarks.decoding import table

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
