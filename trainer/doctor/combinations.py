"""Combinations that are known to fail or to be slow: a table of what to look for, why it is bad, and the remedy."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..checks import Finding, State
from .facts import Facts

OFF = ("", "0", "false", "no", "off")
NATIVE_ALLOCATOR_ONLY = ("max_split_size_mb", "expandable_segments", "garbage_collection_threshold", "roundup_power2")
P2P_DRIVER = (550, 40, 7)  # accelerate refuses several RTX 40 under an older driver
P2P_VARIABLES = ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE")


@dataclass(frozen=True)
class Combination:
    """What is combined, how bad that is and why, what to do, and whether a machine has it."""

    name: str
    state: State
    reason: str
    remedy: str
    is_here: Callable[[Facts], bool]


def release(text: str) -> tuple[int, ...]:
    """A version's numbers; what follows them does not count."""
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", text)[0]))


def is_set(facts: Facts, name: str) -> bool:
    return facts.environment.get(name, "").strip().lower() not in OFF


def allocator(facts: Facts) -> str:
    return ",".join(facts.environment.get(name, "") for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"))


def several_rtx_40(facts: Facts) -> bool:
    """As accelerate decides it: a variable counts if it is set, whatever its value."""
    several = sum("RTX 40" in gpu.name for gpu in facts.gpus) > 1
    old = facts.driver is not None and release(facts.driver) < P2P_DRIVER
    unset = any(name not in facts.environment for name in P2P_VARIABLES)
    return several and old and unset and facts.processes > 1


def on_gpus(facts: Facts) -> bool:
    return bool(facts.gpus)


def variable(
    name: str, effect: str, unless: str = "", matters: Callable[[Facts], bool] = lambda facts: True
) -> Combination:
    """An environment variable that is set and had better not be.

    Args:
        effect: what it does.
        unless: when it is rightly set.
        matters: whether it does anything on a machine.
    """
    remedy = f"unset {name}{unless}"
    return Combination(
        name, "note", f"{name} is set: {effect}", remedy, lambda facts: is_set(facts, name) and matters(facts)
    )


KNOWN = (
    variable(
        "ACCELERATE_USE_CPU",
        "it turns DeepSpeed off without a word; engine.zero_stage is refused",
        "; without a GPU the CPU is used anyway",
        lambda facts: facts.config is None,
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
    variable("PYTORCH_NO_CUDA_MEMORY_CACHING", "CUDA allocates every tensor anew", matters=on_gpus),
    variable("CUDA_LAUNCH_BLOCKING", "every kernel is waited for", matters=on_gpus),
    Combination(
        "TORCH_DISTRIBUTED_DEBUG",
        "note",
        "TORCH_DISTRIBUTED_DEBUG is DETAIL: every collective is checked by a second one",
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
    variable(
        "NCCL_P2P_DISABLE",
        "GPUs of this machine exchange data through CPU memory",
        ", unless they hang without it",
        lambda facts: len(facts.gpus) > 1 and not any("GeForce" in gpu.name for gpu in facts.gpus),
    ),
    variable(
        "NCCL_IB_DISABLE",
        "machines exchange data over TCP",
        ", unless there is no InfiniBand",
        lambda facts: facts.processes > facts.local_processes,
    ),
    variable("DS_SKIP_CUDA_CHECK", "what DeepSpeed compiles may not suit torch's CUDA"),
    variable(
        "BNB_CUDA_VERSION",
        "bitsandbytes loads that version's library, whatever torch has",
        matters=lambda facts: "bitsandbytes" in facts.versions,
    ),
)


def check_known_combinations(facts: Facts) -> Iterator[Finding]:
    """Those of the table that this machine has."""
    found = [known for known in KNOWN if known.is_here(facts)]
    for known in found:
        yield Finding(known.name, known.state, known.reason, known.remedy)
    if not found:
        yield Finding("known bad combinations", "good", f"none of {len(KNOWN)}")
