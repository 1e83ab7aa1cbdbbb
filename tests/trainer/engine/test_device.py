"""The device: its kernels, its precision and its memory are chosen before anything is computed, with a stubbed GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import ROOT
from trainer.config.reading import ConfigError, load_config
from trainer.engine import device as engine_device
from trainer.engine.accelerator import build_accelerator
from trainer.engine.device import (
    ALLOCATOR_VARIABLES,
    EXACT,
    Kernels,
    choose_kernels,
    exact_kernels,
    find_device,
    find_dtype,
    settle_device,
    use_expandable_segments,
)
from trainer.evaluation.checkpoint import evaluate_checkpoint

GPU = torch.device("cuda")


def in_force() -> tuple[bool, str, bool]:
    """cuDNN's attention, the precision of float32 products, TF32 in convolutions."""
    precision = torch.get_float32_matmul_precision()
    return torch.backends.cuda.cudnn_sdp_enabled(), precision, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def as_torch_starts() -> Iterator[None]:
    """Torch's own choice on a GPU of the newer kind."""
    choose_kernels(Kernels(tf32=True, cudnn_attention=True))
    yield
    choose_kernels(EXACT)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A GPU that computes bf16, unless ``bf16`` is set to false: older ones emulate it."""
    has = {"bf16": True}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *device: "Tesla T4")
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: has["bf16"] or including_emulation
    )
    return has


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), (False, "highest", False)),
        (("performance.tf32=true",), (False, "high", True)),
        (("performance.cudnn_attention=true", "model.encoder_padding=window"), (True, "highest", False)),
    ],
)
def test_the_accelerator_is_built_with_the_configs_kernels(
    tiny_config: Path, overrides: tuple[str, ...], expected: tuple[bool, str, bool]
) -> None:
    build_accelerator(load_config(tiny_config, list(overrides)))
    assert in_force() == expected


def test_cudnn_attention_is_refused_where_lengths_vary(tiny_config: Path) -> None:
    with pytest.raises(ConfigError, match=r"performance\.cudnn_attention is true.*can be NaN.*encoder_padding: window"):
        load_config(tiny_config, ["performance.cudnn_attention=true"])


def test_decoding_is_exact_also_within_a_training_that_is_not() -> None:
    before = in_force()
    with pytest.raises(KeyError), exact_kernels():
        assert in_force() == (False, "highest", False)
        raise KeyError
    assert in_force() == before == (True, "high", True)


@pytest.mark.parametrize(("has", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_takes_no_emulated_bf16(gpu: dict[str, Any], has: bool, expected: torch.dtype) -> None:
    gpu["bf16"] = has
    assert find_dtype("auto", GPU) == expected
    assert find_dtype("auto", torch.device("cpu")) == torch.float32


def test_bf16_on_a_gpu_that_lacks_it(gpu: dict[str, Any]) -> None:
    gpu["bf16"] = False
    with pytest.raises(ConfigError, match="--dtype is 'bf16', which Tesla T4 lacks; use fp16 or fp32"):
        find_dtype("bf16", GPU)
    assert find_dtype("fp16", GPU) == torch.float16


def test_evaluating_in_bf16_on_a_gpu_that_lacks_it(gpu: dict[str, Any], tiny_config: Path) -> None:
    """Before the checkpoint is opened."""
    gpu["bf16"] = False
    config = load_config(tiny_config, ["engine.precision=bf16"])
    with pytest.raises(ConfigError, match=r"engine\.precision is 'bf16', which Tesla T4 lacks; use fp16 or fp32"):
        evaluate_checkpoint(config, "no/such/checkpoint", "validation")


# By command: the tests of what it computes, or why there are none. Those begin with torch's own choice of kernels, and
# fail where attention runs under it (conftest.py).
COMMANDS = {
    "align": ("trainer/transcription/word_times/test_aligning.py",),
    "batch_size": "computes on no device",
    "compare": "starts train and eval",
    "demo": "starts train and eval",
    "doctor": "has no attention",
    "eval": ("trainer/evaluation/test_checkpoint.py", "trainer/noise_suite/test_suite.py"),
    "export": ("trainer/export/test_exporting.py",),
    "merge": ("trainer/export/test_merging.py",),
    "ngram": "computes on no device",
    "prepare": "computes on no device",
    "train": ("trainer/test_loop.py",),
    "transcribe": ("trainer/transcription/test_command.py",),
    "tune": "starts train and eval",
    "visualize": ("trainer/visualization/test_visualize.py",),
}


def test_every_command_is_tested_for_its_kernels() -> None:
    assert COMMANDS.keys() == {path.stem for path in (ROOT / "launch").glob("[!_]*.py")}
    for tests in COMMANDS.values():
        for path in tests if isinstance(tests, tuple) else ():
            text = (ROOT / "tests" / path).read_text(encoding="utf-8")
            assert 'pytestmark = pytest.mark.usefixtures("exact_attention")' in text, path


def test_without_a_visible_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with an empty CUDA_VISIBLE_DEVICES."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="torch sees no CUDA GPU here"):
        find_device("cuda")
    settle_device(torch.device("cpu"))
    assert in_force() == (False, "highest", False)


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What CUDA's allocator is told; the environment says nothing, and the first allocation succeeds."""
    told: list[str] = []
    monkeypatch.setattr(engine_device, "set_allocator", told.append)
    monkeypatch.setattr(torch, "empty", lambda *shape, device: None)
    for name in ALLOCATOR_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return told


def test_segments_are_expandable(allocator: list[str]) -> None:
    use_expandable_segments(GPU)
    assert allocator == ["expandable_segments:True"]


@pytest.mark.parametrize("name", ALLOCATOR_VARIABLES)
def test_an_allocator_that_the_user_has_set_stays(
    allocator: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "max_split_size_mb:64")
    use_expandable_segments(GPU)
    assert not allocator


def test_under_wsl_segments_stay_as_they_are(allocator: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "5.15.167.4-microsoft-standard-WSL2")
    use_expandable_segments(GPU)
    assert not allocator


def test_where_the_driver_cannot_expand_segments(allocator: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*shape: int, device: torch.device) -> None:
        raise RuntimeError("CUDA driver error: operation not supported")

    monkeypatch.setattr(torch, "empty", refuse)
    use_expandable_segments(GPU)
    assert allocator == ["expandable_segments:True", "expandable_segments:False"]


def test_torch_has_the_allocators_setter() -> None:
    engine_device.set_allocator("expandable_segments:False")
