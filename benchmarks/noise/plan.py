"""The plan of a noise experiment: which arms there are, what each sets, and which are compared in the end."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from data.config import Section
from trainer.config.reading import ConfigError, flatten, load_config, read_yaml
from trainer.config.run import RunConfig


class Plan(Section):
    """Files are relative to the plan's own.

    Attributes:
        config: what all arms begin from.
        development, report: noise suites; the first chooses, of the second only families are measured.
        arms: by name what each sets, in the order in which they are run; None for the checkpoint as it is.
        families: arms that differ in their seed alone, by what they are called; all are compared with the first.
    """

    config: str
    development: str
    report: str
    arms: dict[str, dict[str, Any] | None] = Field(min_length=1)
    families: dict[str, tuple[str, ...]] = Field({})

    @model_validator(mode="after")
    def families_are_of_arms(self) -> "Plan":
        for family, arms in self.families.items():
            for arm in arms:
                if arm not in self.arms:
                    raise ValueError(f"families.{family} has {arm!r}, which is none of the arms")
        return self

    @property
    def reported(self) -> set[str]:
        """The arms of families, and checkpoints as they are."""
        untrained = {name for name, keys in self.arms.items() if keys is None}
        return untrained | {arm for arms in self.families.values() for arm in arms}


def read_plan(path: Path) -> Plan:
    """Raises: ConfigError naming the key at fault."""
    try:
        return Plan(**read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def config_of(plan: Plan, folder: Path, arm: str, output: Path) -> RunConfig:
    """An arm's whole config. Raises: ConfigError naming the arm."""
    own = flatten(plan.arms[arm] or {})
    overrides = [f"{key}={json.dumps(value)}" for key, value in own.items()]
    try:
        return load_config(folder / plan.config, [*overrides, f"output_dir={json.dumps(str(output / arm))}"])
    except ConfigError as error:
        raise ConfigError(f"arm {arm}: {error}") from None
