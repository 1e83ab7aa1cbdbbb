"""Real engines on CPUs: equal losses, exact resume, orderly stops. Two processes where the engine is for several."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from trainer.record.checkpoints import latest_checkpoint

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12
ENGINES = {"one": (1, 0), "ddp": (2, 0), "zero1": (2, 1), "zero2": (2, 2), "zero3": (2, 3)}


class Runs:
    """Jobs of one scenario process, by name, and what they left."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(values), encoding="utf-8")
        self.jobs: list[dict[str, Any]] = []
        self.codes: list[list[int]] = []

    def add(self, name: str, engine: str, overrides: tuple[str, ...] = (), **options: Any) -> None:
        """A job: in one process, two microbatches take the place of two ranks."""
        processes, stage = ENGINES[engine]
        always = (f"output_dir={self.folder / name}", f"engine.zero_stage={stage}", "data.lanes=2")
        alone = ("training.accumulation=2",) if processes == 1 else ()
        self.jobs.append(
            {
                "name": name,
                "config": str(self.config),
                "overrides": [*always, *alone, *overrides],
                "processes": processes,
                "log": str(self.folder / f"{name}.log"),
                "describe": str(self.folder / f"{name}.engine"),
                **options,
            }
        )

    def run(self) -> None:
        jobs, results = self.folder / "jobs.json", self.folder / "results.json"
        jobs.write_text(json.dumps(self.jobs))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_USE_CPU"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "tests.end_to_end.scenario", str(jobs), str(results)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=280, capture_output=True)
        self.codes = json.loads(results.read_text())

    def exit_codes(self, name: str) -> list[list[int]]:
        return [codes for job, codes in zip(self.jobs, self.codes, strict=True) if job["name"] == name]

    def metrics(self, name: str, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["kind"] == kind]

    def losses(self, name: str) -> list[float]:
        return [row["loss"] for row in self.metrics(name, "train")]

    def batches(self, name: str, rank: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name / f"batches_rank{rank}.jsonl").open()]

    def weights(self, name: str) -> dict[str, Any]:
        return load_file(self.folder / name / "final" / "model.safetensors")

    def log(self, name: str) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"{name}.log.*")))


@pytest.fixture(scope="module")
def values(corpus: Path) -> dict[str, Any]:
    columns = {"id": "id"}
    return {
        "output_dir": "set by each job",
        "model": {"architecture": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}},
        "data": {
            "language": "az",
            "train": {"files": str(corpus / "train-*.parquet"), "columns": columns, "max_utterances": 70},
            "validation": {"files": str(corpus / "validation-*.parquet"), "columns": columns},
            "shuffle_window": 16,
        },
        "training": {"steps": STEPS, "batch_size": 4, "max_gradient_norm": 0.5},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 3},
        "engine": {"precision": "fp32", "timeout_minutes": 1},
        "evaluation": {"every_steps": 6, "batch_size": 4, "max_new_tokens": 6},
        "checkpoints": {"every_steps": 4},
        "logging": {"every_steps": 1, "record_batches": True},
    }


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Runs:
    """20 steps of each engine."""
    runs = Runs(tmp_path_factory.mktemp("parity"), values)
    for name in ENGINES:
        runs.add(name, name, ("training.steps=20", "checkpoints.every_steps=100", "evaluation.every_steps=20"))
    for name in ("ddp", "zero2", "zero3"):
        runs.add(f"{name}_bf16", name, ("engine.precision=bf16", "training.steps=4"))
    runs.run()
    return runs


def test_every_engine_finishes(parity: Runs) -> None:
    for job, codes in zip(parity.jobs, parity.codes, strict=True):
        assert set(codes) == {0}, parity.log(job["name"])


@pytest.mark.parametrize("name", ENGINES)
def test_the_engine_is_the_one_asked_for(parity: Runs, name: str) -> None:
    processes, stage = ENGINES[name]
    found = json.loads((parity.folder / f"{name}.engine.0").read_text())
    expected = {"one": "DualWhisperForConditionalGeneration", "ddp": "DistributedDataParallel"}
    assert found["engine"] == expected.get(name, "DeepSpeedEngine")
    assert (found["stage"], found["processes"]) == (stage, processes)
    # Under ZeRO-3 a rank holds no whole parameter between steps.
    assert (found["held"] == 0) == (name == "zero3")


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "one"])
def test_losses_equal_one_process(parity: Runs, name: str) -> None:
    assert len(parity.losses(name)) == 20
    assert parity.losses(name) == pytest.approx(parity.losses("one"), abs=1e-5)
    assert parity.losses(name)[-1] < parity.losses(name)[0] - 0.1


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "one"])
def test_gradient_norms_and_error_rates_equal_one_process(parity: Runs, name: str) -> None:
    ours, theirs = parity.metrics(name, "train"), parity.metrics("one", "train")
    norms = [row["gradient_norm"] for row in ours]
    assert norms == pytest.approx([row["gradient_norm"] for row in theirs], rel=1e-3)
    for key in ("word_error_rate", "character_error_rate", "utterances"):
        assert parity.metrics(name, "validation")[-1][key] == parity.metrics("one", "validation")[-1][key]
    assert parity.metrics(name, "validation")[-1]["utterances"] == 11  # each once, though two ranks share 11


@pytest.mark.parametrize("name", ["ddp", "zero2", "zero3"])
def test_bf16_trains_close_to_fp32(parity: Runs, name: str) -> None:
    assert parity.losses(f"{name}_bf16")[:3] == pytest.approx(parity.losses("one")[:3], rel=0.02)


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_final_is_a_plain_folder_with_the_trained_weights(parity: Runs, name: str) -> None:
    ours, theirs = parity.weights(name), parity.weights("one")
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert (ours[key] - value).abs().max() < 1e-4, key


@pytest.mark.parametrize("name", [*ENGINES, "ddp_bf16", "zero2_bf16", "zero3_bf16"])
def test_a_resumable_checkpoint_opens_as_what_was_trained(parity: Runs, name: str) -> None:
    """Frozen positions and tied projections included, which each ZeRO stage stores in a way of its own."""
    from trainer.export.trained_weights import open_trained

    step = latest_checkpoint(parity.folder / name)
    assert step is not None
    said: list[str] = []
    model, _ = open_trained(step, said.append)
    final, opened = parity.weights(name), model.state_dict()
    assert opened.keys() - final.keys() == {"proj_out.weight"}
    for key, value in final.items():
        assert opened[key].dtype == torch.float32
        assert torch.equal(opened[key].to(value.dtype), value), key
    # Of ZeRO in bf16 final/ holds the rounded weights; the shards have those the optimizer steps on.
    exact = all(torch.equal(opened[key], value.float()) for key, value in final.items())
    assert exact == (name not in ("zero2_bf16", "zero3_bf16"))
    assert len(said) == name.startswith("zero")
    assert all("pickles" in line and str(step) in line for line in said)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("zero1", "zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        ("zero2", "mp_rank_00_model_states.pt"),
        ("zero3", "zero_pp_rank_1_mp_rank_00_model_states.pt"),
        ("zero3", "zero_pp_rank_0_mp_rank_00_optim_states.pt"),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_a_lost_or_damaged_shard_is_named(parity: Runs, tmp_path: Path, name: str, lost: str, cut: bool) -> None:
    from modeling.checkpoint_files import CheckpointError
    from trainer.export.trained_weights import open_trained

    run = Path(shutil.copytree(parity.folder / name, tmp_path / "run"))
    step = latest_checkpoint(run)
    assert step is not None
    (shard,) = (step / "pytorch_model").glob(lost)
    content = shard.read_bytes()
    shard.unlink()
    if cut:
        shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot read" if cut else "lacks") as refusal:
        open_trained(step)
    assert str(step / "pytorch_model") in str(refusal.value)
    if not cut:
        assert f"rank_{lost.partition('rank_')[2][0]}" in str(refusal.value)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Runs:
    """For each engine: a run left alone, one killed twice, one stopped by a signal; the data lasts 9 steps an epoch."""
    runs = Runs(tmp_path_factory.mktemp("resumed"), values)
    kill, terminate = signal.SIGKILL, signal.SIGTERM
    for engine in ("one", "ddp", "zero2", "zero3"):
        last = ENGINES[engine][0] - 1
        runs.add(f"{engine}_whole", engine)
        runs.add(f"{engine}_killed", engine, signal={"step": 3, "ranks": [last], "number": kill})
        runs.add(f"{engine}_killed", engine, resume=True, signal={"step": 7, "ranks": [0], "number": kill})
        runs.add(f"{engine}_killed", engine, resume=True, signal={"step": 10, "ranks": [last], "number": kill})
        runs.add(f"{engine}_killed", engine, resume=True)
        if engine != "zero2":
            runs.add(f"{engine}_stopped", engine, signal={"step": 5, "ranks": [last], "number": terminate})
            runs.add(f"{engine}_stopped", engine, resume=True)
    runs.run()
    return runs


@pytest.mark.parametrize("engine", ["one", "ddp", "zero2", "zero3"])
def test_killed_and_resumed_equals_the_uninterrupted_run(resumed: Runs, engine: str) -> None:
    killed, whole = f"{engine}_killed", f"{engine}_whole"
    codes = resumed.exit_codes(killed)
    assert [min(code) for code in codes] == [-9, -9, -9, 0], resumed.log(killed)
    for rank in range(ENGINES[engine][0]):
        assert resumed.batches(killed, rank) == resumed.batches(whole, rank)
        assert [row["step"] for row in resumed.batches(whole, rank)] == list(range(1, STEPS + 1))
    assert [row["step"] for row in resumed.metrics(killed, "train")] == list(range(1, STEPS + 1))
    weights, expected = resumed.weights(killed), resumed.weights(whole)
    for key, value in expected.items():
        difference = (weights[key] - value).abs().max().item()
        assert difference == 0.0 if engine == "one" else difference < 1e-6, key


@pytest.mark.parametrize("engine", ["one", "ddp", "zero3"])
def test_a_signal_to_one_rank_saves_on_all_and_ends_with_0(resumed: Runs, engine: str) -> None:
    stopped, whole = f"{engine}_stopped", f"{engine}_whole"
    first, second = resumed.exit_codes(stopped)
    assert set(first) == {0}
    assert set(second) == {0}, resumed.log(stopped)
    assert "stopped at step 6" in resumed.log(stopped)  # asked for after step 5, agreed on in step 6
    for rank in range(ENGINES[engine][0]):
        assert resumed.batches(stopped, rank) == resumed.batches(whole, rank)
    weights, expected = resumed.weights(stopped), resumed.weights(whole)
    assert all((weights[key] - value).abs().max() < 1e-6 for key, value in expected.items())


def test_an_epoch_shows_every_utterance_once(resumed: Runs) -> None:
    """70 utterances on two ranks that take 4 each: 9 steps, the last of them not full."""
    steps = [resumed.batches("ddp_whole", rank)[:9] for rank in range(2)]
    seen = [identity for rank in steps for row in rank for batch in row["ids"] for identity in batch]
    assert len(seen) == len(set(seen)) == 70


def test_another_number_of_processes_ends_the_epoch_with_every_utterance_once(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    """Three lanes on two processes, one of which has two of them; then on one."""
    runs = Runs(tmp_path, values)
    lanes = ("data.lanes=3",)
    runs.add("moved", "ddp", lanes, signal={"step": 3, "ranks": [0, 1], "number": signal.SIGTERM})
    runs.add("moved", "one", lanes, resume=True)
    runs.run()
    assert runs.codes == [[0, 0], [0]], runs.log("moved")
    assert [row["step"] for row in runs.batches("moved", 0)] == list(range(1, STEPS + 1))
    assert len(runs.batches("moved", 1)) == 4
    rows = sorted((row["step"], row["ids"]) for rank in range(2) for row in runs.batches("moved", rank))
    seen = [identity for _, batches in rows for batch in batches for identity in batch]
    assert len(seen) > 70 and len(set(seen[:70])) == 70, "the next epoch begins when all have come"
    assert "3 data lanes for 2 processes: some will wait for others" in runs.log("moved")


def test_only_the_latest_checkpoints_are_kept(resumed: Runs) -> None:
    kept = sorted(path.name for path in (resumed.folder / "one_whole" / "checkpoints").iterdir())
    assert kept == ["step_00000008", "step_00000012"]


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Runs:
    """One rank of two meets a loss that is not a number."""
    runs = Runs(tmp_path_factory.mktemp("poisoned"), values)
    for engine in ("ddp", "zero2"):
        runs.add(engine, engine, poison=1)
    runs.run()
    return runs


@pytest.mark.parametrize("engine", ["ddp", "zero2"])
def test_a_loss_that_is_not_a_number_stops_every_rank_before_the_step(poisoned: Runs, engine: str) -> None:
    assert poisoned.log(engine).count("NonFiniteLoss step 3") == 2, poisoned.log(engine)
    rows = [json.loads(line) for line in (poisoned.folder / engine / "non_finite_loss.jsonl").open()]
    assert [(row["step"], row["rank"], len(row["ids"])) for row in rows] == [(3, 1, 4)]
    assert len(poisoned.losses(engine)) == 2
