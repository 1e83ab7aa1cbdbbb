"""An exponential moving average of the trained weights, in float32 and held once.

Each rank averages the tensors that its own optimizer updates: the parameters under one process and DDP, this rank's
part of the float32 masters under DeepSpeed. Knows nothing of evaluations and of what is saved when.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from modeling.checkpoint_files import CheckpointError, explain_damage, refuse_names

from ..config.reading import ConfigError
from ..config.run import RunConfig
from .accelerator import bare_model

FILE = "average.safetensors"  # in a resumable checkpoint
CHUNK = 2**24  # numbers that are exchanged at once, so that no second copy is needed
MASTERS = (  # DeepSpeed's names for a rank's float32 masters: of ZeRO-3, of ZeRO-1 and 2, of ZeRO-1 in bf16
    "fp32_partitioned_groups_flat",
    "single_partition_of_fp32_groups",
    "fp32_groups_flat_partition",
)


@dataclass(frozen=True)
class UpdatedWeights:
    """What this rank's optimizer updates.

    Attributes:
        tensors: float32, by name.
        publish: gives the model the values of ``tensors``; under DeepSpeed all ranks call it.
        part: this rank's number where each rank holds a part; None where all hold the same.
    """

    tensors: dict[str, torch.Tensor]
    publish: Callable[[], None]
    part: int | None = None


def updated_weights(accelerator: Any, model: Any) -> UpdatedWeights:
    """The trained float32 weights of a model that the engine has prepared.

    Raises ConfigError for trained weights that are not floating-point numbers: quantised ones have no mean.
    """
    if accelerator.distributed_type.name == "DEEPSPEED":
        optimizer = model.optimizer
        masters = next(masters for name in MASTERS if (masters := getattr(optimizer, name, None)) is not None)
        named = {f"group_{number}": tensor for number, tensor in enumerate(masters)}
        return UpdatedWeights(named, lambda: publish_masters(optimizer), accelerator.process_index)
    trained = {name: one for name, one in bare_model(model).named_parameters() if one.requires_grad}
    quantized = sorted(name for name, one in trained.items() if not one.is_floating_point())
    if quantized:
        raise ConfigError(
            f"training.ema is given, but {quantized[0]} is trained in quantised form, of which there is no mean",
            "take training.ema out",
        )
    return UpdatedWeights(trained, lambda: None)


def publish_masters(optimizer: Any) -> None:
    """Round DeepSpeed's masters into the model's own weights, as its step does; all ranks call it."""
    if not hasattr(optimizer, "fp32_partitioned_groups_flat"):  # ZeRO-1 and 2
        optimizer.update_lp_params()
        return
    optimizer.checkpoint_event_prologue()  # no parameter is gathered from here on
    for number in range(len(optimizer.fp32_partitioned_groups_flat)):
        optimizer._reassign_or_swap_out_partitioned_parameters(number)
    optimizer.checkpoint_event_epilogue()


def decay_of(update: int, decay: float, share: float) -> float:
    """How much of the average an update keeps (1 for the first, which keeps nothing of what was before training).

    The mean age of what is averaged is ``share`` of the updates so far, and at most 1 / (1 - ``decay``) updates.
    ``share`` 0.5 is the plain mean of all updates; cf. Karras et al., arXiv 2312.02696, for averages of fixed share.
    """
    return min(decay, (update - 1) / (update - 2 + 1 / share))


class MovingAverage:
    """The average of what a run has trained so far.

    Args:
        decay, share: as :func:`decay_of` takes them.

    Attributes:
        updates: how many updates are averaged.
    """

    def __init__(self, weights: UpdatedWeights, decay: float, share: float) -> None:
        self.weights, self.decay, self.share = weights, decay, share
        self.tensors = {name: tensor.detach().clone() for name, tensor in weights.tensors.items()}
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an update. Waits for no device."""
        self.updates += 1
        new = 1.0 - decay_of(self.updates, self.decay, self.share)
        torch._foreach_lerp_(list(self.tensors.values()), list(self.weights.tensors.values()), new)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """A context in which the model has the average in place of its weights; all ranks enter and leave it.

        After an error, which may be of one rank alone and ends the run, they stay exchanged: the ranks would wait for
        each other.
        """
        self.exchange()
        yield
        self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        """Exchange the average and the weights; no bit of either changes."""
        for name, average in self.tensors.items():
            pairs = zip(flat(average).split(CHUNK), flat(self.weights.tensors[name]).split(CHUNK), strict=True)
            for one, other in pairs:
                kept = one.clone()
                one.copy_(other)
                other.copy_(kept)
        self.weights.publish()

    def file(self, folder: Path) -> Path:
        """Where a checkpoint has this rank's average."""
        part = self.weights.part
        return folder / (FILE if part is None else f"average_rank_{part}.safetensors")

    def write(self, folder: Path, is_main: bool) -> None:
        """Write this rank's average into a checkpoint; where all ranks hold the same, the main process writes it."""
        if is_main or self.weights.part is not None:
            tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
            save_file(tensors, self.file(folder), metadata={"updates": str(self.updates)})

    @torch.no_grad()
    def read(self, folder: Path) -> None:
        """Take the average out of a checkpoint; without one there, begin with the weights as they are.

        Raises CheckpointError if the file is damaged or of other weights.
        """
        file = self.file(folder)
        if not file.exists():
            self.updates = 0
            for name, tensor in self.tensors.items():
                tensor.copy_(self.weights.tensors[name])
            return
        with explain_damage(file), safe_open(file, framework="pt") as stored:
            names = set(stored.keys())
            refuse_names(str(file), "lacks averages of", self.tensors.keys() - names)
            refuse_names(str(file), "has averages that the run lacks", names - self.tensors.keys())
            for name, tensor in self.tensors.items():
                found = stored.get_tensor(name)
                if found.shape != tensor.shape:
                    raise CheckpointError(f"{file}: {name} has the shape {list(found.shape)}, not {list(tensor.shape)}")
                tensor.copy_(found)
            self.updates = int(stored.metadata()["updates"])


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """All numbers of a tensor in one row, without copying them."""
    return tensor.detach().as_strided((tensor.numel(),), (1,), tensor.storage_offset())


def moving_average(config: RunConfig, accelerator: Any, model: Any) -> MovingAverage | None:
    """The average that a config asks for, of a model that the engine has prepared; None without ``training.ema``.

    Raises ConfigError as :func:`updated_weights`.
    """
    training = config.training
    if training.ema is None:
        return None
    return MovingAverage(updated_weights(accelerator, model), training.ema, training.ema_share)
