"""Runs that earlier code left after half of their steps: they open, go on to the same end, and are exported.

``old_checkpoints/make.py`` trained them. Every run here is a fresh copy, and everything is done by commands.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import launch.eval
import launch.export
import launch.train
import launch.transcribe
from tests.end_to_end import run

from .old_checkpoints.make import HALF, HERE, RUNS, STEPS, command
from .old_checkpoints.recordings import write_recordings

MODELS = [name for name in RUNS if "lora" not in name]  # those whose best/ is a model, not an adapter
RESUMED = [pytest.param(name, marks=pytest.mark.slow if RUNS[name][0] > 1 else ()) for name in RUNS]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the old runs in it."""
    with tarfile.open(HERE / "runs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    write_recordings(tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def expected(folder: Path) -> dict[str, dict[str, Any]]:
    """What each run gave when it was made."""
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))


def final_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    (file,) = (folder / "runs" / name / "final").glob("*.safetensors")
    return load_file(file)


def differences(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """The tensors that are not nearly equal; the two must have the same."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-5)]


def seen_by_a_stranger(folder: Path, *checkpoints: str) -> list[dict[str, Any]]:
    """What transformers alone makes of them, with the code that they carry."""
    return json.loads(command(folder, 1, str(HERE / "stranger.py"), *checkpoints))


def check_logits(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found["problems"] == []
    assert torch.allclose(torch.tensor(found["logits"]), torch.tensor(wanted["logits"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_best_opens_and_hears_what_it_heard(name: str, folder: Path, expected: dict[str, Any]) -> None:
    best = folder / "runs" / name / "best"
    transcribed = run(launch.transcribe.main, "--checkpoint", best, "recordings/0.wav")
    assert transcribed.code == 0, transcribed
    assert transcribed.output == expected[name]["transcript"]

    evaluated = run(launch.eval.main, "--checkpoint", best, "--split", "validation")
    assert evaluated.code == 0, evaluated
    found = json.loads((best.parent / "evaluations" / "best_validation" / "evaluation.json").read_text())
    record = json.loads((best / "best_evaluation.json").read_text())
    for rate in ("word_error_rate", "character_error_rate"):
        assert found[rate] == record[rate]


def test_a_stranger_opens_best(folder: Path, expected: dict[str, Any]) -> None:
    found = seen_by_a_stranger(folder, *(f"runs/{name}/best" for name in MODELS))
    for name, one in zip(MODELS, found, strict=True):
        assert one["module"].startswith("transformers_modules."), name
        check_logits(one, expected[name])


@pytest.mark.parametrize("name", RESUMED)
def test_it_is_resumed_to_the_end_it_would_have_had(name: str, folder: Path, expected: dict[str, Any]) -> None:
    wanted = load_file(folder / "expected" / f"{name}.safetensors")
    assert differences(final_weights(folder, name), wanted), "the old run was at its end already"
    if RUNS[name][0] > 1:
        said = command(folder, RUNS[name][0], "launch/train.py", "--config", f"{name}.yaml", "--resume")
    else:
        resumed = run(launch.train.main, "--config", f"{name}.yaml", "--resume")
        assert resumed.code == 0, resumed
        said = resumed.output
    assert f"from runs/{name}/checkpoints/step_{HALF:08d}" in said
    assert differences(final_weights(folder, name), wanted) == []
    rows = map(json.loads, (folder / "runs" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    losses = {str(row["step"]): row["loss"] for row in rows if row["kind"] == "train"}
    assert len(losses) == STEPS
    assert losses == pytest.approx(expected[name]["losses"], rel=1e-5)


def test_its_best_is_put_aside_where_the_config_measures_otherwise(folder: Path) -> None:
    resumed = run(launch.train.main, "--config", "lora.yaml", "--resume", "evaluation.max_new_tokens=6")
    assert resumed.code == 0, resumed
    assert json.loads((folder / f"runs/lora/best_step_{HALF:08d}/best_evaluation.json").read_text())["step"] == HALF
    measured = json.loads((folder / "runs/lora/best/best_evaluation.json").read_text())["measured"]
    assert measured["evaluation.max_new_tokens"] == 6


def test_its_manifest_tells_damage(folder: Path) -> None:
    weights = folder / "runs/lora/checkpoints" / f"step_{HALF:08d}" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused = run(launch.train.main, "--config", "lora.yaml", "--resume")
    assert refused.code == 2, refused
    assert "model.safetensors" in refused.complaint


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_its_checkpoints_are_exported(name: str, folder: Path, expected: dict[str, Any]) -> None:
    wanted = [("best", ()), (f"checkpoints/step_{HALF:08d}", ())]
    if name == "plain":
        wanted.append(("best", ("--as-whisper",)))
    for number, (checkpoint, options) in enumerate(wanted):
        arguments = ("--checkpoint", f"runs/{name}/{checkpoint}", "--output", f"exported/{number}", *options)
        exported = run(launch.export.main, *arguments)
        assert exported.code == 0, exported
    found = seen_by_a_stranger(folder, *(f"exported/{number}" for number in range(len(wanted))))
    for (_, options), one in zip(wanted, found, strict=True):
        assert one["module"].startswith("transformers.models." if options else "transformers_modules.")
        check_logits(one, expected[name])
