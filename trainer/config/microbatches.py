"""A step's utterances shared out over processes and microbatches.

With ``training.step_utterances`` each process plans its data in batches of its whole share, and splits each of them
into microbatches. How small these are changes no order of the data and no update but by rounding, so that they can be
found by what fits, and be others after a resume.
"""

import math

from .reading import ConfigError
from .run import RunConfig


def share_of(step_utterances: int, processes: int) -> int:
    """A process's utterances of a step.

    Raises:
        ConfigError: if they cannot be shared out evenly.
    """
    if step_utterances % processes:
        below = step_utterances // processes * processes
        near = " or ".join(str(number) for number in (below, below + processes) if number)
        raise ConfigError(
            f"training.step_utterances is {step_utterances}, which {processes} processes cannot share out evenly",
            f"set it to {near}, or start another number of processes",
        )
    return step_utterances // processes


def counted_processes(number: int) -> str:
    """``1 process``, ``2 processes``."""
    return f"{number} process{'' if number == 1 else 'es'}"


def settled(config: RunConfig, processes: int, found: int | None = None) -> RunConfig:
    """The config with numbers for ``batch_size`` and ``accumulation``, as it runs on so many processes.

    A config without ``step_utterances`` has them already. Microbatches are made as equal as they can be.

    Args:
        found: utterances that a microbatch may have at most; without it what the config says, and under ``auto`` a
            process's whole share.

    Raises:
        ConfigError: if the utterances of a step cannot be shared out, or ``accumulation`` says otherwise.
    """
    training = config.training
    if training.step_utterances is None:
        return config
    share = share_of(training.step_utterances, processes)
    most = found or (share if training.batch_size == "auto" else training.microbatch)
    accumulation = math.ceil(share / most)
    if found is None and training.accumulation not in (1, accumulation):
        raise ConfigError(
            f"training.accumulation is {training.accumulation}, but step_utterances {training.step_utterances} on "
            f"{counted_processes(processes)} in microbatches of {training.batch_size} needs {accumulation}",
            "take accumulation out, since it follows from step_utterances, or take step_utterances out",
        )
    numbers = {"batch_size": math.ceil(share / accumulation), "accumulation": accumulation}
    return config.model_copy(update={"training": training.model_copy(update=numbers)})


def in_microbatches(config: RunConfig, processes: int) -> RunConfig:
    """The settled config without ``step_utterances``: its data are planned in microbatches, as benchmarks time them."""
    config = settled(config, processes)
    return config.model_copy(update={"training": config.training.model_copy(update={"step_utterances": None})})
