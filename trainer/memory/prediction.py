"""A training step's peak memory without a GPU: the step is run in fake tensors, and what it allocates is added up.

The step is that of trainer/loop.py, through the model's own modules and torch's own autograd, so what is kept for the
backward pass is what torch keeps. It is run at two batch sizes; every event's size is a line through both, which gives
any other batch size at once.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import modeling.network.dual_whisper
import modeling.network.linear
import modeling.network.precision
from data.batches.features import LogMel
from modeling.network.linear import choose_onednn, onednn_is_faster
from modeling.network.losses import CHUNK_TOKENS, CleanStates

from ..engine.device import DTYPES
from ..model.teacher import teacher_layers
from ..step.batch import one_below_the_other, with_rows
from ..step.noise_target import noise_arguments, noise_target
from .allocator import BLOCK, serve
from .cells import Cell
from .engines import FakeEngine, FakeZero3, fake_engine, parameter_dtype
from .fake_model import fill_with_fakes, shaped_model, shaped_teacher
from .timeline import Recorder, Timeline

PROBES = (2, 3)  # batch sizes; batch 1 uses other kernels
WORKSPACE_BYTES = 32 * 2**20  # of cuBLAS, as on an H100; 8 MiB before
CONTEXT_BYTES = 560 * 2**20  # CUDA's own, with the kernels of torch loaded; 450 to 600 MiB
COLLECTIVES_BYTES = 300 * 2**20  # NCCL's channels, several processes
TEACHER = "teacher"  # the part that a clean teacher's encoder is
USUAL_BATCH = 8  # if its targets take several chunks, smaller batches are counted in chunks too, which saves a run


@dataclass(frozen=True)
class Prediction:
    """Bytes on one device.

    Attributes:
        peak_bytes: the most that tensors take at once, as ``torch.cuda.max_memory_allocated`` or a profiler counts.
        parts: what it consists of.
        reserved_bytes: what the caching allocator takes for it; None on a CPU.
        device_used_bytes: with CUDA's context; None on a CPU.
    """

    peak_bytes: int
    parts: dict[str, int]
    reserved_bytes: int | None = None
    device_used_bytes: int | None = None

    def describe(self) -> dict[str, Any]:
        """What is known, fit for JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class StepMemory:
    """The memory of a cell's step at any batch size.

    Args:
        on_gpu: round as CUDA's allocator does, and count what its kernels allocate for themselves.

    Raises:
        ConfigError: if only the hub knows the model's shape.
    """

    def __init__(self, cell: Cell, on_gpu: bool = True) -> None:
        self.cell, self.on_gpu = cell, on_gpu
        self.lines: dict[bool, Lines] = {}

    def at(self, batch_size: int) -> Prediction:
        """The prediction for a batch size."""
        tokens = batch_size * self.cell.targets
        chunked = max(tokens, USUAL_BATCH * self.cell.targets) > CHUNK_TOKENS
        if chunked not in self.lines:
            self.lines[chunked] = self.measure_lines(chunked)
        lines = self.lines[chunked]
        sizes = np.where(lines.logits, lines.start * min(CHUNK_TOKENS, tokens), lines.start + lines.slope * batch_size)
        sizes = np.rint(sizes).astype(np.int64)
        if self.on_gpu:
            sizes = -(-sizes // BLOCK) * BLOCK
        changes = sizes[lines.numbers] * lines.signs
        live = np.cumsum(changes)
        when = int(live.argmax())
        alive: dict[str, int] = {}
        for number, size in zip(lines.numbers[: when + 1].tolist(), changes[: when + 1].tolist(), strict=True):
            alive[lines.parts[number]] = alive.get(lines.parts[number], 0) + size
        found = Prediction(int(live[when]), {part: size for part, size in alive.items() if size > 0})
        if not self.on_gpu:
            return found
        reserved = serve(lines.numbers, changes).reserved
        context = CONTEXT_BYTES + (COLLECTIVES_BYTES if self.cell.processes > 1 else 0)
        return replace(found, reserved_bytes=reserved, device_used_bytes=reserved + context)

    def measure_lines(self, chunked: bool) -> "Lines":
        """From two runs; of a chunk's logits the size for one token."""
        small, large = (record_step(replace(self.cell, batch_size=b), chunked, self.on_gpu) for b in PROBES)
        if small.parts != large.parts:
            raise RuntimeError(f"the step's operations differ between batch sizes {PROBES}: no prediction")
        first, second = np.array(small.sizes, dtype=np.float64), np.array(large.sizes, dtype=np.float64)
        slope = (second - first) / (PROBES[1] - PROBES[0])
        start = first - slope * PROBES[0]
        logits = np.array([chunked and part == "logits" for part in small.parts])
        if chunked:
            start = np.where(logits, first / math.ceil(PROBES[0] * self.cell.targets / 2), start)
        numbers, changes = np.array(small.events, dtype=np.int64).T
        return Lines(numbers, np.sign(changes), small.parts, start=start, slope=slope, logits=logits)


@dataclass(frozen=True)
class Lines:
    """A step's events, and the size of each storage by batch size.

    Attributes:
        numbers, signs: of the events: the storage, 1 where it is made and -1 where it is let go.
        parts: of the storages.
        start, slope: bytes at batch 0, and for each utterance more.
        logits: storages that take ``start`` bytes for each target token of a chunk.
    """

    numbers: np.ndarray
    signs: np.ndarray
    parts: list[str]
    start: np.ndarray
    slope: np.ndarray
    logits: np.ndarray


def record_step(cell: Cell, chunked: bool, on_gpu: bool) -> Timeline:
    """The events of a step in fake tensors; ``chunked``: its vocabulary projection in two chunks instead of one."""
    onednn_is_faster()  # asked for the first time among fake tensors, it would fail
    model = shaped_model(cell)
    choose_onednn(model, cell.config.performance.onednn)
    log_mel = LogMel(model.config.num_mel_bins)
    with prepared(model, cell, on_gpu, WORKSPACE_BYTES if on_gpu else 0) as engine:
        recorder = engine.recorder
        recorder.vocabulary = model.config.vocab_size
        if cell.config.training.accumulation > 1 and not cell.config.engine.zero_stage:
            for parameter in engine.trained:  # of the microbatches before; DDP's lie beside its buckets
                parameter.grad = torch.empty_like(parameter)
                recorder.rename(parameter.grad, "gradients")
        chunk = math.ceil(cell.batch_size * cell.targets / 2) if chunked else cell.batch_size * cell.targets
        in_chunks = functools.partial(modeling.network.dual_whisper.token_loss_sum, chunk_tokens=chunk)
        with replaced(modeling.network.dual_whisper, "token_loss_sum", in_chunks):
            loss = step_loss(cell, model, log_mel, on_gpu, engine.teacher)
        engine.before_backward()
        with recorder.naming("temporary"):
            recorder.in_backward = True
            loss.backward()
            recorder.in_backward = False
        del loss
        engine.step()
    return recorder.timeline


@contextlib.contextmanager
def prepared(model: Any, cell: Cell, on_gpu: bool, workspace: int = 0) -> Iterator[FakeEngine]:
    """A cell's engine around its model in fake tensors, everything recorded from here on.

    Args:
        model: as :func:`shaped_model` gave it.
        workspace: bytes that libraries take for themselves.
    """
    teacher = shaped_teacher(cell, model)
    with FakeTensorMode(allow_non_fake_inputs=True):
        recorder = Recorder(Timeline(), on_gpu=on_gpu)
        fill_with_fakes(model, cell, recorder)
        engine = fake_engine(cell, [parameter for parameter in model.parameters() if parameter.requires_grad], recorder)

        def is_plain(states: torch.Tensor, weight: torch.Tensor) -> bool:
            """Fake tensors lie on the CPU, and take the way of a GPU's tensors or of a CPU's plain ones."""
            return not on_gpu and states.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")

        def are_plain(module: torch.nn.Module, device: torch.device) -> bool:
            """Fake parameters are of another type."""
            return all(parameter.dtype == torch.float32 for parameter in module.parameters(recurse=False))

        in_fakes = replaced(modeling.network.precision, "are_plain", are_plain)
        with recorder, replaced(modeling.network.linear, "is_plain", is_plain), in_fakes:
            engine.keep(workspace, "workspaces")
            if isinstance(engine, FakeZero3):
                spread_parameters(engine, model)
            engine.prepare()
            if teacher is not None:
                with recorder.naming(TEACHER):
                    fill_with_fakes(teacher, cell, recorder, TEACHER)
                engine.teacher = teacher
            yield engine


def step_loss(cell: Cell, model: Any, log_mel: LogMel, on_gpu: bool, teacher: Any = None) -> torch.Tensor:
    """The forward pass of trainer/loop.py, of a batch that is all alike; its clips are noisy, for a teacher."""
    audio = torch.empty(cell.batch_size, cell.samples)
    second = torch.empty_like(audio) if cell.hears_second(model.config) else None
    samples = audio if second is None else one_below_the_other(audio, second)
    ids = torch.empty(cell.batch_size, cell.tokens, dtype=torch.int64)
    labels = torch.empty_like(ids)
    positions = torch.empty(cell.batch_size * cell.targets, dtype=torch.int64)
    features = log_mel(samples, cell.frames_on(on_gpu))
    is_window = cell.config.model.encoder_padding == "window"
    lengths = None if is_window else [2 * cell.encoder_positions] * len(samples)
    noise: dict[str, Any] = {}
    if cell.has_noise:
        clips, added = audio, torch.empty_like(audio)
        if second is not None:  # what second attentions read
            rows = torch.arange(cell.batch_size)
            clips, added = with_rows(clips, rows, second), with_rows(added, rows, torch.empty_like(second))
        target = noise_target(clips, added, cell.encoder_positions)
        noise = noise_arguments(cell.config.noise, target, positions, cell.config.training.steps, 1.0)
    if teacher is not None:
        noise |= {
            "clean_states": clean_states(cell, teacher, log_mel(torch.empty_like(audio), features.shape[2]), lengths)
        }
    with autocast(cell):
        loss: torch.Tensor = model(
            features,
            feature_lengths=lengths,
            second_rows=() if second is None else range(cell.batch_size),
            decoder_input_ids=ids,
            labels=labels,
            target_positions=positions,
            num_items_in_batch=1.0,
            label_smoothing=cell.config.training.label_smoothing,
            loss_only=True,
            **noise,
        ).loss
    return loss


def clean_states(cell: Cell, teacher: Any, features: torch.Tensor, lengths: list[int] | None) -> CleanStates:
    """What a teacher gives that keeps no states on disk, or has none there yet."""
    layers = teacher_layers(cell.config, teacher.config.encoder_layers)
    with torch.no_grad(), autocast(cell):
        output = teacher(features, feature_lengths=lengths, output_hidden_states=True, return_dict=True)
        together = torch.cat([output.hidden_states[layer] for layer in layers], dim=2).to(DTYPES[cell.precision])
    rows = torch.arange(len(features))
    return CleanStates(together.split(teacher.config.d_model, dim=2), layers, rows, torch.empty_like(rows))


def autocast(cell: Cell) -> Any:
    """As Accelerate computes in half precision; DeepSpeed has its parameters in it."""
    if cell.precision == "fp32" or parameter_dtype(cell) != torch.float32:
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype=DTYPES[cell.precision])


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Another value in a name of a module for a while."""
    usual = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, usual)


def spread_parameters(engine: FakeZero3, model: Any) -> None:
    """Take what ZeRO-3 holds of the parameters in the place of the whole."""
    parameters = list({id(parameter): parameter for parameter in model.parameters()}.values())
    for parameter in parameters:
        engine.recorder.timeline.sizes[engine.recorder.known[parameter.untyped_storage()._cdata]] = 0
    engine.gather(parameters)
