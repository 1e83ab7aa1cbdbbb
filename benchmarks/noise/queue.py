"""Arms one after the other, each training and suite in a process of its own; what was killed goes on where it stood."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from trainer.comparison.planning import PlannedArm, check_arm
from trainer.comparison.running import LAUNCH, clear_unfinished, is_finished, tell_and_run, training_command
from trainer.config.reading import ConfigError, dump_config
from trainer.config.run import RunConfig
from trainer.engine.stopping import StopRequest
from trainer.record.durable import write_text
from trainer.record.lock import only_one

from .arm_result import suite_figures, training_figures
from .plan import Plan, config_of

DEVELOPMENT, REPORT = "development", "report"


def result_path(results: Path, arm: str) -> Path:
    return results / "arms" / f"{arm}.json"


def wanted_suites(plan: Plan, arm: str) -> list[str]:
    """Which suites measure it; a checkpoint as it is has nothing to choose."""
    chooses = [] if plan.arms[arm] is None else [DEVELOPMENT]
    return [*chooses, REPORT] if arm in plan.reported else chooses


def digest_of(plan: Plan, folder: Path, arm: str, suite: str | None = None) -> str:
    """Of all that an arm's training, or its ``suite``, is made from; where that changes, a result counts no more."""
    file = folder / (plan.config if suite is None else getattr(plan, suite))
    content = json.dumps(plan.arms[arm], sort_keys=True) + file.read_text(encoding="utf-8")
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def measured(plan: Plan, folder: Path, arm: str) -> dict[str, Any]:
    """The arm's result with those suites that are of the plan and its files as they are now; {} without one."""
    try:
        found = json.loads(result_path(folder, arm).read_text(encoding="utf-8"))
        is_current = found["made_from"] == digest_of(plan, folder, arm)
        old = [
            suite
            for suite in (DEVELOPMENT, REPORT)
            if suite in found and found[suite]["made_from"] != digest_of(plan, folder, arm, suite)
        ]
    except (OSError, ValueError, KeyError):
        return {}
    return {key: value for key, value in found.items() if key not in old} if is_current else {}


def is_done(plan: Plan, folder: Path, arm: str) -> bool:
    """Whether the arm's result is there with every suite that is wanted of it."""
    return set(wanted_suites(plan, arm)) <= measured(plan, folder, arm).keys()


def run_queue(plan: Plan, folder: Path, output: Path, share: tuple[int, int] = (1, 1)) -> dict[str, str]:
    """Run what is not done yet; results go beside the plan. Returns the arms that failed, and why.

    Args:
        folder: the plan's.
        output: the runs'.
        share: this queue and the number of queues at work, from 1: of 2, the first takes every other arm.

    Raises:
        ConfigError: for an arm whose config is wrong, before any is run.
        Stopped: if a stop was asked for.
    """
    configs = {arm: config_of(plan, folder, arm, output) for arm in plan.arms}
    output.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    number, queues = share
    own = output / f"queue_{number}_of_{queues}"
    own.mkdir(exist_ok=True)
    with StopRequest() as stop, only_one(own) as lock:
        for arm, config in list(configs.items())[number - 1 :: queues]:
            if is_done(plan, folder, arm):
                continue
            log = output / f"{arm}.log"
            told = run_arm(plan, folder, arm, config, log, (stop, lock))
            if told is not None:
                failed[arm] = f"{told}; {log}"
                print(f"arm {arm} failed: {failed[arm]}", file=sys.stderr, flush=True)
    return failed


def run_arm(plan: Plan, folder: Path, arm: str, config: RunConfig, log: Path, control: tuple[Any, int]) -> str | None:
    """Train, measure and write down; None, or why there is no result."""
    run, is_trained = Path(config.output_dir), plan.arms[arm] is not None
    file = log.with_suffix(".yaml")
    write_text(file, dump_config(config))
    planned = PlannedArm(arm, config, "validation", is_trained)
    try:
        check_arm(planned)
    except ConfigError as error:
        return str(error)
    if is_trained and not is_finished(planned):
        clear_unfinished(planned)
        code = tell_and_run(f"{arm}: training", training_command([sys.executable], file), log, *control)
        if code:
            return f"training ended with exit code {code}"
    shutil.rmtree(run / "checkpoints", ignore_errors=True)  # a gigabyte that nothing goes on from
    result: dict[str, Any] = {"arm": arm, "sets": plan.arms[arm], "made_from": digest_of(plan, folder, arm)}
    if is_trained:
        result["training"] = training_figures(run)
    before = measured(plan, folder, arm)
    checkpoint = run / "final" if is_trained else config.model.checkpoint
    for suite in wanted_suites(plan, arm):
        if suite in before:
            result[suite] = before[suite]
            continue
        command = [sys.executable, str(LAUNCH / "eval.py"), "--noise-suite", str(folder / getattr(plan, suite))]
        command += ["--checkpoint", f"{arm}={checkpoint}", "--config", str(file), "--output", str(run / suite)]
        code = tell_and_run(f"{arm}: {suite}", command, log, *control)
        if code:
            return f"the {suite} suite ended with exit code {code}"
        result[suite] = {"made_from": digest_of(plan, folder, arm, suite)} | suite_figures(run / suite)
    path = result_path(folder, arm)
    path.parent.mkdir(exist_ok=True)
    write_text(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return None
