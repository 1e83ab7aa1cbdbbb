"""The report of scores: whole, harmless whatever a corpus holds, and what the terminal says."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from data.preparation.leaving_out.misfits import JudgedClip, ScoreReport
from data.preparation.scores import ScoreLimits
from trainer.transcription.scoring.report import evidence_bars, score_page, tell_scores

from ...pages.test_corpus import NASTY, Page

ROW: dict[str, Any] = {
    "id": "clip-7", "text": "we call it bear", "language": "en", "duration": 2.5, "hypothesis": "we called bear",
    "evidence": 0.25, "edge_evidence": -0.75, "word_error_rate": 0.5, "no_speech_probability": 0.031,
    "mean_log_probability": -0.5, "compression_ratio": 1.25,
}  # fmt: skip


def report(**more: Any) -> ScoreReport:
    found = ScoreReport("runs/demo/best", ScoreLimits(), **more)
    for row in (ROW, ROW | {"id": "clip-8", "evidence": 4.0, "edge_evidence": 1.0}):
        found.add(row, "")
    found.worst = [JudgedClip("train-00000.parquet: row 7", ROW, "")]
    return found


def told(found: ScoreReport, folder: Path) -> str:
    written = io.StringIO()
    tell_scores(found, str(folder / "scores.html"), Console(file=written, width=160))
    return written.getvalue()


def test_the_page_shows_what_differs(tmp_path: Path) -> None:
    page = Page(score_page(report()))
    assert {"del", "ins", "svg"} <= page.names()
    assert " ".join(page.text.split()).count("evidence 0.25 · at an edge −0.75 · errors, % 50") == 1
    assert "clip-7" in page.text and "row 7" in page.text


def test_the_page_is_harmless_whatever_the_texts_are() -> None:
    found = report()
    row = ROW | {"text": NASTY, "hypothesis": NASTY + " x", "id": NASTY}
    found.worst = [JudgedClip(NASTY, row, NASTY)]
    found.unsure = [JudgedClip(NASTY, row | {"label": NASTY, "evidence": None}, "")]
    page = Page(score_page(found))
    assert not {"script", "img"} & page.names()


def test_the_terminal_says_how_many_and_what_would_leave_them_out(tmp_path: Path) -> None:
    printed = told(report(), tmp_path)
    assert "1 of 2 clips with a transcript have evidence below 1" in printed
    assert "the same command with --min-evidence 1 leaves them out" in printed
    assert (tmp_path / "scores.html").read_text(encoding="utf-8") == score_page(report())
    assert "clip-7" in printed and "we called bear" in printed


def test_words_that_lack_at_an_edge_are_told(tmp_path: Path) -> None:
    found = report()
    found.add(ROW | {"evidence": 2.0}, "")
    assert "1 more clip with less than −0.3 at an edge" in told(found, tmp_path)


def test_what_was_left_out_is_told_by_kind(tmp_path: Path) -> None:
    found = report()
    found.add(ROW, "transcript of something else")
    assert "left out: transcript of something else 1; quarantine.jsonl names each" in told(found, tmp_path)


def test_what_lies_beyond_the_axis_is_in_its_last_bars() -> None:
    found = report()
    for evidence in (-100.0, 100.0):
        found.add(ROW | {"evidence": evidence}, "")
    bars = evidence_bars(found).bars
    assert (bars[0][1], bars[-1][1], sum(count for _, count in bars)) == (1, 1, 4)
