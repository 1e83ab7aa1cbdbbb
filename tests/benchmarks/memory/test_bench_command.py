"""`make bench`: what it runs where something is missing, that it keeps to its time, and what it ends with."""

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.memory import bench_command
from benchmarks.memory.bench_command import Step, run_step, steps
from tests import ROOT
from tests.end_to_end import run


def names(folder: Path) -> dict[str, Step]:
    return {step.name: step for step in steps(folder, folder / "scratch")}


def test_all_is_run_where_all_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_command, "is_here", lambda checkpoint: True)
    monkeypatch.setattr(bench_command, "missing_recordings", lambda: "")
    found = names(tmp_path)
    assert list(found) == ["predictions", "side by side", "growth", "communication", "check"]
    assert not any(step.skipped for step in found.values())
    for step in found.values():
        assert str(tmp_path) in step.arguments[-1]
        module = ROOT / step.arguments[0].replace(".", "/")
        started = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
        assert "run_command(main)" in started.read_text(encoding="utf-8"), "a module that runs"


def test_what_is_missing_is_stood_in_for_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_command, "is_here", lambda checkpoint: True)
    monkeypatch.setattr(bench_command, "missing_recordings", lambda: "recordings/*.parquet")
    found = names(tmp_path)
    assert "stand-ins, since recordings/*.parquet is not here" in found
    assert f"{tmp_path}/scratch/config.yaml" in found["side by side, on stand-ins"].arguments
    monkeypatch.setattr(bench_command, "is_here", lambda checkpoint: False)
    assert "openai/whisper-base" in names(tmp_path)["side by side"].skipped


def test_the_communication_that_is_there_is_taken(tmp_path: Path) -> None:
    other = tmp_path / "communication" / "communication.json"
    other.parent.mkdir()
    other.write_text("{}", encoding="utf-8")
    assert names(tmp_path / "memory")["communication"].skipped


def test_a_checkpoint_is_looked_for_without_a_network(tmp_path: Path) -> None:
    assert bench_command.is_here(str(tmp_path))
    assert not bench_command.is_here("nobody/whisper-of-no-size")


def test_a_step_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path, monkeypatch: Any) -> None:
    child = "import time; open('begun', 'w'); time.sleep(3); open('ended', 'w')"
    program = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    (tmp_path / "slow_step.py").write_text(program, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    assert run_step(("slow_step",), 1.5) is None
    assert time.monotonic() - started < 30
    time.sleep(3)
    assert (tmp_path / "begun").exists() and not (tmp_path / "ended").exists()


@pytest.mark.parametrize(("program", "code"), [("", 0), ("raise SystemExit(3)", 3)])
def test_a_step_ends_with_its_own_code(tmp_path: Path, monkeypatch: Any, program: str, code: int) -> None:
    (tmp_path / "quick_step.py").write_text(program, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_step(("quick_step",), 60.0) == code


def test_a_failed_step_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def end(arguments: tuple[str, ...], seconds: float) -> int | None:
        ran.append(arguments[-1])
        return {"fails": 1, "is late": None}.get(arguments[0], 0)

    chosen = [Step("one", ("fails", "a")), Step("two", ("is late", "b")), Step("three", skipped="it is raining")]
    monkeypatch.setattr(bench_command, "steps", lambda folder, scratch: iter(chosen))
    monkeypatch.setattr(bench_command, "run_step", end)
    done = run(bench_command.main, "--results", tmp_path / "results")
    assert done.code == 1 and ran == ["a", "b", str(tmp_path / "results")]
    assert "failed: one\n" in done.output and "out of time" in done.output and "it is raining" in done.output
    chosen[0] = Step("one", ("works", "a"))
    assert run(bench_command.main, "--results", tmp_path / "results").code == 0
