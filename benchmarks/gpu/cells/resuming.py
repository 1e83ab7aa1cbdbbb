"""Runs that are stopped by SIGTERM in the middle and resumed, beside runs that nobody disturbed."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from ..runs import Run, batches, furthest, losses, run_config
from ..setting import Part, Setting, Skipped
from ..stand_ins import checkpoint, clips

STEPS, STOPPED_AFTER = 60, 5
ROUNDING = 1e-2  # of a loss; kernels that add in no fixed order differ from run to run
KINDS: dict[str, dict[str, Any]] = {
    "one process": {},
    "ZeRO-2": {"engine.zero_stage": 2},
    "ZeRO-3": {"engine.zero_stage": 3},
    "qlora, 4 bits": {"model.strategy": "qlora", "model.lora": {"bits": 4}},
    "qlora, 8 bits": {"model.strategy": "qlora", "model.lora": {"bits": 8}},
    "paged": {"optimizer.name": "paged_adamw_8bit"},
}
ONLY_ON_GPUS = ("paged",)


def resuming(setting: Setting) -> Iterator[Part]:
    checkpoint(setting, "tiny"), clips(setting)  # before the threads begin
    pool = ThreadPoolExecutor(setting.size(len(KINDS), 2))
    under_way: dict[str, Future[dict[str, Any]]] = {
        name: pool.submit(stopped_and_resumed, setting, name)
        for name in KINDS
        if not (setting.on_cpu and name in ONLY_ON_GPUS)
    }
    for name in KINDS:
        yield Part(name, partial(result, under_way, name))
    pool.shutdown()


def result(under_way: dict[str, "Future[dict[str, Any]]"], name: str) -> dict[str, Any]:
    if name not in under_way:
        raise Skipped("paged states need a CUDA GPU")
    return under_way[name].result()


def stopped_and_resumed(setting: Setting, name: str) -> dict[str, Any]:
    """Both runs of a kind, beside one another, and what they differ in.

    Raises:
        RuntimeError: if a run ended badly, or trained on other utterances after the stop.
    """
    place = name.replace(",", "").replace(" ", "_")
    steps = setting.size(STEPS, 30)
    configs = [
        run_config(setting, setting.path / f"{place}_{kind}", steps, KINDS[name]) for kind in ("whole", "stopped")
    ]
    whole, disturbed = map(Run, configs)
    stopped_at = disturbed.stop_after(STOPPED_AFTER)
    resumed = Run(configs[1], resume=True)
    whole.finish()
    resumed.finish()
    if batches(whole.folder) != batches(disturbed.folder):
        raise RuntimeError(f"{name}: the resumed run trained on other utterances")
    ones, others = losses(whole.folder), losses(disturbed.folder)
    off = furthest(ones, others)
    return {
        "steps": len(others),
        "stopped_at": stopped_at,
        "first_loss": ones[0],
        "last_loss": ones[-1],
        "largest_difference": off,
        "equal_to_the_last_bit": ones == others,
        "equal_within_rounding": off <= ROUNDING,
    }
