"""What the engines send at a training step: a formula, and the tiny model on which real steps are counted beside it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.memory.jobs import whisper_config
from trainer.config.run import RunConfig
from trainer.engine.accelerator import LIVE_PARAMETERS

ENGINES = ("DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3")
PERSISTENT = 10_000  # numbers; trainer.engine's stage3_param_persistence_threshold
REUSE_DISTANCE = LIVE_PARAMETERS  # numbers; what the trainer sets stage3_max_reuse_distance to


@dataclass(frozen=True)
class Sent:
    """Bytes that each GPU sends at an optimizer step, by kind of collective."""

    all_reduce: float = 0.0
    all_gather: float = 0.0
    reduce_scatter: float = 0.0

    @property
    def total(self) -> float:
        return self.all_reduce + self.all_gather + self.reduce_scatter


def bytes_sent(
    model: Any,
    stage: int,
    ranks: int,
    precision: str = "bf16",
    accumulation: int = 1,
    *,
    reuse_distance: int = REUSE_DISTANCE,
) -> Sent:
    """The formula, for a model that may lie on the meta device.

    With P numbers trained, e bytes each in the engine's precision, and A microbatches a step:

    - DDP: all-reduce of 4 P, gradients in float32 whatever the precision, once a step.
    - ZeRO-1: all-reduce of e P once a step, then all-gather of e P, the updated weights.
    - ZeRO-2: as ZeRO-1, but the all-reduce comes with each microbatch. (All ranks get all of it though each keeps a
      share: DeepSpeed's ``use_multi_rank_bucket_allreduce``.)
    - ZeRO-3: with each microbatch an all-gather of all weights of over 10,000 numbers, frozen ones too, again in the
      backward pass for those next needed more numbers later than ``reuse_distance``, and a reduce-scatter of e P; the
      small weights are gathered once a step. Weights are padded to a multiple of N.

    What the ranks agree on besides, under 1 kB, is left out.

    Args:
        stage: ZeRO's; 0 is DDP.
        precision: fp32, bf16 or fp16.
        accumulation: microbatches of a step on each rank.
        reuse_distance: DeepSpeed's ``stage3_max_reuse_distance``.
    """
    share, element = (ranks - 1) / ranks, 4 if precision == "fp32" else 2
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    if stage == 0:
        return Sent(all_reduce=2 * share * 4 * trained)
    if stage < 3:
        times = accumulation if stage == 2 else 1
        return Sent(all_reduce=times * 2 * share * element * trained, all_gather=share * element * trained)

    def padded(parameter: Any) -> int:
        return -(-parameter.numel() // ranks) * ranks

    gathers = gathers_of_a_microbatch(model, reuse_distance)
    large = sum(count * padded(parameter) for parameter, count in gathers.items())
    small = sum(padded(parameter) for parameter in parameters if parameter not in gathers)
    reduced = sum(padded(parameter) for parameter in parameters if parameter.requires_grad)
    return Sent(
        all_gather=share * element * (accumulation * large + small),
        reduce_scatter=share * element * accumulation * reduced,
    )


def gathers_of_a_microbatch(model: Any, reuse_distance: int) -> Counter[Any]:
    """How often ZeRO-3 gathers each weight that it does not keep whole.

    A weight is given back after a module, unless it comes again before modules of ``reuse_distance`` numbers have.
    """
    forward: list[list[Any]] = []
    backward: list[list[Any]] = []
    for module in model.modules():
        if own := list(module.parameters(recurse=False)):
            forward.append(own)
            trains = any(parameter.requires_grad for parameter in own)
            # Gradients come by from the first trained module on, but not by one that looks up frozen rows.
            if trains or (backward and not isinstance(module, torch.nn.Embedding)):
                backward.append(own)
    visits = forward + backward[::-1]
    passed = [0]
    for own in visits:
        passed.append(passed[-1] + sum(parameter.numel() for parameter in own))
    gathers: Counter[Any] = Counter()
    last: dict[Any, int] = {}
    for place, own in enumerate(visits):
        for parameter in own:
            if parameter.numel() > PERSISTENT:
                before = last.get(parameter)
                if before is None or passed[place] - passed[before + 1] >= reuse_distance:
                    gathers[parameter] += 1
                last[parameter] = place
    return gathers


def tiny_config(stage: int = 0, precision: str = "bf16", accumulation: int = 1) -> RunConfig:
    """A model of a million numbers whose matrices are all above ZeRO-3's threshold, its biases and norms below."""
    settings = {
        "model.checkpoint": None,
        "model.architecture": {"d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2},
        "training": {"batch_size": 2, "accumulation": accumulation},
        "engine": {"zero_stage": stage, "precision": precision, "timeout_minutes": 2},
    }
    return whisper_config(settings)
