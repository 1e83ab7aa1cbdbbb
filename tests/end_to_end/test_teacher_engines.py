"""The clean teacher under every engine: losses as in one process, also where a rank has no noise or no data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.end_to_end.test_engines import Runs
from trainer.config.run import RunConfig
from trainer.model.building import build_model

pytestmark = pytest.mark.slow

STEPS = 6
RARE = ("data.augmentation.noise_share=0.3", "data.train.max_utterances=17")  # and one rank runs out before the other
LAYERS = "noise.teacher.layers=[1,2]"
JOBS = {
    "one": (),
    "ddp": (),
    "zero2": (),
    "zero3": (),
    "rare_one": RARE,
    "rare_ddp": RARE,
    "rare_zero3": (*RARE, LAYERS),
}


@pytest.fixture(scope="module")
def taught(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "noises").mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(folder / "noises" / "white.wav", noise, 16_000)
    shape = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}
    train = {"files": str(corpus / "train-*.parquet"), "columns": {"id": "id"}, "max_utterances": 40}
    values: dict[str, Any] = {
        "output_dir": "set by each job",
        "model": {"architecture": shape},
        "data": {"language": "az", "train": train, "shuffle_window": 16},
        "training": {"steps": STEPS, "batch_size": 2, "max_gradient_norm": 0.5},
        "optimizer": {"learning_rate": 1e-3},
        "engine": {"precision": "fp32", "timeout_minutes": 2},
        "checkpoints": {"every_steps": 100},
        "logging": {"every_steps": 1},
    }
    for part in build_model(RunConfig.model_validate(values)):
        part.save_pretrained(folder / "base")
    values["model"] = {"checkpoint": str(folder / "base")}
    noises = {"noise": {"folder": str(folder / "noises")}, "noise_share": 0.6, "noise_ratio": [-5, 10]}
    values["data"]["augmentation"] = noises
    values["noise"] = {"teacher": {"weight": 1.0, "warmup_steps": 2}}
    runs = Runs(folder, values)
    for name, overrides in JOBS.items():
        runs.add(name, name.rpartition("_")[2], overrides)
    runs.add("rare_layers", "one", (*RARE, LAYERS))
    runs.run()
    return runs


def test_every_engine_finishes(taught: Runs) -> None:
    for job, codes in zip(taught.jobs, taught.codes, strict=True):
        assert set(codes) == {0}, taught.log(job["name"])


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("ddp", "one"),
        ("zero2", "one"),
        ("zero3", "one"),
        ("rare_ddp", "rare_one"),
        ("rare_zero3", "rare_layers"),
    ],
)
def test_losses_equal_one_process(taught: Runs, name: str, alone: str) -> None:
    ours, theirs = taught.metrics(name, "train"), taught.metrics(alone, "train")
    assert len(ours) == len(theirs) == STEPS
    for mine, other in zip(ours, theirs, strict=True):
        for figure in ("loss", "token_loss", "teacher_loss"):
            assert mine.get(figure) == pytest.approx(other.get(figure), abs=3e-5), (mine["step"], figure)
    assert any("teacher_loss" in row for row in ours)
