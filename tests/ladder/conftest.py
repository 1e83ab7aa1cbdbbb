"""A small Whisper with everything ``generate()`` needs, and the table of promises enforced on the tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from modeling import DualWhisperForConditionalGeneration
from tests.ladder.promises import column_of, read_promises
from tests.ladder.tiny_whisper import move_apart, save_plain_whisper

RELEASES, PROMISES = read_promises()
COLUMN = column_of(transformers.__version__, RELEASES)


def promise_of(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("promise")
    return mark.args[0] if mark else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the table does not promise must fail: a table that says too little is wrong as well."""
    for item in items:
        promise = promise_of(item)
        if promise is not None and not PROMISES[promise][COLUMN]:
            item.add_marker(pytest.mark.xfail(strict=True, reason=f"not promised on transformers {COLUMN}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A promise cannot be kept by skipping its test."""
    outcome: Any = yield
    report = outcome.get_result()
    promise = promise_of(item)
    if promise is not None and PROMISES[promise][COLUMN] and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but promised on transformers {COLUMN}: {promise}"


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_plain_whisper(tmp_path_factory.mktemp("plain_whisper"))


@pytest.fixture
def plain(plain_folder: Path) -> Any:
    """transformers' own model."""
    return transformers.WhisperForConditionalGeneration.from_pretrained(plain_folder, use_safetensors=True).eval()


@pytest.fixture
def lifted(plain_folder: Path) -> Any:
    """The same weights in the dual model, before any training."""
    return DualWhisperForConditionalGeneration.from_pretrained(plain_folder).eval()


@pytest.fixture
def trained(plain_folder: Path) -> Any:
    """A dual model whose second attention and gate are far from a copy."""
    return move_apart(DualWhisperForConditionalGeneration.from_pretrained(plain_folder).eval())


@pytest.fixture
def features() -> torch.Tensor:
    """Two windows of noise: [2, 80, 200]."""
    return torch.randn(2, 80, 200, generator=torch.Generator().manual_seed(2))
