"""The ``performance`` section of a config: options for speed and memory."""

from pydantic import Field

from data.config import Section


class PerformanceConfig(Section):
    """docs/performance.md has the measured gain of each. Options that only help on a GPU are unmeasured, and all but
    ``pin_memory`` are off."""

    onednn: bool | None = Field(
        None,
        description="compute float32 linear layers on x86 CPUs by oneDNN; without it, measured at the start and chosen "
        "where it is faster, as on some of AMD's processors",
    )
    tf32: bool = Field(
        False,
        description="on GPUs, train with products and convolutions of float32 in 10 bits of mantissa: faster and less "
        "exact. Has no effect under bf16. Unmeasured",
    )
    cudnn_attention: bool = Field(
        False,
        description="let torch take cuDNN's attention in training on H100, H200 and B200; only with "
        "model.encoder_padding: window. It builds a plan for each new length of the labels. Unmeasured",
    )
    pin_memory: bool | None = Field(
        None,
        description="what reads ahead (data.workers above 0) puts batches into page-locked memory, from which a GPU "
        "copies without the CPU waiting. null: on with a CUDA GPU; false saves that memory. Unmeasured",
    )
    offload_activations: bool = Field(
        False,
        description="keep activations in CPU memory until the backward pass: less GPU memory, more time. Try "
        "model.gradient_checkpointing first. Unmeasured",
    )
    cache_encoder: str | None = Field(
        None,
        description="folder for the output of a frozen encoder, which later epochs and runs read instead of computing "
        "it. Ranks share it",
    )
    cache_encoder_gib: float = Field(
        20.0, gt=0, description="largest size of that folder; what does not fit is computed again"
    )
