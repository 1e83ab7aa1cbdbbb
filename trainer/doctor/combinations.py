"""Combinations that are known to fail or to be slow: a table of what to look for, why it is bad, and the remedy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..checks import Finding, State
from .facts import Facts

TRUE = ("1", "true", "yes", "on")
NATIVE_ALLOCATOR_ONLY = ("max_split_size_mb", "expandable_segments", "garbage_collection_threshold", "roundup_power2")
P2P_DRIVER = (550, 40, 7)  # RTX 40: accelerate refuses several of them under an older one
P2P_VARIABLES = ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE")


@dataclass(frozen=True)
class Combination:
    """One of them.

    Attributes:
        name: what is combined.
        state: note or lacks.
        reason: why it is bad.
        remedy: what to do.
        is_here: whether a machine has it.
    """

    name: str
    state: State
    reason: str
    remedy: str
    is_here: Callable[[Facts], bool]


def release(text: str) -> tuple[int, ...]:
    """A version's numbers; what follows them does not count."""
    numbers = []
    for part in text.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def at_least(facts: Facts, name: str, *numbers: int) -> bool:
    return name in facts.versions and release(facts.versions[name]) >= numbers


def below(facts: Facts, name: str, *numbers: int) -> bool:
    return name in facts.versions and release(facts.versions[name]) < numbers


def is_set(facts: Facts, name: str) -> bool:
    return facts.environment.get(name, "").strip().lower() in TRUE


def allocator(facts: Facts) -> str:
    return ",".join(facts.environment.get(name, "") for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"))


def several_rtx_40(facts: Facts) -> bool:
    """As accelerate asks it, which looks for the variables and not at their values."""
    several = sum("RTX 40" in gpu.name for gpu in facts.gpus) > 1
    old = facts.driver is not None and release(facts.driver) < P2P_DRIVER
    unset = any(name not in facts.environment for name in P2P_VARIABLES)
    return several and old and unset and facts.processes > 1


KNOWN = (
    Combination(
        "transformers 5.23 and Python",
        "lacks",
        "transformers 5.23 needs Python 3.11 or later",
        "a newer Python, or transformers below 5.23",
        lambda facts: at_least(facts, "transformers", 5, 23) and facts.python < (3, 11),
    ),
    Combination(
        "peft and transformers",
        "lacks",
        "peft 0.21 needs transformers 4.43 or later",
        "pip install 'transformers>=4.56'",
        lambda facts: at_least(facts, "peft", 0, 21) and below(facts, "transformers", 4, 43),
    ),
    Combination(
        "datasets and transformers",
        "lacks",
        "datasets 5.2 needs a huggingface_hub that transformers 4 does not take",
        "transformers 5, or datasets 5.0.1",
        lambda facts: at_least(facts, "datasets", 5, 2) and below(facts, "transformers", 5),
    ),
    Combination(
        "ACCELERATE_USE_CPU and DeepSpeed",
        "note",
        "ACCELERATE_USE_CPU is set, which turns DeepSpeed off without a word; engine.zero_stage is refused",
        "unset ACCELERATE_USE_CPU: without a GPU the CPU is used anyway",
        lambda facts: facts.config is None and is_set(facts, "ACCELERATE_USE_CPU"),
    ),
    Combination(
        "allocator",
        "note",
        "torch's allocator is set to cudaMallocAsync, which ignores the other options given",
        "take backend:cudaMallocAsync out, or the other options",
        lambda facts: (
            "cudaMallocAsync" in allocator(facts) and any(name in allocator(facts) for name in NATIVE_ALLOCATOR_ONLY)
        ),
    ),
    Combination(
        "allocator without its cache",
        "note",
        "PYTORCH_NO_CUDA_MEMORY_CACHING is set: every tensor waits for CUDA to allot it",
        "unset PYTORCH_NO_CUDA_MEMORY_CACHING",
        lambda facts: bool(facts.gpus) and "PYTORCH_NO_CUDA_MEMORY_CACHING" in facts.environment,
    ),
    Combination(
        "CUDA_LAUNCH_BLOCKING",
        "note",
        "CUDA_LAUNCH_BLOCKING is set: every kernel is waited for",
        "unset CUDA_LAUNCH_BLOCKING",
        lambda facts: bool(facts.gpus) and is_set(facts, "CUDA_LAUNCH_BLOCKING"),
    ),
    Combination(
        "TORCH_DISTRIBUTED_DEBUG",
        "note",
        "TORCH_DISTRIBUTED_DEBUG is DETAIL: every collective is checked by another",
        "unset TORCH_DISTRIBUTED_DEBUG",
        lambda facts: facts.environment.get("TORCH_DISTRIBUTED_DEBUG", "").upper() == "DETAIL",
    ),
    Combination(
        "several RTX 40 and an old driver",
        "lacks",
        "several GeForce RTX 40 under a driver before 550.40.07: accelerate refuses to start their processes",
        "NCCL_P2P_DISABLE=1 NCCL_IB_DISABLE=1, which accelerate launch sets by itself, or a newer driver",
        several_rtx_40,
    ),
    Combination(
        "NCCL without peer-to-peer",
        "note",
        "NCCL_P2P_DISABLE is set: GPUs of this machine exchange data through CPU memory",
        "unset NCCL_P2P_DISABLE, unless they hang without it",
        lambda facts: (
            len(facts.gpus) > 1
            and is_set(facts, "NCCL_P2P_DISABLE")
            and not any("GeForce" in gpu.name for gpu in facts.gpus)
        ),
    ),
    Combination(
        "NCCL without InfiniBand",
        "note",
        "NCCL_IB_DISABLE is set: machines exchange data over TCP",
        "unset NCCL_IB_DISABLE, unless there is no InfiniBand",
        lambda facts: facts.processes > facts.local_processes and is_set(facts, "NCCL_IB_DISABLE"),
    ),
    Combination(
        "DeepSpeed's CUDA check",
        "note",
        "DS_SKIP_CUDA_CHECK is set: what DeepSpeed compiles may not suit torch's CUDA",
        "unset DS_SKIP_CUDA_CHECK",
        lambda facts: is_set(facts, "DS_SKIP_CUDA_CHECK"),
    ),
    Combination(
        "bitsandbytes' CUDA version",
        "note",
        "BNB_CUDA_VERSION is set: bitsandbytes loads that version's library, whatever torch has",
        "unset BNB_CUDA_VERSION",
        lambda facts: "bitsandbytes" in facts.versions and bool(facts.environment.get("BNB_CUDA_VERSION")),
    ),
)


def check_known_combinations(facts: Facts) -> Iterator[Finding]:
    """Those of the table that this machine has."""
    found = [known for known in KNOWN if known.is_here(facts)]
    for known in found:
        yield Finding(known.name, known.state, known.reason, known.remedy)
    if not found:
        yield Finding("known bad combinations", "good", f"none of {len(KNOWN)}")
