"""What a search varies: only what the config has a use for, beginning with its own values; space files' mistakes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.comparison.tuning.space import Dimension, Range, Space, changed, default_space, read_space
from trainer.config.reading import ConfigError, nested, settings_of, validated
from trainer.config.run import RunConfig

RATE = "optimizer.learning_rate"
NEW = "optimizer.new_modules_learning_rate"
SPEED, VOICE, MASKS = (f"data.augmentation.{name}" for name in ("speed", "vocal_tract", "spec_augment"))
DECAY = "optimizer.layer_decay"

FROZEN: dict[str, Any] = {"model__strategy": "frozen_primary", "model__dual_attention": True}


def config(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "output_dir": "run",
        "model": {"checkpoint": "openai/whisper-tiny", "dual_attention": False},
        "data": {"train": {"files": "t.parquet"}, "validation": {"files": "v.parquet"}, "language": "en"},
        "training": {"steps": 100},
    }
    base = validated(RunConfig, values, "config")
    return changed(base, {key.replace("__", "."): value for key, value in changes.items()})


def keys(space: Space) -> list[str]:
    return [one.key for one in space]


@pytest.mark.parametrize(
    ("changes", "sought"),
    [
        ({}, [RATE, DECAY, SPEED, VOICE, MASKS]),
        ({"model__dual_attention": True}, [RATE, NEW, DECAY, SPEED, VOICE, MASKS]),
        (
            {"optimizer__encoder_learning_rate": 1e-6},
            [RATE, "optimizer.encoder_learning_rate", DECAY, SPEED, VOICE, MASKS],
        ),
        (
            {"model__strategy": "lora"},
            [RATE, "model.lora", "model.lora.targets", "model.lora.kind", SPEED, VOICE, MASKS],
        ),
        ({"model__strategy": "selective"}, [RATE, "model.selective", SPEED, VOICE, MASKS]),
        (FROZEN, [RATE, SPEED, VOICE, MASKS]),
        (FROZEN | {"optimizer__new_modules_learning_rate": 1}, [NEW, SPEED, VOICE, MASKS]),
        ({"model__strategy": "frozen_encoder", "performance__cache_encoder": "cache"}, [RATE, DECAY]),
        (
            {"data__augmentation": {"noise": {"folder": "n"}, "noise_share": 0.7}},
            [RATE, DECAY, SPEED, VOICE, MASKS, "data.augmentation.noise_share"],
        ),
    ],
)  # fmt: skip
def test_only_what_the_config_has_a_use_for(changes: dict[str, Any], sought: list[str]) -> None:
    assert keys(default_space(config(**changes))) == sought


@pytest.mark.parametrize("strategy", ["full", "lora", "selective"])
def test_the_own_values_change_nothing(strategy: str) -> None:
    base = config(model__strategy=strategy)
    own = {one.key: one.own for one in default_space(base)}
    before, after = settings_of(base), settings_of(changed(base, own))
    differ = {key for key in after if before.get(key) != after[key] and after[key] is not None}
    defaults: dict[str, object] = {
        "model.lora.rank": 16,
        "model.lora.alpha": 32.0,
        "model.lora.targets": ["q_proj", "v_proj"],
    }
    defaults["model.lora.kind"] = "lora"
    augmented = {key for key in differ if key.startswith("data.augmentation.")}
    assert all(defaults[key] == after[key] for key in differ & defaults.keys())
    assert after.get(SPEED, [1.0, 1.0]) == [1.0, 1.0]
    assert after.get(MASKS) is None
    assert differ - defaults.keys() - augmented <= {"model.lora.dropout", "model.lora.kind", "model.lora.where"}


def test_ranks_keep_the_adapters_scale() -> None:
    (lora,) = (one for one in default_space(config(model__strategy="lora")) if one.key == "model.lora")
    assert {choice["alpha"] / choice["rank"] for choice in lora.choices} == {2.0}
    again = default_space(config(model__strategy="lora", model__lora={"rank": 8, "alpha": 16}))
    assert sorted(choice["rank"] for choice in next(one for one in again if one.key == "model.lora").choices) == [
        8,
        32,
        64,
    ]


def test_layers_are_shares_of_the_models_own() -> None:
    (layers,) = (one for one in default_space(config(model__strategy="selective")) if one.key == "model.selective")
    assert [choice and choice["encoder_layers"] for choice in layers.choices] == [None, 1, 3, 4]  # tiny has four


def test_a_rates_range_holds_the_own_one_and_the_usual() -> None:
    for own in (1e-7, 1e-5, 1e-3):
        rate = default_space(config(optimizer__learning_rate=own))[0]
        assert rate.range is not None
        assert rate.range.log
        assert rate.range.low < min(own, 1e-5)
        assert max(own, 1e-5) < rate.range.high


def test_what_is_drawn_is_told_in_three_digits_and_the_own_value_whole() -> None:
    rate = Dimension("k", 1.23456e-5, Range(low=1e-6, high=1e-4, log=True))
    assert rate.read(2.34567e-5) == 2.35e-5
    assert rate.read(1.23456e-5) == 1.23456e-5
    assert Dimension("k", 4, Range(low=1, high=9)).read(3.0) == 3
    masks = Dimension("k", None, choices=(None, {"a": 1}))
    assert [masks.read(masks.written(value)) for value in masks.choices] == [None, {"a": 1}]


def test_edges() -> None:
    rate = Dimension("k", 1e-5, Range(low=1e-6, high=1e-4, log=True))
    assert [rate.edge(value) for value in (1.1e-6, 1e-5, 9e-5)] == ["lower", None, "upper"]
    assert Dimension("k", 0, choices=(0, 1)).edge(1) is None


def read(tmp_path: Path, values: Any, base: RunConfig | None = None) -> Space:
    path = tmp_path / "space.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values, sort_keys=False))
    return read_space(path, base or config())


def test_a_space_file(tmp_path: Path) -> None:
    space = read(
        tmp_path,
        {
            "optimizer.learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
            "model": {"dropout": [0.0, 0.1]},
            "data": {"augmentation": {"speed": [[1.0, 1.0], [0.9, 1.1]]}},
            "optimizer": {"warmup_steps": {"low": 0, "high": 50}},
        },
    )
    assert [(one.key, one.own, one.is_whole) for one in space] == [
        (RATE, 1e-5, False),
        ("model.dropout", 0.0, False),
        (SPEED, [1.0, 1.0], False),
        ("optimizer.warmup_steps", 0, True),
    ]


@pytest.mark.parametrize(
    ("values", "right"),
    [
        ({"optimizer.lerning_rate": [1, 2]}, "did you mean 'learning_rate'?"),
        ({"optimiser": {"learning_rate": [1e-5, 1e-4]}}, "did you mean 'optimizer'?"),
        ({RATE: {"low": 1e-4, "high": 1e-4}}, "there is nothing: high must be above low"),
        ({RATE: {"low": 0, "high": 1e-4, "log": True}}, "begins above 0"),
        ({RATE: {"low": 1e-4, "high": 1e-3}}, "leaves out the config's own 1e-05"),
        ({RATE: {"low": 1e-6, "hihg": 1e-3}}, "unknown key hihg; did you mean 'high'?"),
        ({RATE: {"low": 1e-6}}, "high is missing"),
        ({RATE: [-1.0, 1e-5]}, "optimizer.learning_rate is -1.0: input should be greater than 0"),
        ({RATE: []}, "leaves nothing to choose"),
        ({RATE: [1e-5]}, "leaves nothing to choose"),
        ({RATE: 3e-5}, "must be a list of values, or low and high"),
        ({"model.lora.rank": [4, 8]}, "lora does nothing under strategy 'full'"),
        ({"training.seed": [1, 2]}, "training.seed cannot be sought"),
        ({"evaluation.beams": [1, 5]}, "evaluation.beams cannot be sought"),
        ({"data.test.files": ["a", "b"]}, "data.test.files cannot be sought"),
        ({}, "names no key"),
        ("- a", "must hold keys and values"),
    ],
)
def test_a_space_files_mistakes_are_named(tmp_path: Path, values: Any, right: str) -> None:
    with pytest.raises(ConfigError) as told:
        read(tmp_path, values)
    assert right in str(told.value)
    assert "space.yaml" in str(told.value)


def test_mappings_are_put_over_the_configs_own() -> None:
    base = config(data__augmentation={"gain": [-3, 3], "spec_augment": {"time_frames": 30}})
    after = changed(base, {MASKS: {"time_masks": 1}})
    assert after.data.augmentation is not None
    assert after.data.augmentation.gain == (-3, 3)
    assert after.data.augmentation.spec_augment is not None
    assert (after.data.augmentation.spec_augment.time_frames, after.data.augmentation.spec_augment.time_masks) == (
        30,
        1,
    )
    assert nested({"a.b": 1}) == {"a": {"b": 1}}
