"""``training.batch_size: auto`` where memory really is limited, with the prediction's own figures: minutes."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import ROOT
from trainer.config.reading import read_yaml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux"),
]
AUTO = (
    "training.batch_size=auto",
    "training.step_utterances=48",
    "training.steps=4",
    "checkpoints.every_steps=2",
    "model.architecture={d_model: 256, encoder_layers: 2, decoder_layers: 1, attention_heads: 2}",
    "data.max_seconds=10",
    "data.validation=null",
)


def train(config: Path, *arguments: object, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """launch/train.py whose last rank may take 1,200 MiB more than its libraries have; without a launcher, alone."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    alone = {} if ranks > 1 else {"RANK": "0", "WORLD_SIZE": "1"}
    return subprocess.run(
        [
            sys.executable,
            *launcher,
            "-m",
            "tests.support.limited_rank",
            "--config",
            config,
            *AUTO,
            *map(str, arguments),
        ],
        cwd=ROOT,
        env=os.environ | alone | {"OMP_NUM_THREADS": "1", "MORE_MIB": "1200", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_one_process_finds_what_fits_and_resumes_equal(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found, folder = train(tiny_config), tmp_path / "run"
    assert found.returncode == 0, found.stderr
    size = re.search(r"training.batch_size auto: microbatches of (\d+), (\d+) of them a step", found.stdout)
    assert size is not None and 1 <= int(size[1]) < 48
    assert read_yaml(folder / "config.yaml")["training"]["batch_size"] == int(size[1])
    weights = load_file(folder / "final" / "model.safetensors")
    for name in ("checkpoints/step_00000004", "final"):
        (folder / name).rename(tmp_path / name.replace("/", "_"))
    again = train(tiny_config, "--resume")
    assert again.returncode == 0 and "training.batch_size auto" not in again.stdout, again.stderr
    for name, tensor in load_file(folder / "final" / "model.safetensors").items():
        assert torch.equal(tensor, weights[name]), name


def test_two_ranks_with_different_limits_agree(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = train(tiny_config, ranks=2)
    assert found.returncode == 0, found.stderr
    training = read_yaml(tmp_path / "run" / "config.yaml")["training"]
    assert 1 <= training["batch_size"] < 24 and training["step_utterances"] == 48
    assert (
        f"of {training['batch_size']}, {math.ceil(24 / training['batch_size'])} of them a step on each process"
        in found.stdout
    )
