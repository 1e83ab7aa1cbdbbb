"""The whole command, with a stand-in for training: what it finds, gives up, keeps, goes on with and refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml

import launch.tune
from tests import ROOT
from trainer.comparison.tuning.findings import yaml_of
from trainer.comparison.tuning.search import curve_of, reached, starts
from trainer.comparison.tuning.space import Dimension, Range
from trainer.comparison.tuning.study import Study, Trial
from trainer.config.reading import ConfigError, load_config, settings_of
from trainer.errors import CommandFailed

from ....end_to_end import Outcome, run
from ....support import trains_in_name
from ...pages.test_corpus import Page

TUNE = Path(launch.tune.__file__)
STAND_IN = f"{sys.executable} {trains_in_name.__file__}"


@pytest.fixture(autouse=True)
def project_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def speech(path: Path, *speakers: str) -> str:
    rows = [{"audio": {"bytes": b"", "path": "a.wav"}, "text": "a", "speaker": one} for one in speakers]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    columns = {"speaker": "speaker"}
    return {
        "output_dir": str(tmp_path / "unused"),
        "model": {"checkpoint": "openai/whisper-tiny", "dual_attention": False},
        "data": {
            "language": "en",
            "train": {"files": speech(tmp_path / "train.parquet", "ann", "bob"), "columns": columns},
            "validation": {"files": speech(tmp_path / "aside.parquet", "eve"), "columns": columns},
            "test": {"files": str(tmp_path / "nowhere.parquet")},
        },
        "training": {"steps": 100},
        "evaluation": {"every_steps": 100},
        "checkpoints": {"keep": 3},
    }


@pytest.fixture
def config(values: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "common.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def rates_alone(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text("optimizer.learning_rate: {low: 1e-6, high: 1e-3, log: true}\n")
    return path


def tuned(config: Path, *arguments: object, output: str = "out") -> Outcome:
    return run(
        launch.tune.main, "--config", config, "--launcher", STAND_IN, "--output", config.parent / output, *arguments
    )


def told(config: Path, output: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((config.parent / output / "tuning.json").read_text())
    return found


def drawn(found: dict[str, Any]) -> list[Any]:
    return [trial["values"] for trial in found["trials"]]


def wait_for(path: Path, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < limit, f"{path} did not come"
        assert process.poll() is None, f"ended with {process.returncode}"
        time.sleep(0.05)


def test_a_search_finds_better_values_and_says_how_to_use_them(config: Path, rates_alone: Path) -> None:
    outcome = tuned(config, "--trials", 8, "--space", rates_alone, "optimizer.warmup_steps=7")
    assert outcome.code == 0, outcome.errors
    output, found = config.parent / "out", told(config)
    first, best = found["trials"][0], found["trials"][found["best"]]
    assert first["values"] == {"optimizer.learning_rate": 1e-5}
    assert best["objective"] == min(trial["objective"] for trial in found["trials"] if trial["objective"] is not None)
    assert best["objective"] < first["objective"]
    assert found["lines"] == {"optimizer.learning_rate": best["values"]["optimizer.learning_rate"]}
    assert yaml_of(found["lines"]) in outcome.output
    assert found["against_own"]["difference"] < 0
    assert found["against_own"]["differs"] == (found["against_own"]["p"] < 0.05)
    # The lines are a config, equal to the trial's but for what a trial is run with.
    trained = load_config(output / "best.yaml")
    assert trained.optimizer.warmup_steps == 7
    ours, theirs = settings_of(trained), settings_of(load_config(output / f"trial_{best['number']:03d}.yaml"))
    differ = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert {key.split(".test")[0] for key in differ} == {
        "output_dir",
        "evaluation.every_steps",
        "checkpoints.keep",
        "data",
    }
    page = Page((output / "tuning.html").read_text())
    assert page.names().isdisjoint({"script", "link", "img", "iframe"})
    for part in ("Lines for the config", "trial 0 (the config's own)", "(the best)", "given up after step"):
        assert part in page.text, part
    assert str(best["values"]["optimizer.learning_rate"]) in page.text


def test_no_trial_knows_the_test_and_all_have_one_seed(config: Path, rates_alone: Path) -> None:
    tuned(config, "--trials", 2, "--space", rates_alone)
    configs = [load_config(path) for path in sorted((config.parent / "out").glob("trial_*.yaml"))]
    assert len(configs) == 2
    assert {one.data.test for one in configs} == {None}
    assert {one.training.seed for one in configs} == {0}
    assert {one.evaluation.every_steps for one in configs} == {25}
    assert "nowhere" not in "".join(path.read_text() for path in (config.parent / "out").glob("*.yaml"))


def test_a_bad_trial_is_given_up_and_leaves_its_figures_alone(config: Path, rates_alone: Path) -> None:
    tuned(config, "--trials", 8, "--space", rates_alone)
    output, found = config.parent / "out", told(config)
    pruned = [trial for trial in found["trials"] if trial["state"] == "pruned"]
    assert pruned
    for trial in pruned:
        assert trial["curve"][-1]["step"] < 100
        assert trial["objective"] is None
        assert not list((output / f"trial_{trial['number']:03d}").glob("**/step_*"))
    # Only the first and the best keep a model, and none a checkpoint.
    kept = {path.parent.name for path in output.glob("trial_*/best")}
    assert kept == {"trial_000", f"trial_{found['best']:03d}"}
    assert not [*output.glob("trial_*/checkpoints"), *output.glob("trial_*/final")]
    assert all((output / f"trial_{trial['number']:03d}" / "metrics.jsonl").exists() for trial in found["trials"])


def test_a_search_in_two_starts_draws_what_one_does(config: Path, rates_alone: Path) -> None:
    tuned(config, "--trials", 6, "--space", rates_alone, output="one")
    tuned(config, "--trials", 3, "--space", rates_alone, output="two")
    again = tuned(config, "--trials", 6, "--space", rates_alone, output="two")
    assert again.code == 0
    assert "trial 2" not in again.output.split("\n\n")[0]
    assert len({str(values) for values in drawn(told(config, "one"))}) == 6
    assert drawn(told(config, "two")) == drawn(told(config, "one"))
    finished = tuned(config, "--trials", 6, "--space", rates_alone, output="two")
    assert "training" not in finished.output
    assert "evaluating" not in finished.output


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_what_was_stopped_goes_on(config: Path, rates_alone: Path, number: int) -> None:
    tuned(config, "--trials", 1, "--space", rates_alone)
    output, hold = config.parent / "out", config.parent / "out" / "hold"
    hold.mkdir()
    words = ["--config", config, "--space", rates_alone, "--launcher", STAND_IN, "--output", output, "--trials", 3]
    process = subprocess.Popen(
        [sys.executable, str(TUNE), *map(str, words)], stderr=subprocess.PIPE, start_new_session=True
    )
    metrics = output / "trial_001" / "metrics.jsonl"
    wait_for(metrics, process, 100)
    time.sleep(0.3)
    os.kill(process.pid, number)
    errors = process.communicate(timeout=60)[1].decode()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on where it stood" in errors
    assert len(metrics.read_text().splitlines()) == 1
    hold.rmdir()
    time.sleep(0.5)  # the child of a killed search ends by itself
    assert tuned(config, "--trials", 3, "--space", rates_alone).code == 0
    assert len(metrics.read_text().splitlines()) == 4  # gone on with, not begun anew
    assert [trial["state"] for trial in told(config)["trials"]][:2] == ["finished", "finished"]
    assert len(told(config)["trials"]) == 3


def test_no_trial_is_begun_that_would_end_too_late(config: Path, rates_alone: Path) -> None:
    outcome = tuned(config, "--minutes", 0.001, "--space", rates_alone)
    assert outcome.code == 0
    assert len(told(config)["trials"]) == 1
    assert "of 0.001 minutes are spent" in outcome.output
    assert "none is better than the config's own values" in outcome.output
    assert not (config.parent / "out" / "best.yaml").exists()
    took = told(config)["trials"][0]["seconds"]
    two = Trial(0, {}, "finished", seconds=60), Trial(1, {}, "pruned", seconds=20)
    assert took > 0
    assert reached([*two], None, 2.4) is None
    assert reached([*two], None, 2.3) is not None
    assert reached([*two], 2, None) == "2 trials were asked for"
    assert reached([two[0], Trial(1, {}, "unfinished", seconds=90)], 1, 1.0) is None, "it was saved, and goes on"


def test_another_config_or_space_in_the_folder_is_refused(config: Path, rates_alone: Path) -> None:
    tuned(config, "--trials", 1, "--space", rates_alone)
    outcome = tuned(config, "--trials", 2, "--space", rates_alone, "optimizer.warmup_steps=3")
    assert outcome.code == 2
    assert "optimizer.warmup_steps is 3, but the search in" in outcome.complaint
    assert "was begun with 0: set it back, or choose another --output" in outcome.complaint
    outcome = tuned(config, "--trials", 2, "--space", rates_alone, "data.augmentation.speed=[0.9,1.1]")
    assert outcome.code == 2 and "data.augmentation.speed is [0.9, 1.1], but the search in" in outcome.complaint
    outcome = tuned(config, "--trials", 2)
    assert outcome.code == 2
    assert "the space of optimizer.learning_rate is" in outcome.complaint
    assert len(list((config.parent / "out").glob("trial_*.yaml"))) == 1


def test_a_failing_first_trial_ends_the_search_and_is_tried_again(config: Path, rates_alone: Path) -> None:
    fails = config.parent / "out" / "fails"
    fails.parent.mkdir()
    fails.touch()
    outcome = tuned(config, "--trials", 2, "--space", rates_alone)
    assert outcome.code == 1
    assert (
        "the first trial, with the config's own values, failed: training ended with exit code 1; the disk is full"
        in (outcome.complaint)
    )
    fails.unlink()
    assert tuned(config, "--trials", 2, "--space", rates_alone).code == 0
    assert [trial["state"] for trial in told(config)["trials"]] == ["finished", "finished"]


def test_later_failures_are_told_and_three_in_a_row_end_the_search(config: Path, rates_alone: Path) -> None:
    tuned(config, "--trials", 1, "--space", rates_alone)
    (config.parent / "out" / "fails").touch()
    assert tuned(config, "--trials", 2, "--space", rates_alone).code == 0
    assert told(config)["trials"][1]["state"] == "failed"
    assert "the disk is full" in told(config)["trials"][1]["reason"]
    outcome = tuned(config, "--trials", 9, "--space", rates_alone)
    assert outcome.code == 1
    assert "the last 3 trials failed" in outcome.complaint


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (["data.validation="], "data.validation is missing: trials are compared on speakers set aside"),
        (["--trials", "0"], "'0' is not a whole number from 1 to 10000"),
        (["--minutes", "-1"], "'-1' is not a number"),
        (["--space", "none.yaml"], "cannot read the config none.yaml"),
        (["optimizer.lerning_rate=1"], "did you mean 'learning_rate'?"),
        (["data.validation.files=none.parquet"], "no file matches 'none.parquet'"),
        (["data.train.columns.speaker=spaeker"], "(did you mean 'speaker'?)"),
        (["--launcher", "acelerate launch"], "there is no command 'acelerate'"),
        (["model.checkpoint=/"], "it is not a checkpoint"),
    ],
)
def test_mistakes_are_told_in_a_line_before_anything_is_written(config: Path, arguments: list[str], right: str) -> None:
    outcome = run(launch.tune.main, "--config", config, "--output", config.parent / "out", *arguments)
    assert outcome.code == 2
    assert right in outcome.complaint
    assert not (config.parent / "out").exists()


def test_speakers_of_both_are_remarked_on(values: dict[str, Any], config: Path, rates_alone: Path) -> None:
    values["data"]["validation"]["files"] = values["data"]["train"]["files"]
    config.write_text(yaml.safe_dump(values))
    outcome = tuned(config, "--trials", 1, "--space", rates_alone)
    assert "note: 2 speakers of data.validation also speak in data.train (ann, bob)" in outcome.errors
    values["data"]["train"]["drop"] = values["data"]["validation"]["keep"] = {"speaker": ["ann"]}
    config.write_text(yaml.safe_dump(values))
    outcome = tuned(config, "--trials", 1, "--space", rates_alone, output="other")
    assert "also speak" not in outcome.errors


def test_what_makes_a_search_doubtful_is_said(config: Path, tmp_path: Path) -> None:
    space = tmp_path / "narrow.yaml"
    space.write_text("optimizer.learning_rate: {low: 9e-6, high: 2e-5, log: true}\n")
    outcome = tuned(config, "--trials", 3, "--space", space, "optimizer.learning_rate=1.8e-5")
    assert "optimizer.learning_rate 2e-05 lies at the upper end of its range, 9e-06 to 2e-05" in outcome.errors
    assert "a search this short is a guess" in outcome.errors
    assert "flatters itself" in outcome.errors
    assert re.search(r"As far as 1,000 words can tell, trial \d+ made as few errors as the best", outcome.errors)


def test_optuna_that_is_missing_is_told_with_its_remedy(
    config: Path, rates_alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    outcome = tuned(config, "--space", rates_alone)
    assert outcome.code == 2
    assert outcome.complaint == "error: the search needs optuna, which is missing here; pip install optuna"


def test_a_journal_whose_last_line_was_cut_off_is_read(tmp_path: Path) -> None:
    space = (Dimension("a", 2.0, Range(low=1.0, high=9.0)),)
    path = tmp_path / "journal.log"
    study = Study(path, space, [{"a": 2.0}], 0)
    study.begin().finish(0.5)
    with path.open("a") as file:
        file.write('{"op_code": 4, "wor')
    again = Study(path, space, [{"a": 2.0}], 0)
    again.begin().finish(0.4)
    assert [trial.objective for trial in Study(path, space, [], 0).trials] == [0.5, 0.4]


def test_a_trial_that_a_kill_left_half_drawn_gets_the_rest(tmp_path: Path) -> None:
    space = tuple(Dimension(key, 2.0, Range(low=1.0, high=9.0)) for key in "ab")
    path = tmp_path / "journal.log"
    whole = Study(path, space, [], 0).begin().record.values
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))  # the last one sets b
    found = Study(path, space, [], 0).begin().record.values
    assert found.keys() == whole.keys() and found["a"] == whole["a"]


def test_the_average_counts_where_it_is_better(tmp_path: Path) -> None:
    kinds = ("substitutions", "deletions", "insertions")
    rows = []
    for step, own, average in ((1, 0.5, 0.4), (2, 0.2, 0.3)):
        row: dict[str, Any] = {"step": step, "kind": "validation"}
        for of, rate in (("", own), ("average_", average)):
            rates = {"word_error_rate": rate, "character_error_rate": rate / 2}
            row |= {of + name: value for name, value in (rates | dict.fromkeys(kinds, round(10 * rate))).items()}
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "metrics.jsonl").write_text("".join(rows))
    curve = curve_of(tmp_path, "word_error_rate")
    assert [(at.figure, at.character_error_rate, at.errors) for at in curve] == [(0.4, 0.2, 12), (0.2, 0.1, 6)]


def test_a_trial_is_given_up_by_the_median_but_not_while_rates_warm_up(tmp_path: Path) -> None:
    space = (Dimension("a", 2.0, Range(low=1.0, high=9.0)),)
    study = Study(tmp_path / "journal.log", space, [{"a": 2.0}], 20)
    for figure in (0.2, 0.3):
        begun = study.begin()
        assert not any(begun.report(step, figure) for step in (10, 20, 30))
        begun.finish(figure)
    begun = study.begin()
    assert [begun.report(step, 0.4) for step in (10, 20)] == [False, True]
    with pytest.raises(CommandFailed):
        reached([Trial(n, {}, "failed", reason="r") for n in range(3)], None, None)
    assert ConfigError.exit_code == 2


def test_the_second_trial_takes_a_step_up_within_the_range() -> None:
    def begun(own: float, key: str = "optimizer.learning_rate") -> list[dict[str, Any]]:
        return starts((Dimension(key, own, Range(low=1e-6, high=1e-4, log=True)), Dimension("b", 1, choices=(1, 2))))

    assert begun(1e-5) == [{"optimizer.learning_rate": 1e-5, "b": 1}, {"optimizer.learning_rate": 3e-5, "b": 1}]
    assert begun(5e-5)[1]["optimizer.learning_rate"] == 1e-4
    assert len(begun(1e-4)) == 1
    assert len(begun(1e-5, "optimizer.weight_decay")) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_trainings_are_searched_stopped_and_gone_on_with(
    tiny_config: Path, rates_alone: Path, tmp_path: Path
) -> None:
    rates_alone.write_text("optimizer.learning_rate: {low: 1e-5, high: 1e-2, log: true}\n")
    output = tmp_path / "out"
    words = ["--config", tiny_config, "--space", rates_alone, "--output", output, "--trials", 2, "training.steps=16"]
    command = [sys.executable, str(TUNE), *map(str, words), "evaluation.every_steps=4", "checkpoints.every_steps=4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            wait_for(output / "trial_000" / "metrics.jsonl", process, 300)
        finally:
            process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=200)[0].decode()
    assert process.returncode == 130, said
    assert list((output / "trial_000" / "checkpoints").iterdir())
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert outcome.returncode == 0, outcome.stderr
    assert f"from {output / 'trial_000' / 'checkpoints'}" in (output / "trial_000.log").read_text()
    found = json.loads((output / "tuning.json").read_text())
    assert [trial["curve"][-1]["step"] for trial in found["trials"]] == [16, 16]
    assert not [*output.glob("trial_*/checkpoints"), *output.glob("trial_*/final")]
    assert (output / "trial_000" / "evaluations" / "best_validation" / "evaluation.json").exists() or not found["best"]
