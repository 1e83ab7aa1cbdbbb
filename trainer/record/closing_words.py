"""The last lines of a training run: how good the model is, where it is, and which commands come next."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config.run import RunConfig
from ..pages.formats import duration

UNTOLD = ("--resume", "--verbose")  # options that are not repeated in the next command


def closing_words(config: RunConfig, summary: dict[str, Any], arguments: Sequence[str]) -> str:
    """Lines of a name and its value; not a table, which would break commands that are to be copied.

    Args:
        summary: as summary.json has it.
        arguments: of the command that trained.
    """
    folder, steps = Path(config.output_dir), summary["steps"]
    stopped = steps < config.training.steps and not summary["stopped_early"]
    rows = {"trained": trained(config, summary), "best": best(config, summary)}
    model = next((place for name in ("best", "final") if (place := folder / name).is_dir()), None)
    if model is not None:
        last = "the last step" if config.training.ema is None else "the average at the last step"
        rows["model"] = f"{model}{'' if model.name == 'best' else f' ({last})'}"
        rows["figures"] = str(folder / "summary.json")
    rows["curves"] = f"tensorboard --logdir {shlex.quote(str(folder))}"
    if stopped:
        again = [word for word in arguments if word not in UNTOLD]
        rows["go on"] = shlex.join(["python", "launch/train.py", *again, "--resume"])
    if model is not None:
        checkpoint = f"--checkpoint {shlex.quote(str(model))}"
        if config.data.test or config.data.validation:
            rows["evaluate"] = f"python launch/eval.py {checkpoint}"
        rows["transcribe"] = f"python launch/transcribe.py {checkpoint} FILE"
        rows["export"] = f"python launch/export.py {checkpoint} --output exported"
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def trained(config: RunConfig, summary: dict[str, Any]) -> str:
    """The steps, how long they took, and why there are no more."""
    steps = f"{summary['steps']:,} steps"
    if summary["stopped_early"]:
        steps += f" of at most {config.training.steps:,}, since evaluations got no better"
    elif summary["steps"] < config.training.steps:
        steps += f" of {config.training.steps:,}"
    return f"{steps} in {duration(summary['seconds'])}, {summary['utterances_per_second']:.1f} utterances a second"


def best(config: RunConfig, summary: dict[str, Any]) -> str:
    """The best evaluation's figures and its step, or why there is none."""
    if summary["best_step"] is None:
        why = "" if config.data.validation else ", as there is no data.validation"
        return f"not known: nothing was evaluated{why}"
    words, characters = summary["word_error_rate"], summary["character_error_rate"]
    average = " (the average)" if summary.get("best_is_average") else ""
    step = f"at step {summary['best_step']:,}{average}"
    return f"word error rate {words:.2%}, character error rate {characters:.2%}, {step}"
