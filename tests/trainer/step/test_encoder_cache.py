"""The encoder's cache: the same training with and without it, entries that are damaged, other weights, its limit."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from data.batches.features import LogMel
from data.utterance import AudioBatch
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.model.building import build_model
from trainer.run import train
from trainer.step.encoder_cache import EncoderCache, States, bytes_held, fingerprint

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
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["kind"] == "train"]


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def run(tiny_config: Path, base: tuple[str, ...], folder: Path, *more: str, resume: bool = False) -> list[float]:
    train(load_config(tiny_config, [*base, f"output_dir={folder}", *more]), resume=resume)
    return losses(folder)


@pytest.mark.parametrize("padding", ["clip", "window"])
def test_training_is_the_same_and_the_encoder_runs_once_a_clip(
    tiny_config: Path, base: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture, padding: str,
) -> None:  # fmt: skip
    from modeling.network.encoder import DualWhisperEncoder

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
    said = " ".join(capsys.readouterr().out.split())
    assert "performance.cache_encoder: 24 of 32 clips' encoder outputs were read from" in said

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


def test_whispers_own_spec_augment_is_seeded_and_not_cached(
    tiny_config: Path, base: tuple[str, ...], tmp_path: Path
) -> None:
    """A checkpoint's config can ask for it; the encoder's output is then another each time."""
    file = tmp_path / "base" / "final" / "config.json"
    usual = run(tiny_config, base, tmp_path / "usual")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"apply_spec_augment": True, "mask_time_prob": 0.5}))
    masked = [run(tiny_config, base, tmp_path / name) for name in ("once", "again")]
    assert masked[0] == masked[1] != usual
    with pytest.raises(ConfigError, match=r"performance\.cache_encoder .* has apply_spec_augment"):
        run(tiny_config, base, tmp_path / "cached", f"performance.cache_encoder={tmp_path / 'cache'}")


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


@pytest.fixture
def model(tiny_values: dict[str, Any]) -> Any:
    return build_model(RunConfig.model_validate(tiny_values))[0].train()


def cache_of(model: Any, folder: Path) -> EncoderCache:
    states = States(model.model.encoder, LogMel(80), "clip", accelerator=Accelerator(cpu=True))
    return EncoderCache(folder, 2**30, states)


def clips(number: int) -> AudioBatch:
    audio = torch.randn(number, 16_000, generator=torch.Generator().manual_seed(0))
    batch = {"ids": [str(row) for row in range(number)], "texts": [""] * number, "languages": [None] * number}
    lengths = torch.full((number,), 16_000)
    return AudioBatch(audio, lengths, noise=None, decoder_input_ids=None, labels=None, **batch)


def test_what_is_kept_has_no_dropout_in_it(model: Any, tmp_path: Path) -> None:
    """A checkpoint may bring its own; one draw would be kept for ever."""
    encoder = model.model.encoder
    encoder.config.activation_dropout = encoder.config.dropout = 0.5
    encoder.layers[1].eval()
    modes = [part.training for part in model.modules()]
    kept = [cache_of(model, tmp_path / name).outputs(clips(2)).last_hidden_state for name in ("one", "two")]
    torch.testing.assert_close(*kept, rtol=0, atol=0)
    assert [part.training for part in model.modules()] == modes
    assert True in modes and False in modes


@pytest.mark.parametrize(
    ("setting", "value", "same"),
    [
        ("activation_function", "relu", False),
        ("encoder_attention_heads", 4, False),
        ("encoder_padding", "window", False),
        ("decoder_layers", 9, True),
        ("dropout", 0.3, True),
    ],
)
def test_entries_go_by_how_the_encoder_computes(model: Any, setting: str, value: Any, same: bool) -> None:
    encoder, features = model.model.encoder, LogMel(80)
    before = fingerprint(encoder, "clip", torch.float32, features)
    setattr(encoder.config, setting, value)
    assert (fingerprint(encoder, "clip", torch.float32, features) == before) is same


@pytest.mark.parametrize("looks", [0, 1])
def test_a_file_that_vanishes_while_the_folder_is_looked_at(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """Another run renames its partial files; ``looks``: how often this one is still seen."""
    (tmp_path / "gone").write_bytes(b"1234")
    (tmp_path / "entry").write_bytes(b"12345")
    original, seen = Path.stat, []

    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.name == "gone":
            seen.append(self)
            if len(seen) > looks:
                raise FileNotFoundError(self)
        return original(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    assert cache_of(model, tmp_path).held == 5 + 4 * looks


def test_what_was_never_finished_is_removed(model: Any, tmp_path: Path) -> None:
    """By a process that was killed; what is being written now is left, and takes room."""
    old, young = tmp_path / "weights" / ".entry.17.ab", tmp_path / "weights" / ".entry.18.cd"
    old.parent.mkdir()
    for path in (old, young, old.parent / "entry"):
        path.write_bytes(b"12345")
    for path in (old, old.parent / "entry"):
        os.utime(path, (time.time() - 7200,) * 2)
    assert cache_of(model, tmp_path).held == bytes_held(tmp_path) == 10
    assert not old.exists() and young.exists() and (old.parent / "entry").exists()


def test_two_that_write_the_same_entry_at_once(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have written all of it before either puts it in place, as ranks of two nodes with one process number do."""
    both, original = threading.Barrier(2, timeout=20), Path.replace

    def replace(self: Path, target: Path) -> Path:
        both.wait()
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    caches = [cache_of(model, tmp_path) for _ in range(2)]
    outputs: list[Any] = [None, None]

    def fill(number: int) -> None:
        outputs[number] = caches[number].outputs(clips(3)).last_hidden_state

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.testing.assert_close(*outputs)
    assert [path.name.startswith(".") for path in entries(tmp_path)] == [False] * 3
    assert all(cache.held == sum(path.stat().st_size for path in entries(tmp_path)) for cache in caches)
    third = cache_of(model, tmp_path)
    torch.testing.assert_close(third.outputs(clips(3)).last_hidden_state, outputs[0], rtol=0, atol=0)
    assert (third.hits, third.misses) == (3, 0)
