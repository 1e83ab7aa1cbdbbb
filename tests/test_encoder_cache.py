"""The encoder's cache: the same training with and without it, entries that are damaged, other weights, its limit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from trainer.config_file import ConfigError, load_config
from trainer.run import train

SHORT = ("training.steps=8", "data.validation=null", "checkpoints.every_steps=99", "logging.every_steps=1")
SHORT = (*SHORT, "optimizer.schedule=constant", "optimizer.warmup_steps=0", "training.batch_size=4")


@pytest.fixture
def base(tiny_config: Path, tmp_path: Path) -> tuple[str, ...]:
    """Overrides that train the decoder of a small checkpoint on few utterances, so that epochs are short."""
    folder = tmp_path / "base"
    train(load_config(tiny_config, [*SHORT, "training.steps=1", f"output_dir={folder}"]))
    start = ("model.architecture=null", f"model.checkpoint={folder / 'final'}", "model.strategy=frozen_encoder")
    return (*SHORT, *start, "data.train.max_utterances=8")


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def run(tiny_config: Path, base: tuple[str, ...], folder: Path, *more: str, resume: bool = False) -> list[float]:
    train(load_config(tiny_config, [*base, f"output_dir={folder}", *more]), resume=resume)
    return losses(folder)


@pytest.mark.parametrize("padding", ["clip", "window"])
def test_training_is_the_same_and_the_encoder_runs_once_a_clip(
    tiny_config: Path, base: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding: str
) -> None:
    from modeling.encoder import DualWhisperEncoder

    original, clips = DualWhisperEncoder.forward, []

    def forward(self: Any, features: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        clips.append(len(features))
        return original(self, features, *arguments, **options)

    how = f"model.encoder_padding={padding}"
    without = run(tiny_config, base, tmp_path / "without", how)
    monkeypatch.setattr(DualWhisperEncoder, "forward", forward)
    cache = tmp_path / "cache"
    cached = run(tiny_config, base, tmp_path / "cached", how, f"performance.cache_encoder={cache}")
    assert cached == pytest.approx(without, rel=1e-5)
    assert sum(clips) == len(entries(cache)) == 8

    for path in entries(cache)[:2]:  # one cut short, one with a byte changed: computed again
        content = path.read_bytes()
        path.write_bytes(content[:-40] if path == entries(cache)[0] else content[:40] + b"?" + content[41:])
    again = run(tiny_config, base, tmp_path / "again", how, f"performance.cache_encoder={cache}")
    assert again == pytest.approx(cached, rel=1e-5)
    assert sum(clips) == 10


def test_a_resumed_run_is_the_uninterrupted_one(tiny_config: Path, base: tuple[str, ...], tmp_path: Path) -> None:
    cache = f"performance.cache_encoder={tmp_path / 'cache'}"
    whole = run(tiny_config, base, tmp_path / "whole", cache)
    run(tiny_config, base, tmp_path / "parts", cache, "training.steps=3")
    parts = run(tiny_config, base, tmp_path / "parts", cache, resume=True)
    assert parts == whole


def test_other_weights_and_other_precision_have_entries_of_their_own(
    tiny_config: Path, base: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    run(tiny_config, base, tmp_path / "one", f"performance.cache_encoder={cache}", "training.steps=2")
    sizes = [path.stat().st_size for path in entries(cache)]
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # one process has one precision
    run(
        tiny_config, base, tmp_path / "two", f"performance.cache_encoder={cache}", "engine.precision=bf16",
        "training.steps=2",
    )  # fmt: skip
    monkeypatch.undo()
    assert len(list(cache.iterdir())) == 2
    assert sum(path.stat().st_size for path in entries(cache)) < 2 * sum(sizes), "bf16 takes half"
    from safetensors.torch import load_file, save_file

    weights = tmp_path / "base" / "final" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.encoder.conv1.bias"] += 0.1
    save_file(tensors, weights, {"format": "pt"})
    run(tiny_config, base, tmp_path / "three", f"performance.cache_encoder={cache}", "training.steps=2")
    assert len(list(cache.iterdir())) == 3


def test_the_limit_is_kept(tiny_config: Path, base: tuple[str, ...], tmp_path: Path) -> None:
    cache, gib = tmp_path / "cache", 40_000 / 2**30
    options = (f"performance.cache_encoder={cache}", f"performance.cache_encoder_gib={gib}")
    cached = run(tiny_config, base, tmp_path / "cached", *options)
    assert 0 < sum(path.stat().st_size for path in entries(cache)) <= 40_000
    assert 0 < len(entries(cache)) < 8
    assert cached == pytest.approx(run(tiny_config, base, tmp_path / "without"), rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("model.strategy=full",), "model.strategy 'full' trains the encoder"),
        (("model.strategy=lora",), "model.strategy 'lora' trains the encoder"),
        (("model.dropout=0.1",), "model.dropout is 0.1"),
        (("engine.zero_stage=3",), "engine.zero_stage is 3"),
        (("performance.cache_encoder_gib=0",), "performance.cache_encoder_gib"),
    ],
)
def test_what_cannot_be_cached_is_refused(
    tiny_config: Path, base: tuple[str, ...], tmp_path: Path, overrides: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(tiny_config, [*base, f"performance.cache_encoder={tmp_path}", *overrides])


def test_a_folder_that_cannot_be_made(tiny_config: Path, base: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"performance\.cache_encoder is '.*file/cache', which cannot be used"):
        run(tiny_config, base, tmp_path / "run", f"performance.cache_encoder={tmp_path / 'file' / 'cache'}")


def test_lora_on_the_decoder_alone_leaves_the_encoder_as_it_is(
    tiny_config: Path, base: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("model.strategy=lora", "model.lora.where=[decoder]", "model.lora.dropout=0")
    cached = run(tiny_config, base, tmp_path / "cached", *options, f"performance.cache_encoder={tmp_path / 'cache'}")
    assert cached == pytest.approx(run(tiny_config, base, tmp_path / "without", *options), rel=1e-5)
