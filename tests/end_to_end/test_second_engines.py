"""Second recordings under every engine: the same losses as in one process, some rows and some ranks without any."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.end_to_end.test_engines import Runs

pytestmark = pytest.mark.slow

STEPS = 5
JOINED = (
    *("model.second_recording=joined", "model.dual_attention=false", "noise.loss_weight=0"),
    "optimizer.new_modules_learning_rate=null",
)
# In this order: the one process of each kind, and those that must equal it.
KINDS = {"attention": (("one", "ddp", "zero2", "zero3"), ()), "joined": (("one", "zero3"), JOINED)}


@pytest.fixture(scope="module")
def two(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two utterances a microbatch, of which two in three lack their second recording."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "noises").mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(folder / "noises" / f"{number}.wav", 0.1 * generator.standard_normal(16_000), 16_000)
    values: dict[str, Any] = {
        "output_dir": "set by each job",
        "model": {
            "architecture": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2},
            "second_recording": "attention",
            "second_recording_layers": 1,
            "gradient_checkpointing": "all",
        },
        "data": {
            "language": "az",
            "train": {
                "files": str(corpus / "train-*.parquet"),
                "columns": {"id": "id"},
                "max_utterances": 30,
                "second": "copy",
            },
            "shuffle_window": 16,
            "augmentation": {
                "noise": {"folder": str(folder / "noises")},
                "noise_share": 1.0,
                "noise_ratio": [-5, 10],
                "second_delay": [0.0, 0.3],
                "second_missing_share": 0.67,
            },
        },
        "training": {"steps": STEPS, "batch_size": 2, "max_gradient_norm": 0.5},
        "optimizer": {"learning_rate": 1e-3, "new_modules_learning_rate": 2e-3},
        "noise": {"loss_weight": 0.1},
        "engine": {"precision": "fp32", "timeout_minutes": 1},
        "checkpoints": {"every_steps": 100},
        "logging": {"every_steps": 1, "record_batches": True},
    }
    runs = Runs(folder, values)
    for kind, (engines, overrides) in KINDS.items():
        for engine in engines:
            runs.add(f"{kind}_{engine}", engine, overrides)
    runs.add("deaf", "one", ("model.second_recording=none", "model.second_recording_layers=0"))
    runs.run()
    return runs


def test_every_engine_finishes(two: Runs) -> None:
    for job, codes in zip(two.jobs, two.codes, strict=True):
        assert set(codes) == {0}, two.log(job["name"])


@pytest.mark.parametrize(
    ("kind", "engine"), [(kind, engine) for kind, (engines, _) in KINDS.items() for engine in engines[1:]]
)
def test_losses_equal_one_process(two: Runs, kind: str, engine: str) -> None:
    assert two.losses(f"{kind}_{engine}") == pytest.approx(two.losses(f"{kind}_one"), abs=2e-5)
    norms = [[row["gradient_norm"] for row in two.metrics(f"{kind}_{name}", "train")] for name in (engine, "one")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_the_second_recordings_were_heard(two: Runs) -> None:
    heard, deaf = two.losses("attention_one"), two.losses("deaf")
    assert len(heard) == STEPS
    assert max(abs(one - other) for one, other in zip(heard, deaf, strict=True)) > 1e-4
    assert any(0 < row["with_second"] < 0.5 for row in two.metrics("attention_ddp", "recordings"))  # a rank had none
