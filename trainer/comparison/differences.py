"""Differences between the configs of runs, leaving out keys for output folders and logging."""

from collections.abc import Sequence
from typing import Any

import yaml

from ..config.comparing import settled_by_runs
from ..pages.formats import NONE
from .reading import Arm

NOT_SHOWN = ("output_dir", "logging.", "checkpoints.", "extends")


def config_differences(arms: Sequence[Arm]) -> dict[str, tuple[str, ...]]:
    """Each trained arm's value, as text, of the keys that are not the same in all, in the order of the config.

    What the runs settled themselves is left out.
    """
    trained = [arm for arm in arms if arm.config is not None]
    settled = settled_by_runs([arm.config or {} for arm in trained])
    keys = dict.fromkeys(key for arm in trained for key in arm.config or () if not key.startswith(NOT_SHOWN))
    rows = {key: tuple(told(arm, key) for arm in trained) for key in keys if key not in settled}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def told(arm: Arm, key: str) -> str:
    """An arm's value of a key, followed by earlier values if the run was resumed with a new one."""
    now = shown((arm.config or {}).get(key))
    earlier = [f"{shown(change.old)} until step {change.step}" for change in arm.changes if change.key == key]
    return f"{now} ({', '.join(earlier)})" if earlier else now


def shown(value: Any) -> str:
    """A config value as one line of YAML. An empty or missing section is shown like null."""
    if value is None or value == {}:
        return NONE
    if isinstance(value, float):
        return f"{value:g}"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
