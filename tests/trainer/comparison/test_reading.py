"""Run folders are read whole or refused in a line that names what is missing and the command that makes it."""

import json
from pathlib import Path

import pytest

import launch.compare
from trainer.comparison.reading import read_arms
from trainer.config.reading import ConfigError

from ...end_to_end import run
from ...support.comparison_runs import misheard, sentences, write_evaluation, write_run

SAID = sentences(20)
HEARD = misheard(SAID, 0.2, seed=1)
PLAIN = misheard(SAID, 0.4, seed=2)


def refused(*folders: Path, split: str | None = None) -> str:
    with pytest.raises(ConfigError) as told:
        read_arms(folders, split)
    return str(told.value)


def test_a_run_is_read_with_its_best_checkpoints_test(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "lora", SAID, HEARD, plain=PLAIN)
    write_evaluation(folder / "evaluations" / "best_validation", SAID, PLAIN, split="validation")
    write_evaluation(folder / "evaluations" / "final_test", SAID, PLAIN)
    lora, plain = read_arms([folder])
    assert (lora.name, lora.state, lora.evaluation.split) == ("lora", "finished", "test")
    assert lora.evaluation.checkpoint == str(folder / "best")
    assert [p.normalized_hypothesis for p in lora.predictions] == [HEARD[key] for key in sorted(SAID)]
    assert lora.config is not None
    assert lora.config["optimizer.learning_rate"] == 1e-5
    assert lora.summary is not None
    assert lora.summary.seconds == 720
    assert len(lora.metrics) == 44
    assert (plain.name, plain.is_trained, plain.state) == ("plain Whisper", False, "not trained")
    assert [arm.evaluation.split for arm in read_arms([folder], "validation")] == ["validation"]


def test_the_final_checkpoint_and_validation_count_where_there_is_nothing_else(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SAID, HEARD, split="validation")
    (folder / "evaluations" / "best_validation").rename(folder / "evaluations" / "final_validation")
    assert [arm.evaluation.split for arm in read_arms([folder])] == ["validation"]


def test_plain_whisper_comes_once(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, SAID, HEARD, plain=PLAIN) for name in ("a", "b")]
    assert [arm.name for arm in read_arms(runs)] == ["a", "b", "plain Whisper"]
    bare = write_evaluation(tmp_path / "untouched", SAID, PLAIN)
    assert [arm.name for arm in read_arms([bare, *runs])] == ["untouched", "a", "b"]
    other = runs[1] / "evaluations" / "best_test" / "baseline_plain"
    write_evaluation(other, SAID, HEARD, "openai/whisper-small")
    names = [arm.name for arm in read_arms(runs)]
    assert names == ["a", "b", "plain Whisper whisper-tiny", "plain Whisper whisper-small"]


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / parent / "lora", SAID, HEARD) for parent in ("small", "base")]
    assert [arm.name for arm in read_arms(runs)] == ["small/lora", "base/lora"]
    assert "is given twice" in refused(runs[0], runs[0] / ".." / "lora")


def test_how_far_a_run_came_is_told(tmp_path: Path) -> None:
    finished = write_run(tmp_path / "a", SAID, HEARD)
    early = write_run(tmp_path / "b", SAID, HEARD, summary={"steps": 200, "stopped_early": True})
    stopped = write_run(tmp_path / "c", SAID, HEARD, summary={"steps": 200})
    (stopped / "metrics.jsonl").write_text("")
    going = write_run(tmp_path / "d", SAID, HEARD, summary={}, config={"training.steps": 1000})
    states = [arm.state for arm in read_arms([finished, early, stopped, going])]
    assert states == ["finished", "stopped early", "unfinished: step 200 of 400", "unfinished: step 400 of 1000"]


def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nothing'} is no folder" in refused(tmp_path / "nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"launch/train.py --config CONFIG.yaml output_dir={empty}" in refused(empty)
    folder = write_run(tmp_path / "run", SAID, HEARD)
    told = refused(folder, split="validation")
    assert told == (
        f"{folder} has no evaluation on validation; make one with: python launch/eval.py --checkpoint "
        f"{folder / 'best'} --split validation"
    )
    (folder / "best").rmdir()
    assert f"launch/train.py --config {folder / 'config.yaml'} --resume" in refused(folder, split="validation")


def test_an_evaluation_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SAID, HEARD)
    predictions = folder / "evaluations" / "best_test" / "predictions.jsonl"
    lines = predictions.read_text().splitlines(keepends=True)
    predictions.write_text("".join(lines[:-1]) + lines[-1][:40])  # cut off by a kill
    told = refused(folder)
    assert "holds 19 predictions, but evaluation.json speaks of 20" in told
    assert "launch/eval.py --checkpoint" in told
    row = json.loads(lines[0])
    predictions.write_text(json.dumps(row | {"substitutions": row["substitutions"] + 1}) + "\n" + "".join(lines[1:]))
    assert "gives a word error rate of" in refused(folder)
    predictions.write_text("".join(json.dumps({"id": "a", "reference": "b", "hypothesis": "c"}) + "\n"))
    assert "predictions.jsonl: normalized_reference is missing" in refused(folder)
    predictions.unlink()
    assert f"{predictions} is missing" in refused(folder)
    (predictions.parent / "evaluation.json").write_text("{")
    assert "evaluation.json cannot be read as JSON" in refused(folder)


def test_what_was_not_evaluated_alike_is_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", SAID, HEARD)
    fewer = {key: text for key, text in SAID.items() if key != "u0007"}
    second = write_run(tmp_path / "second", fewer, HEARD)
    told = refused(first, second)
    assert "first and second cannot be compared: 1 utterances are in one alone, such as 'u0007' of first" in told
    changed = SAID | {"u0003": "something else was said"}
    third = write_run(tmp_path / "third", changed, HEARD)
    assert "first and third cannot be compared: utterance 'u0003' has the references" in refused(first, third)
    fourth = write_run(tmp_path / "fourth", SAID, HEARD, normalizer="basic")
    assert "evaluated with normalizer 'english' and 'basic'" in refused(first, fourth)


def test_the_command_ends_with_2_and_writes_nothing(tmp_path: Path) -> None:
    outcome = run(launch.compare.main, tmp_path / "nothing", "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "is no folder" in outcome.complaint
    assert not (tmp_path / "out").exists()
    folder = write_run(tmp_path / "run", SAID, HEARD)
    taken = tmp_path / "taken"
    taken.write_text("")
    assert "--output is" in run(launch.compare.main, folder, "--output", taken).complaint
    told = run(launch.compare.main, folder, "--cluster", "spaeker", "--output", tmp_path / "out").complaint
    assert "--cluster is 'spaeker', which the predictions lack; they hold age, speaker" in told
    for wrong, right in (
        ((), "name the folders of runs"),
        (("--config", "a.yaml"), "--config and --strategies go together"),
        (("--config", "a.yaml", "--plan", "b.yaml"), "give one"),
        ((folder, "--launcher", "x"), "--launcher is for the training"),
        (("--plan", "b.yaml", "--cluster", "speaker"), "keys of the plan file"),
        ((folder, "--price-per-hour", "-1"), "is not a number from 0"),
    ):
        outcome = run(launch.compare.main, *wrong)
        assert (outcome.code, right in outcome.errors) == (2, True), outcome.errors
