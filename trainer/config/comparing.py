"""Which settings differ between configs, and which of them runs settle themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

ONEDNN = "performance.onednn"
BATCH_SIZE = "training.batch_size"
MIXING_ROWS = "data.mixing_rows"
SPLITTING = (BATCH_SIZE, "training.accumulation")


def settled_by_runs(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys whose values a run chooses at its start. They do not say what the user asked for.

    These are ``performance.onednn``, which is measured, and the microbatches of a step with ``step_utterances``. Both
    change updates by rounding alone.

    Args:
        configs: flattened; those of runs hold what was chosen.
    """
    steps = {config.get("training.step_utterances") for config in configs}
    keys = {ONEDNN}
    if None not in steps:
        keys |= set(SPLITTING) if len(steps) == 1 else {"training.accumulation"}
    return keys


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys with other values in a new config than a run had, sorted, without those that the run settled itself.

    Args:
        old: of the run, as in its config.yaml, flattened.
        new: what is asked for now, flattened.
    """
    settled = settled_by_runs((old, new))
    if new.get(ONEDNN) is not None:  # asked for
        settled.remove(ONEDNN)
    if new.get(BATCH_SIZE) == "auto":
        settled.add(BATCH_SIZE)
    counted, given = (config.get(MIXING_ROWS) or [] for config in (old, new))
    kept = (now is None or now == then for now, then in zip(given, counted, strict=False))
    if not given or (len(given) == len(counted) and all(kept)):  # a run goes on with what it counted
        settled.add(MIXING_ROWS)
    return [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key) and key not in settled]
