"""A training step never waits for the GPU, which is played here, but for what the ranks agree on."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data.augmentation.config import SpecAugmentConfig
from data.batches.features import LogMel
from data.batches.loader import BatchGroup
from tests.support.stand_in_gpu import GPU, HostWaits, OnGpu, StandInGpu, put_on_gpu
from trainer.config.run import RunConfig
from trainer.engine.moving_average import MovingAverage, UpdatedWeights
from trainer.engine.stopping import StopRequest
from trainer.loop import Trainer
from trainer.memory.cells import cell_of, synthetic_group
from trainer.model.building import build_model
from trainer.record.checkpoints import RunState
from trainer.record.journal import Journal
from trainer.step.agreement import Agreement, Report
from trainer.step.batch import to_batch
from trainer.step.gradients import NonFiniteLoss
from trainer.step.splitting import split_group
from trainer.step.teacher import CleanTeacher


class Accelerator:
    """What a step asks of accelerate's, in one process on the stand-in GPU."""

    device, num_processes, process_index, is_main_process = GPU, 1, 0, True
    mixed_precision, sync_gradients = "no", True
    distributed_type = SimpleNamespace(name="NO")
    autocast = staticmethod(nullcontext)
    accumulate = staticmethod(lambda model: nullcontext())
    backward = staticmethod(lambda loss: loss.backward())
    wait_for_everyone = staticmethod(lambda: None)


def group_of(config: RunConfig, seconds: tuple[float, ...] = (0.4, 0.6)) -> BatchGroup:
    """A microbatch of clips of different lengths, one of them with noise, page-locked as readers do it."""
    cell = cell_of(config, precision="fp32", batch_size=len(seconds), seconds=max(seconds), tokens=9)
    (audio,) = synthetic_group(cell, 50).batches
    assert audio is not None
    lengths = torch.tensor([round(16_000 * one) for one in seconds])
    noise = audio.audio / 2 * torch.tensor([[0.0], [1.0]])
    second = None  # of the last clip alone, and shorter than it
    if audio.second is not None:
        second = audio.second.part(1, 2)
        assert second is not None
        second = replace(second, rows=[1], audio_lengths=lengths[:1], noise=noise[1:])
    audio = replace(audio, audio_lengths=lengths, noise=noise, seeds=torch.tensor([1, 2]), second=second)
    return BatchGroup([audio.pinned()], exhausted=False)


def build(values: dict[str, Any], folder: Path, **sections: dict[str, Any]) -> Trainer:
    config = RunConfig.model_validate(values | sections)
    Path(config.output_dir).mkdir()
    model, _ = build_model(config)
    put_on_gpu(model)
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "name": "decoder"}], 1e-3, fused=True)
    nothing: Any = None
    group = group_of(config)
    batches: Any = SimpleNamespace(next_group=lambda microbatches: group)
    return Trainer(
        config=config,
        accelerator=Accelerator(),
        model=model.train(),
        optimizer=optimizer,
        processor=None,
        batches=batches,
        validation=None,
        checkpoints=nothing,
        journal=Journal(folder, is_main=False, rank=0, total_steps=0, from_step=0, record_batches=False),
        state=RunState(),
        stop=StopRequest(listening=False),
        teacher=teacher_of(config, model),
        average=average_of(config, model),
    )


def teacher_of(config: RunConfig, model: Any) -> CleanTeacher | None:
    """The model's own encoder: what a copy of it would give, and no slower."""
    settings = config.noise.teacher
    if settings is None:
        return None
    accelerator: Any = Accelerator()
    return CleanTeacher(settings, model.model.encoder, settings.layers or (1,), accelerator=accelerator, padding="clip")


def average_of(config: RunConfig, model: Any) -> MovingAverage | None:
    if config.training.ema is None:
        return None
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    return MovingAverage(UpdatedWeights(trained, lambda: None), config.training.ema, config.training.ema_share)


@pytest.fixture
def gpu() -> Any:
    with StandInGpu() as played:
        yield played


def noisy(values: dict[str, Any]) -> dict[str, Any]:
    """The config's data with SpecAugment and noise, and a noise loss."""
    masks = {"share": 1.0}
    augmentation = {"spec_augment": masks, "babble_share": 0.5}
    return {"data": values["data"] | {"augmentation": augmentation}, "noise": {"loss_weight": 0.1}}


@pytest.mark.parametrize("kind", ["plain", "noise loss and SpecAugment", "noise loss, split", "recomputed"])
def test_a_microbatch_waits_once(tiny_values: dict[str, Any], tmp_path: Path, gpu: StandInGpu, kind: str) -> None:
    sections: dict[str, Any] = noisy(tiny_values) if kind.startswith("noise") else {}
    if kind == "recomputed":
        sections = {"model": tiny_values["model"] | {"gradient_checkpointing": "all"}}
    trainer = build(tiny_values, tmp_path, **sections)
    group, targets = trainer.find_data()  # type: ignore[misc]
    if kind.endswith("split"):
        group = split_group(group, 2)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    before = [parameter.held.clone() for parameter in trained]
    losses = []
    for _ in range(2):
        with gpu.strictly():
            verdict = trainer.train_step(group, targets)
        assert gpu.waits == len(group.batches) and verdict.finite and verdict.next_targets == targets
        assert gpu.operations["_fused_adamw_"] > 0
        losses.append(verdict.loss)
    assert losses[1] < losses[0]
    assert not any(torch.equal(old, new.held) for old, new in zip(before, trained, strict=True))


def two_steps_wait_once_each(trainer: Trainer, gpu: StandInGpu, group: Any, targets: Any) -> None:
    losses = []
    for _ in range(2):
        with gpu.strictly():
            verdict = trainer.train_step(group, targets)
        assert gpu.waits == 1 and verdict.finite
        losses.append(verdict.loss)
    assert losses[1] < losses[0]


@pytest.mark.parametrize("layers", [None, [1, 2]])
def test_a_teacher_an_average_and_smoothed_labels_cost_no_wait(
    tiny_values: dict[str, Any], tmp_path: Path, gpu: StandInGpu, layers: list[int] | None
) -> None:
    sections = {key: tiny_values[key] for key in ("training", "model")}
    sections["training"] = sections["training"] | {"ema": 0.9, "label_smoothing": 0.1}
    sections["noise"] = {"teacher": {"weight": 0.5, "layers": layers, "checkpoint": "taught by itself"}}
    trainer = build(tiny_values, tmp_path, **noisy(tiny_values) | sections)
    group, targets = trainer.find_data()  # type: ignore[misc]
    assert targets.noisy_frames > 0 and trainer.average is not None
    two_steps_wait_once_each(trainer, gpu, group, targets)
    assert trainer.average.updates == 2


@pytest.mark.parametrize(
    "kind", ["attention", "joined", "attention, noise loss and SpecAugment", "joined, a layer", "before"]
)
def test_second_recordings_cost_no_wait(
    tiny_values: dict[str, Any], tmp_path: Path, gpu: StandInGpu, kind: str
) -> None:
    """Which rows they belong to and how long they are, the host knows: nothing is read back."""
    sections = noisy(tiny_values) if "noise" in kind else {"data": tiny_values["data"]}
    data = sections["data"] | {"train": sections["data"]["train"] | {"second": "copy"}}
    how = kind.partition(",")[0]
    model = tiny_values["model"] | {"second_recording": how, "dual_attention": how == "attention"}
    model |= {"second_recording_layers": 1} if kind.endswith("layer") else {}
    values = {key: value for key, value in tiny_values.items() if key != "optimizer"}
    trainer = build(values, tmp_path, **sections | {"data": data, "model": model})
    group, targets = trainer.find_data()  # type: ignore[misc]
    (audio,) = group.batches
    assert audio is not None and audio.second is not None and audio.second.rows == [1]
    two_steps_wait_once_each(trainer, gpu, group, targets)


def test_a_loss_that_is_not_finite_is_decided_on_without_a_further_wait(
    tiny_values: dict[str, Any], tmp_path: Path, gpu: StandInGpu
) -> None:
    trainer = build(tiny_values, tmp_path)
    group, targets = trainer.find_data()  # type: ignore[misc]
    usual = trainer.loss.__call__
    trainer.loss = lambda *given: usual(*given) * float("nan")  # type: ignore[assignment,method-assign]
    before = [parameter.held.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(NonFiniteLoss, match="step 1: the loss"):
        trainer.train_step(group, targets)
    assert all(torch.equal(old, new.held) for old, new in zip(before, trainer.model.parameters(), strict=True))


def test_a_batch_is_copied_once_without_waiting(tiny_values: dict[str, Any], gpu: StandInGpu) -> None:
    """With the noise target too, which is computed from the same samples."""
    config = RunConfig.model_validate(tiny_values)
    (audio,) = group_of(config).batches
    assert audio is not None
    log_mel, copies = LogMel(80, GPU), list[int]()
    check = gpu.check_copy
    gpu.check_copy = lambda source, non_blocking: (copies.append(source.numel()), check(source, non_blocking))  # type: ignore
    with gpu.strictly():
        batch = to_batch(audio, log_mel, "clip", GPU, masks=SpecAugmentConfig(), needs_noise=True)
    assert isinstance(batch.noise_target, OnGpu) and batch.features.shape[2] % 64 == 0
    assert copies.count(audio.audio.numel()) == 2, "the audio and its noise"
    with pytest.raises(HostWaits, match="page-locked"), gpu.strictly():
        to_batch(replace(audio), log_mel, "clip", GPU)  # made anew, so its positions are not page-locked


def test_agreeing_takes_few_operations_and_one_wait(gpu: StandInGpu) -> None:
    loss, norm = (OnGpu(torch.tensor(value)) for value in (2.5, 0.5))
    with gpu.strictly():
        agreement = Agreement(Accelerator(), Report(next_tokens=7, audio_seconds=1.5), loss, norm)
        assert gpu.waits == 0 and gpu.operations == {"select": 2, "detach": 2, "copy_": 2}
        verdict = agreement.verdict()
    assert gpu.waits == 1
    assert (verdict.loss, verdict.next_tokens, verdict.audio_seconds) == (2.5, 7, 1.5) and verdict.finite


@pytest.mark.parametrize(
    "waits",
    [
        lambda values: values.tolist(),
        lambda values: values.sum().item(),
        lambda values: float(values[0]),
        lambda values: bool(values[0] > 0),
        lambda values: values.cpu(),
        lambda values: values.to("cpu"),
        lambda values: values.nonzero(),
        lambda values: values[values > 0],
        lambda values: values[torch.tensor([1])],
        lambda values: torch.ones(3).to(GPU),
        lambda values: torch.ones(3).to(GPU, non_blocking=True),
        lambda values: torch.ones(3).pin_memory().to(values.device),
        lambda values: torch.tensor([1.0], device=values.device),
        lambda values: values.copy_(torch.ones(3)),
        lambda values: f"{values}",
    ],
)
def test_what_the_stand_in_refuses(gpu: StandInGpu, waits: Any) -> None:
    values = OnGpu(torch.ones(3))
    with pytest.raises(HostWaits), gpu.strictly():
        waits(values)
