"""Measures the noise experiment's arms by the suites of the plan; results are kept beside the plan."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.comparison.planning import PlannedArm
from trainer.comparison.running import Runner
from trainer.record.durable import write_text

from .arm_result import suite_figures, training_figures
from .plan import NoisePlan

DEVELOPMENT, REPORT = "development", "report"


def result_path(results: Path, arm: str) -> Path:
    """The file of an arm's result."""
    return results / "arms" / f"{arm}.json"


def wanted_suites(plan: NoisePlan, arm: str) -> list[str]:
    """The suites that measure an arm; for an unmodified checkpoint there is nothing to choose."""
    chooses = [] if plan.arms[arm] is None else [DEVELOPMENT]
    return [*chooses, REPORT] if arm in plan.reported else chooses


def digest_of(plan: NoisePlan, arm: str, suite: str = "config") -> str:
    """A digest of everything that an arm's training, or its ``suite``, depends on; it tells old results."""
    content = json.dumps(plan.arms[arm], sort_keys=True) + getattr(plan, suite).read_text(encoding="utf-8")
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def measured(plan: NoisePlan, folder: Path, arm: str) -> dict[str, Any]:
    """The arm's result in ``folder`` without suites that are out of date; {} if there is none of today's plan."""
    try:
        found = json.loads(result_path(folder, arm).read_text(encoding="utf-8"))
        is_current = found["made_from"] == digest_of(plan, arm)
        suites = {suite for suite in (DEVELOPMENT, REPORT) if suite in found}
        old = {suite for suite in suites if found[suite]["made_from"] != digest_of(plan, arm, suite)}
    except (OSError, ValueError, KeyError):
        return {}
    return {key: value for key, value in found.items() if key not in old} if is_current else {}


@dataclass(frozen=True)
class NoiseSuites:
    """The measurement of :func:`trainer.comparison.running.run_arms`: noise suites, results in ``folder``."""

    plan: NoisePlan
    folder: Path

    def is_done(self, arm: PlannedArm) -> bool:
        """Whether the arm's result is there with every suite that is wanted of it."""
        return set(wanted_suites(self.plan, arm.name)) <= measured(self.plan, self.folder, arm.name).keys()

    def prepare(self, arm: PlannedArm, config: Path) -> None:
        pass  # results carry digests of what they were made from

    def measure(self, arm: PlannedArm, config: Path, runner: Runner) -> str | None:
        shutil.rmtree(arm.folder / "checkpoints", ignore_errors=True)  # large, and not needed after training
        name, plan = arm.name, self.plan
        result: dict[str, Any] = {"arm": name, "sets": plan.arms[name], "made_from": digest_of(plan, name)}
        if arm.is_trained:
            result["training"] = training_figures(arm.folder)
        before = measured(plan, self.folder, name)
        checkpoint = arm.folder / "final" if arm.is_trained else arm.config.model.checkpoint
        for suite in wanted_suites(plan, name):
            if suite in before:
                result[suite] = before[suite]
                continue
            given = ["--noise-suite", str(getattr(plan, suite)), "--checkpoint", f"{name}={checkpoint}"]
            given += ["--config", str(config), "--output", str(arm.folder / suite)]
            failed = runner.run(name, suite, "eval.py", *given)
            if failed is not None:
                return failed
            result[suite] = {"made_from": digest_of(plan, name, suite)} | suite_figures(arm.folder / suite)
        path = result_path(self.folder, name)
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        return None
