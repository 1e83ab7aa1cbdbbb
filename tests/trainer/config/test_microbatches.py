"""A step's utterances over processes and microbatches: evenly, or refused with what would be right."""

import re
from pathlib import Path

import pytest

from tests import ROOT
from trainer.config.microbatches import in_microbatches, settled, share_of
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.record.folder import write_config

DEMO = ROOT / "configs" / "demo.yaml"


def config(*training: str) -> RunConfig:
    return load_config(DEMO, [f"training.{setting}" for setting in training])


@pytest.mark.parametrize(
    ("processes", "found", "size", "accumulation"),
    [(1, None, 64, 1), (1, 64, 64, 1), (1, 48, 32, 2), (1, 13, 13, 5), (8, None, 8, 1), (8, 3, 3, 3), (2, 1, 1, 32)],
)
def test_microbatches_are_as_equal_as_they_can_be(
    processes: int, found: int | None, size: int, accumulation: int
) -> None:
    training = settled(config("batch_size=auto", "step_utterances=64"), processes, found).training
    assert (training.batch_size, training.accumulation) == (size, accumulation)
    assert (accumulation - 1) * size < 64 // processes <= accumulation * size


def test_one_recipe_has_the_same_step_on_any_number_of_processes() -> None:
    fixed = config("batch_size=8", "step_utterances=64")
    assert [settled(fixed, processes).training.accumulation for processes in (1, 2, 8, 64)] == [8, 4, 1, 1]
    plain = config("batch_size=8", "accumulation=3")
    assert settled(plain, 2) is plain


def test_what_a_run_has_written_is_read_again(tmp_path: Path) -> None:
    """Sizes that were found are numbers then; other processes, sizes and steps split anew."""
    found = settled(config("batch_size=auto", "step_utterances=64"), 1, 13)
    write_config(found.model_copy(update={"output_dir": str(tmp_path)}))

    def again(processes: int, *training: str) -> tuple[int | str, int]:
        read = load_config(tmp_path / "config.yaml", [f"training.{setting}" for setting in training])
        split = settled(read, processes).training
        return split.batch_size, split.accumulation

    assert again(1) == (13, 5)
    assert again(2) == (11, 3)
    assert again(1, "batch_size=2") == (2, 32)
    assert again(1, "step_utterances=26") == (13, 2)
    assert again(1, "batch_size=auto") == (64, 1)


@pytest.mark.parametrize(
    ("processes", "said"), [(1, "on 1 process in microbatches of 4 needs 2"), (2, "on 2 proc.* 1$")]
)
def test_an_accumulation_that_does_not_follow_is_refused(processes: int, said: str) -> None:
    asked = config("batch_size=4", "step_utterances=8", "accumulation=3")
    with pytest.raises(ConfigError) as refused:
        settled(asked, processes)
    assert re.search(f"^training.accumulation is 3, but step_utterances 8 {said}", refused.value.found)


def test_benchmarks_plan_in_microbatches() -> None:
    plain = in_microbatches(config("batch_size=8", "step_utterances=64"), 2).training
    assert (plain.step_utterances, plain.batch_size, plain.accumulation) == (None, 8, 4)


@pytest.mark.parametrize(("step", "processes", "near"), [(64, 6, "60 or 66"), (4, 8, "8")])
def test_a_step_that_cannot_be_shared_out(step: int, processes: int, near: str) -> None:
    with pytest.raises(ConfigError, match=f"set it to {near}, or start another number") as refused:
        share_of(step, processes)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["batch_size=auto"], "batch_size is 'auto', which needs step_utterances"),
        (["batch_size=auto", "step_utterances=64", "accumulation=2"], "accumulation follows from step_utterances"),
        (["step_utterances=64", "batch_seconds=90"], "step_utterances and batch_seconds are both given"),
        (["batch_size=0"], "training.batch_size: 0 is neither a whole number above 0 nor auto"),
        (["batch_size=large"], "training.batch_size: 'large' is neither"),
        (["batch_size=true"], "training.batch_size: True is neither"),
    ],
)
def test_a_step_is_given_once(settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(*settings)


def test_auto_is_no_number_before_it_is_settled() -> None:
    with pytest.raises(ValueError, match="is not a number yet"):
        config("batch_size=auto", "step_utterances=64").training.microbatch  # noqa: B018 - a property that raises
