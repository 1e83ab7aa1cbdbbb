"""The comparison of both loops: its arithmetic, its count of operations, and that it runs as a whole."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.memory.jobs import Job
from benchmarks.training import side_by_side
from benchmarks.training.operations import own_operations, peer_operations
from benchmarks.training.side_by_side import compare, side_configs
from tests.end_to_end import run
from tests.support.untrained import save_checkpoint
from trainer.config.reading import load_config
from trainer.memory.cells import Cell
from trainer.memory.flops import step_flops

JOB = Job({"training": {"seed": 5}}, data="stream", steps=2)


def cell(job: Job, step_seconds: list[float], operations: int) -> dict[str, Any]:
    return {
        "batch_size": job.batch_size,
        "status": "measured",
        "step_seconds": step_seconds,
        "utterances_per_second": (job.batch_size or 0) * len(step_seconds) / sum(step_seconds),
        "operations": operations,
    }


def test_each_side_is_taken_at_its_fastest_batch_and_rounds_are_put_together() -> None:
    """The peer is fastest with 8: 16 utterances in 20 and 30 s; here 4 are: 8 in 1 s, twice. 16 ran out of memory."""
    ran: list[tuple[str, int | None, int]] = []
    seconds = {("peer", 8): [[10.0, 10.0], [15.0, 15.0]], ("peer", 2): [[9.0, 9.0]], ("own", 4): [[0.5, 0.5]] * 2}

    def measure(side: str, job: Job) -> dict[str, Any]:
        ran.append((side, job.batch_size, job.config["training"]["seed"]))
        if job.batch_size == 16:
            return {"batch_size": 16, "status": "out_of_memory", "reason": "full"}
        taken = seconds[side, job.batch_size or 0].pop(0)
        return cell(job, taken, {"peer": 16_000, "own": 1600}[side])

    sizes = {"peer": (2, 8), "own": (4, 16)}
    jobs = {side: [replace(JOB, batch_size=size) for size in both] for side, both in sizes.items()}
    found = compare(jobs, 2, measure)
    assert ran == [("peer", 2, 5), ("peer", 8, 5), ("own", 4, 5), ("own", 16, 5), ("peer", 8, 6), ("own", 4, 6)]
    assert found["peer"]["utterances_per_second"] == pytest.approx(32 / 50)
    assert found["own"]["utterances_per_second"] == pytest.approx(16 / 2)
    assert found["ratio"] == pytest.approx(12.5)
    assert found["ratio_of_rounds"] == pytest.approx([10, 15])
    assert found["peer"]["median_step_seconds"] == 12.5 and found["peer"]["timed_steps"] == 4
    assert found["own"]["timed_utterances"] == 16
    assert found["ratio_of_operations"] == pytest.approx((32_000 / 32) / (3200 / 16))
    assert [one["status"] for one in found["cells"]["own"]] == ["measured", "out_of_memory", "measured"]


def test_rounds_are_compared_with_themselves() -> None:
    """The middle one failed here; the peer's of it says nothing of a ratio, but counts for the peer's speed."""
    seconds = {"peer": [10.0, 20.0, 40.0], "own": [1.0, None, 2.0]}

    def measure(side: str, job: Job) -> dict[str, Any]:
        taken = seconds[side].pop(0)
        if taken is None:
            return {"batch_size": 8, "status": "killed", "reason": "not done after 5 s, and ended"}
        return cell(job, [taken], 100)

    found = compare({side: [replace(JOB, batch_size=8)] for side in seconds}, 3, measure)
    assert found["ratio_of_rounds"] == pytest.approx([10, 20])
    assert found["peer"]["timed_steps"] == 3 and found["own"]["timed_steps"] == 2


def test_both_sides_make_batches_alike(config_file: Path) -> None:
    """By the number of utterances, the only way that the usual recipe has."""
    configs = side_configs(str(config_file), ["training.batch_seconds=120", "training.batch_size=3"], 0)
    assert {side: config.training.batch_seconds for side, config in configs.items()} == {"peer": None, "own": None}
    assert all(config.training.batch_size == 3 for config in configs.values())


def test_a_side_that_cannot_be_measured_ends_the_comparison() -> None:
    def measure(side: str, job: Job) -> dict[str, Any]:
        return {"batch_size": 1, "status": "killed", "reason": "not done after 5 s, and ended"}

    with pytest.raises(RuntimeError, match="peer: killed: not done after 5 s"):
        compare({"peer": [JOB], "own": [JOB]}, 1, measure)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "plain", padding=None, positions=448)


@pytest.fixture
def config_file(tiny_values: dict[str, Any], plain: Path, tmp_path: Path) -> Path:
    tiny_values["model"] = {"checkpoint": str(plain), "dual_attention": False}
    tiny_values["optimizer"].pop("new_modules_learning_rate")
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    return path


def test_operations_are_those_of_the_formulas(config_file: Path, plain: Path) -> None:
    """Counted by torch on what is really computed, against operations written down layer by layer."""
    batch = {"seconds": [3.0] * 4, "tokens": 20, "targets": 4 * 17}
    for overrides in (["model.dual_attention=true"], []):
        config = load_config(config_file, [*overrides, "training.batch_size=4"])
        counted = own_operations(config, [batch])
        assert counted == pytest.approx(step_flops(Cell(config, 4, 3.0, 20)), rel=0.08), "but for padding"
        assert own_operations(config, [batch, batch]) == 2 * counted
    window = load_config(config_file, ["model.encoder_padding=window"])
    peer = peer_operations(str(plain), [batch])
    assert peer == pytest.approx(step_flops(Cell(window, 4, 30.0, 20)), rel=0.03)
    assert peer_operations(str(plain), [batch, batch]) == 2 * peer
    assert peer > 5 * own_operations(load_config(config_file), [batch])


def test_the_noise_loss_is_under_5_percent_of_a_steps_operations(tmp_path: Path) -> None:
    values = {
        "output_dir": "runs/it",
        "model": {"checkpoint": "openai/whisper-base"},
        "data": {"train": {"files": "none.parquet"}, "augmentation": {"silence_is_noise": True}},
        "training": {"steps": 10},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    batch = {"seconds": [3.5] * 8, "tokens": 14, "targets": 8 * 14}
    without, with_loss = (
        own_operations(load_config(tmp_path / "run.yaml", [f"noise.loss_weight={weight}"]), [batch])
        for weight in (0, 0.1)
    )
    assert 0.03 < with_loss / without - 1 < 0.05


def test_a_published_peer_is_counted_without_a_download(config_file: Path) -> None:
    batch = {"seconds": [30.0], "tokens": 10, "targets": 10}
    published = ["model.checkpoint=openai/whisper-tiny", "model.encoder_padding=window"]
    expected = step_flops(Cell(load_config(config_file, published), 1, 30.0, 10))
    assert peer_operations("openai/whisper-tiny", [batch]) == pytest.approx(expected, rel=0.03)
    with pytest.raises(ValueError, match="someone/some-whisper is not known"):
        peer_operations("someone/some-whisper", [batch])


def found_seconds(output: Path) -> Any:
    return json.loads(output.read_text())["config"]["training"]["batch_seconds"]


@pytest.mark.slow
def test_side_by_side_as_a_whole(config_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "figures" / "side.json"
    steps = ("--steps", 1, "--own-steps", 3, "--batch-sizes", "2", "--peer-batch-sizes", "3")
    by_seconds = "training.batch_seconds=120"
    outcome = run(side_by_side.main, "--config", config_file, *steps, "--output", output, by_seconds)
    assert outcome.code == 0, outcome.errors
    assert "training.batch_seconds is 120, which the usual recipe does not know" in outcome.output
    assert found_seconds(output) is None
    found = json.loads(output.read_text())
    assert found["peer"]["timed_utterances"] == 3 and found["own"]["timed_utterances"] == 6
    assert found["config"]["model"]["dual_attention"] is True and found["config"]["model"]["strategy"] == "full"
    speeds = [found[side]["utterances_per_second"] for side in ("own", "peer")]
    assert found["ratio"] == pytest.approx(speeds[0] / speeds[1])
    assert found["ratio_of_operations"] > 5
    assert found["machine"]["versions"]["torch"] and "data_wait_share" not in found["cells"]["peer"][0]
    assert output.with_suffix(".md").read_text() == side_by_side.table(found) + "\n"
    assert "| ratio |" in outcome.output


def test_a_model_from_nothing_has_no_usual_recipe(tiny_config: Path) -> None:
    outcome = run(side_by_side.main, "--config", tiny_config)
    assert outcome.code == 2 and "no model.checkpoint" in outcome.complaint
