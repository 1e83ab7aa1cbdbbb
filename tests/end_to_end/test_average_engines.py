"""training.ema on real engines: each averages what one process averages, and a run killed twice goes on exactly."""

import signal
from typing import Any

import pytest
from safetensors.torch import load_file

from trainer.engine.moving_average import FILE
from trainer.record.checkpoints import latest_checkpoint

from .test_engines import ENGINES, STEPS, Runs, values  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AVERAGE = ("training.ema=0.99", "training.ema_share=0.5", "evaluation.average=alone")
HALF = {"ddp": 1e-3, "zero1": 1e-2, "zero2": 1e-2, "zero3": 1e-2}  # under bf16; ZeRO's folders are rounded to it


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Runs:  # noqa: F811
    """Each engine left alone, killed twice, and in bf16."""
    runs = Runs(tmp_path_factory.mktemp("average"), values)
    for engine in ENGINES:
        last = ENGINES[engine][0] - 1
        runs.add(engine, engine, AVERAGE)
        killed = f"{engine}_killed"
        runs.add(killed, engine, AVERAGE, signal={"step": 6, "ranks": [last], "number": signal.SIGKILL})
        runs.add(killed, engine, AVERAGE, resume=True, signal={"step": 10, "ranks": [0], "number": signal.SIGKILL})
        runs.add(killed, engine, AVERAGE, resume=True)
    runs.add("one_bf16", "one", (*AVERAGE, "engine.precision=bf16"))
    for engine in HALF:
        runs.add(f"{engine}_bf16", engine, (*AVERAGE, "engine.precision=bf16"))
    runs.run()
    return runs


def test_every_run_finishes(runs: Runs) -> None:
    for job, codes in zip(runs.jobs, runs.codes, strict=True):
        expected = -9 if "signal" in job else 0
        assert min(codes) == expected, runs.log(job["name"])


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "one"])
def test_it_averages_what_one_process_averages(runs: Runs, engine: str) -> None:
    """final/ holds the average; training and evaluation are those of one process."""
    assert runs.losses(engine) == pytest.approx(runs.losses("one"), abs=1e-5)
    ours, theirs = runs.weights(engine), runs.weights("one")
    for key, value in theirs.items():
        assert (ours[key] - value).abs().max() < 1e-4, key
    step = latest_checkpoint(runs.folder / "one")
    assert step is not None
    weights, average = load_file(step / "model.safetensors"), load_file(step / FILE)
    assert max(float((weights[key] - value).abs().max()) for key, value in average.items()) > 2e-3, "shows nothing"
    assert all((ours[key] - value).abs().max() < 1e-4 for key, value in average.items())


@pytest.mark.parametrize("engine", ENGINES)
def test_killed_and_resumed_it_equals_the_run_left_alone(runs: Runs, engine: str) -> None:
    killed = f"{engine}_killed"
    assert [row["step"] for row in runs.metrics(killed, "train")] == list(range(1, STEPS + 1))
    whole, resumed = runs.weights(engine), runs.weights(killed)
    for key, value in whole.items():
        difference = float((resumed[key] - value).abs().max())
        assert difference == 0.0 if engine == "one" else difference < 1e-6, key
    (here, there) = (latest_checkpoint(runs.folder / name) for name in (engine, killed))
    assert here is not None and there is not None
    files = sorted(path.name for path in here.glob("average*"))
    assert len(files) == (2 if engine.startswith("zero") else 1)
    for file in files:
        stored, again = load_file(here / file), load_file(there / file)
        for key, value in stored.items():
            assert (again[key] - value).abs().max() < 1e-6, (file, key)


@pytest.mark.parametrize("engine", HALF)
def test_in_bf16_the_masters_are_averaged(runs: Runs, engine: str) -> None:
    """Small updates count, which bf16 weights would swallow; afterwards training goes on with its own weights."""
    name = f"{engine}_bf16"
    assert runs.losses(name)[:3] == pytest.approx(runs.losses("one_bf16")[:3], rel=0.02)
    assert runs.losses(name) == pytest.approx(runs.losses("one_bf16"), rel=0.05)
    ours, theirs = runs.weights(name), runs.weights("one_bf16")
    for key, value in theirs.items():
        scale = float(value.float().abs().max()) + 0.1
        assert (ours[key].float() - value.float()).abs().max() < HALF[engine] * scale, key
