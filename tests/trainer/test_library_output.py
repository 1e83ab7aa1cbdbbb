"""A terminal shows what this project says; what libraries say is in a run's library.log, and shown with --verbose."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

import launch.train
from tests import ROOT
from tests.end_to_end import run
from trainer import library_output
from trainer.library_output import MOST_HELD, LibraryLog, sorted_output

from ..support.untrained import save_checkpoint

# What a run said before its libraries were sorted out, each in another way: a logger with its own handler, one without
# any, a bar, Python's warnings. All but the bars are in the log.
NOISE = ("Setting accelerator to", "Removed shared tensor", "LOAD REPORT", "attention mask is not set")
BARS = ("Loading weights", "Writing model shards")


def train(config: Path, plain: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    settings = ["model.architecture=null", f"model.checkpoint={plain}", "training.steps=4", "evaluation.every_steps=4"]
    start = [*launcher, "launch/train.py"] if launcher else [sys.executable, "launch/train.py"]
    done = subprocess.run(
        [*start, "--config", str(config), *settings, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("plain"), padding=None, positions=64)


def test_a_run_prints_what_the_project_says(tiny_config: Path, plain: Path, tmp_path: Path) -> None:
    done = train(tiny_config, plain)
    (lifted,) = done.stderr.splitlines()
    assert "is a plain Whisper, now lifted" in lifted
    assert not [noise for noise in (*NOISE, *BARS) if noise in done.stdout]
    assert "step 4/4" in done.stdout and "the best so far" in done.stdout
    log = (tmp_path / "run" / "library.log").read_text()
    assert not [noise for noise in NOISE if noise not in log]
    assert not [bar for bar in (*BARS, "it/s") if bar in log]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_processes_say_no_more(tiny_config: Path, plain: Path, tmp_path: Path, stage: int) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2")
    done = train(tiny_config, plain, f"engine.zero_stage={stage}", launcher=launcher)
    assert [line for line in done.stderr.splitlines() if "lifted" not in line] == []
    for rank in ("", "_rank1"):
        assert "Setting accelerator to" in (tmp_path / "run" / f"library{rank}.log").read_text()


def test_verbose_shows_what_libraries_say(tiny_config: Path, plain: Path, tmp_path: Path) -> None:
    done = train(tiny_config, plain, "--verbose", "engine.zero_stage=2")
    assert not [noise for noise in (*NOISE[2:], *BARS) if noise not in done.stderr]
    assert NOISE[0] in done.stderr and NOISE[0] not in done.stdout
    assert NOISE[0] in (tmp_path / "run" / "library.log").read_text()


def library(code: str) -> None:
    """Run code as a library's."""
    exec(compile(code, "library", "exec"), {"__name__": "somebody.module"})


SAY = """
import warnings
from trainer.library_output import sorted_output

WAYS = (
    "print('noise')",
    "import sys; print('noise', file=sys.stderr)",
    "import logging; logging.getLogger('x').warning('noise')",
    "import logging; x = logging.getLogger('y'); x.addHandler(logging.StreamHandler()); x.error('noise')",
    "import warnings; warnings.warn('noise')",
    "import threading\\ndef fails(): raise OSError('noise')\\nt = threading.Thread(target=fails); t.start(); t.join()",
)
with sorted_output() as log:
    for code in WAYS:
        exec(compile(code, "library", "exec"), {"__name__": "somebody.module"})
        assert "noise" in log.held, code
        log.held = ""
    warnings.warn("noise of a library's native code, which Python takes for ours")
    assert "noise" in log.held
    print("ours")
"""

FAIL = """
import threading
from trainer.library_output import sorted_output

def fails():
    raise OSError("a bug")

with sorted_output() as log:
    thread = threading.Thread(target=fails)
    thread.start()
    thread.join()
    assert not log.held
"""


def test_whatever_way_a_library_speaks() -> None:
    """In a process of its own: pytest gets in the way of loggers and warnings."""
    said = subprocess.run([sys.executable, "-c", SAY], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (said.stdout, said.stderr) == ("ours\n", "")


def test_a_thread_of_ours_that_fails_is_seen() -> None:
    said = subprocess.run([sys.executable, "-c", FAIL], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0 and "OSError: a bug" in said.stderr


def test_bars_are_neither_shown_nor_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    output, errors = streams(monkeypatch)
    with sorted_output() as log:
        library("from tqdm import tqdm\nfor _ in tqdm(range(2), desc='noise'): pass")
        for _ in tqdm(range(2), desc="ours", file=sys.stderr):
            pass
    assert output.getvalue() == "" and "noise" not in errors.getvalue() + log.held
    assert "ours" in errors.getvalue()


def test_a_terminal_shows_how_far_downloads_are(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = "from tqdm import tqdm\nfor _ in tqdm(range(2), desc='model.safetensors'): pass"
    for is_terminal in (True, False):
        _, errors = streams(monkeypatch)
        monkeypatch.setattr(errors, "isatty", lambda answer=is_terminal: answer)
        with sorted_output():
            exec(bar, {"__name__": "huggingface_hub.file_download"})
        assert ("model.safetensors" in errors.getvalue()) == is_terminal


def streams(monkeypatch: pytest.MonkeyPatch) -> tuple[io.StringIO, io.StringIO]:
    output, errors = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", errors)
    return output, errors


def test_a_file_has_what_was_said_before_there_was_one(tmp_path: Path) -> None:
    with sorted_output():
        library("print('before')")
        library_output.keep_in(tmp_path, rank=1)
        library("print('after')")
    assert (tmp_path / "library_rank1.log").read_text() == "before\nafter\n"


def test_a_library_that_never_stops_does_not_fill_the_memory() -> None:
    log = LibraryLog()
    for number in range(100):
        log.add(f"{number}" * (MOST_HELD // 20))
    assert len(log.held) == MOST_HELD and log.held.endswith("99")


def test_what_libraries_said_stands_before_a_traceback(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an error that nobody expected: it may be the reason."""

    def fails(arguments: list[str]) -> None:
        library("print('CUDA driver too old')")
        raise AssertionError("a bug")

    with pytest.raises(AssertionError):
        run(fails)
    with pytest.raises(AssertionError), sorted_output():
        fails([])
    assert "CUDA driver too old" in capsys.readouterr().err


def test_errors_of_users_stay_one_line(tiny_config: Path) -> None:
    outcome = run(launch.train.main, "--config", tiny_config, "--verbose", "training.stpes=5")
    assert outcome.code == 2 and outcome.errors.count("\n") == 1
