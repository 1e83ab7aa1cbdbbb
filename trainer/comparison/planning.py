"""Strategies or a plan file to arms whose configs are checked, all of them before one is run."""

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, field_validator

from data.config import Section
from data.errors import DataError

from ..config.comparing import changed_keys
from ..config.reading import ConfigError, apply_overrides, flatten, load_config, read_yaml, settings_of, validated
from ..config.run import RunConfig
from ..config.strategies import STRATEGIES
from ..evaluation.checkpoint import open_split
from .differences import NOT_SHOWN
from .reading import SPLITS

Split = Literal["test", "validation"]
UNTRAINED = "plain"  # the unmodified checkpoint
ATTENTION = {"dual": True, "plain": False}  # prefixes of a strategy
ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class Plan(Section):
    """What is compared: a plan file's keys.

    Attributes:
        arms: by name the keys that an arm sets, flattened; None for the unmodified checkpoint, which is only evaluated.
    """

    config: Path = Field(description="the file that all arms begin from, relative to the plan's own")
    arms: dict[str, dict[str, Any] | None] = Field(
        min_length=1,
        description="by name a strategy, as on the command line, or the keys that an arm sets; `plain`: as it is",
    )
    split: Split | None = Field(None, description="evaluated; else test, then validation")
    cluster: str | None = Field(None, description="the column, such as speaker, that intervals are drawn by")

    @field_validator("arms", mode="before")
    @classmethod
    def arms_set_keys(cls, arms: Any) -> Any:
        if not isinstance(arms, dict):
            return arms
        return {str(name): arm_of_plan(str(name), own) for name, own in arms.items()}

    def beside(self, folder: Path) -> Self:
        """The plan with its files' paths made from its own folder."""
        return self.model_copy(update={"config": folder / self.config})


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


def plan_of_strategies(config: Path, strategies: Sequence[str], split: Split | None, cluster: str | None) -> Plan:
    """An arm for each strategy as written on the command line; ``dual:lora`` runs in the folder ``dual_lora``.

    Raises:
        ConfigError: for an unknown or repeated strategy.
    """
    names = [strategy.replace(":", "_") for strategy in strategies]
    twice = [strategy for strategy in strategies if strategies.count(strategy) > 1]
    if twice:
        raise ConfigError(f"--strategies has {twice[0]!r} twice")
    arms = {name: overrides_of(strategy, "--strategies") for name, strategy in zip(names, strategies, strict=True)}
    return Plan.model_construct(config=config, arms=arms, split=split, cluster=cluster)


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


AnyPlan = TypeVar("AnyPlan", bound=Plan)


def read_plan(path: Path, kind: type[AnyPlan]) -> AnyPlan:
    """A plan file.

    Raises:
        ConfigError: naming the key at fault.
    """
    return validated(kind, read_yaml(path), str(path)).beside(path.parent)


def arm_of_plan(name: str, value: Any) -> dict[str, Any] | None:
    """An arm's keys: nothing, a strategy as on the command line, or keys and values."""
    if not ARM_NAME.fullmatch(name):
        raise ConfigError(f"{name}: a name is made of letters, digits, and _ . + -; it names a folder")
    if isinstance(value, str):
        return overrides_of(value, name)
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{name} is {value!r}; it must be a strategy, or keys and values")
    return flatten(value or {})


def check_plan(plan: Plan, overrides: Sequence[str], output: Path) -> list[PlannedArm]:
    """Every arm with its whole config; ``overrides`` go over the plan's config, the arm's own over those.

    Raises:
        ConfigError: with the mistakes of all arms at once.
    """
    arms: list[PlannedArm] = []
    problems: list[str] = []
    seen: set[str] = set()
    for name, own in plan.arms.items():
        try:
            config = config_of(plan, name, output, overrides)
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


def config_of(plan: Plan, arm: str, output: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """An arm's whole config: the plan's, ``overrides`` over it, the arm's own keys over those."""
    common, own = apply_overrides(read_yaml(plan.config), overrides), plan.arms[arm] or {}
    settings = [*overrides, *inert(common, own), *written(own), *cluster_settings(common, own, plan.cluster)]
    config = load_config(plan.config, [*settings, f"output_dir={json.dumps(str(output / arm))}"])
    return fitting_rates(config, own)


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
    old, new = flatten(read_yaml(saved)), settings_of(arm.config)
    there = old.keys() & new.keys()  # what an older version did not write is no change
    changed = [key for key in changed_keys(old, new) if key in there and not key.startswith(NOT_SHOWN)]
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
