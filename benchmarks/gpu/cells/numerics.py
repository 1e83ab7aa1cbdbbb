"""What a GPU computes beside a CPU, bf16 beside float32, DeepSpeed beside autocast, and how often the host waits."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.memory.jobs import Job
from benchmarks.memory.random_weights import model_for_shape
from data.batches.features import padded_frames
from trainer.config.run import RunConfig
from trainer.engine.accelerator import build_accelerator

from ..device import counted_waits, far_off
from ..runs import Run, furthest, losses, run_config
from ..setting import Part, Setting, Skipped
from ..stand_ins import checkpoint, clips, run_values
from ..steps import trainer_of
from .second_recording import batch_mates

ENGINES: dict[str, dict[str, Any]] = {
    "autocast": {},
    "ZeRO-2": {"engine.zero_stage": 2},
    "ZeRO-3": {"engine.zero_stage": 3},
}
FRAMES = (180, 340, 128, 250)  # of 10 ms, even; 64 encoder positions modulo 128 among them
TOKENS, STEPS, WATCHED = 24, 20, 2


def numerics(setting: Setting) -> Iterator[Part]:
    checkpoint(setting, "tiny"), clips(setting)
    runs = [
        Run(run_config(setting, setting.path / f"engine_{number}", setting.size(STEPS, 4), settings))
        for number, settings in enumerate(ENGINES.values())
    ]
    yield Part("host waits", lambda: host_waits(setting))
    yield Part("GPU beside CPU, bf16 beside float32", lambda: beside_float32(setting))
    yield Part("second recordings, batch mates", lambda: batch_mates(setting))
    yield Part("DeepSpeed beside autocast", lambda: engines(runs))


def host_waits(setting: Setting) -> dict[str, Any]:
    """How often and where the host waits for the device in two steps of a warm run."""
    job = Job(run_values(setting, "tiny"), setting.size(16, 2), data="stream")
    with trainer_of(job) as trainer:
        verdict = None
        for _ in range(WATCHED):
            verdict = trainer.train_step(*trainer.find_data(verdict))
        with counted_waits(setting.device) as found:
            for _ in range(WATCHED):
                verdict = trainer.train_step(*trainer.find_data(verdict))
    if setting.on_cpu:
        raise Skipped("a CPU is never waited for")
    places = [{"where": where, "times": times} for where, times in found.most_common()]
    return {"waits_a_step": found.total() / WATCHED, "places": places}


def beside_float32(setting: Setting) -> dict[str, Any]:
    """Loss and gradients of one batch: float32 on the CPU, float32 on the device, bf16 there.

    Differences are shares of the norm. The largest of all parameters is told with its name, as far as its gradient is
    not next to nothing.
    """
    config = RunConfig.model_validate(run_values(setting, "tiny"))
    build_accelerator(config)  # with its choice of kernels and TF32
    model = model_for_shape(config)
    batch = batch_for(model.config)
    exact = loss_and_gradients(copy.deepcopy(model), batch, torch.device("cpu"))
    model.to(setting.device)
    single = loss_and_gradients(model, batch, setting.device)
    half = loss_and_gradients(model, batch, setting.device, setting.dtype)
    found: dict[str, Any] = {"loss": exact[0]}
    for name, (ones, others) in {"device": (exact, single), "half": (single, half)}.items():
        found[f"{name}_loss_off_by"] = abs(others[0] / ones[0] - 1)
        found |= {f"{name}_{key}": value for key, value in compare_gradients(ones[1], others[1]).items()}
    return found


def batch_for(config: Any) -> dict[str, Any]:
    """A forward pass's arguments: features of noise and labels, each clip as long as :data:`FRAMES` say."""
    generator = torch.Generator().manual_seed(0)
    rows, frames = len(FRAMES), padded_frames(list(FRAMES))
    labels = torch.randint(0, config.vocab_size, (rows, TOKENS + 1), generator=generator)
    return {
        "input_features": torch.randn(rows, config.num_mel_bins, frames, generator=generator),
        "feature_lengths": list(FRAMES),
        "decoder_input_ids": labels[:, :-1],
        "labels": labels[:, 1:],
    }


def loss_and_gradients(
    model: Any, batch: Mapping[str, Any], device: torch.device, dtype: torch.dtype | None = None
) -> tuple[float, dict[str, torch.Tensor]]:
    """Under autocast where a dtype is given."""
    model.zero_grad()
    placed = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
    with torch.autocast(device.type, dtype) if dtype is not None else nullcontext():
        loss = model(**placed).loss
    loss.backward()
    gradients = {name: one.grad.clone().cpu() for name, one in model.named_parameters() if one.grad is not None}
    return float(loss.detach()), gradients


def compare_gradients(ones: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Of all gradients together, and of the worst parameter among those that matter."""
    together = far_off(
        torch.cat([others[name].flatten() for name in ones]), torch.cat([*map(torch.flatten, ones.values())])
    )
    least = 1e-3 * max(float(one.norm()) for one in ones.values())
    worst = max((far_off(others[name], one), name) for name, one in ones.items() if float(one.norm()) > least)
    broken = sum(not bool(one.isfinite().all()) for one in others.values())
    return {"gradients_off_by": together, "worst_gradient_off_by": worst[0], "worst": worst[1], "not_finite": broken}


def engines(runs: list[Run]) -> dict[str, Any]:
    """Losses of the same steps under each engine; DeepSpeed keeps weights in bf16 where autocast casts them."""
    for run in runs:
        run.finish()
    taken = {name: losses(run.folder) for name, run in zip(ENGINES, runs, strict=True)}
    usual = taken["autocast"]
    rows = [{"step": step + 1, **{name: found[step] for name, found in taken.items()}} for step in range(len(usual))]
    off = {f"{name}_largest_difference": furthest(usual, found) for name, found in taken.items() if found is not usual}
    return {"steps": len(usual), **off, "losses": rows}
