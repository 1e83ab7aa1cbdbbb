"""Committed results: what the pages say is what the files say."""

import json
from typing import Any

from tests import ROOT

CHILDREN = ROOT / "benchmarks" / "results" / "children_speech"
DECODING = ROOT / "benchmarks" / "results" / "decoding"


def read(name: str) -> dict[str, Any]:
    return json.loads((CHILDREN / name).read_text(encoding="utf-8"))


def test_the_results_page_says_what_the_files_say() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for side in ("plain", "trained"):
        assert f"{read(f'{side}_evaluation.json')['word_error_rate']:.1%}".replace("%", " %") in page


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


def test_the_cleaning_page_says_what_the_file_says() -> None:
    from benchmarks.input.wrong_transcripts import shuffled, table

    page = (ROOT / "docs" / "cleaning.md").read_text(encoding="utf-8")
    path = ROOT / "benchmarks" / "results" / "preparation" / "wrong_transcripts.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert table(found) in page
    assert shuffled(found) in " ".join(page.split())
    assert f"{found['clips']} clips of {found['speakers']} speakers" in page
    unseen = json.loads(path.with_stem("wrong_transcripts_unseen").read_text(encoding="utf-8"))
    assert f"{unseen['clips']} further clips of {unseen['speakers']} speakers" in page
    for kind in ("own", "of another clip"):
        shares = (100 * share for share in unseen["limits"]["--min-evidence 1"][kind])
        assert "{:.1f} % [{:.1f}, {:.1f}]".format(*shares) in page


STRATEGIES = ROOT / "benchmarks" / "results" / "strategies"
ARMS = ("plain", "lora", "selective", "frozen_encoder", "full", "dual_frozen_primary", "dual_full")


def test_the_comparison_of_strategies_follows_from_the_predictions() -> None:
    """Every table of the committed Markdown, from the committed runs."""
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
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("docs/results.md", "docs/strategies.md")]
    assert all(f"{100 * rate:.1f} %" in page for rate in rates.values() for page in pages)


def test_the_page_of_the_usual_recipe_says_what_the_files_say() -> None:
    results = ROOT / "benchmarks" / "results"
    page = (results / "peer" / "README.md").read_text("utf-8")
    for name in ("peer", "strategies/full", "strategies/dual_full"):
        rate = json.loads((results / name / "evaluation.json").read_text("utf-8"))["word_error_rate"]
        assert f"{rate:.1%}".replace("%", " %") in page


def test_the_data_page_says_what_the_files_say() -> None:
    from benchmarks.input import preparation, streaming

    page = (ROOT / "docs" / "data.md").read_text("utf-8")
    for benchmark in (preparation, streaming):
        name = benchmark.__name__.rpartition(".")[2]
        figures = json.loads((ROOT / "benchmarks" / "results" / name / f"{name}.json").read_text("utf-8"))
        assert benchmark.table(figures) in page


def test_the_page_on_speed_says_what_rounding_frames_up_costs() -> None:
    from benchmarks.input import frames

    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    stored = json.loads((ROOT / "benchmarks" / "results" / "streaming" / "frames.json").read_text("utf-8"))
    assert frames.table(stored["costs"]) in page
