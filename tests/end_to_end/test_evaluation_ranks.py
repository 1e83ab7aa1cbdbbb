"""Two processes find what one finds, to the last digit: torchrun on CPUs, as a user would start it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jiwer
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.untrained import save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
CHILDREN = ROOT / "recordings" / "children_speech"
TIMES = ("seconds", "real_time_factor")  # the machine's, not the texts'


def start(processes: int, *command: object) -> subprocess.CompletedProcess[str]:
    """One of the commands, by torchrun where there are several processes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        environment.pop(name, None)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    line = [sys.executable, *launcher, *map(str, command)]
    return subprocess.run(line, cwd=ROOT, env=environment, timeout=280, capture_output=True, text=True)


def evaluate(processes: int, output: Path, *arguments: object) -> tuple[dict[str, Any], str]:
    """evaluation.json without times, and predictions.jsonl as it stands."""
    ended = start(processes, "launch/eval.py", *arguments, "--output", output)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.count("written to") == 1, "one rank prints"
    figures = json.loads((output / "evaluation.json").read_text("utf-8"))
    return {k: v for k, v in figures.items() if k not in TIMES}, (output / "predictions.jsonl").read_text("utf-8")


def test_two_ranks_equal_one(corpus: Path, tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """With a broken row, an id that stands twice, several windows' worth of columns and intervals over speakers."""
    rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()
    rows[4]["audio"] = {"bytes": b"garbage", "path": None}
    rows += [rows[0] | {"text": "another"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    checkpoint = save_checkpoint(tmp_path / "dual", ("az",))
    tiny_values["data"]["test"] = {"files": str(tmp_path / "rows.parquet"), "columns": {"id": "id"}}
    tiny_values["evaluation"] |= {"batch_size": 3, "columns": ["speaker"], "cluster": "speaker", "beams": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    common = ("--checkpoint", checkpoint, "--config", tmp_path / "config.yaml")
    one, two = (evaluate(processes, tmp_path / str(processes), *common) for processes in (1, 2))
    assert one == two
    figures, _ = one
    assert (figures["utterances"], figures["repeated"], len(figures["skipped"])) == (10, 1, 1)


@pytest.mark.slow
@pytest.mark.skipif(not list(CHILDREN.glob("validation-*.parquet")), reason="the children's speech is not here")
def test_children_in_two_ranks_equal_one_and_jiwer(tmp_path: Path) -> None:
    """160 utterances, with random weights: what is heard is nonsense, and counted all the same."""
    checkpoint = save_checkpoint(tmp_path / "dual", ("en",))
    columns = {"id": "id"}
    data = {split: {"files": str(CHILDREN / "validation-*.parquet"), "columns": columns} for split in ("train", "test")}
    config = {
        "output_dir": str(tmp_path / "run"),
        "model": {"checkpoint": str(checkpoint)},
        "data": {"language": "en", **data},
        "training": {"steps": 1},
        "engine": {"precision": "fp32"},
        "evaluation": {"max_new_tokens": 16, "columns": ["speaker", "age"], "cluster": "speaker"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    common = ("--checkpoint", checkpoint, "--config", tmp_path / "config.yaml")
    one, two = (evaluate(processes, tmp_path / str(processes), *common) for processes in (1, 2))
    assert one == two
    figures, lines = two
    rows = [json.loads(line) for line in lines.splitlines()]
    assert len(rows) == figures["utterances"] == 160
    for kind, prefix in (("normalized_", ""), ("", "raw_")):
        texts = [[row[f"{kind}{side}"] for row in rows] for side in ("reference", "hypothesis")]
        assert figures[f"{prefix}word_error_rate"] == jiwer.wer(*texts)
        assert figures[f"{prefix}character_error_rate"] == jiwer.cer(*texts)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_two_ranks_agree_on_the_subset_and_on_stopping_early(
    tiny_values: dict[str, Any], tmp_path: Path, zero_stage: int
) -> None:
    """The budget of time is used up after one round, of 8 utterances; no evaluation improves by 500 points."""
    tiny_values["training"]["steps"] = 6
    tiny_values["engine"]["zero_stage"] = zero_stage
    tiny_values["evaluation"] |= {"every_steps": 1, "batch_size": 1, "max_seconds": 0.001, "max_new_tokens": 3}
    tiny_values["evaluation"] |= {"patience": 2, "minimum_improvement": 5.0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    ended = start(2, "launch/train.py", "--config", tmp_path / "config.yaml")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.count("stopped early at step 3") == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["stopped_early"], summary["steps"]) == (True, 3)
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert [row["utterances"] for row in rows if row["kind"] == "validation"] == [8, 8, 8]
    saved = max((tmp_path / "run" / "checkpoints").glob("step_*/run_state.json"))
    assert json.loads(saved.read_text())["evaluation_rows"] == 8


@pytest.mark.slow
def test_a_language_is_heard_on_all_ranks_or_on_none(corpus: Path, tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """Under ZeRO-3 every forward pass needs all ranks: one of seven rows has no language, and one turn is silence."""
    for split, number in (("train", 120), ("validation", 7)):
        tables = [pq.read_table(path) for path in sorted(corpus.glob(f"{split}-*.parquet"))]
        rows = pa.concat_tables(tables).to_pylist()[:number]
        spoken = [row | {"language": None if (split, n) == ("validation", 3) else "en"} for n, row in enumerate(rows)]
        pq.write_table(pa.Table.from_pylist(spoken), tmp_path / f"{split}.parquet")
        columns = {"id": "id", "language": "language"}
        tiny_values["data"][split] = {"files": str(tmp_path / f"{split}.parquet"), "columns": columns}
    del tiny_values["data"]["language"]
    tiny_values["training"]["steps"] = 2
    tiny_values["optimizer"]["warmup_steps"] = 1
    tiny_values["engine"]["zero_stage"] = 3
    tiny_values["evaluation"] |= {"every_steps": 1, "batch_size": 1, "max_new_tokens": 3}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    ended = start(2, "launch/train.py", "--config", tmp_path / "config.yaml")
    assert ended.returncode == 0, ended.stderr[-3000:]
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert [row["utterances"] for row in rows if row["kind"] == "validation"] == [7, 7]
