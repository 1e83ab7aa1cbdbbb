"""The plan of a run: every recipe passes, what it counts is right, and nothing is fetched or written for it."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml

import launch.train
from data.errors import DataError
from modeling.checkpoint_files import CheckpointError
from tests import ROOT
from trainer.command_line import run_command
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.plan import NOT_LOOKED_AT, how_split, make_plan, plan_rows, print_plan

FOLDER = ROOT / "configs"
NO_RUNS = ("common.yaml", "demo_adapt.yaml", "noise_suite.yaml", "demo_noise_suite.yaml")
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if path.name not in NO_RUNS)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_check_passes_for_every_recipe(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = load_config(recipe).data
    if (noise := data.augmentation and data.augmentation.noise) is not None:  # the user's own recordings
        (noises := tmp_path / noise.folder).mkdir(parents=True)
        soundfile.write(noises / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 800), 16_000)
    if prepared := data.training_sources[0].files:  # likewise
        sound = io.BytesIO()
        soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000, format="FLAC")
        row = {"id": "a", "audio": sound.getvalue(), "second_audio": sound.getvalue(), "text": "a", "duration": 1.0}
        (tmp_path / "prepared").mkdir()
        for split in ("train", "validation", "test"):
            table = pa.Table.from_pylist([row | {"speaker": "anna"}])
            pq.write_table(table, tmp_path / str(prepared).replace("train", split).replace("*", "00000"))
    monkeypatch.setattr(sys, "argv", ["train", "--config", str(recipe), "--check"])
    with pytest.raises(SystemExit) as left:
        run_command(launch.train.main)
    shown = capsys.readouterr()
    assert left.value.code == 0
    assert "error" not in shown.err
    own = [name for name, used in (("recordings", noise), ("prepared", prepared)) if used]
    assert [path.name for path in tmp_path.iterdir()] == own
    assert re.search(r"│ parameters +│ [\d,]+ ", shown.out)
    config = load_config(recipe)
    assert shown.out.startswith("┏")  # the plan comes first
    assert re.search(rf"│ written to +│ {re.escape(config.output_dir)} ", shown.out)
    assert "output_dir:" not in shown.out and "null" not in shown.out
    assert (NOT_LOOKED_AT in shown.out) == (config.data.train.hub is not None)


def test_the_resolved_config_is_printed_where_it_is_asked_for(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--config", str(tiny_config), "--check", "--verbose"])
    with pytest.raises(SystemExit) as left:
        run_command(launch.train.main)
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert shown.startswith("┏") and shown.index("│ epochs") < shown.index("output_dir: ") < shown.index("training:")


@pytest.mark.parametrize(
    ("recipe", "parameters", "new"),
    [("tiny", 41.9, 4.1), ("small", 291.3, 49.6), ("medium", 940.2, 176.3)],
)
def test_parameters_are_those_of_the_design(recipe: str, parameters: float, new: float) -> None:
    plan = make_plan(load_config(FOLDER / f"{recipe}.yaml"))
    assert plan.parameters is not None
    assert plan.new_parameters is not None
    assert round(plan.parameters / 1e6, 1) == parameters
    assert round(plan.new_parameters / 1e6, 1) == new


def plan_of(values: dict[str, Any], *overrides: str, folder: Path) -> Any:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return make_plan(load_config(path, overrides))


def test_counts_of_a_model_from_nothing_are_those_of_the_model_built(
    tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    from trainer.model.building import build_model

    model, processor = build_model(RunConfig.model_validate(tiny_values))
    plan = plan_of(tiny_values, folder=tmp_path)
    assert plan.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert plan.new_parameters == sum(dict(model.named_parameters())[name].numel() for name in model.new_modules())

    model.save_pretrained(tmp_path / "best")
    processor.save_pretrained(tmp_path / "best")
    saved = plan_of(tiny_values, "model.architecture=null", f"model.checkpoint={tmp_path / 'best'}", folder=tmp_path)
    assert (saved.parameters, saved.new_parameters) == (plan.parameters, plan.new_parameters)


def test_utterances_and_epochs(tiny_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    plan = plan_of(tiny_values, "training.batch_size=3", "training.accumulation=5", folder=tmp_path)
    assert (plan.processes, plan.utterances_per_step, plan.training_rows) == (4, 60, 120)
    assert plan.epochs(12) == 6.0


@pytest.mark.parametrize(
    ("overrides", "rows"),
    [
        (["data.train.max_utterances=50"], 50),
        (["data.train.keep={speaker: [nobody]}"], None),
        (["data.train={hub: someone/something}"], None),
    ],
)
def test_rows_of_the_training_data(
    tiny_values: dict[str, Any], tmp_path: Path, overrides: list[str], rows: int | None
) -> None:
    if "hub" in overrides[0]:
        tiny_values["data"].pop("train")
    plan = plan_of(tiny_values, *overrides, folder=tmp_path)
    assert plan.training_rows == rows
    assert plan.epochs(10) == (None if rows is None else 10 * 4 / rows)


def test_a_mixture_shows_shares_and_passes(
    tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    train = tiny_values["data"]["train"]
    hub = {"hub": "someone/something", "columns": train["columns"]}
    tiny_values["data"]["train"] = [{**train, "weight": 3}, {**train, "max_utterances": 30}, hub]
    tiny_values["training"]["batch_seconds"] = 40
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    print_plan(load_config(path))
    shown = " ".join(capsys.readouterr().out.split())
    assert "60.0% of the utterances, 120 rows, 0.2 passes" in shown  # 12 steps of 4
    assert "20.0% of the utterances, 30 rows, 0.3 passes" in shown
    assert "hub dataset someone/something, split train: 20.0% of the utterances, rows not known" in shown
    assert "at most 40 s, padding included" in shown and "at most 4 = 4 a microbatch" in shown


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.train.drop={text: [nobody says so]}", "note: data.train.drop: no row has text 'nobody says so'"),
        (
            "data.train.second=channel",
            "note: data.train: of its first recording: the recording has one channel, so no right channel",
        ),
    ],
)
def test_what_the_data_lack_is_told(
    tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, told: str
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    print_plan(load_config(path, [override]))
    assert told in capsys.readouterr().out


def test_a_temperature_shows_its_shares(
    tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    train = tiny_values["data"]["train"]
    tiny_values["data"] |= {"train": [train, {**train, "max_utterances": 30}], "mixing_temperature": 2}
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    print_plan(load_config(path))
    shown = " ".join(capsys.readouterr().out.split())
    assert "66.7% of the utterances, 120 rows" in shown and "33.3% of the utterances, 30 rows" in shown
    tiny_values["data"]["train"][1] = {"hub": "someone/something", "columns": train["columns"]}
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.train\.1: hub dataset .*data\.mixing_rows=\[null, 20000\]"):
        print_plan(load_config(path))


@pytest.mark.parametrize(
    ("lanes", "shown"), [("null", "3 │"), ("4", "4; not a multiple of the processes"), ("6", "6 │")]
)
def test_lanes_of_a_plan(
    tiny_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lanes: str,
    shown: str,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    print_plan(load_config(path, [f"data.lanes={lanes}"]))
    assert f"data lanes │ {shown}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("overrides", "rows"),
    [([], 6000), (["data.train.max_utterances=7"], 7), (["data.train.drop={text: [x]}"], None)],
)
def test_speech_is_not_synthesised_for_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], rows: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_plan(load_config(FOLDER / "demo.yaml", overrides)).training_rows == rows
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_the_hub_that_openai_did_not_publish_is_not_looked_at(
    tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    plan = plan_of(tiny_values, "model.architecture=null", "model.checkpoint=someone/whisper-az", folder=tmp_path)
    assert plan.parameters is None
    assert plan.new_parameters is None


@pytest.mark.parametrize(
    ("overrides", "kind", "message"),
    [
        (["data.language=azz"], ConfigError, "data.language is 'azz', which Whisper does not know$"),
        (
            ["data.train.language=turkich"],
            ConfigError,
            "data.train.language is 'turkich'.*did you mean 'turkish', 'tr'",
        ),
        (["data.train=[{folder: x}, {folder: y, language: az1}]"], ConfigError, "data.train.1.language is 'az1'"),
        (["data.train=[{folder: nowhere}]"], DataError, "data.train.0.folder"),
        (["data.train.columns.text=txt"], DataError, "data.train.columns.text"),
        (["data.validation.files=nowhere.parquet"], DataError, "data.validation.files"),
        (["data.test={folder: nowhere}"], DataError, "data.test.folder"),
        (["engine.precision=fp16"], ConfigError, "engine.precision"),
        (["model.architecture=null", "model.checkpoint=runs/nowhere/best"], CheckpointError, "runs/nowhere/best"),
        (["model.architecture=null", "model.checkpoint=./nowhere"], CheckpointError, "./nowhere"),
        (["model.architecture=null", "model.checkpoint=whisper-small"], CheckpointError, "whisper-small"),
    ],
)
def test_a_plan_refuses_what_training_would(
    tiny_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    kind: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(kind, match=message):
        plan_of(tiny_values, *overrides, folder=tmp_path)


def test_a_plan_refuses_a_folder_that_is_no_checkpoint(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run" / "best").mkdir(parents=True)
    (tmp_path / "run" / "best" / "config.json").write_text('{"model_type": "bert"}')
    arguments = ("model.architecture=null", f"model.checkpoint={tmp_path / 'run'}")
    with pytest.raises(CheckpointError, match=r"did you mean .*best"):
        plan_of(tiny_values, *arguments, folder=tmp_path)
    with pytest.raises(CheckpointError, match="is a 'bert' checkpoint"):
        plan_of(tiny_values, *arguments[:1], f"{arguments[1]}/best", folder=tmp_path)


@pytest.mark.parametrize(
    ("settings", "processes", "said"),
    [
        (["batch_size=4", "accumulation=2"], 2, " = 4 a microbatch x 2 x 2 processes"),
        (["batch_size=13", "step_utterances=64"], 1, " = 64 x 1 process in 5 microbatches of at most 13"),
        (
            ["batch_size=auto", "step_utterances=64"],
            8,
            " = 8 x 8 processes, each in microbatches as large as memory allows",
        ),
    ],
)
def test_how_a_step_is_split(settings: list[str], processes: int, said: str) -> None:
    config = load_config(FOLDER / "demo.yaml", [f"training.{one}" for one in settings])
    assert how_split(config.training, processes) == said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "heard: joined"),
        (("data.validation.second=null",), "heard: joined; none in data.validation"),
        (("model.second_recording=none",), "in the data, but not heard: model.second_recording is none"),
        (("model.second_recording=none", "data.train.second=null", "data.validation.second=null"), None),
    ],
)
def test_who_hears_second_recordings(
    tiny_values: dict[str, Any], tmp_path: Path, overrides: tuple[str, ...], said: str | None
) -> None:
    values = yaml.safe_load(yaml.safe_dump(tiny_values))
    values["model"] |= {"dual_attention": False, "second_recording": "joined"}
    for split in ("train", "validation"):
        values["data"][split]["second"] = "copy"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    config = load_config(tmp_path / "run.yaml", ("optimizer.new_modules_learning_rate=null", *overrides))
    shown = dict(plan_rows(config, make_plan(config)))
    assert shown.get("second recordings") == said
