"""Strategies on real engines: each trains as in one process, proves it after its first step, and survives two kills."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from modeling.adapters import merged
from modeling.checkpoints import open_model
from tests.support.untrained import save_checkpoint
from trainer.export.trained_weights import open_trained
from trainer.record.checkpoints import latest_checkpoint

from .test_engines import ENGINES, STEPS, Runs, values  # noqa: F401 - a fixture
from .test_optimizers import add_killed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NO_DROPOUT = "model.lora.dropout=0"
STRATEGIES = {
    "lora": ("model.strategy=lora", NO_DROPOUT),
    "plain_lora": ("model.strategy=lora", NO_DROPOUT, "model.dual_attention=false"),
    "pissa": ("model.strategy=lora", NO_DROPOUT, "model.lora.kind=pissa"),
    "dora": ("model.strategy=lora", NO_DROPOUT, "model.lora.kind=dora"),
    "qlora_4": ("model.strategy=qlora", NO_DROPOUT),
    "qlora_8": ("model.strategy=qlora", NO_DROPOUT, "model.lora.bits=8"),
    "selective": ("model.strategy=selective",),
    "frozen_encoder": ("model.strategy=frozen_encoder",),
    "frozen_decoder": ("model.strategy=frozen_decoder",),
    "layer_decay": ("optimizer.layer_decay=0.5",),
    "frozen_primary": ("model.strategy=frozen_primary",),
}
# tests/modeling/test_adapters.py kills and resumes twice in one process; here several processes share the work.
CASES = [
    ("lora", "ddp"),
    ("lora", "zero1"),
    ("lora", "zero2"),
    ("lora", "zero3"),
    ("plain_lora", "zero2"),
    ("pissa", "ddp"),
    ("pissa", "zero2"),
    ("dora", "ddp"),
    ("dora", "zero2"),
    ("qlora_4", "ddp"),
    ("qlora_4", "zero2"),
    ("qlora_8", "zero2"),
    ("selective", "zero2"),
    ("frozen_encoder", "zero3"),
    ("frozen_decoder", "ddp"),
    ("frozen_decoder", "zero3"),
    ("layer_decay", "ddp"),
    ("layer_decay", "zero1"),
    ("layer_decay", "zero2"),
    ("layer_decay", "zero3"),
    ("frozen_primary", "zero3"),
    ("frozen_primary", "ddp"),
]


def begun_from(folder: Path, strategy: str) -> tuple[str, ...]:
    base = "plain" if strategy.startswith("plain") else "dual"
    return (f"model.checkpoint={folder / base}", "model.architecture=null", *STRATEGIES[strategy])


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    save_checkpoint(folder / "plain", padding=None, positions=100)
    save_checkpoint(folder / "dual", padding="clip", positions=100)
    return folder


@pytest.fixture(scope="module", params=CASES, ids="_".join)
def case(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    values: dict[str, Any],  # noqa: F811
    bases: Path,
) -> tuple[Runs, str, str]:
    """A strategy on an engine, left alone and killed twice; and alone in one process."""
    strategy, engine = request.param
    runs = Runs(tmp_path_factory.mktemp(f"{strategy}_{engine}"), values)
    overrides = (*begun_from(bases, strategy), "data.validation=null")
    runs.add("one", "one", overrides)
    runs.add("whole", engine, overrides)
    add_killed(runs, "killed", engine, overrides)
    runs.run()
    return runs, strategy, engine


def engine_of(runs: Runs) -> str:
    return json.loads((runs.folder / "whole.engine.0").read_text())["engine"]


def test_it_trains_as_in_one_process(case: tuple[Runs, str, str]) -> None:
    runs, _, engine = case
    assert runs.exit_codes("whole") == [[0, 0]], runs.log("whole")
    assert len(runs.losses("one")) == STEPS
    assert runs.losses("whole") == pytest.approx(runs.losses("one"), abs=1e-4)
    assert runs.losses("whole")[-1] < runs.losses("whole")[0]
    assert engine_of(runs) == ("DeepSpeedEngine" if ENGINES[engine][1] else "DistributedDataParallel")


def test_killed_twice_it_ends_with_the_same_weights(case: tuple[Runs, str, str]) -> None:
    runs, _, _ = case
    codes = [min(code) for code in runs.exit_codes("killed")]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0], runs.log("killed")
    whole, killed = (open_model(str(runs.folder / name / "final")).state_dict() for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all((whole[name] - killed[name]).abs().max() < 1e-6 for name in whole)
    assert runs.losses("killed") == pytest.approx(runs.losses("whole"), abs=1e-6)


def test_its_checkpoint_opens_as_what_was_trained(case: tuple[Runs, str, str]) -> None:
    runs, _, _ = case
    step = latest_checkpoint(runs.folder / "whole")
    assert step is not None
    opened = merged(open_trained(step)[0], str(step)).state_dict()
    final = open_model(str(runs.folder / "whole" / "final")).state_dict()
    assert all(torch.equal(opened[name], final[name]) for name in final)
