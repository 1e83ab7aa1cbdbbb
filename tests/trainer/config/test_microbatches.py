"""A step's utterances over processes and microbatches: evenly, or refused with what would be right."""

import pytest

from tests import ROOT
from trainer.config.microbatches import in_microbatches, settled, share_of
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig

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


def test_what_a_run_has_written_is_read_again() -> None:
    """Sizes that were found are numbers then; another number of processes contradicts them."""
    found = settled(config("batch_size=auto", "step_utterances=64"), 1, 13)
    again = RunConfig.model_validate(found.model_dump(mode="json"))
    assert settled(again, 1) == found
    with pytest.raises(ConfigError, match=r"accumulation is 5, but 64 utterances a step on 2 processes .* make 3"):
        settled(again, 2)


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
