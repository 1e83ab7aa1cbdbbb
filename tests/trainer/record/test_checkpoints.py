"""Checkpoints come before evaluations, survive damage and full disks, and a resume takes one that is whole."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import launch.train
from tests.end_to_end import Outcome, run
from trainer.loop import Trainer
from trainer.record.checkpoints import latest_checkpoint, read_state
from trainer.record.durable import MANIFEST, clean_up, damage_of, digest_damage, write_manifest, write_text

Train = Callable[..., Outcome]
FOUR = ("training.steps=4", "optimizer.warmup_steps=1", "checkpoints.every_steps=2", "checkpoints.keep=9")


@pytest.fixture
def train(tiny_config: Path) -> Train:
    """Trains the tiny model into ``run``, with overrides and flags."""
    return lambda *arguments: run(launch.train.main, "--config", tiny_config, *arguments)


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final" / "model.safetensors")


# The checkpoint comes first


def test_an_evaluation_that_fails_costs_no_step(
    train: Train, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation data are gone when step 2 is to be evaluated; the resumed run evaluates it, and ends the same."""
    shutil.copytree(corpus, tmp_path / "corpus")
    (validation,) = (tmp_path / "corpus").glob("validation-*.parquet")
    options = (*FOUR, "evaluation.every_steps=2", f"data.validation.files={validation}")
    assert train(*options, f"output_dir={tmp_path / 'whole'}").code == 0
    original = Trainer.end_step

    def without_data(self: Trainer, stop: bool) -> bool:
        if self.state.step == 2:
            validation.unlink()
        return original(self, stop)

    monkeypatch.setattr(Trainer, "end_step", without_data)
    outcome = train(*options)
    assert outcome.code in (1, 2) and str(validation) in outcome.complaint
    folder = tmp_path / "run"
    saved = latest_checkpoint(folder)
    assert saved is not None
    assert (saved.name, read_state(saved).evaluated_step) == ("step_00000002", 0)
    monkeypatch.setattr(Trainer, "end_step", original)
    shutil.copy(next(corpus.glob("validation-*.parquet")), validation)
    assert train("--resume", *options).code == 0
    assert [row["step"] for row in rows(folder, "validation")] == [2, 4]
    assert all(torch.equal(value, weights(folder)[key]) for key, value in weights(tmp_path / "whole").items())


def test_a_checkpoint_is_told_that_it_was_evaluated(train: Train, tmp_path: Path) -> None:
    """So that a resume does not do it again; and it is still whole."""
    train(*FOUR, "evaluation.every_steps=2", "training.steps=2", "optimizer.warmup_steps=0")
    saved = latest_checkpoint(tmp_path / "run")
    assert saved is not None
    state = read_state(saved)
    (evaluated,) = rows(tmp_path / "run", "validation")
    assert (state.evaluated_step, state.best_step, state.best) == (2, 2, evaluated["word_error_rate"])
    assert damage_of(saved) is None and digest_damage(saved) is None
    train("--resume", *FOUR, "evaluation.every_steps=2")
    assert [row["step"] for row in rows(tmp_path / "run", "validation")] == [2, 4]


def test_the_first_evaluation_has_a_checkpoint(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a run that is killed between both would have a best/ that its own --resume must not overwrite."""
    original = Trainer.log_step

    def killed_in_step_3(self: Trainer) -> None:
        if self.state.step == 3:
            raise KeyboardInterrupt
        original(self)

    options = ("training.steps=6", "optimizer.warmup_steps=1", "evaluation.every_steps=1", "checkpoints.every_steps=4")
    monkeypatch.setattr(Trainer, "log_step", killed_in_step_3)
    assert train(*options).code == 130
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000001"]
    monkeypatch.setattr(Trainer, "log_step", original)
    assert train("--resume", *options).code == 0
    assert [row["step"] for row in rows(tmp_path / "run", "validation")] == [1, 2, 3, 4, 5, 6]


def test_the_last_evaluation_comes_after_final(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.evaluation.validation import Validation

    monkeypatch.setattr(Validation, "evaluate", lambda self, limits: json.loads("no figures"))
    with pytest.raises(json.JSONDecodeError):
        train(*FOUR, "evaluation.every_steps=99")
    assert (tmp_path / "run" / "final" / "model.safetensors").exists()
    assert latest_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoints" / "step_00000004"


def test_what_would_end_an_evaluation_ends_the_run_before_it_trains(train: Train, corpus: Path, tmp_path: Path) -> None:
    table = pq.read_table(next(corpus.glob("validation-*.parquet")))
    lost = [{"id": row["id"], "audio": f"{row['id']}.wav", "transcription": "bir"} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(lost), tmp_path / "lost.parquet")
    source = f"{{files: {tmp_path / 'lost.parquet'}, audio_root: {tmp_path}, columns: {{id: id, text: transcription}}}}"
    outcome = train(*FOUR, f"data.validation={source}")
    assert outcome.code == 2
    assert "data.validation: no utterance could be evaluated" in outcome.complaint
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


# What a resume begins from


@pytest.mark.parametrize("left", [("best",), ("final",), ("best", "final")])
def test_resume_without_a_checkpoint_overwrites_no_model(train: Train, tmp_path: Path, left: tuple[str, ...]) -> None:
    folder = tmp_path / "run"
    train(*FOUR, "evaluation.every_steps=2")
    for name in {"best", "final", "checkpoints"} - {*left}:
        shutil.rmtree(folder / name)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    outcome = train("--resume", *FOUR)
    assert outcome.code == 2
    assert "has no checkpoint to resume from" in outcome.complaint
    assert all(str(folder / name) in outcome.complaint for name in left)
    assert (f"{folder / 'best'} (step " in outcome.complaint) == ("best" in left)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_resume_from_nothing_says_so_first(train: Train, tmp_path: Path) -> None:
    options = (*FOUR, "data.validation=null")
    outcome = train("--resume", *options)
    assert outcome.code == 0
    assert outcome.output.splitlines()[0].startswith(f"--resume: there is no run in {tmp_path / 'run'} yet")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.rmtree(tmp_path / "run" / "final")
    outcome = train("--resume", *options)
    assert outcome.code == 0
    assert outcome.output.splitlines()[0] == (
        f"--resume: there is no checkpoint in {tmp_path / 'run' / 'checkpoints'} yet; the run begins at step 0"
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", cut),
        ("optimizer.bin", cut),
        ("optimizer.bin", flip),
        ("run_state.json", lambda path: path.write_text("")),
        ("random_states_0.pkl", lambda path: path.write_text("")),
        ("random_states_0.pkl", Path.unlink),
        (MANIFEST, cut),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    train: Train, tmp_path: Path, name: str, damage: Callable[[Path], Any]
) -> None:
    folder = tmp_path / "run"
    options = (*FOUR, "data.validation=null")
    train(*options)
    expected = weights(folder)
    damage(folder / "checkpoints" / "step_00000004" / name)
    outcome = train("--resume", *options)
    assert outcome.code == 0
    (line,) = [line for line in outcome.output.splitlines() if "passed over" in line]
    assert line.startswith(f"{folder / 'checkpoints' / 'step_00000004'} is damaged and passed over: ")
    assert name in line
    assert f"from {folder / 'checkpoints' / 'step_00000002'}" in outcome.output
    assert [row["step"] for row in rows(folder, "train")] == [1, 2, 3, 4]
    assert all(torch.equal(value, weights(folder)[key]) for key, value in expected.items())


def test_a_damaged_later_checkpoint_does_not_count_as_one_that_is_kept(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    options = (*FOUR, "data.validation=null")
    train(*options)
    cut(folder / "step_00000004" / "model.safetensors")
    outcome = train("--resume", *options, "training.steps=3", "checkpoints.keep=1")
    assert outcome.code == 0, outcome.errors
    assert [path.name for path in folder.iterdir()] == ["step_00000003"]


def test_no_whole_checkpoint_is_left(train: Train, tmp_path: Path) -> None:
    train(*FOUR)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        cut(path / "model.safetensors")
    outcome = train("--resume", *FOUR)
    assert outcome.code == 2
    assert f"no checkpoint in {tmp_path / 'run' / 'checkpoints'} is whole" in outcome.complaint
    assert f"{tmp_path / 'run' / 'best'} can be model.checkpoint of a new run" in outcome.complaint


def test_a_checkpoint_of_an_older_version_has_no_manifest(train: Train, tmp_path: Path) -> None:
    options = (*FOUR, "data.validation=null")
    train(*options)
    folder = tmp_path / "run" / "checkpoints"
    for path in folder.iterdir():
        (path / MANIFEST).unlink()
    (folder / "step_00000004" / "random_states_0.pkl").write_text("")
    outcome = train("--resume", *options)
    assert outcome.code == 0
    assert "random_states_0.pkl is empty" in outcome.output
    assert f"{folder / 'step_00000002'} was written by an older version, without a manifest" in outcome.output
    cut(folder / "step_00000004" / "optimizer.bin")
    (folder / "step_00000004" / MANIFEST).unlink()
    outcome = train("--resume", *options, "training.steps=5")
    assert outcome.code == 2
    assert f"cannot read {folder / 'step_00000004'}" in outcome.complaint


def test_random_states_that_are_not_put_back_are_told(train: Train, tmp_path: Path) -> None:
    """Accelerate passes over what it cannot restore."""
    options = (*FOUR, "data.validation=null")
    train(*options)
    saved = tmp_path / "run" / "checkpoints" / "step_00000004"
    states = torch.load(saved / "random_states_0.pkl", weights_only=False)
    torch.save(states | {"random_state": "of another kind"}, saved / "random_states_0.pkl")
    (saved / MANIFEST).unlink()
    state = (saved / "run_state.json").rename(tmp_path / "run_state.json")
    write_manifest(saved)
    state.rename(saved / "run_state.json")
    outcome = train("--resume", *options, "training.steps=5")
    assert outcome.code == 0
    assert f"{saved} has no random states that fit rank 0 here" in outcome.output


# Folders that are whole or not there


def test_a_manifest_finds_what_is_missing_longer_or_other(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a", "below/b"):
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path)
    (tmp_path / "later").write_text("later")
    assert damage_of(tmp_path) is None and digest_damage(tmp_path) is None
    (tmp_path / "below" / "b").write_text("belowzb")
    assert damage_of(tmp_path) is None
    assert str(digest_damage(tmp_path)) == "below/b does not hold what was written"
    assert digest_damage(tmp_path, 0, 2) is None, "the other rank reads below/b"
    assert digest_damage(tmp_path, 1, 2) is not None
    (tmp_path / "a").write_text("aa")
    assert str(damage_of(tmp_path)) == "a has 2 bytes, but was written with 1"
    (tmp_path / "a").unlink()
    assert str(damage_of(tmp_path)) == "a is missing"


def test_what_a_kill_leaves_is_cleared_away(tmp_path: Path) -> None:
    for name in (".partial_final", ".old_best", ".old_final", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "of").write_text(name)
    (tmp_path / ".partial_summary.json").write_text("{")
    clean_up(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "final"]
    assert (tmp_path / "best" / "of").read_text() == ".old_best", "killed between the two renames"
    assert (tmp_path / "final" / "of").read_text() == "final"


def test_files_reach_the_disk_before_they_get_their_names(train: Train, tmp_path: Path) -> None:
    """As the system sees it: every file of a checkpoint is synchronised, its folder too, and only then renamed."""
    tracer = shutil.which("strace")
    if tracer is None:
        pytest.skip("needs strace")
    command = "from pathlib import Path; from trainer.record.durable import *; p = new_partial(Path('final')); "
    command += "(p / 'weights').write_text('1'); put_in_place(p, Path('final'))"
    trace = [tracer, "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", "trace"]
    subprocess.run([*trace, sys.executable, "-c", command], cwd=tmp_path, check=True, timeout=60)
    calls = [line for line in (tmp_path / "trace").read_text().splitlines() if "final" in line or str(tmp_path) in line]
    renamed = next(number for number, line in enumerate(calls) if "rename" in line)
    before = "\n".join(calls[:renamed])
    assert ".partial_final/weights>" in before and ".partial_final>" in before
    assert any("fsync" in line and f"{tmp_path}>" in line for line in calls[renamed:])


# A full disk


def fill(disk: Path, leave: int) -> Path:
    filler = disk / "filler"
    filler.write_bytes(b"\0" * (shutil.disk_usage(disk).free - leave))
    return filler


@pytest.mark.parametrize("seen_before", [True, False])
def test_a_full_disk_is_named_and_leaves_nothing_half(
    train: Train, small_disk: Path, seen_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_disk / "run"
    options = (f"output_dir={folder}", *FOUR, "data.validation=null", "checkpoints.keep=1")
    assert train(*options, "training.steps=2", "optimizer.warmup_steps=0").code == 0
    shutil.rmtree(folder / "final")
    filler = fill(small_disk, leave=1_500_000)
    if not seen_before:  # as where another program fills the disk just then
        monkeypatch.setattr("trainer.record.checkpoints.check_space", lambda *_: None)
    outcome = train("--resume", *options)
    assert outcome.code == 1
    assert str(folder) in outcome.complaint and "free" in outcome.complaint
    assert "the last checkpoint is step_00000002" in outcome.complaint
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_00000002"]
    assert not list(folder.rglob(".partial_*"))
    filler.unlink()
    outcome = train("--resume", *options)
    assert outcome.code == 0 and "from " + str(folder / "checkpoints" / "step_00000002") in outcome.output


def test_a_disk_that_is_full_from_the_start(train: Train, small_disk: Path) -> None:
    fill(small_disk, 8192)
    outcome = train(f"output_dir={small_disk / 'run'}", *FOUR, "data.validation=null")
    assert outcome.code == 1
    assert f"cannot write to {small_disk / 'run'}: the disk or a quota is full" in outcome.complaint
    assert "modeling" not in outcome.complaint


def test_a_text_that_does_not_fit_leaves_the_old_one(small_disk: Path) -> None:
    write_text(small_disk / "summary.json", "old")
    fill(small_disk, 0)
    with pytest.raises(OSError, match=r"summary\.json"):
        write_text(small_disk / "summary.json", "new" * 100_000)
    assert (small_disk / "summary.json").read_text() == "old"
    assert not (small_disk / ".partial_summary.json").exists()
