"""No page scrolls sideways, however long the words, names and paths in it are; names in charts keep off each other."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import launch.visualize
from benchmarks.gpu.page import write_page
from benchmarks.memory.report.command import write_report
from benchmarks.memory.report.inputs import read_inputs
from data.digit_speech import UNSEEN_VOICES, synthesize_digit_corpus
from data.inspection.facts import InspectionSettings
from data.inspection.tally import inspect_records
from data.preparation.leaving_out.misfits import JudgedClip, ScoreReport
from data.preparation.scores import ScoreLimits
from tests.end_to_end import run
from tests.support.browser import BROWSER, measured
from tests.support.untrained import save_checkpoint
from trainer.comparison.comparison import compare
from trainer.comparison.page import comparison_report
from trainer.comparison.reading import read_arms
from trainer.noise_suite.page import suite_report
from trainer.noise_suite.suite import run_suite
from trainer.pages.corpus import inspection_page
from trainer.transcription.scoring.report import score_page

from ...benchmarks.memory.test_report import files, write
from ...data.inspection.test_inspect import clip, varied
from ...support.comparison_runs import misheard, sentences, write_run

DAY = datetime.date(2025, 11, 22)
WIDTHS = (375, 1280)
WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
PATH = f"/data/{'corpora_of_many_years/' * 6}{WORD}/{'x' * 180}"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here")


def inspection(folder: Path) -> str:
    long: dict[str, Any] = {"id": PATH, "language": WORD, "speaker": WORD, "split": WORD, "place": PATH}
    faults = [{"text": WORD * 3}, {"text": ""}, {"fault": WORD * 2, "audio": None}]
    records = [*varied(), *(clip(900 + n, **long | fault) for n, fault in enumerate(faults))]
    return inspection_page(inspect_records(records, InspectionSettings()), PATH, DAY)


def comparison(folder: Path) -> str:
    said = {key: f"{text} {WORD * 2}" for key, text in sentences(30).items()}
    said = {PATH + key: text for key, text in said.items()}
    runs = []
    for number, name in enumerate((WORD, "b" * 90, f"{WORD}_2")):
        settings = {"model.strategy": WORD if number else "full", "data.train": {"files": PATH if number else "x"}}
        heard = misheard(said, 0.3, seed=number)
        runs.append(write_run(folder / "runs" / name, said, heard, config=settings, summary={"hardware": PATH}))
    for place in (folder / "runs").rglob("predictions.jsonl"):
        rows = [json.loads(line) for line in place.read_text("utf-8").splitlines()]
        rows = [row | {"columns": {"speaker": WORD + str(n % 3)}} for n, row in enumerate(rows)]
        place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = comparison_report(compare(read_arms(runs)), f"python launch/compare.py {PATH}", DAY, missing={WORD: PATH})
    return report["comparison.html"]


def noise_suite(folder: Path) -> str:
    corpus = folder / PATH.strip("/")[:200]
    synthesize_digit_corpus(corpus, utterances=11, voices=UNSEEN_VOICES, seed=1, shards=1, split="validation")
    speech = {"files": str(corpus / "validation-*.parquet"), "columns": {"id": "id"}}
    values = {"speech": speech, "noise": "synthetic", "ratios": [0, 10], "types": ["noise", "babble"], "language": "az"}
    models = {"a": save_checkpoint(folder / "dual_suite", ("az", "en"), positions=40)}
    models[WORD] = save_checkpoint(folder / "plain_suite", ("az", "en"), padding=None, positions=40)
    values |= {"attention_utterances": 2, "max_new_tokens": 4, "utterances": 8}
    result = run_suite(values, models, folder / "suite", say=lambda line: None)
    assert result is not None
    result["checkpoints"][0]["name"] = f"{WORD}_1"
    return suite_report(result)["noise_suite.html"]


def attention(folder: Path) -> str:
    recording = folder / f"{WORD}.wav"
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, 16_000).astype(np.float32)
    soundfile.write(recording, sound, 16_000)
    checkpoint = save_checkpoint(folder / "dual", ("az", "en"), positions=300)
    arguments = ("--text", f"{WORD} {'w' * 120}", "--output", folder / "out", "--noise", recording, "--ratio", "5")
    outcome = run(launch.visualize.main, "--checkpoint", checkpoint, recording, *arguments)
    assert outcome.code == 0, outcome.errors
    return (folder / "out" / "attention.html").read_text("utf-8")


def memory(folder: Path) -> str:
    found = files()
    found["predictions"]["command"] = f"python -m benchmarks.memory predictions --output {PATH}"
    for cell in found["predictions"]["cells"]:
        cell["model"] = PATH
    results = write(folder / "memory", found)
    write_report(read_inputs(results), folder / "report", f"python -m benchmarks.memory report {PATH}", DAY)
    return (folder / "report" / "report.html").read_text("utf-8")


def gpu(folder: Path) -> str:
    part = {"name": WORD, "status": "measured", "reason": None, "seconds": 1.0}
    figures = {"device": WORD, "path": PATH, "top": [{"operation": WORD * 2, "milliseconds": 1.5, "where": PATH}] * 30}
    failed = {"name": PATH, "status": "failed", "reason": f"RuntimeError: {PATH}", "seconds": 1.0}
    cell = {"name": "small", "title": WORD, "status": "killed", "reason": PATH, "seconds": 1.0, "budget": 2.0}
    results = {"command": f"python -m benchmarks.gpu --output {PATH}", "device": WORD, "on_cpu": True, "date": "today"}
    write_page(results | {"cells": [cell | {"parts": [part | {"figures": figures}, failed], "log": [PATH]}]}, folder)
    return (folder / "report.html").read_text("utf-8")


def scores(folder: Path) -> str:
    row = {"id": PATH, "text": f"{WORD} {WORD}", "hypothesis": WORD * 2, "language": "de", "duration": 1.0,
           "evidence": 0.1, "edge_evidence": -1.0, "word_error_rate": 1.0, "no_speech_probability": 0.1,
           "mean_log_probability": -0.5, "compression_ratio": 1.0}  # fmt: skip
    report = ScoreReport(PATH, ScoreLimits())
    report.add(row, WORD)
    report.worst = report.unsure = [JudgedClip(PATH, row, WORD)]
    return score_page(report)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pages")
    pages = {}
    for make in (inspection, comparison, noise_suite, attention, memory, gpu, scores):
        pages[make.__name__] = folder / f"{make.__name__}.html"
        pages[make.__name__].write_text(make(folder), encoding="utf-8")
    return measured(pages, WIDTHS, folder)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ["inspection", "comparison", "noise_suite", "attention", "memory", "gpu", "scores"])
def test_a_page_is_no_wider_than_its_window(found: Any, page: str, width: int) -> None:
    one = found[page, width]
    assert one["client"] in (width, width - 15), one  # 15: the bar at its side
    assert one["scroll"] <= one["client"], one["beyond"]
