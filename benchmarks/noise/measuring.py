"""Measures the noise experiment's arms by the suites of the plan; results are kept beside the plan.

An arm's result holds its figures by condition and speaker, which suffice for every comparison.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.comparison.planning import PlannedArm
from trainer.comparison.running import Runner
from trainer.evaluation.error_rates import Edits
from trainer.record.durable import write_text
from trainer.record.journal import whole_rows

from .plan import NoisePlan

Row = dict[str, Any]

DEVELOPMENT, REPORT = "development", "report"
KEPT_OF_SUITE = ("date", "hardware", "versions", "seconds")
KEPT_OF_CONDITION = (
    "kind", "ratio", "word_error_rate", "character_error_rate", "substitutions", "deletions", "insertions",
)  # fmt: skip


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


def measured(plan: NoisePlan, folder: Path, arm: str) -> Row:
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
        result: Row = {"arm": name, "sets": plan.arms[name], "made_from": digest_of(plan, name)}
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


def suite_figures(folder: Path) -> Row:
    """The figures of a suite of one checkpoint: error rates by condition, errors and words by speaker, attention odds.

    Returns:
        ``conditions`` by name, with ``speakers``, as :func:`by_speaker` has them.
    """
    suite = json.loads((folder / "noise_suite.json").read_text(encoding="utf-8"))
    checkpoint = suite["checkpoints"][0]
    conditions = {}
    for name, figures in checkpoint["conditions"].items():
        kept = {key: figures[key] for key in KEPT_OF_CONDITION if key in figures}
        predictions = folder / "predictions" / checkpoint["name"] / f"{name}.jsonl"
        conditions[name] = kept | {"speakers": by_speaker(predictions)}
    odds = checkpoint["attention_odds"]
    return {key: suite[key] for key in KEPT_OF_SUITE} | {"conditions": conditions, "attention_odds": odds}


def by_speaker(predictions: Path) -> dict[str, list[int]]:
    """By speaker the word errors, the words, and the errors if each utterance counts at most as many as its words.

    A decoder in a loop otherwise makes as many errors in one utterance as there are in ten others.
    """
    sums: dict[str, list[int]] = {}
    for row in whole_rows(predictions):
        words = Edits(row["hits"], row["substitutions"], row["deletions"], row["insertions"])
        counts = (words.errors, words.tokens, min(words.errors, words.tokens))
        name = str(row["columns"].get("speaker", row["id"]))
        sums[name] = [sum(pair) for pair in zip(sums.get(name, [0, 0, 0]), counts, strict=True)]
    return dict(sorted(sums.items()))


def training_figures(folder: Path) -> Row:
    """The run's summary, and what it logged last: losses, gates, the distance of the two attentions."""
    rows = whole_rows(folder / "metrics.jsonl")
    last = {kind: next((row for row in reversed(rows) if row["kind"] == kind), None) for kind in ("train", "attention")}
    seconds = [row["seconds_per_step"] for row in rows if row["kind"] == "train"]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    middle = sorted(seconds)[len(seconds) // 2] if seconds else None
    return {"summary": summary, "last_logged": last, "median_seconds_per_step": middle}
