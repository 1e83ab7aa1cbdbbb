"""Whether a config's batch fits a GPU, in a line: for ``launch/train.py --check`` and the doctor."""

from dataclasses import dataclass

from ..config.microbatches import settled
from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.accelerator import launched_processes
from .gpus import GIB, Gpu, gpu_here

ANY_GPU = "A100 40GB"  # in the command that is offered where there is none


@dataclass(frozen=True)
class Verdict:
    """Whether the batch fits (None: not predicted), the line that says so, and a command that says more, or nothing."""

    fits: bool | None
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.found, self.remedy)))


def precision_on(config: RunConfig, gpu: Gpu | None) -> str:
    """What ``auto`` means there.

    Raises:
        ConfigError: if the GPU lacks what the config asks for.
    """
    wanted, has_bf16 = config.engine.precision, gpu is None or gpu.has_bf16
    if wanted == "bf16" and not has_bf16 and gpu is not None:
        raise ConfigError(f"engine.precision is 'bf16', which the {gpu.name} lacks", "take fp16 or fp32")
    return ("bf16" if has_bf16 else "fp32") if wanted == "auto" else wanted


def batch_verdict(config: RunConfig, gpu: Gpu | None, gpus: int, asked: str) -> Verdict:
    """Predict the largest step that the config lets through; takes seconds where there is a GPU.

    Args:
        gpu: one of those here; None without any.
        gpus: how many the run uses, one for each process.
        asked: the config's file and what overrides it, as on a command line.
    """
    command = f"python launch/batch_size.py --config {asked} --gpu"
    if gpu is None and config.training.batch_size == "auto":
        found = "auto is found at the start of the run, by the memory that is free then"
        return Verdict(None, found, f'{command} "{ANY_GPU}" says what it finds on such a GPU')
    if gpu is None:
        return Verdict(None, "not predicted without a GPU", f'{command} "{ANY_GPU}" says which fits')
    from .advice import fits, largest_batch  # torch and transformers: seconds to import
    from .cells import cell_of
    from .prediction import StepMemory

    try:
        if config.training.batch_size == "auto":
            return found_verdict(config, gpu, gpus)
        config = settled(config, gpus)
        wanted = config.training.microbatch
        memory = StepMemory(cell_of(config, precision=precision_on(config, gpu), processes=gpus))
        step = memory.at(wanted)
    except ConfigError as error:  # only the hub knows the model's shape, or the GPU lacks the precision
        return Verdict(None, f"not predicted: {error}")
    where = f"{gpus} x {gpu.name}" if gpus > 1 else gpu.name
    used = (step.device_used_bytes or 0) / GIB
    if fits(step, gpu):
        return Verdict(
            True, f"{wanted} fits {where} with {gpu.memory_bytes / GIB - used:.1f} GiB to spare, as predicted"
        )
    largest = largest_batch(memory, gpu)
    most = f"the largest that does is {largest}" if largest else "not even one utterance does"
    takes = f"it takes {used:.1f} GiB of {gpu.memory_bytes / GIB:.1f}, as predicted"
    more = f'{command} "{gpu.memory_bytes / GIB:.1f} GiB" --gpus {gpus} says what would make it fit'
    return Verdict(False, f"{wanted} does not fit {where}: {takes}; {most}", more)


def found_verdict(config: RunConfig, gpu: Gpu, gpus: int) -> Verdict:
    """:func:`batch_verdict` of ``auto``: what a run would find there, with nothing else on the GPU.

    Raises:
        ConfigError: if nothing can be predicted, or the processes cannot share a step out.
    """
    from .cells import cell_of
    from .finding import found_on, headroom_of
    from .needs import Needs, kept_predictions

    cell = cell_of(settled(config, gpus), precision=precision_on(config, gpu), processes=gpus)
    found = found_on(Needs(cell, kept=kept_predictions()), gpu, headroom_of(config))
    where = f"{gpus} x {gpu.name}" if gpus > 1 else gpu.name
    if found is None:
        return Verdict(False, f"auto finds nothing for {where}: not even one utterance fits, as predicted")
    spare = f"{(gpu.memory_bytes - found.used) / GIB:.1f} GiB to spare"
    several = f"{found.accumulation} microbatch{'' if found.accumulation == 1 else 'es'}"
    return Verdict(True, f"auto finds {several} of {found.size} for {where}, with {spare}, as predicted")


def processes_of(config: RunConfig, launched: int, gpus: int) -> int:
    """How many processes a run would have here: as many as are launched now; where no launcher started this process,
    one for each GPU if ZeRO shards the model's states, else one."""
    return launched if launched > 1 or not config.engine.zero_stage else max(1, gpus)


def verdict_here(config: RunConfig, asked: str) -> Verdict:
    """:func:`batch_verdict` for the GPUs of this machine."""
    import torch

    processes = processes_of(config, launched_processes(), torch.cuda.device_count())
    return batch_verdict(config, gpu_here(), processes, asked)
