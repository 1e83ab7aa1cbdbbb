"""Configs from YAML: what loads, what is refused, and whether the message helps."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from tests import ROOT
from trainer.config.reading import ConfigError, apply_overrides, dump_config, load_config, merge, read_yaml
from trainer.config.reference import reference, sections
from trainer.config.run import RunConfig
from trainer.noise_suite.config import NoiseSuiteConfig

MINIMAL: dict[str, Any] = {
    "output_dir": "runs/here",
    "model": {"checkpoint": "openai/whisper-tiny"},
    "data": {"train": {"folder": "recordings"}},
    "training": {"steps": 100},
}


def write(path: Path, values: dict[str, Any] | str) -> Path:
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    return write(tmp_path / "run.yaml", MINIMAL)


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    return str(error.value)


def test_minimal_config_has_defaults(minimal: Path) -> None:
    config = load_config(minimal)
    assert config.training.steps == 100
    assert (config.engine.zero_stage, config.engine.precision) == (0, "auto")
    assert config.data.train.folder == "recordings"


# What is refused


@pytest.mark.parametrize(
    ("override", "key", "nearest"),
    [
        ("training.batchsize=4", "training.batchsize", "batch_size"),
        ("optimiser={}", "optimiser", "optimizer"),
        ("data.train.foldr=x", "data.train.foldr", "folder"),
        ("data.validation={folder: x, splitt: dev}", "data.validation.splitt", "split"),
        ("data.train.columns.txt=x", "data.train.columns.txt", "text"),
        ("data.train=[{folder: x}, {folder: y, columns: {txt: z}}]", "data.train.1.columns.txt", "text"),
        ("data.train=[{folder: x, wieght: 2}]", "data.train.0.wieght", "weight"),
    ],
)
def test_unknown_key_names_the_nearest(minimal: Path, override: str, key: str, nearest: str) -> None:
    message = refused(minimal, override)
    assert f"unknown key {key}; did you mean {nearest!r}?" in message
    assert str(minimal) in message


def test_unknown_key_unlike_any_lists_the_known_ones(minimal: Path) -> None:
    message = refused(minimal, "checkpoints.zzz=1")
    assert "unknown key checkpoints.zzz; known here: every_steps" in message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.steps=many", ("training.steps", "'many'", "integer")),
        ("training.steps=0", ("training.steps", "0", "greater than 0")),
        ("engine.zero_stage=4", ("engine.zero_stage", "4", "0, 1, 2 or 3")),
        ("engine.precision=bf61", ("engine.precision", "'bf61'", "'bf16'")),
        ("evaluation.max_new_tokens=448", ("evaluation.max_new_tokens", "448", "less than 448")),
        ("training=5", ("training", "5", "keys with values")),
        ("noise.loss_layers=1", ("noise.loss_layers", "1", "a list, written like [a, b]")),
        ("data.augmentation.noise_ratio=[5]", ("data.augmentation.noise_ratio", "too short")),
        ("data.augmentation.spec_augment=true", ("data.augmentation.spec_augment", "keys with values")),
    ],
)
def test_wrong_value_is_named_with_what_would_be_right(minimal: Path, override: str, parts: tuple[str, ...]) -> None:
    message = refused(minimal, override)
    for part in parts:
        assert part in message


def test_an_unknown_strategy_is_the_only_mistake_beside_rates_by_strategy() -> None:
    told = refused(ROOT / "configs" / "tiny.yaml", "model.strategy=frozen_decodr")
    assert "model.strategy is 'frozen_decodr'" in told and "learning_rate" not in told


def test_missing_key_is_named(tmp_path: Path) -> None:
    values = {key: value for key, value in MINIMAL.items() if key != "training"}
    assert "training is missing" in refused(write(tmp_path / "run.yaml", values))


def test_all_problems_are_told_at_once(minimal: Path) -> None:
    message = refused(minimal, "training.steps=0", "logging.evry_steps=3")
    assert "training.steps" in message
    assert "logging.evry_steps" in message


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["optimizer.warmup_steps=100"], ("optimizer.warmup_steps (100)", "training.steps (100)")),
        (["engine.cpu_offload=optimizer"], ("engine", "cpu_offload is 'optimizer'", "it is 0")),
        (["engine.zero_stage=2", "engine.cpu_offload=parameters"], ("needs zero_stage 3", "it is 2")),
        (["data.lanes=3", "data.workers=2"], ("data.lanes (3)", "data.workers (2)")),
        (["data.train.hub=a/b"], ("data.train", "exactly one of", "given: hub, folder")),
        (["data.train.name=polish"], ("data.train", "belong to a hub dataset")),
        (["data.train.folder=null"], ("data.train", "given: none")),
        (["data.min_seconds=40"], ("min_seconds (40", "max_seconds (30")),
        (["data.train=[]"], ("data: train is an empty list",)),
        (["data.train=[{folder: x}, {}]"], ("data.train.1: give exactly one of",)),
        (["data.train=[{folder: x, weight: 0}]"], ("data.train.0.weight is 0", "greater than 0")),
        (["data.train.weight=2"], ("data: train.weight is 2; only the sources of a list",)),
        (["data.validation={folder: x, weight: 2}"], ("data: validation.weight is 2",)),
        (["training.batch_seconds=29"], ("training.batch_seconds (29)", "data.max_seconds (30)")),
        (["training.batch_seconds=60", "model.encoder_padding=window"], ("training.batch_seconds", "encoder_padding")),
        (["model.architecture={d_model: 8, encoder_layers: 1, decoder_layers: 1, attention_heads: 2}"], ("one of",)),
    ],
)
def test_fields_that_disagree_are_named(minimal: Path, overrides: list[str], parts: tuple[str, ...]) -> None:
    message = refused(minimal, *overrides)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer.warmup_steps=99"],
        ["engine.zero_stage=1", "engine.cpu_offload=optimizer"],
        ["engine.zero_stage=3", "engine.cpu_offload=parameters"],
        ["data.lanes=4", "data.workers=2"],
        ["data.train=[{folder: x, weight: 2}, {folder: y, language: tr}]"],
        ["training.batch_seconds=12", "data.max_seconds=12"],
        ["data.train.folder=null", "data.train.hub=a/b", "data.train.name=polish"],
    ],
)
def test_fields_that_agree_load(minimal: Path, overrides: list[str]) -> None:
    load_config(minimal, overrides)


# Files


def test_missing_file_is_named(tmp_path: Path) -> None:
    message = refused(tmp_path / "nowhere.yaml")
    assert "nowhere.yaml" in message
    assert "No such file" in message


def test_text_that_is_not_yaml_is_located(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "run.yaml", "training: {steps: 5\nmodel: ]"))
    assert "run.yaml is not YAML" in message
    assert "line 2" in message


@pytest.mark.parametrize(("text", "kind"), [("- training", "list"), ("", "NoneType"), ("5", "int")])
def test_file_must_hold_keys_and_values(tmp_path: Path, text: str, kind: str) -> None:
    assert f"must hold keys and values, not {kind}" in refused(write(tmp_path / "run.yaml", text))


def test_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", "training:\n  steps: 5\n  batch_size: 2\n  steps: 6\n")
    message = refused(path)
    assert "'steps' stands twice" in message
    assert "line 2" in message  # where the section begins


def test_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    values = read_yaml(write(tmp_path / "run.yaml", "a: 1e-5\nb: 1.5E+3\nc: -2e4\nd: 1e-5x\ne: 12\nf: 3.75e-5\n"))
    assert values == {"a": 1e-5, "b": 1500.0, "c": -20000.0, "d": "1e-5x", "e": 12, "f": 3.75e-5}
    assert isinstance(values["e"], int)


# Extending


def write_engines(folder: Path) -> None:
    write(folder / "common.yaml", {"engines": {"zero2": {"engine": {"zero_stage": 2}}}} | MINIMAL)
    rows = {"zero2": {"training": {"accumulation": 3}}, "extra_wide": {"output_dir": "wide"}}
    write(folder / "small_one.yaml", {"extends": "common.yaml", "output_dir": "runs/one", "engines": rows})


def test_a_name_without_a_file_is_a_file_with_an_engine(tmp_path: Path) -> None:
    write_engines(tmp_path)
    config = load_config(tmp_path / "small_one_zero2.yaml")
    assert (config.output_dir, config.engine.zero_stage, config.training.accumulation) == ("runs/one_zero2", 2, 3)
    plain = load_config(tmp_path / "small_one.yaml")
    assert (plain.output_dir, plain.engine.zero_stage, plain.training.accumulation) == ("runs/one", 0, 1)
    assert load_config(tmp_path / "small_one_extra_wide.yaml").output_dir == "wide"


def test_a_file_extends_another_with_an_engine(tmp_path: Path) -> None:
    write_engines(tmp_path)
    mine = write(tmp_path / "mine.yaml", {"extends": "small_one_zero2.yaml", "output_dir": "mine"})
    config = load_config(mine)
    assert (config.output_dir, config.engine.zero_stage, config.training.accumulation) == ("mine", 2, 3)


def test_a_file_goes_before_an_engine_of_its_name(tmp_path: Path) -> None:
    write_engines(tmp_path)
    write(tmp_path / "small_one_zero2.yaml", MINIMAL)
    assert load_config(tmp_path / "small_one_zero2.yaml").engine.zero_stage == 0


def test_an_unknown_engine_is_told_with_the_nearest(tmp_path: Path) -> None:
    write_engines(tmp_path)
    message = refused(tmp_path / "small_one_zero4.yaml")
    assert "there is no config" in message
    assert "did you mean" in message
    assert message.endswith("small_one_zero2.yaml?")
    message = refused(write(tmp_path / "mine.yaml", {"extends": "mine_zero2.yaml"}))
    assert "extends itself" in message
    for wrong in (["zero2"], {"zero_stage": 2}):
        assert "did you mean engine?" in refused(write(tmp_path / "mine.yaml", {"engines": wrong} | MINIMAL))


def test_extends_merges_beneath_over_generations(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "common.yaml", MINIMAL | {"optimizer": {"learning_rate": 1e-4, "warmup_steps": 5}})
    write(tmp_path / "small.yaml", {"extends": "common.yaml", "training": {"batch_size": 2}})
    path = write(
        tmp_path / "sub" / "mine.yaml",
        {"extends": "../small.yaml", "output_dir": "mine", "optimizer": {"learning_rate": 1e-3}},
    )
    config = load_config(path)
    assert config.output_dir == "mine"
    assert (config.training.steps, config.training.batch_size) == (100, 2)
    assert (config.optimizer.learning_rate, config.optimizer.warmup_steps) == (1e-3, 5)


def test_a_parent_s_key_is_taken_away_with_null(tmp_path: Path) -> None:
    write(tmp_path / "common.yaml", MINIMAL)
    path = write(tmp_path / "mine.yaml", "extends: common.yaml\ndata: {train: {folder: null, files: a.parquet}}\n")
    assert load_config(path).data.train.files == "a.parquet"


def test_missing_parent_names_both_files(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "mine.yaml", {"extends": "comon.yaml"} | MINIMAL))
    assert "mine.yaml" in message
    assert "extends 'comon.yaml'" in message


def test_merge_changes_neither_side() -> None:
    below, above = {"a": {"b": 1, "c": 2}, "d": [1, 2]}, {"a": {"b": 3}, "d": [4]}
    assert merge(below, above) == {"a": {"b": 3, "c": 2}, "d": [4]}
    assert below == {"a": {"b": 1, "c": 2}, "d": [1, 2]}
    assert above == {"a": {"b": 3}, "d": [4]}


# Overrides


def test_overrides_reach_into_sections_and_leave_the_rest(minimal: Path) -> None:
    config = load_config(
        minimal, ["training.batch_size=3", "optimizer.learning_rate=1e-5", "data.train.columns.id=key"]
    )
    assert (config.training.steps, config.training.batch_size) == (100, 3)
    assert config.optimizer.learning_rate == 1e-5
    assert config.data.train.columns.id == "key"
    assert config.data.train.folder == "recordings"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("7", 7),
        ("true", True),
        ("null", None),
        ("", None),
        ("[a, 2]", ["a", 2]),
        ("{a: 1}", {"a": 1}),
        ("a=b", "a=b"),
        ("s3://bucket/x", "s3://bucket/x"),
    ],
)
def test_override_values_are_yaml(text: str, value: Any) -> None:
    result = apply_overrides({"a": {"kept": 1}}, [f"a.b={text}"])
    assert result == {"a": {"kept": 1, "b": value}}
    assert type(result["a"]["b"]) is type(value)


def test_the_last_override_wins() -> None:
    assert apply_overrides({}, ["a.b=1", "a.b=2"]) == {"a": {"b": 2}}


@pytest.mark.parametrize("override", ["training.steps", "=5", "training.steps 5"])
def test_malformed_override_shows_the_form(minimal: Path, override: str) -> None:
    message = refused(minimal, override)
    assert repr(override) in message
    assert "training.steps=1000" in message


def test_override_that_is_not_yaml_is_named(minimal: Path) -> None:
    assert "'training.steps=[1'" in refused(minimal, "training.steps=[1")


# Writing


def test_dumped_config_loads_to_the_same(minimal: Path, tmp_path: Path) -> None:
    config = load_config(
        minimal,
        [
            "optimizer.learning_rate=1e-5",
            "optimizer.betas=[0.9, 0.95]",
            "engine.zero_stage=2",
            "engine.cpu_offload=optimizer",
            "data.train.keep={speaker: [a, 2]}",
            "data.validation={hub: a/b, name: ą, columns: {id: null}}",
        ],
    )
    again = load_config(write(tmp_path / "config.yaml", dump_config(config)))
    assert again == config
    assert again.optimizer.betas == (0.9, 0.95)
    assert again.data.validation is not None
    assert again.data.validation.name == "ą"


@pytest.mark.parametrize("config", [RunConfig, NoiseSuiteConfig])
def test_every_key_is_described(config: type[BaseModel]) -> None:
    models = dict(sections(config))
    keys = [(path, key, field) for path, model in models.items() for key, field in model.model_fields.items()]
    bare = [f"{path}.{key}" for path, key, field in keys if not field.description]
    assert not bare


def test_the_reference_page_is_up_to_date() -> None:
    page = ROOT / "docs" / "config.md"
    assert page.read_text(encoding="utf-8") == reference(), "python -m trainer.config.reference > docs/config.md"
