"""Builds the `Accelerator` that a config asks for: one process, DDP or DeepSpeed ZeRO, on CPUs or GPUs.

Nothing else touches the settings of Accelerate and DeepSpeed. The config decides; a launcher that asks for another
engine is refused. What ranks exchange beyond gradients is here too.
"""

import importlib.util
import os
import socket
from datetime import timedelta
from typing import Any

import torch

from ..config.reading import ConfigError
from ..config.run import RunConfig
from .device import Kernels, computes_bf16, settle_device
from .optimizer import build_optimizer
from .stopping import not_cut_off

# In numbers, not bytes. DeepSpeed's defaults, 5e8 and 1e9, make buffers as large as a whole Whisper, and ZeRO-3 would
# never release a parameter. A layer of whisper-large has about 3e7 parameters, its embeddings have 7e7.
BUCKET_NUMBERS = 50_000_000
LIVE_PARAMETERS = 100_000_000


def launched_processes() -> int:
    """How many processes the launcher started, by this one's environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def resolve_precision(wanted: str) -> str:
    """``auto`` is bf16 on a GPU that has it, else fp32. Raises ConfigError if the GPU lacks the precision asked for."""
    on_gpu = torch.cuda.is_available()
    has_bf16 = not on_gpu or computes_bf16()
    if wanted == "auto":
        return "bf16" if on_gpu and has_bf16 else "fp32"
    if wanted == "bf16" and not has_bf16:
        raise ConfigError(f"engine.precision is 'bf16', which {torch.cuda.get_device_name()} lacks", "use fp16 or fp32")
    if wanted == "fp16" and not on_gpu:
        raise ConfigError("engine.precision is 'fp16', which needs a GPU", "use fp32 or bf16 here")
    return wanted


def check_engine(config: RunConfig) -> None:
    """Raises: ConfigError: if DeepSpeed is missing, or the launcher asks for another engine. Starts nothing."""
    stage = config.engine.zero_stage
    if stage and importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(
            f"engine.zero_stage is {stage}, which needs DeepSpeed", "pip install deepspeed, or set it to 0 for DDP"
        )
    launcher_stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and launcher_stage not in (None, str(stage)):
        raise ConfigError(
            f"engine.zero_stage is {stage}, but the launcher was started with --zero_stage {launcher_stage}",
            "leave DeepSpeed out of the launcher's flags, the config decides",
        )
    if stage and os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        raise ConfigError(
            f"engine.zero_stage is {stage}, but ACCELERATE_USE_CPU is set, which turns DeepSpeed off without a word",
            "unset it (without a GPU the CPU is used anyway)",
        )


def build_accelerator(config: RunConfig) -> Any:
    """The `Accelerator` of a run; starts the process group. Raises ConfigError if the engine cannot run here."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    check_engine(config)
    on_gpu = torch.cuda.is_available()
    precision = resolve_precision(config.engine.precision)
    if config.engine.zero_stage and "RANK" not in os.environ:
        pretend_launched()
    distributed = "LOCAL_RANK" in os.environ
    timeout = timedelta(minutes=config.engine.timeout_minutes)
    handlers: list[Any] = []
    if distributed:
        handlers.append(InitProcessGroupKwargs(backend="nccl" if on_gpu else "gloo", timeout=timeout))
        # Saves a copy: gradients live in DDP's buckets, and beside them only while they accumulate.
        # Buffers, which PiSSA's adapters have, never change.
        handlers.append(DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False))
    options: dict[str, Any] = {
        "gradient_accumulation_steps": config.training.accumulation,
        "mixed_precision": "no" if precision == "fp32" else precision,
        "kwargs_handlers": handlers,
    }
    if config.engine.zero_stage:
        options["deepspeed_plugin"] = deepspeed_plugin(config, precision, on_gpu)
    else:
        os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
        options["cpu"] = not on_gpu and not torch.backends.mps.is_available()
    accelerator = Accelerator(**options)
    performance = config.performance
    settle_device(accelerator.device, Kernels(performance.tf32, performance.cudnn_attention))
    if accelerator.num_processes != launched_processes():
        raise ConfigError(
            f"the launcher started {launched_processes()} processes, but only {accelerator.num_processes} found each "
            "other; on CPUs use: torchrun --nproc_per_node N launch/train.py ..."
        )
    return accelerator


def pretend_launched() -> None:
    """Set the environment of a launched process, a group of one: DeepSpeed needs it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(
        RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )


def deepspeed_plugin(config: RunConfig, precision: str, on_gpu: bool) -> Any:
    """Accelerate's plugin around :func:`deepspeed_config`."""
    from accelerate import DeepSpeedPlugin

    if not on_gpu:
        import deepspeed.ops

        # Otherwise compiled at the first start: a minute that looks like a hang, and a lock file if it is killed.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return DeepSpeedPlugin(hf_ds_config=deepspeed_config(config, precision), zero3_init_flag=False)


def deepspeed_config(config: RunConfig, precision: str) -> dict[str, Any]:
    """All of DeepSpeed's settings for a run: nothing is left to ``auto`` or to Accelerate's defaults."""
    stage, offload = config.engine.zero_stage, config.engine.cpu_offload
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": BUCKET_NUMBERS,
        "allgather_bucket_size": BUCKET_NUMBERS,
    }
    if offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
        zero["stage3_param_persistence_threshold"] = 10_000
        zero["stage3_prefetch_bucket_size"] = BUCKET_NUMBERS
        zero["stage3_max_live_parameters"] = LIVE_PARAMETERS
        zero["stage3_max_reuse_distance"] = LIVE_PARAMETERS
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": config.training.batch_size,
        "gradient_accumulation_steps": config.training.accumulation,
        "gradient_clipping": config.training.max_gradient_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        "data_types": {"grad_accum_dtype": "fp32"},
    }
    if offload != "none":
        # Otherwise Accelerate replaces the optimizer by a CPUAdam of its own, whose weight decay is L2 unless it
        # replaces torch's AdamW.
        settings["zero_force_ds_cpu_optimizer"] = False
    if precision == "bf16":
        settings["bf16"] = {"enabled": True}
    if precision == "fp16":
        settings["fp16"] = {"enabled": True}
    return settings


def set_microbatches(accelerator: Any, config: RunConfig) -> None:
    """Have the engine split each step as the config does now, from a step's first microbatch on.

    Under DeepSpeed only before :func:`prepare`, which builds its engine with these numbers.
    """
    training = config.training
    accelerator.gradient_accumulation_steps = training.accumulation
    begin_step(accelerator)
    if accelerator.distributed_type.name == "DEEPSPEED":
        accelerator.state.deepspeed_plugin.gradient_accumulation_steps = training.accumulation
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": training.microbatch,
            "gradient_accumulation_steps": training.accumulation,
        }


def begin_step(accelerator: Any) -> None:
    """Say that the next microbatch is a step's first one, whatever Accelerate has counted or loaded."""
    accelerator.step = 0


def prepare(config: RunConfig, accelerator: Any, model: Any) -> tuple[Any, Any]:
    """The model and its optimizer, wrapped by the engine that the config asks for.

    Raises ConfigError if the optimizer's library is missing, or another engine was built.
    """
    optimizer = build_optimizer(model, config, accelerator.device)
    model, optimizer = accelerator.prepare(model, optimizer)
    # Libraries have put another engine in place of the one asked for, without a word.
    stage = model.zero_optimization_stage() if type(model).__name__ == "DeepSpeedEngine" else 0
    if stage != config.engine.zero_stage:
        raise ConfigError(
            f"engine.zero_stage is {config.engine.zero_stage}, but {type(model).__name__} with stage {stage} was built"
        )
    return model, optimizer


ENDED: list[Any] = []  # process groups, kept as long as the process lives


def end_engine(accelerator: Any) -> None:
    """Wait for all ranks, and leave their process group; all ranks call it."""
    accelerator.wait_for_everyone()  # no rank takes its end of the connections away while another still uses them
    with not_cut_off():  # rank 0 may leave first, and take the launcher's store with it
        leave_process_group()
    accelerator.end_training()


def leave_process_group() -> None:
    """End the process group, if there is one, and keep its object.

    The object's destructor joins a thread of gloo while it holds the interpreter's lock. The thread may wait for that
    lock, to free the tensors of the last collective; the rank would then hang for ever after all its work is done.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        ENDED.append(torch.distributed.group.WORLD)
        torch.distributed.destroy_process_group()


def bare_model(model: Any) -> Any:
    """The model inside DDP's or DeepSpeed's wrapper. Accelerate's function for it imports DeepSpeed: seconds."""
    return getattr(model, "module", model)


def parameters_are_spread(accelerator: Any) -> bool:
    """Whether parameters are spread over ranks (ZeRO-3), so that all ranks must take part in every forward pass."""
    if accelerator.distributed_type.name != "DEEPSPEED" or accelerator.num_processes == 1:
        return False
    return accelerator.state.deepspeed_plugin.zero_stage == 3


def sum_over_ranks(accelerator: Any, values: torch.Tensor) -> torch.Tensor:
    """The sum of every rank's ``values``, which it overwrites; every rank must call it."""
    if accelerator.num_processes > 1:
        torch.distributed.all_reduce(values)
    return values


def gather_objects(accelerator: Any, value: Any) -> list[Any]:
    """``value`` of every rank, in rank order; every rank must call it. It is pickled on the way."""
    if accelerator.num_processes == 1:
        return [value]
    values: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(values, value)
    return values


def describe_engine(accelerator: Any) -> str:
    """The engine that runs, in words, whatever was asked for."""
    if accelerator.distributed_type.name == "DEEPSPEED":
        kind = f"DeepSpeed ZeRO-{accelerator.state.deepspeed_plugin.zero_stage}"
    else:
        kind = "DDP" if accelerator.num_processes > 1 else "one process"
    device = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else accelerator.device.type
    precision = "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    return f"{kind}, {accelerator.num_processes} x {device}, {precision}"
