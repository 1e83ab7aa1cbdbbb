"""training.ema on real engines: each averages what one process averages, and a run killed twice goes on exactly."""

import signal
from typing import Any

import pytest
from safetensors.torch import load_file

from trainer.engine.moving_average import FILE
from trainer.record.checkpoints import latest_checkpoint

from .test_engines import ENGINES, STEPS, Runs, values  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AVERAGE = (
    "training.ema=0.99",
    "training.ema_share=0.5",
    "evaluation.average=alone",
    "data.validation.max_utterances=2",
    "checkpoints.every_steps=5",
)
HALF = ("ddp", "zero1", "zero2", "zero3")  # under bf16; ZeRO's folders are rounded to it


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Runs:  # noqa: F811
    """Each engine left alone."""
    runs = Runs(tmp_path_factory.mktemp("average"), values)
    for engine in ENGINES:
        runs.add(engine, engine, AVERAGE)
    runs.run()
    return runs


@pytest.fixture(scope="module", params=ENGINES)
def killed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    values: dict[str, Any],  # noqa: F811
) -> tuple[str, Runs]:
    """An engine killed twice."""
    engine, (processes, _) = request.param, ENGINES[request.param]
    runs = Runs(tmp_path_factory.mktemp(f"killed_{engine}"), values)
    runs.add(engine, engine, AVERAGE, signal={"step": 6, "ranks": [processes - 1], "number": signal.SIGKILL})
    runs.add(engine, engine, AVERAGE, resume=True, signal={"step": 11, "ranks": [0], "number": signal.SIGKILL})
    runs.add(engine, engine, AVERAGE, resume=True)
    runs.run()
    return engine, runs


@pytest.fixture(scope="module")
def in_half(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Runs:  # noqa: F811
    """Engines in bf16."""
    runs = Runs(tmp_path_factory.mktemp("half"), values)
    for engine in ("one", *HALF):
        runs.add(engine, engine, (*AVERAGE, "engine.precision=bf16"))
    runs.run()
    return runs


def test_every_run_finishes(runs: Runs) -> None:
    for job, codes in zip(runs.jobs, runs.codes, strict=True):
        assert set(codes) == {0}, runs.log(job["name"])


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


def test_killed_and_resumed_it_equals_the_run_left_alone(runs: Runs, killed: tuple[str, Runs]) -> None:
    engine, found = killed
    assert [min(codes) for codes in found.exit_codes(engine)] == [-9, -9, 0], found.log(engine)
    assert [row["step"] for row in found.metrics(engine, "train")] == list(range(1, STEPS + 1))
    whole, resumed = runs.weights(engine), found.weights(engine)
    for key, value in whole.items():
        difference = float((resumed[key] - value).abs().max())
        assert difference == 0.0 if engine == "one" else difference < 1e-6, key
    here, there = latest_checkpoint(runs.folder / engine), latest_checkpoint(found.folder / engine)
    assert here is not None and there is not None
    files = sorted(path.name for path in here.glob("average*"))
    assert len(files) == (2 if engine.startswith("zero") else 1)
    for file in files if engine != "zero3" else ():  # whose partitions end in numbers that were never set
        stored, again = load_file(here / file), load_file(there / file)
        for key, value in stored.items():
            assert (again[key] - value).abs().max() < 1e-6, (file, key)


@pytest.mark.parametrize("engine", HALF)
def test_in_bf16_the_masters_are_averaged(in_half: Runs, engine: str) -> None:
    """Small updates count, which bf16 weights would swallow; afterwards training goes on with its own weights."""
    assert in_half.losses(engine)[:3] == pytest.approx(in_half.losses("one")[:3], rel=0.02)
    assert in_half.losses(engine) == pytest.approx(in_half.losses("one"), rel=0.05)
    ours, theirs = in_half.weights(engine), in_half.weights("one")
    for key, value in theirs.items():  # where gradients are near 0, Adam's steps of 1e-3 go either way
        difference = (ours[key].float() - value.float()).abs()
        assert difference.max() < 0.01 and difference.mean() < 4e-3, key
