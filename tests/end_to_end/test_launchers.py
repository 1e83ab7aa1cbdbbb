"""The launchers people use: torchrun and accelerate launch, and a signal to the launcher."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def wait_for(path: Path, lines: int, process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() or len(path.read_text().splitlines()) < lines:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} has not reached {lines} lines"
        time.sleep(0.2)


def test_sigterm_to_torchrun_saves_on_both_ranks(tiny_config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [BIN / "torchrun", "--standalone", "--nproc_per_node", "2", "launch/train.py"]
    options = ["--config", tiny_config, "training.steps=100000", "evaluation.every_steps=99999"]
    with subprocess.Popen(
        [*command, *options, "checkpoints.every_steps=99999"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_for(run / "metrics.jsonl", 3, process)
            process.send_signal(signal.SIGTERM)
            output = process.communicate(timeout=90)[0]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert "stopped at step" in output, output
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert (checkpoint / "random_states_1.pkl").exists()  # the second rank's
    assert "Traceback" not in output.split("stopped at step")[0]


@pytest.mark.slow
def test_accelerate_launch_runs_zero_from_the_config_alone(tiny_config: Path, tmp_path: Path) -> None:
    """No launcher flag but the config: DeepSpeed is set up by the run itself."""
    command = [BIN / "accelerate", "launch", "launch/train.py", "--config", tiny_config]
    options = ["engine.zero_stage=2", "training.steps=4", "evaluation.every_steps=99999", "optimizer.warmup_steps=1"]
    finished = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "DeepSpeed ZeRO-2, 1 x cpu, fp32" in finished.stdout
    assert (tmp_path / "run" / "final" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("error", ["bug", "batch"])
def test_a_rank_that_fails_ends_those_that_wait_for_it(tiny_config: Path, error: str) -> None:
    """Torchrun asks them to end, and would kill them after 30 s (exit code -9)."""
    command = [BIN / "torchrun", "--standalone", "--nproc_per_node", "2", "-m", "tests.support.failing_rank", error]
    options = ["--config", tiny_config, "data.validation=null", "performance.onednn=false"]
    ended = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "it broke" in ended.stderr
    assert "ended by SIGTERM: rank 1 has ended; its message says why" in ended.stderr
    assert re.findall(r"^ *exitcode  *: (-?\d+) ", ended.stderr, re.MULTILINE) == ["143", "1"], ended.stderr
