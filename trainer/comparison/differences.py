"""Differences between the configs of runs, leaving out keys for output folders and logging."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from .reading import Arm

NOT_SHOWN = ("output_dir", "logging.", "checkpoints.", "extends")
ABSENT = "–"


@dataclass(frozen=True)
class Difference:
    """A config key and its value in each trained arm, as text."""

    key: str
    values: tuple[str, ...]


def config_differences(arms: Sequence[Arm]) -> list[Difference]:
    """Keys whose values are not the same in all trained arms, in the order of the config."""
    configs = [arm.config for arm in arms if arm.config is not None]
    keys = dict.fromkeys(key for config in configs for key in config if not key.startswith(NOT_SHOWN))
    trained = [arm for arm in arms if arm.config is not None]
    rows = [Difference(key, tuple(told(arm, key) for arm in trained)) for key in keys]
    return [row for row in rows if len(set(row.values)) > 1]


def told(arm: Arm, key: str) -> str:
    """An arm's value of a key, followed by earlier values if the run was resumed with a new one."""
    now = shown((arm.config or {}).get(key))
    earlier = [f"{shown(change.old)} until step {change.step}" for change in arm.changes if change.key == key]
    return f"{now} ({', '.join(earlier)})" if earlier else now


def shown(value: Any) -> str:
    """A config value as one line of YAML. An empty or missing section is shown like null."""
    if value is None or value == {}:
        return ABSENT
    if isinstance(value, float):
        return f"{value:g}"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
