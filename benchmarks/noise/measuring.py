"""Measures the noise experiment's arms by the suites of the plan; results are kept beside the plan.

An arm's result holds its errors by condition and utterance, which suffice for every comparison.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.comparison.planning import PlannedArm, written
from trainer.comparison.running import Runner
from trainer.evaluation.error_rates import Edits
from trainer.record.durable import write_text
from trainer.record.journal import whole_rows

from .plan import DEVELOPMENT, REPORT, NoisePlan, variant_key

Row = dict[str, Any]

KEPT_OF_SUITE = ("date", "hardware", "versions", "seconds")
KEPT_OF_CONDITION = (
    "kind", "ratio", "second_ratio", "word_error_rate", "character_error_rate",
    "substitutions", "deletions", "insertions",
)  # fmt: skip


def result_path(results: Path, arm: str) -> Path:
    """The file of an arm's result."""
    return results / "arms" / f"{arm}.json"


def wanted_suites(plan: NoisePlan, arm: str) -> list[str]:
    """The suites that measure an arm; nothing is chosen by an unmodified checkpoint, nor by a family's later seeds."""
    later_seeds = {name for arms in plan.families.values() for name in arms[1:]}
    chooses = [] if plan.arms[arm] is None or arm in later_seeds else [DEVELOPMENT]
    variants = [variant_key(name) for name, about in plan.also.items() if arm in plan.arms_of(about)]
    return [*chooses, *([REPORT] if arm in plan.reported else []), *variants]


def digest_of(plan: NoisePlan, arm: str, suite: str = "config") -> str:
    """A digest of everything that an arm's training, or its ``suite``, depends on; it tells old results."""
    path, sets = (plan.config, {}) if suite == "config" else plan.suites[suite]
    content = json.dumps(plan.arms[arm], sort_keys=True) + path.read_text(encoding="utf-8")
    content += json.dumps(sets, sort_keys=True) if sets else ""
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def measured(plan: NoisePlan, folder: Path, arm: str) -> Row:
    """The arm's result in ``folder`` without suites that are out of date; {} if there is none of today's plan."""
    try:
        found = json.loads(result_path(folder, arm).read_text(encoding="utf-8"))
        is_current = found["made_from"] == digest_of(plan, arm)
        suites = {suite for suite in plan.suites if suite in found}
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
            path, sets = plan.suites[suite]
            known, place = arm.folder / REPORT / "predictions", arm.folder / suite / "predictions"
            if sets and known.is_dir() and not place.exists():
                shutil.copytree(known, place)  # what is not given otherwise need not be measured again
            given = ["--noise-suite", str(path), "--checkpoint", f"{name}={checkpoint}", *written(sets)]
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
    """The figures of a suite of one checkpoint: error rates by condition, errors and words, attention odds.

    Returns:
        ``conditions`` by name, with ``speakers``, as :func:`by_speaker` has them, and ``errors`` of each of the
        ``utterances``, which have ``ids``, ``speakers`` and ``words``. Values are separated by spaces, ``-`` for an
        utterance that was not measured. With one other voice there are ``words_of_other``, too.
    """
    suite = json.loads((folder / "noise_suite.json").read_text(encoding="utf-8"))
    checkpoint = suite["checkpoints"][0]
    predictions = folder / "predictions" / checkpoint["name"]
    rows = {name: {row["id"]: row for row in whole_rows(predictions / f"{name}.jsonl")} for name in suite["conditions"]}
    every = {key: row for found in rows.values() for key, row in found.items()}
    ids = sorted(every)
    conditions = {}
    for name, figures in checkpoint["conditions"].items():
        kept = {key: figures[key] for key in KEPT_OF_CONDITION if key in figures}
        kept["speakers"] = by_speaker(rows[name].values())
        kept["errors"] = spaced(words_of(rows[name][key]).errors if key in rows[name] else "-" for key in ids)
        if any("words_of_other" in row for row in rows[name].values()):
            kept["words_of_other"] = spaced(rows[name].get(key, {}).get("words_of_other", "-") for key in ids)
        conditions[name] = kept
    utterances = {
        "ids": spaced(ids),
        "speakers": spaced(speaker_of(every[key]) for key in ids),
        "words": spaced(words_of(every[key]).tokens for key in ids),
    }
    about = {key: suite[key] for key in KEPT_OF_SUITE}
    return about | {"conditions": conditions, "utterances": utterances, "attention_odds": checkpoint["attention_odds"]}


def spaced(values: Iterable[object]) -> str:
    """Values in one line of JSON, in which white space separates them."""
    return " ".join("_".join(str(value).split()) or "_" for value in values)


def words_of(row: Row) -> Edits:
    return Edits(row["hits"], row["substitutions"], row["deletions"], row["insertions"])


def speaker_of(row: Row) -> str:
    return str(row["columns"].get("speaker", row["id"]))


def by_speaker(rows: Iterable[Row]) -> dict[str, list[int]]:
    """By speaker the word errors, the words, and the errors if each utterance counts at most as many as its words.

    A decoder in a loop otherwise makes as many errors in one utterance as there are in ten others.
    """
    sums: dict[str, list[int]] = {}
    for row in rows:
        words = words_of(row)
        counts = (words.errors, words.tokens, min(words.errors, words.tokens))
        name = speaker_of(row)
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
