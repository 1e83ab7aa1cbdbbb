"""Whether a config's batch fits the GPU that is there, as ``--check`` and the doctor say it in a line."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch.batch_size
import launch.train
from tests import ROOT
from tests.end_to_end import run
from trainer.config.microbatches import settled
from trainer.config.reading import load_config
from trainer.config.run import RunConfig
from trainer.memory.cells import cell_of
from trainer.memory.command import parse
from trainer.memory.finding import Found
from trainer.memory.gpus import GIB, Gpu, find_gpu
from trainer.memory.needs import Needs
from trainer.memory.prediction import StepMemory
from trainer.memory.table import print_found
from trainer.memory.verdict import batch_verdict, processes_of

TINY = str(ROOT / "configs" / "tiny.yaml")


def tiny(*overrides: str) -> RunConfig:
    """The recipe with a batch of its own, unless it is ``auto``."""
    plain = ("training.step_utterances=null", "training.batch_size=8")
    return load_config(TINY, ["data.max_seconds=10", *plain, *overrides])


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
    auto = batch_verdict(tiny("training.batch_size=auto", "training.step_utterances=64"), None, 1, "mine.yaml")
    assert auto.fits is None and auto.found == "auto is found at the start of the run, by the memory that is free then"
    assert auto.remedy.endswith('--gpu "A100 40GB" says what it finds on such a GPU')
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


def test_auto_says_what_it_finds_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A GPU's whole memory counts, without what ZeRO's untried step leaves free."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Needs, "predicted", lambda self, size, accumulates: GIB * (size + accumulates))
    auto = tiny("training.batch_size=auto", "training.step_utterances=64")
    verdict = batch_verdict(auto, Gpu("mine", 20 * GIB), 1, TINY)
    assert verdict.fits and verdict.found == (
        "auto finds 4 microbatches of 16 for mine, with 3.0 GiB to spare, as predicted"
    )
    verdict = batch_verdict(auto, Gpu("mine", 20 * GIB), 8, TINY)
    assert verdict.found == "auto finds 1 microbatch of 8 for 8 x mine, with 12.0 GiB to spare, as predicted"
    sharded = tiny("training.batch_size=auto", "training.step_utterances=64", "engine.zero_stage=2")
    free = Gpu("mine", int(17.5 * GIB))
    assert batch_verdict(sharded, free, 4, TINY).found.startswith("auto finds 2 microbatches of 8")
    assert batch_verdict(auto, Gpu("mine", GIB), 1, TINY).fits is False
    uneven = batch_verdict(auto, Gpu("mine", 20 * GIB), 6, TINY)
    assert uneven.fits is None and "6 processes cannot share out" in uneven.found


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (
            "auto",
            ["Of 8 utterances a step on 1 x GPU training.batch_size auto makes 1 microbatch of 8; a step takes 1.00"],
        ),
        (
            "4",
            [
                "Of 8 utterances a step on 1 x GPU training.batch_size 4 makes 2 microbatches of at most 4.",
                "training.batch_size auto would make 1 microbatch of 8; a step would take 1.00 GiB.",
            ],
        ),
    ],
)
def test_a_number_is_not_called_auto(size: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = settled(tiny(f"training.batch_size={size}", "training.step_utterances=8"), 1)
    print_found(cell_of(config, precision="fp32"), Found(8, 1, GIB), size == "auto")
    told = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(told) == len(said) and all(line.startswith(one) for line, one in zip(told, said, strict=True))


def test_a_fixed_batch_is_no_larger_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(device_used_bytes=GIB, peak_bytes=GIB)
    monkeypatch.setattr(StepMemory, "at", lambda self, size: free)
    config = tiny("training.batch_size=16", "training.step_utterances=64")
    assert str(batch_verdict(config, find_gpu("A100 40GB"), 32, TINY)).startswith("2 fits 32 x A100 40GB")
