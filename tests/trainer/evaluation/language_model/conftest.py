"""A checkpoint, an evaluation of it and language models."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import launch.eval
import launch.ngram
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "dual", ("az", "en"))


@pytest.fixture
def evaluate(untrained: Path, tiny_values: dict[str, Any], tmp_path: Path) -> Callable[..., Outcome]:
    """Evaluates ``run/best``, which writes letters at random."""
    (tmp_path / "run").mkdir()
    shutil.copytree(untrained, tmp_path / "run" / "best")
    tiny_values["model"] = {"checkpoint": str(untrained)}
    tiny_values["data"]["test"] = tiny_values["data"]["validation"]
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    return lambda *arguments: run(launch.eval.main, "--checkpoint", tmp_path / "run" / "best", *arguments)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Makes a language model of sentences by the command."""

    def make(sentences: Sequence[str], *arguments: object, language: str = "az") -> Path:
        (tmp_path / "text.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
        output = tmp_path / "lm.arpa"
        given = (tmp_path / "text.txt", "--language", language, "--output", output, *arguments)
        outcome = run(launch.ngram.main, *given)
        assert outcome.code == 0, outcome.errors
        return output

    return make
