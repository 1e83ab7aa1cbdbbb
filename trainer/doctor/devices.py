"""GPUs, their driver, and the precision that a config computes in."""

from collections.abc import Iterator

from ..checks import Finding
from ..engine.accelerator import resolve_precision
from ..memory import gpus as memory
from ..memory.gpus import GIB
from .facts import Facts

FREE_SHARE = 0.9  # below it another program holds memory; this process' own context takes less than a tenth
NATIVE_BF16 = (8, 0)  # Ampere


def check_gpus(facts: Facts) -> Iterator[Finding]:
    """Each GPU; without one, why torch may see none."""
    import torch

    for index, gpu in enumerate(facts.gpus):
        major, minor = gpu.capability
        bf16 = "bf16" if gpu.capability >= NATIVE_BF16 else "no bf16, fp16 only"
        described = f"{gpu.name}, {gpu.memory_bytes / GIB:.0f} GiB, compute capability {major}.{minor}, {bf16}"
        yield Finding(f"GPU {index}", "good", described)
        if gpu.free_bytes < FREE_SHARE * gpu.memory_bytes:
            used = (gpu.memory_bytes - gpu.free_bytes) / GIB
            remedy = "nvidia-smi lists them; end them, or choose another GPU with CUDA_VISIBLE_DEVICES"
            yield Finding(f"memory of GPU {index}", "note", f"{used:.1f} GiB are in use by other programs", remedy)
        built_for = torch.cuda.get_arch_list() if torch.version.cuda else []
        if built_for and not runs_on(built_for, gpu.capability):
            found = f"torch is built for {', '.join(built_for)}, not for {major}.{minor}"
            yield Finding(f"GPU {index}", "lacks", found, "install a torch that is built for this GPU")
    if not facts.gpus:
        yield no_gpu(facts, torch.version.cuda)
    elif facts.local_processes > len(facts.gpus):
        found = f"{facts.local_processes} processes for {len(facts.gpus)}"
        yield Finding("GPUs", "lacks", found, "start as many processes as there are GPUs")


def runs_on(built_for: list[str], capability: tuple[int, int]) -> bool:
    """Whether code for these architectures (``sm_80``, ``compute_90``) runs: same major and no newer minor, or PTX."""
    for name in built_for:
        kind, _, digits = name.partition("_")
        number = digits.rstrip("abcdefghijklmnopqrstuvwxyz")
        major, minor = int(number[:-1]), int(number[-1])
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False


def no_gpu(facts: Facts, torch_cuda: str | None) -> Finding:
    """Why torch sees none, as far as that can be found out."""
    if facts.driver is None:
        return Finding("GPUs", "note", "none, and no NVIDIA driver: runs compute on the CPU")
    here = f"torch sees none, though there is NVIDIA's driver {facts.driver}"
    if torch_cuda is None:
        return Finding("GPUs", "note", f"{here}: this torch is built for CPUs", "install torch's build for CUDA")
    if facts.environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding("GPUs", "note", f"{here}: CUDA_VISIBLE_DEVICES hides them", "unset CUDA_VISIBLE_DEVICES")
    wanted = tuple(int(part) for part in torch_cuda.split(".")[:2])
    if facts.driver_cuda is not None and facts.driver_cuda[0] < wanted[0]:
        runs = ".".join(map(str, facts.driver_cuda))
        remedy = "a newer driver, or a torch for an older CUDA"
        return Finding("GPUs", "note", f"{here}: it runs CUDA {runs}, torch is built for {torch_cuda}", remedy)
    return Finding("GPUs", "note", here, "nvidia-smi should list them; in a container give it the GPUs (--gpus all)")


def check_driver(facts: Facts) -> Iterator[Finding]:
    """The driver beside the CUDA version that torch is built with."""
    import torch

    if not facts.gpus:
        return
    runs = ".".join(map(str, facts.driver_cuda)) if facts.driver_cuda else "unknown"
    found = f"{facts.driver or 'version unknown'}, CUDA up to {runs}; torch is built with CUDA {torch.version.cuda}"
    yield Finding("driver", "good", found)


def check_speed_of_precision(facts: Facts) -> Iterator[Finding]:
    """32 bits on a GPU."""
    if facts.config is None or not facts.gpus or resolve_precision(facts.config.engine.precision) != "fp32":
        return
    remedy = f"set engine.precision: {'fp16' if facts.gpus[0].capability < NATIVE_BF16 else 'auto'}"
    yield Finding("precision", "note", "fp32 is several times slower than 16 bits on this GPU", remedy)


def check_batch(facts: Facts) -> Iterator[Finding]:
    """Whether the config's batch fits the first GPU, by prediction."""
    if facts.config is None or facts.model is None:
        return
    from ..memory.verdict import batch_verdict, processes_of

    gpu = None
    if facts.gpus:
        first = facts.gpus[0]
        gpu = memory.Gpu(first.name, first.memory_bytes, has_bf16=first.capability >= NATIVE_BF16)
    processes = processes_of(facts.config, facts.processes, len(facts.gpus))
    verdict = batch_verdict(facts.config, gpu, processes, facts.asked)
    yield Finding("batch", "good" if verdict.fits else "note", verdict.found, verdict.remedy)
