"""The report of memory and speed: figures as in its files, what is missing told, and a page that needs nothing else."""

import datetime
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import benchmarks.memory.report.command
from benchmarks.memory.report.command import write_report
from benchmarks.memory.report.inputs import COMMANDS, read_inputs
from benchmarks.memory.report.pictures import picture, points
from benchmarks.memory.report.sections import Section
from tests.end_to_end import run
from trainer.pages.charts import Series
from trainer.pages.page import chart_file

GIB = 2**30
MACHINE = {"device": "AMD EPYC", "cores": 2, "versions": {"torch": "2.13.0"}, "date": "2026-11-22"}
DESCRIPTION: dict[str, Any] = {
    "model": "openai/whisper-small",
    "dual_attention": True,
    "strategy": "full",
    "optimizer": "adamw",
    "zero_stage": 0,
    "cpu_offload": "none",
    "precision": "bf16",
    "processes": 1,
    "gradient_checkpointing": "none",
    "encoder_padding": "clip",
    "accumulation": 1,
    "seconds": 30.0,
    "tokens": 448,
}


def predicted(gib: float) -> dict[str, Any]:
    used = {"reserved_bytes": int((gib + 0.5) * GIB), "device_used_bytes": int((gib + 1) * GIB)}
    return {"peak_bytes": int(gib * GIB), "parts": {}, **used}


def predicted_cell(batch: int, gib: float, **changed: Any) -> dict[str, Any]:
    return {**DESCRIPTION, "batch_size": batch, "model_flops_per_step": 1e12, "predicted": predicted(gib), **changed}


def largest(operations: float, first: int, second: int, **changed: Any) -> dict[str, Any]:
    batches = {"A10 24GB": first, "A100 40GB": second}
    return {**DESCRIPTION, "largest_batch": batches, "model_flops_per_utterance": operations, **changed}


def measured_cell(batch: int, **changed: Any) -> dict[str, Any]:
    figures = {
        "data": "synthetic",
        "status": "measured",
        "reason": None,
        "peak_bytes": {"allocated": 10 * GIB, "reserved": 11 * GIB, "device_used": 12 * GIB, "resident": 3 * GIB},
        "steps_per_second": 2.0,
        "utterances_per_second": 2.0 * batch,
        "audio_seconds_per_second": 60.0 * batch,
        "target_tokens_per_second": 890.0 * batch,
        "flops_per_second": 4.2e13,
        "utilisation": 0.423,
        "data_wait_share": 0.0123,
    }
    return {**DESCRIPTION, "batch_size": batch, **figures, **changed}


def predictions() -> dict[str, Any]:
    public = {**DESCRIPTION, "model": "openai/whisper-medium", "gpu": "A100 40GB", "gpu_bytes": 40 * GIB}
    advice = [
        {"settings": {"model.gradient_checkpointing": "encoder"}, "fits": False, "predicted": predicted(44)},
        {"settings": {"model.gradient_checkpointing": "all"}, "fits": True, "predicted": predicted(20.25)},
    ]
    return {
        "machine": MACHINE,
        "command": "python -m benchmarks.memory predictions",
        "assumptions": ["flash attention"],
        "public_project": [
            {**public, "batch_size": 8, "fits": True, "predicted": predicted(30), "advice": []},
            {**public, "batch_size": 28, "fits": False, "predicted": predicted(80), "advice": advice},
        ],
        "largest_batches": [
            largest(1.92e12, 13, 0),
            largest(1.5e12, 14, 1, strategy="lora"),
            largest(1.92e12, 20, 45, zero_stage=2, processes=8),
        ],
        "cells": [predicted_cell(8, 12.34), predicted_cell(16, 20.5), predicted_cell(8, 9.75, zero_stage=2)],
        "of_measured": [predicted_cell(8, 10.1), predicted_cell(16, 18.9)],
    }


def files() -> dict[str, dict[str, Any]]:
    """A small file of each kind, as its command writes it."""
    origin = {"machine": MACHINE}
    check = {"name": "full, <batch> 1", **DESCRIPTION, "batch_size": 1, "predicted": predicted(1.0)}
    ended = {"status": "killed", "reason": "ended by SIGKILL"}
    growth = {"grows": ["batch_size"], "peak_bytes": {"resident": GIB}}
    side = {"batch_size": 8, "timed_steps": 3, "timed_utterances": 24, "median_step_seconds": 22.0}
    option, sent = {"seconds": 2.0, "peak_step_bytes": 3 * 2**20}, {"8": {"bytes": 1.5e9}, "16": {"bytes": 1.625e9}}
    return {
        "predictions": predictions(),
        "check": origin
        | {
            "command": "python -m benchmarks.memory check",
            "cells": [
                {**check, "status": "measured", "reason": None, "profiled_bytes": GIB, "off_by": -0.0123},
                {**check, **ended},
            ],
        },
        "measured_h100": origin
        | {
            "command": "python -m benchmarks.memory measure",
            "cells": [measured_cell(8), measured_cell(16), measured_cell(32, status="out_of_memory", reason="CUDA!")],
        },
        "growth": origin | {"command": "grow", "cells": [measured_cell(1, **growth), measured_cell(2, **growth)]},
        "side_by_side": origin
        | {
            "command": "python -m benchmarks.training.side_by_side",
            "config": {"model": {"checkpoint": "openai/whisper-base"}},
            "peer": {**side, "utterances_per_second": 0.364, "operations_per_utterance": 2.9e11},
            "own": {**side, "utterances_per_second": 3.123, "operations_per_utterance": 3.4e10},
            "ratio": 8.58,
            "ratio_of_rounds": [8.5, 8.66],
            "ratio_of_operations": 8.53,
        },
        "options": origin
        | {
            "command": "python -m benchmarks.training.options",
            "options": [
                {"option": "onednn", "without": option, "with": option, "times_faster": 1.64, "times_smaller": 1.0},
                {"option": "tf32", "failed": "no GPU"},
            ],
        },
        "communication": origin
        | {
            "computed": [
                {"size": "small", "strategy": "full", "engine": engine, "trained": 2.9e8, "gpus": sent}
                for engine in ("DDP", "ZeRO-1")
            ],
            "counted": [{"case": "DDP, bf16", "counted": {"all_reduce": 100.0}, "computed": {"all_reduce": 80.0}}],
        },
    }


def write(folder: Path, kinds: dict[str, dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    for kind, content in kinds.items():
        (folder / f"{kind}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write(tmp_path / "memory", files())


def report(folder: Path) -> tuple[list[Section], str, str]:
    output = folder.parent / "report"
    sections = write_report(read_inputs(folder), output, "the command", datetime.date(2026, 11, 22))
    page, markdown = ((output / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    return sections, page, markdown


def rows_of(sections: list[Section], title: str, table: int = 0) -> list[tuple[str, ...]]:
    return [tuple(row) for row in next(one for one in sections if one.title == title).tables[table].rows]


class References(HTMLParser):
    """Everything that a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "href", "srcset", "data", "action") and not (value or "").startswith("#"):
                self.found.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.found.append(f"{tag} {name}")


def test_a_page_needs_nothing_else(results: Path) -> None:
    _, page, _ = report(results)
    references = References()
    references.feed(page)
    assert references.found == []
    assert not references.tags & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"url\(|@import|https?:", page)
    assert "prefers-color-scheme: dark" in page
    assert "<batch>" not in page and "&lt;batch&gt;" in page


def test_figures_are_those_of_the_files(results: Path) -> None:
    sections, page, markdown = report(results)
    public = rows_of(sections, "A public project's batches, predicted")
    assert public[1] == ("medium", "full", "28", "80.00", "80.50", "81.00", "no")
    assert rows_of(sections, "A public project's batches, predicted", 1)[1] == (
        "whisper-medium, full, batch 28",
        "model.gradient_checkpointing=all",
        "21.25",
        "yes",
    )
    assert sections[0].title == "Which batch fits my GPU?"  # the reader's question comes first
    one_gpu, zero = sections[0].tables
    assert one_gpu.columns == ("model", "strategy", "A10 24GB", "A100 40GB", "TFLOP an utterance")
    assert one_gpu.rows == [("small", "full", "13", "none", "1.92"), ("small", "lora", "14", "1", "1.50")]
    assert (zero.title, zero.rows) == ("ZeRO-2 on 8 GPUs, on each of them", [("small", "full", "20", "45", "1.92")])
    assert rows_of(sections, "Memory against batch, predicted")[2][2:] == ("ZeRO-2 1", "8", "9.75", "10.25", "10.75")
    assert rows_of(sections, "Predicted against torch.profiler, on CPUs")[0][4:] == ("1,024.0", "1,024.0", "-1.23 %")
    assert rows_of(sections, "Side by side with the usual recipe")[2] == ("ratio", "", "8.58", "", "", "8.53")
    assert rows_of(sections, "Options, each with its gain")[0] == ("onednn", "2.00 → 2.00", "1.64", "3 → 3", "1.00")
    assert rows_of(sections, "Cost of growth")[0][5:] == ("0.500", "2.000", "42000.0", "1.00")
    assert rows_of(sections, "What a step sends")[0] == ("small", "full", "DDP", "290.0 M", "1.500", "1.625")
    assert rows_of(sections, "What a step sends", 1)[0] == ("DDP, bf16", "100", "80", "1.2500")
    [sent] = next(one for one in sections if one.title == "What a step sends").pictures
    assert [series.name for series in sent.series] == ["DDP and ZeRO-1"]
    for figure in ("80.50", "1.2500", "12.34", "8.58", "AMD EPYC", "2026-11-22", "torch 2.13.0"):
        assert figure in page and figure in markdown


def test_predictions_stand_beside_what_was_measured(results: Path) -> None:
    sections, _, _ = report(results)
    title = "Measured: measured_h100.json"
    memory, speed = rows_of(sections, title), rows_of(sections, title, 1)
    assert memory[0][5:] == ("8", "10.00", "10.10", "11.00", "12.00", "11.10")
    assert memory[2][5:7] == ("32", "out of memory")
    assert speed[0][3:] == ("8", "0.5", "16.00", "480.0", "7,120", "42.3 %", "1.23 %")
    section = next(one for one in sections if one.title == title)
    assert "in 2 cells: tensors at most 89.0 % off" in section.lines[0]
    assert any("batch 32: CUDA!" in line for line in section.lines)
    assert [len(series.points) for series in section.pictures[0].series] == [2, 2]
    assert section.missing == ()


def test_a_cell_that_failed_is_told(results: Path) -> None:
    sections, _, markdown = report(results)
    check = rows_of(sections, "Predicted against torch.profiler, on CPUs")
    assert check[1][4:] == ("killed: ended by SIGKILL", "1,024.0", "")
    assert "Within 5%: 1 of 2 cells" in markdown
    assert "failed: no GPU" in markdown


@pytest.mark.parametrize("kind", COMMANDS)
def test_what_is_missing_is_told_with_its_command(tmp_path: Path, kind: str) -> None:
    kept = {name: content for name, content in files().items() if not name.startswith(kind)}
    folder = write(tmp_path / "memory", kept)
    _, page, markdown = report(folder)
    command = read_inputs(folder).command(kind)
    assert command in page and command in markdown


def test_without_a_gpu_the_report_says_so(tmp_path: Path) -> None:
    on_cpu = {"allocated": None, "reserved": None, "device_used": None, "resident": GIB}
    cells = [measured_cell(batch, peak_bytes=on_cpu, utilisation=None) for batch in (1, 2)]
    measured = {"machine": MACHINE, "command": "measure", "cells": cells}
    folder = write(tmp_path / "memory", files() | {"measured_h100": measured})
    sections, page, _ = report(folder)
    assert "No GPU was measured" in page
    assert rows_of(sections, "Measured: measured_h100.json")[0][5:] == ("1", "1.00")


def test_a_file_whose_writer_was_ended_is_reported(tmp_path: Path) -> None:
    ended = files()
    ended["growth"]["cells"][1].pop("grows")  # told after the cell was written
    ended["predictions"] |= {"public_project": [], "largest_batches": [], "cells": []}
    sections, _, _ = report(write(tmp_path / "memory", ended))
    assert len(rows_of(sections, "Cost of growth")) == 2
    assert not sections[0].tables


def test_an_empty_folder_still_has_a_report(tmp_path: Path) -> None:
    folder = write(tmp_path / "memory", {})
    done = run(benchmarks.memory.report.command.main, "--results", folder)
    assert done.code == 0
    assert "predictions.json is not there" in done.output
    assert (folder / "report.html").exists() and (folder / "report.md").exists()


def test_bad_results_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "memory", {"predictions": {"machine": MACHINE}})
    done = run(benchmarks.memory.report.command.main, "--results", folder)
    assert done.code == 2 and "make it anew" in done.complaint
    assert not (folder / "report.html").exists()
    (folder / "predictions.json").write_text("{", encoding="utf-8")
    assert run(benchmarks.memory.report.command.main, "--results", folder).code == 0
    assert "predictions.json cannot be read" in (folder / "report.md").read_text(encoding="utf-8")
    done = run(benchmarks.memory.report.command.main, "--results", tmp_path / "nowhere")
    assert done.code == 2 and "make bench" in done.complaint


def test_pictures_stand_alone_and_are_those_of_the_markdown(results: Path) -> None:
    stale = results.parent / "report/report_pictures/of_before.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("<svg/>", encoding="utf-8")
    sections, _, markdown = report(results)
    named = re.findall(r"!\[[^\]]*\]\(report_pictures/([^)]+)\)", markdown)
    pictures = {path.name for path in (results.parent / "report/report_pictures").iterdir()}
    assert set(named) == pictures and len(named) == len(pictures) == 8
    for path in (results.parent / "report/report_pictures").iterdir():
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert sum(len(one.pictures) for one in sections) == len(pictures)
    assert len({one.title for one in sections}) == len(sections) == 9


def test_points_stand_where_their_values_are() -> None:
    places = points([(0.0, 0.0), (10.0, 50.0), (20.0, 100.0)])
    svg = chart_file(picture("name", "title", [Series("one", places, 0), Series("<two>", places, 1)], "x", "y"))
    line = re.search(r'curve run0" points="([^"]+)"', svg)
    assert line
    (x1, y1), (x2, y2), (x3, y3) = (map(float, place.split(",")) for place in line[1].split())
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2) and x1 < x2
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2) and y1 > y2
    assert "&lt;two&gt;" in svg and "<two>" not in svg
