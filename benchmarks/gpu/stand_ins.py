"""Checkpoints and clips that cells train on, made once in the folder that they share: nothing is fetched."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.training.stand_in import save_checkpoint, save_clips
from trainer.config.reading import merge, nested

from .setting import Setting

# In place of a published shape on CPUs; the vocabulary holds the tokenizer of bytes.
SMALLEST = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 2048,
}
WORKERS = 6  # that read ahead
NOTHING: Mapping[str, Any] = {}


def made_once(path: Path, make: Callable[[Path], Any]) -> Path:
    """``path``, made under another name at first: a process that is ended leaves nothing half done under it."""
    if not path.exists():
        part = path.with_name(f"{os.getpid()}-{path.name}")
        make(part)
        os.replace(part, path)
    return path


def checkpoint(setting: Setting, size: str) -> Path:
    """The folder of a checkpoint with random weights in the shape of whisper-SIZE; on CPUs a far smaller one."""
    smaller = dict(setting.size({}, SMALLEST))
    if setting.tokenizer:
        smaller.pop("vocab_size", None)

    def make(folder: Path) -> None:
        save_checkpoint(f"openai/whisper-{size}", setting.tokenizer, folder, **smaller)

    return made_once(setting.path / size, make)


def clips(setting: Setting) -> Path:
    """Parquet with clips as long as children speak, 3.4 s on average."""
    return made_once(setting.path / "clips.parquet", lambda path: save_clips(path, setting.size(2048, 60)))


def run_values(setting: Setting, size: str, settings: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """A run's config as plain values: the stand-in of a size, fully trained with second attentions from the stream.

    Args:
        settings: by dotted keys, over the others.
    """
    values: dict[str, Any] = {
        "output_dir": str(setting.path / "unused"),
        "model": {"checkpoint": str(checkpoint(setting, size)), "strategy": "full"},
        "data": {
            "language": "en",
            "train": {"files": str(clips(setting)), "columns": {"id": "id", "duration": "duration"}},
            "workers": setting.size(WORKERS, 1),
        },
        "training": {"steps": 1000, "batch_size": 8},
        "engine": {"precision": setting.size("auto", "bf16")},
    }
    return merge(values, nested(settings))
