"""Strategies or a plan file to arms whose configs are checked, all of them before one is run."""

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.errors import DataError

from ..config.reading import ConfigError, apply_overrides, dump_config, flatten, load_config, read_yaml
from ..config.run import RunConfig
from ..config.strategies import STRATEGIES
from ..evaluation.checkpoint import open_split
from .differences import NOT_SHOWN
from .reading import SPLITS

UNTRAINED = "plain"  # the unmodified checkpoint
ATTENTION = {"dual": True, "plain": False}  # prefixes of a strategy
PLAN_KEYS = ("config", "split", "cluster", "arms")
ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        config: the file that all arms begin from.
        arms: by name the keys an arm sets, flattened; None for the unmodified checkpoint, which is only evaluated.
    """

    config: Path
    arms: Mapping[str, Mapping[str, Any] | None]
    split: str | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class PlannedArm:
    """An arm ready to be run; its folder is the config's output_dir."""

    name: str
    config: RunConfig
    split: str
    is_trained: bool

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)


def plan_of_strategies(config: Path, strategies: Sequence[str], split: str | None, cluster: str | None) -> Plan:
    """An arm for each strategy as written on the command line; ``dual:lora`` runs in the folder ``dual_lora``.

    Raises:
        ConfigError: for an unknown or repeated strategy.
    """
    names = [strategy.replace(":", "_") for strategy in strategies]
    twice = [strategy for strategy in strategies if strategies.count(strategy) > 1]
    if twice:
        raise ConfigError(f"--strategies has {twice[0]!r} twice")
    arms = {name: overrides_of(strategy, "--strategies") for name, strategy in zip(names, strategies, strict=True)}
    return Plan(config, arms, split, cluster)


def overrides_of(strategy: str, where: str) -> dict[str, Any] | None:
    """The config keys of ``lora``, ``dual:lora``, ``plain:lora``; None for ``plain`` alone."""
    if strategy == UNTRAINED:
        return None
    prefix, colon, name = strategy.rpartition(":")
    if name not in STRATEGIES or (colon and prefix not in ATTENTION):
        known = [UNTRAINED, *STRATEGIES, *(f"{before}:{each}" for before in ATTENTION for each in STRATEGIES)]
        near = difflib.get_close_matches(strategy, known, n=1, cutoff=0.5)
        right = f"did you mean {near[0]!r}?" if near else f"known: {', '.join((UNTRAINED, *STRATEGIES))}"
        raise ConfigError(f"{where}: unknown strategy {strategy!r}; {right} dual: or plain: may stand before one")
    overrides: dict[str, Any] = {"model.strategy": name}
    if colon:
        overrides["model.dual_attention"] = ATTENTION[prefix]
    return overrides


def read_plan(path: Path) -> Plan:
    """A plan file: config (relative to the file), split, cluster, and arms by name.

    Raises:
        ConfigError: naming the key at fault.
    """
    values = read_yaml(path)
    for key in values:
        if key not in PLAN_KEYS:
            near = difflib.get_close_matches(str(key), PLAN_KEYS, n=1, cutoff=0.5)
            right = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(PLAN_KEYS)}"
            raise ConfigError(f"{path}: unknown key {key}; {right}")
    config, arms = values.get("config"), values.get("arms")
    if not isinstance(config, str):
        raise ConfigError(f"{path}: config must name the file that all arms begin from; it is {config!r}")
    if not isinstance(arms, dict) or not arms:
        raise ConfigError(f"{path}: arms must hold names and what each sets, such as lora: {{model.strategy: lora}}")
    if not isinstance(values.get("cluster"), str | None):
        raise ConfigError(f"{path}: cluster is {values['cluster']!r}; it must name a column, such as speaker")
    if values.get("split") not in (None, *SPLITS):
        raise ConfigError(f"{path}: split is {values['split']!r}; it must be one of {', '.join(SPLITS)}")
    read = {str(name): arm_of_plan(path, str(name), value) for name, value in arms.items()}
    return Plan(path.parent / config, read, values.get("split"), values.get("cluster"))


def arm_of_plan(path: Path, name: str, value: Any) -> dict[str, Any] | None:
    """An arm's keys: nothing, a strategy as on the command line, or keys and values."""
    if not ARM_NAME.fullmatch(name):
        raise ConfigError(f"{path}: arms.{name}: a name is made of letters, digits, and _ . + -; it names a folder")
    if isinstance(value, str):
        return overrides_of(value, f"{path}: arms.{name}")
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{path}: arms.{name} is {value!r}; it must be a strategy, or keys and values")
    return flatten(value or {})


def check_plan(plan: Plan, overrides: Sequence[str], output: Path) -> list[PlannedArm]:
    """Every arm with its whole config; ``overrides`` go over the plan's config, the arm's own over those.

    Raises:
        ConfigError: with the mistakes of all arms at once.
    """
    common = apply_overrides(read_yaml(plan.config), overrides)
    arms: list[PlannedArm] = []
    problems: list[str] = []
    seen: set[str] = set()
    for name, own in plan.arms.items():
        settings = [*overrides, *inert(common, own or {}), *written(own or {})]
        settings += [*cluster_settings(common, own or {}, plan.cluster), f"output_dir={json.dumps(str(output / name))}"]
        try:
            config = fitting_rates(load_config(plan.config, settings), own or {})
            arms.append(PlannedArm(name, config, split_of(config, plan.split), own is not None))
            check_arm(arms[-1])
            checkpoint = config.model.checkpoint
            if checkpoint is not None and checkpoint not in seen and os.path.isdir(checkpoint):
                check_checkpoint(checkpoint)
                seen.add(checkpoint)
            if config.evaluation.columns or config.evaluation.cluster:  # misspelt, they would be told after training
                tested = getattr(config.data, arms[-1].split).model_dump_json() + config.evaluation.model_dump_json()
                if tested not in seen:
                    seen.add(tested)
                    open_split(config, arms[-1].split)
        except (ConfigError, DataError) as error:
            problems.append(f"arm {name}: {error}")
    if problems:
        raise ConfigError("; ".join(problems))
    return arms


def written(own: Mapping[str, Any]) -> list[str]:
    """Keys and values as overrides; JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in own.items()]


def inert(common: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What the common config sets and this arm's strategy has no use for, taken out.

    These overrides go before the arm's own: what an arm itself sets in vain stays, and is refused.
    """
    flat = flatten(apply_overrides(dict(common), written(own)))
    chosen = STRATEGIES.get(str(flat.get("model.strategy", "full")), STRATEGIES["full"])
    useless = {
        "model.selective": chosen.section != "selective",
        "model.lora": chosen.section != "lora",
        "model.lora.bits": chosen.section == "lora" and not chosen.is_quantized,
        "optimizer.new_modules_learning_rate": flat.get("model.dual_attention", True) is False,
    }
    return [f"{key}=null" for key, is_useless in useless.items() if is_useless and has_value(flat, key)]


def fitting_rates(config: RunConfig, own: Mapping[str, Any]) -> RunConfig:
    """The config without the common rate for an encoder that this arm does not train."""
    optimizer = config.optimizer
    if optimizer.encoder_learning_rate is None or config.model.trains_encoder:
        return config
    if has_value(own, "optimizer.encoder_learning_rate"):
        raise ConfigError(
            f"optimizer.encoder_learning_rate is {optimizer.encoder_learning_rate:g}, but strategy "
            f"{config.model.strategy!r} trains nothing of the encoder: take it out"
        )
    return config.model_copy(update={"optimizer": optimizer.model_copy(update={"encoder_learning_rate": None})})


def has_value(flat: Mapping[str, Any], key: str) -> bool:
    """Whether a key, or one within it, has a value."""
    return any((at == key or at.startswith(f"{key}.")) and value is not None for at, value in flat.items())


def cluster_settings(common: Mapping[str, Any], own: Mapping[str, Any], cluster: str | None) -> list[str]:
    """What makes an evaluation resample a column, and write it down."""
    if cluster is None:
        return []
    columns = flatten(apply_overrides(dict(common), written(own))).get("evaluation.columns") or []
    return [
        f"evaluation.cluster={json.dumps(cluster)}",
        f"evaluation.columns={json.dumps(list(dict.fromkeys([*columns, cluster])))}",
    ]


def split_of(config: RunConfig, split: str | None) -> str:
    """The split to evaluate on: the one asked for, else test, else validation."""
    there = [name for name in SPLITS if getattr(config.data, name)]
    wanted = split or (there[0] if there else "test")
    if wanted not in there:
        raise ConfigError(f"the config has no data.{wanted} to evaluate on; it has {', '.join(['train', *there])}")
    return wanted


def check_arm(arm: PlannedArm) -> None:
    """That the arm can be run, and that its folder holds no run of another config."""
    if not arm.is_trained:
        if arm.config.model.checkpoint is None:
            raise ConfigError("model.checkpoint is null: there is no unmodified model to evaluate")
        return
    saved = arm.folder / "config.yaml"
    if not saved.exists():
        return
    old, new = flatten(read_yaml(saved)), flatten(yaml.safe_load(dump_config(arm.config)))
    changed = [key for key in new if key in old and old[key] != new[key] and not key.startswith(NOT_SHOWN)]
    if changed:
        key = changed[0]
        raise ConfigError(
            f"{key} is {new[key]!r}, but {arm.folder} was run with {old[key]!r}: set it back, or choose another "
            "--output"
        )


def check_checkpoint(folder: str) -> None:
    """That a folder is a checkpoint whose parts fit each other, before any arm is trained.

    Raises:
        ConfigError: as CheckpointError says it.
    """
    from modeling.checkpoint_files import Checkpoint, CheckpointError  # seconds to import
    from modeling.checkpoint_parts import check_stored_parts

    try:
        check_stored_parts(Checkpoint(folder))
    except CheckpointError as error:
        raise ConfigError(str(error)) from None


def common_rate(plan: Plan, arms: Sequence[PlannedArm]) -> str | None:
    """A remark where arms of different strategies all take one learning rate from the common config."""
    trained = [arm for arm in arms if arm.is_trained and "optimizer.learning_rate" not in (plan.arms[arm.name] or {})]
    rates = {arm.config.optimizer.learning_rate for arm in trained}
    if len({arm.config.model.strategy for arm in trained}) < 2 or len(rates) > 1:
        return None
    return (
        f"optimizer.learning_rate is {rates.pop():g} for every strategy; with optimizer.learning_rate= (nothing) each "
        "takes its own"
    )
