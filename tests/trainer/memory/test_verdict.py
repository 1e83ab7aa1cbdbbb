"""Whether a config's batch fits the GPU that is there, as ``--check`` and the doctor say it in a line."""

import re
import shlex
from pathlib import Path

import launch.batch_size
import launch.train
from tests import ROOT
from tests.end_to_end import run
from trainer.config.reading import load_config
from trainer.config.run import RunConfig
from trainer.memory.command import parse
from trainer.memory.gpus import GIB, Gpu, find_gpu
from trainer.memory.verdict import batch_verdict, processes_of

TINY = str(ROOT / "configs" / "tiny.yaml")


def tiny(*overrides: str) -> RunConfig:
    return load_config(TINY, ["data.max_seconds=10", *overrides])


def test_a_batch_that_fits_says_what_is_left() -> None:
    verdict = batch_verdict(tiny("training.batch_size=2"), find_gpu("A100 40GB"), 1, TINY)
    spare = re.fullmatch(r"2 fits A100 40GB with ([\d.]+) GiB to spare, as predicted", str(verdict))
    assert verdict.fits and spare is not None and 30 < float(spare[1]) < 39.3


def test_a_batch_that_does_not_fit_names_the_largest_and_a_command_that_says_more() -> None:
    config, asked = tiny("training.batch_size=900"), f"{TINY} data.max_seconds=10 training.batch_size=900"
    verdict = batch_verdict(config, Gpu("small", 4 * GIB), 2, asked)
    assert verdict.fits is False and verdict.found.startswith("900 does not fit 2 x small: it takes ")
    largest = re.search(r"the largest that does is (\d+)$", verdict.found)
    assert largest is not None
    fitting = batch_verdict(tiny(f"training.batch_size={largest[1]}"), Gpu("small", 4 * GIB), 2, asked)
    assert fitting.fits
    command, _, said = verdict.remedy.partition(" says ")
    assert said == "what would make it fit"
    python, script, *arguments = shlex.split(command)
    assert (python, ROOT / script) == ("python", Path(launch.batch_size.__file__))
    options = parse(arguments)
    assert (options.config, options.overrides) == (TINY, ["data.max_seconds=10", "training.batch_size=900"])
    assert (find_gpu(options.gpu).memory_bytes, options.gpus) == (4 * GIB, 2)


def test_the_command_lies_in_launch_too() -> None:
    outcome = run(launch.batch_size.main, "--config", TINY, "--gpu", "Voodoo2")
    assert outcome.code == 2 and "Known are T4 16GB" in outcome.complaint


def test_what_cannot_be_predicted_is_said_and_quick() -> None:
    without = batch_verdict(tiny(), None, 1, "mine.yaml")
    assert without.fits is None
    assert str(without) == (
        'not predicted without a GPU; python launch/batch_size.py --config mine.yaml --gpu "A100 40GB" says which fits'
    )
    unknown = batch_verdict(tiny("model.checkpoint=somebody/else"), find_gpu("24 GB"), 1, TINY)
    assert unknown.fits is None and "whose shape only the hub knows" in unknown.found
    old = batch_verdict(tiny("engine.precision=bf16"), find_gpu("T4 16GB"), 1, TINY)
    assert old.fits is None and "bf16" in old.found


def test_check_ends_with_the_batch(tiny_config: Path) -> None:
    outcome = run(launch.train.main, "--config", tiny_config, "--check", "training.steps=5")
    assert outcome.code == 0 and outcome.output.splitlines()[-1].startswith("batch: "), outcome


def test_gpus_that_a_run_uses() -> None:
    plain, sharded = tiny(), tiny("engine.zero_stage=2")
    assert [processes_of(plain, launched, 8) for launched in (1, 4)] == [1, 4]
    assert [processes_of(sharded, launched, 8) for launched in (1, 4)] == [8, 4]
    assert processes_of(sharded, 1, 0) == 1
