"""The noise loss under every engine: the same losses, gates and shares as in one process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.end_to_end.test_engines import ENGINES, Runs

pytestmark = pytest.mark.slow

STEPS = 8
# One utterance in three noisy, two a microbatch, 17 for two ranks: some have noise, some none, and one runs out.
RARE = ("training.batch_size=2", "data.augmentation.noise_share=0.3", "data.train.max_utterances=17")


@pytest.fixture(scope="module")
def noisy(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Eight steps of each engine, on noisy speech; under ZeRO-2 also with gradient checkpointing."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    (folder / "noises").mkdir()
    for number in range(3):
        soundfile.write(folder / "noises" / f"{number}.wav", 0.1 * generator.standard_normal(16_000), 16_000)
    columns = {"id": "id"}
    values: dict[str, Any] = {
        "output_dir": "set by each job",
        "model": {"architecture": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}},
        "data": {
            "language": "az",
            "train": {"files": str(corpus / "train-*.parquet"), "columns": columns, "max_utterances": 70},
            "shuffle_window": 16,
            # Of four utterances in a microbatch some have noise and some none, so that a mean of means would be off.
            "augmentation": {
                "noise": {"folder": str(folder / "noises")},
                "noise_share": 0.5,
                "noise_ratio": [-5, 10],
                "competing_share": 0.1,
            },
        },
        "training": {"steps": STEPS, "batch_size": 4, "max_gradient_norm": 0.5},
        "optimizer": {"learning_rate": 1e-3, "new_modules_learning_rate": 2e-3, "primary_frozen_steps": 2},
        "noise": {"loss_weight": 0.5, "loss_warmup_steps": 4},
        "engine": {"precision": "fp32", "timeout_minutes": 1},
        "checkpoints": {"every_steps": 100},
        "logging": {"every_steps": 1, "record_batches": True},
    }
    runs = Runs(folder, values)
    for name in ENGINES:
        runs.add(name, name)
    runs.add("checkpointed", "zero2", ("model.gradient_checkpointing=all",))
    runs.add("middle", "zero3", ("model.secondary_layer=1", "model.gate_bias=1"))
    runs.add("middle_alone", "one", ("model.secondary_layer=1", "model.gate_bias=1"))
    for engine in ("one", "zero3"):
        runs.add(f"rare_{engine}", engine, RARE)
        runs.add(f"rare_everything_{engine}", engine, (*RARE, "noise.loss_reach=everything"))
    runs.run()
    return runs


def test_every_engine_finishes(noisy: Runs) -> None:
    for job, codes in zip(noisy.jobs, noisy.codes, strict=True):
        assert set(codes) == {0}, noisy.log(job["name"])


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        *((name, "one") for name in ENGINES if name != "one"),
        ("checkpointed", "one"),
        ("middle", "middle_alone"),
        ("rare_zero3", "rare_one"),
        ("rare_everything_zero3", "rare_everything_one"),
    ],
)
def test_losses_and_figures_equal_one_process(noisy: Runs, name: str, alone: str) -> None:
    assert noisy.losses(name) == pytest.approx(noisy.losses(alone), abs=2e-5)
    ours, theirs = noisy.metrics(name, "attention"), noisy.metrics(alone, "attention")
    assert len(ours) == len(theirs) == STEPS
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for figure in ("gate_mean", "gate_spread", "noise_share", "distance"):
            assert mine.get(figure) == pytest.approx(other.get(figure), abs=1e-4), (mine["step"], figure)
    assert any("noise_share" in row for row in ours)


def test_ranks_differed_in_whether_they_had_data(noisy: Runs) -> None:
    """Or the runs with little noise, where a lane ends before the other, would show nothing."""
    steps = [noisy.batches("rare_zero3", rank) for rank in (0, 1)]
    assert any(bool(first["ids"][0]) != bool(second["ids"][0]) for first, second in zip(*steps, strict=True))


def test_the_loss_is_not_the_token_loss_alone(noisy: Runs) -> None:
    rows = [row["noise_loss"] for row in noisy.metrics("one", "train")]
    assert all(value > 0 for value in rows)
    assert [row["noise_loss"] for row in noisy.metrics("ddp", "train")] == pytest.approx(rows, abs=2e-5)
