"""AdamW in its several makes, its parameter groups, and the learning rates of a step.

The rates are a pure function of the step and the config, so that resuming needs no scheduler. What DeepSpeed must be
told of an optimizer is in accelerator.py.
"""

import importlib.util
import math
import os
import re
import shutil
import sys
from typing import Any

import torch
from torch import nn

from ..config.reading import ConfigError
from ..config.run import OptimizerConfig, RunConfig

BITSANDBYTES = {"adamw_8bit": "AdamW8bit", "paged_adamw": "PagedAdamW", "paged_adamw_8bit": "PagedAdamW8bit"}
PAGED_STATES = ("state1", "state2")  # bitsandbytes pages those of 100,000 numbers and more
FUSED = ("cpu", "cuda")  # devices with a fused AdamW; on CPUs it is five times as fast as the default


def optimizer_name(config: RunConfig) -> str:
    """The optimizer that a run uses: ``auto`` is cpu_adam where its states are offloaded, else adamw."""
    if config.optimizer.name == "auto":
        return "adamw" if config.engine.cpu_offload == "none" else "cpu_adam"
    return config.optimizer.name


def check_optimizer(config: RunConfig) -> None:
    """Raises: ConfigError: if the optimizer lacks a library, GPU or compiler here, or an option would do nothing."""
    settings, offload = config.optimizer, config.engine.cpu_offload
    name = optimizer_name(config)
    told = f"optimizer.name is {settings.name!r}"
    if name in BITSANDBYTES:
        if offload != "none":
            raise ConfigError(
                f"{told}, which is for states on the GPU, but engine.cpu_offload is {offload!r}",
                "take cpu_adam, or cpu_offload none",
            )
        if name.startswith("paged") and not torch.cuda.is_available():
            raise ConfigError(
                f"{told}, whose states move between GPU and CPU memory: it needs a CUDA GPU", "take adamw"
            )
        if importlib.util.find_spec("bitsandbytes") is None:
            raise ConfigError(f"{told}, which needs bitsandbytes", "pip install bitsandbytes, or take adamw")
    if name == "cpu_adam":
        if offload == "none":
            raise ConfigError(f"{told}, which needs engine.cpu_offload: optimizer or parameters; it is 'none'")
        missing = [tool for tool in (os.environ.get("CXX", "c++"), "ninja") if shutil.which(tool, path=tools()) is None]
        if missing and importlib.util.find_spec("deepspeed.ops.adam.cpu_adam_op") is None:
            raise ConfigError(
                f"engine.cpu_offload is {offload!r}, whose optimizer cpu_adam DeepSpeed compiles at its first use: "
                f"{' and '.join(missing)} cannot be found",
                "install it, or set optimizer.name: adamw",
            )
    if settings.encoder_learning_rate is not None and not config.model.trains_encoder:
        raise ConfigError(
            f"optimizer.encoder_learning_rate is {settings.encoder_learning_rate:g}, but nothing of the encoder is "
            f"trained (model.strategy is {config.model.strategy!r})",
            "take it out",
        )


def tools() -> str:
    """The search path for programs, with the folder of this Python: its environment need not be activated."""
    return os.pathsep.join((os.environ.get("PATH", ""), os.path.dirname(sys.executable)))


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Weight decay is for matrices, LoRA's among them; norms, biases, embeddings and gates stay out of it."""
    return parameter.ndim > 1 and "embed_" not in name and ".gate." not in name and "proj_out" not in name


def learning_rates(config: OptimizerConfig) -> dict[str, float]:
    """The peak learning rate of each group."""
    return {
        "encoder": config.encoder_learning_rate or config.learning_rate,
        "decoder": config.learning_rate,
        "new_modules": config.new_modules_learning_rate or config.learning_rate,
    }


def layers_above(name: str, layers: dict[str, int]) -> int:
    """How many layers of its stack lie between a parameter and the stack's output.

    None for a stack's last norm; all of them for convolutions, embeddings and positions.

    Args:
        name: in the model, such as ``model.encoder.layers.3.fc1.weight``.
        layers: of the encoder and of the decoder.
    """
    number = layers["encoder" if name.startswith("model.encoder.") else "decoder"]
    layer = re.match(r"model\.\w+\.layers\.(\d+)\.", name)
    if layer:
        return number - 1 - int(layer[1])
    return 0 if re.match(r"model\.\w+\.layer_norm\.", name) else number


def parameter_groups(model: Any, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Trained parameters by what they belong to, by weight decay (with, without), and by layer under ``layer_decay``.

    A group's ``name`` is ``encoder``, ``decoder`` (adapters are counted with what they adapt) or ``new_modules`` (the
    second attentions and gates). Its ``depth`` is that of :func:`layers_above`, 0 without ``layer_decay``.
    """
    new, rates = set(model.new_modules()), learning_rates(config)
    layers = {name: len(getattr(model.model, name).layers) for name in ("encoder", "decoder")}
    groups: dict[tuple[str, int, bool], dict[str, Any]] = {}
    for full_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            name = "encoder" if full_name.startswith("model.encoder.") else "decoder"
            name = "new_modules" if full_name in new else name
            decay = decays(full_name, parameter)
            depth = layers_above(full_name, layers) if config.layer_decay < 1 and name != "new_modules" else 0
            start = {"params": [], "lr": rates[name], "weight_decay": config.weight_decay if decay else 0.0}
            found = groups.setdefault((name, depth, decay), start | {"name": name, "depth": depth})
            found["params"].append(parameter)
    return list(groups.values())


def build_optimizer(model: Any, config: RunConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer of a run, before the engine wraps it. The model need not be on ``device`` yet.

    Raises ConfigError if the optimizer's library cannot be imported or compiled.
    """
    settings, name = config.optimizer, optimizer_name(config)
    groups = parameter_groups(model, settings)
    if name == "adamw":
        fused = device.type in FUSED
        return torch.optim.AdamW(groups, settings.learning_rate, settings.betas, settings.epsilon, fused=fused)
    kind = cpu_adam if name == "cpu_adam" else bitsandbytes_optimizer
    return kind(name, groups, {"lr": settings.learning_rate, "betas": settings.betas, "eps": settings.epsilon})


def bitsandbytes_optimizer(name: str, groups: list[dict[str, Any]], options: dict[str, Any]) -> torch.optim.Optimizer:
    """An optimizer with 8-bit states (32 bits below 4,096 numbers), or with states that move between GPU and CPU.

    It waits for the GPU after each parameter's update.
    """
    from modeling.quantization import QuantizationError, import_bitsandbytes

    try:
        library = import_bitsandbytes(f"optimizer.name is {name!r}, which needs")
    except QuantizationError as error:
        raise ConfigError(str(error)) from None
    kind = getattr(library.optim, BITSANDBYTES[name])
    return (paged_when_loaded(kind) if name.startswith("paged") else kind)(groups, **options)


def paged_when_loaded(kind: Any) -> Any:
    """A paged optimizer of bitsandbytes whose states are paged again after they were loaded, under every engine.

    The library's own loading makes plain tensors of them, all on the GPU.
    """

    class PagedWhenLoaded(kind):  # type: ignore[misc]
        def load_state_dict(self, state_dict: dict[str, Any], move_to_device: bool = True) -> None:
            super().load_state_dict(state_dict, move_to_device=False)  # the GPU may not hold all of them
            for parameter, state in self.state.items():
                for key, value in state.items():
                    if key in PAGED_STATES:
                        # Not by ``value.is_paged``: pickling keeps the mark of memory that it cannot keep.
                        state[key] = self.get_state_buffer(parameter, dtype=value.dtype).copy_(value)
                    elif isinstance(value, torch.Tensor):
                        state[key] = value.to(parameter.device)

    PagedWhenLoaded.__name__ = PagedWhenLoaded.__qualname__ = kind.__name__
    return PagedWhenLoaded


def cpu_adam(name: str, groups: list[dict[str, Any]], options: dict[str, Any]) -> torch.optim.Optimizer:
    """DeepSpeed's AdamW for parameters in CPU memory, compiled at its first use on a machine."""
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    os.environ["PATH"] = tools()
    try:
        return DeepSpeedCPUAdam(groups, adamw_mode=True, **options)
    except (RuntimeError, OSError, ImportError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ConfigError(
            f"optimizer.name is {name!r}, which DeepSpeed could not compile: {reason}", "set optimizer.name: adamw"
        ) from error


def learning_rate_share(step: int, steps: int, config: OptimizerConfig) -> float:
    """Share of the peak learning rate at update ``step`` (1 the first): linear warm-up, then the schedule's decay."""
    warmup = config.warmup_steps
    if step <= warmup:
        return step / warmup
    if config.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    decayed = 1.0 - progress if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.final_share + (1.0 - config.final_share) * decayed


def set_learning_rates(optimizer: Any, config: OptimizerConfig, step: int, steps: int) -> None:
    """Give each group its rate at update ``step`` (1 for the first), by the current config: a resume may change it.

    For the first ``primary_frozen_steps`` all groups but ``new_modules`` have rate 0.
    """
    rates, share = learning_rates(config), learning_rate_share(step, steps, config)
    for group in optimizer.param_groups:
        waits = step <= config.primary_frozen_steps and group["name"] != "new_modules"
        # A checkpoint of an older version knows no depth.
        own = rates[group["name"]] * config.layer_decay ** group.get("depth", 0)
        group["lr"] = 0.0 if waits else own * share


def logged_learning_rates(optimizer: Any) -> dict[str, float]:
    """``learning_rate``, the decoder's if it is trained; also ``learning_rate_<name>`` if the names' rates differ.

    Under ``layer_decay`` it is that of the highest layer that is trained.
    """
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        rates[group["name"]] = max(group["lr"], rates.get(group["name"], 0.0))
    first = next(name for name in ("decoder", "encoder", "new_modules") if name in rates)
    named = {f"learning_rate_{name}": rate for name, rate in rates.items()} if len(set(rates.values())) > 1 else {}
    return {"learning_rate": rates[first]} | named
