"""What several tests share: a tiny corpus of synthetic speech and the config of a tiny model."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet files of synthetic speech: 120 utterances in two shards for training, 11 for validation."""
    from data.digit_speech import TRAINING_VOICES, UNSEEN_VOICES, synthesize_digit_corpus

    folder = tmp_path_factory.mktemp("corpus")
    synthesize_digit_corpus(folder, utterances=120, voices=TRAINING_VOICES, seed=0, shards=2, split="train")
    synthesize_digit_corpus(folder, utterances=11, voices=UNSEEN_VOICES, seed=1, shards=1, split="validation")
    return folder


@pytest.fixture
def tiny_values(corpus: Path, tmp_path: Path) -> dict[str, Any]:
    """A config's values: a model of 0.1 M parameters that trains in seconds."""
    return {
        "output_dir": str(tmp_path / "run"),
        "model": {"architecture": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}},
        "data": {
            "language": "az",
            "train": {"files": str(corpus / "train-*.parquet"), "columns": {"id": "id"}},
            "validation": {"files": str(corpus / "validation-*.parquet"), "columns": {"id": "id"}},
            "shuffle_window": 30,
        },
        "training": {"steps": 12, "batch_size": 4},
        "optimizer": {"learning_rate": 1e-3, "new_modules_learning_rate": 2e-3, "warmup_steps": 3},
        "engine": {"precision": "fp32"},
        "evaluation": {"every_steps": 6, "batch_size": 4, "max_new_tokens": 8},
        "checkpoints": {"every_steps": 4},
        "logging": {"every_steps": 1, "record_batches": True},
    }


@pytest.fixture
def tiny_config(tiny_values: dict[str, Any], tmp_path: Path) -> Path:
    """The same as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Disk:
    """A file system of 8 MiB; the tiny model's checkpoint takes 2.2."""

    place: Path

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=True)


def mounted_disk(place: Path) -> Disk | None:
    """None without the right to mount one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return None
    return Disk(place)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = mounted_disk(tmp_path / "disk")
    if disk is None:
        pytest.skip("needs the right to mount a file system")
    yield disk.place
    disk.unmount()


@pytest.fixture
def exact_attention(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begins as torch does, with cuDNN's attention and TF32; fails a command that attends without choosing kernels."""
    import torch

    from trainer.engine.device import EXACT, Kernels, choose_kernels

    attend = torch.nn.functional.scaled_dot_product_attention

    def checked(*arguments: Any, **options: Any) -> torch.Tensor:
        assert not torch.backends.cuda.cudnn_sdp_enabled(), "cuDNN's attention is on"
        assert not torch.backends.cudnn.allow_tf32, "convolutions are in TF32"
        return attend(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", checked)
    choose_kernels(Kernels(tf32=True, cudnn_attention=True))
    yield
    choose_kernels(EXACT)
