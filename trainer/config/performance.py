"""The ``performance`` section of a config: what changes speed and memory, and results by no more than rounding."""

from pydantic import Field

from data.config import Section


class PerformanceConfig(Section):
    """Each with its measured gain in docs/performance.md; what only a GPU could show is off and unmeasured."""

    onednn: bool = Field(
        True, description="float32 linear layers on x86 CPUs through oneDNN; twice as fast as MKL on AMD's processors"
    )
    tf32: bool = Field(
        False,
        description="float32 products on GPUs with 10 bits of mantissa: faster, coarser; bf16 does not need it. "
        "Unmeasured",
    )
    pin_memory: bool = Field(
        False,
        description="the threads that read ahead (data.workers) put batches into memory from which a GPU copies by "
        "itself. Unmeasured",
    )
    offload_activations: bool = Field(
        False,
        description="activations wait for the backward pass in CPU memory: less GPU memory, more time; does nothing on "
        "a CPU. Unmeasured; try model.gradient_checkpointing first",
    )
    cache_encoder: str | None = Field(
        None,
        description="folder where a frozen encoder's output is kept, so that from the second epoch on it is read "
        "and not computed; shared by ranks and runs. It is computed without dropout",
    )
    cache_encoder_gib: float = Field(20.0, gt=0, description="size of the folder; what does not fit is computed")
