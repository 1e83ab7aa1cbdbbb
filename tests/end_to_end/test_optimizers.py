"""Optimizers on real engines: states in 8 bits that survive kills, and states offloaded to CPU memory.

The offloaded ones are DeepSpeed's CPUAdam, compiled at its first use (a minute or two, kept in TORCH_EXTENSIONS_DIR).
"""

import json
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest

from trainer.record.checkpoints import latest_checkpoint

from .test_engines import ENGINES, STEPS, Runs, values  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLED = ({"step": 6, "number": signal.SIGKILL}, {"step": 10, "number": signal.SIGKILL})
OFFLOADED = {
    "zero1_cpu_adam": ("zero1", "optimizer", "auto"),
    "zero2_cpu_adam": ("zero2", "optimizer", "auto"),
    "zero2_adamw": ("zero2", "optimizer", "adamw"),
    "zero3_parameters": ("zero3", "parameters", "auto"),
}


def add_killed(runs: Runs, name: str, engine: str, overrides: tuple[str, ...]) -> None:
    """One run in three starts: killed after a checkpoint, resumed, killed and resumed again."""
    last = ENGINES[engine][0] - 1
    runs.add(name, engine, overrides, signal=KILLED[0] | {"ranks": [last]})
    runs.add(name, engine, overrides, resume=True, signal=KILLED[1] | {"ranks": [0]})
    runs.add(name, engine, overrides, resume=True)


def assert_equal(runs: Runs, killed: str, whole: str, engine: str) -> None:
    """What was trained on, the losses and the weights of two runs."""
    for rank in range(ENGINES[engine][0]):
        assert runs.batches(killed, rank) == runs.batches(whole, rank)
    assert len(runs.losses(whole)) == STEPS
    assert runs.losses(killed) == pytest.approx(runs.losses(whole), abs=1e-6)
    weights, expected = runs.weights(killed), runs.weights(whole)
    for key, value in expected.items():
        difference = (weights[key] - value).abs().max().item()
        assert difference == 0.0 if engine == "one" else difference < 1e-6, key


def optimizer_of(runs: Runs, name: str) -> str:
    return json.loads((runs.folder / f"{name}.engine.0").read_text())["optimizer"]


@pytest.fixture(scope="module")
def eight_bits(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Runs:  # noqa: F811
    runs = Runs(tmp_path_factory.mktemp("eight_bits"), values)
    overrides = ("optimizer.name=adamw_8bit", "optimizer.weight_decay=0.1", "data.validation=null")
    for engine in ("one", "ddp", "zero2"):
        runs.add(f"{engine}_whole", engine, overrides)
        add_killed(runs, f"{engine}_killed", engine, overrides)
    runs.add("adamw", "one", ("optimizer.weight_decay=0.1", "data.validation=null"))
    runs.run()
    return runs


@pytest.mark.parametrize("engine", ["one", "ddp", "zero2"])
def test_8_bits_killed_and_resumed_equal_the_uninterrupted_run(eight_bits: Runs, engine: str) -> None:
    killed, whole = f"{engine}_killed", f"{engine}_whole"
    codes = [min(code) for code in eight_bits.exit_codes(killed)]
    assert codes == [-9, -9, 0], eight_bits.log(killed)
    assert optimizer_of(eight_bits, whole) == "AdamW8bit"
    assert_equal(eight_bits, killed, whole, engine)


@pytest.mark.parametrize("engine", ["one", "ddp", "zero2"])
def test_8_bits_train_nearly_as_32(eight_bits: Runs, engine: str) -> None:
    losses, expected = eight_bits.losses(f"{engine}_whole"), eight_bits.losses("adamw")
    assert losses == pytest.approx(expected, abs=0.02)
    assert losses != expected


@pytest.fixture(scope="module")
def offloaded(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Runs:  # noqa: F811
    if shutil.which("g++") is None or shutil.which("ninja") is None:
        pytest.skip("CPUAdam is compiled with g++ and ninja")
    compile_first = "from deepspeed.ops.op_builder import CPUAdamBuilder; CPUAdamBuilder().load()"
    subprocess.run([sys.executable, "-c", compile_first], check=True, timeout=500, capture_output=True)
    runs = Runs(tmp_path_factory.mktemp("offloaded"), values)
    common = ("optimizer.weight_decay=0.1", "data.validation=null")
    runs.add("adamw", "zero2", common)
    for name, (engine, offload, optimizer) in OFFLOADED.items():
        overrides = (*common, f"engine.cpu_offload={offload}", f"optimizer.name={optimizer}")
        runs.add(name, engine, overrides)
        if name in ("zero2_cpu_adam", "zero3_parameters"):
            add_killed(runs, f"{name}_killed", engine, overrides)
    runs.run()
    return runs


@pytest.mark.parametrize("name", OFFLOADED)
def test_offloaded_states_train_as_others(offloaded: Runs, name: str) -> None:
    assert set(*offloaded.exit_codes(name)) == {0}, offloaded.log(name)
    assert optimizer_of(offloaded, name) == ("AdamW" if name.endswith("adamw") else "DeepSpeedCPUAdam")
    assert offloaded.losses(name) == pytest.approx(offloaded.losses("adamw"), abs=1e-4)
    weights, expected = offloaded.weights(name), offloaded.weights("adamw")
    assert all((weights[key] - value).abs().max() < 1e-4 for key, value in expected.items())


@pytest.mark.parametrize("name", ["zero2_cpu_adam", "zero3_parameters"])
def test_offloaded_states_survive_kills(offloaded: Runs, name: str) -> None:
    codes = [min(code) for code in offloaded.exit_codes(f"{name}_killed")]
    assert codes == [-9, -9, 0], offloaded.log(f"{name}_killed")
    assert_equal(offloaded, f"{name}_killed", name, OFFLOADED[name][0])
    assert latest_checkpoint(offloaded.folder / name) is not None
