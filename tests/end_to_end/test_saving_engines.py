"""Damaged checkpoints and full disks with two processes: all ranks take the same checkpoint, and end together."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import mounted_disk
from tests.end_to_end.test_engines import Runs, values  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

SHORT = ("training.steps=8", "checkpoints.every_steps=4", "data.validation=null", "engine.timeout_minutes=0.5")
SHARD = {"ddp": "optimizer.bin", "zero2": "pytorch_model/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"}
FULL = {"ddp": False, "zero2": False, "ddp_unseen": True, "zero2_unseen": True}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> Iterator[Runs]:  # noqa: F811
    """Of each engine a run whose last checkpoint is damaged, two whose disk is full, foreseen or not, and one whose
    second rank can read no more data."""
    folder = tmp_path_factory.mktemp("saving")
    runs = Runs(folder, values)
    for engine, shard in SHARD.items():
        options = (*SHORT, f"engine.precision={'fp32' if engine == 'ddp' else 'bf16'}")
        last = folder / engine / "checkpoints" / "step_00000008"
        runs.add(engine, engine, options)
        runs.add(engine, engine, options, resume=True, flip=str(last / shard))
    disks = {name: mounted_disk(folder / f"disk_{name}") for name in FULL}
    for name, disk in disks.items():
        if disk is not None:
            options = (*SHORT, "checkpoints.keep=1", f"output_dir={disk.place / 'run'}")
            full = {"folder": str(disk.place), "unseen": FULL[name]}
            runs.add(f"full_{name}", name.partition("_")[0], options, full_disk=full)
    for engine in SHARD:
        runs.add(f"starved_{engine}", engine, SHORT, starve=1)
        runs.add(f"starved_{engine}", engine, SHORT, resume=True)
    runs.add("unlike", "ddp", (*SHORT, "training.steps=4"), unlike_speeds=True)
    try:
        runs.run()
        yield runs
    finally:
        for disk in filter(None, disks.values()):
            disk.unmount()


@pytest.mark.parametrize("engine", SHARD)
def test_all_ranks_take_the_whole_checkpoint_before_the_damaged_one(runs: Runs, engine: str) -> None:
    assert runs.exit_codes(engine) == [[0, 0], [0, 0]], runs.log(engine)
    folder = runs.folder / engine / "checkpoints"
    told = runs.log(engine)
    assert f"{folder / 'step_00000008'} is damaged and passed over: {SHARD[engine]} does not hold" in told
    assert f"from {folder / 'step_00000004'}" in told
    listed = json.loads((folder / "step_00000004" / "manifest.json").read_text())["files"]
    assert {SHARD[engine], "random_states_0.pkl", "random_states_1.pkl"} <= listed.keys()


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_ends_all_ranks(runs: Runs, name: str) -> None:
    """Where the disk fills while DeepSpeed saves, the rank that could not write ends, and the launcher the others."""
    if not runs.exit_codes(f"full_{name}"):
        pytest.skip("needs the right to mount a file system")
    ((first, second),) = runs.exit_codes(f"full_{name}")
    told, place = runs.log(f"full_{name}"), runs.folder / f"disk_{name}" / "run"
    assert 3 in (first, second) and (name == "zero2_unseen" or first == second), told
    assert "SaveError" in told and str(place) in told and "the last checkpoint is step_00000004" in told
    assert not (place / "checkpoints" / "step_00000008").exists()
    assert (place / "checkpoints" / "step_00000004" / "run_state.json").exists()
    assert name == "zero2_unseen" or not list((place / "checkpoints").glob(".partial_*"))


def test_a_rank_that_has_saved_does_not_touch_what_another_still_writes(runs: Runs) -> None:
    assert runs.exit_codes("unlike") == [[0, 0]], runs.log("unlike")


@pytest.mark.parametrize("engine", SHARD)
def test_a_rank_without_data_ends_all_ranks_and_what_was_trained_is_saved(runs: Runs, engine: str) -> None:
    name = f"starved_{engine}"
    assert runs.exit_codes(name) == [[3, 3], [0, 0]], runs.log(name)
    told = runs.log(name)
    assert "DataError the store is gone" in told
    assert "DataError another rank could not read its data" in told
    assert f"from {runs.folder / name / 'checkpoints' / 'step_00000006'}" in told
    assert runs.batches(name, 1) == runs.batches(engine, 1)
