"""How much disk space a run needs, and the message when the disk is full."""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.accelerator import resolve_precision
from ..engine.optimizer import optimizer_name
from ..errors import SaveError
from .durable import existing

GIGABYTE = 10**9
OTHER_FILES = 50 * 10**6  # metrics, TensorBoard, the processor
STATE_BYTES = {"adamw_8bit": 2, "paged_adamw_8bit": 2}  # for each trained number; other optimizers hold 8
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Messages of torch's zip writer and of safetensors.
FULL_IN_WORDS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "PytorchStreamWriter failed",
    "iostream error",
    "unexpected pos",
)


@dataclass(frozen=True)
class RunFiles:
    """Bytes of a run's large files."""

    checkpoint: int
    folder: int
    kept: int

    @property
    def total(self) -> int:
        """The most a run takes: one checkpoint more than it keeps, ``best/``, ``final/`` and small files."""
        return (self.kept + 1) * self.checkpoint + 2 * self.folder + OTHER_FILES


def files_of_a_run(config: RunConfig, model: object) -> RunFiles:
    """What the engine writes for a model, which may be on the meta device.

    One process and DDP write the weights in float32 (of a model with an adapter only the trained ones) and the
    optimizer's states. ZeRO writes the states, float32 masters of what is trained, and the weights in the precision
    that it computes in; ZeRO-3 of those only the frozen ones. With ``training.ema`` there is the average of what is
    trained beside them, in float32.
    """
    from modeling.adapters import has_adapter  # seconds to import

    parameters = list(model.parameters())  # type: ignore[attr-defined]
    whole = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    adapter = has_adapter(model)
    kept = sum(buffer.numel() for buffer in model.buffers())  # type: ignore[attr-defined] # of PiSSA
    stored = (trained if adapter else whole) + kept
    states = STATE_BYTES.get(optimizer_name(config), 8) * trained + (4 * trained if config.training.ema else 0)
    try:
        computing = 4 if resolve_precision(config.engine.precision) == "fp32" else 2
    except ConfigError:
        computing = 2
    if config.engine.zero_stage == 0:
        return RunFiles(4 * stored + states, 4 * stored, config.checkpoints.keep)
    weights = computing * (stored - trained if config.engine.zero_stage == 3 else stored)
    return RunFiles(weights + 4 * trained + states, computing * stored, config.checkpoints.keep)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that a disk or a quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if not isinstance(error, OSError) and any(words in str(error) for words in FULL_IN_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises: SaveError: if ``needed`` bytes do not fit on the disk of ``folder``, as far as it is known."""
    disk = shutil.disk_usage(existing(folder))
    if disk.total and disk.free < needed:  # some network file systems say 0 of 0
        raise SaveError(f"{what} needs {bytes_in_words(needed)}, and {disk_of(folder)}")


@contextlib.contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """A context in which an error from a full disk becomes a SaveError that names the folder and what is free."""
    try:
        yield
    except SaveError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise SaveError(f"cannot write to {folder}: the disk or a quota is full; {disk_of(folder)}") from error


def disk_of(folder: Path) -> str:
    """In words, what is free on the folder's disk, and for temporary files if they are on another one."""
    told, there = "", existing(folder)
    with contextlib.suppress(OSError):  # there may be no room for temporary files anywhere
        temporary = Path(tempfile.gettempdir())
        if temporary.stat().st_dev != there.stat().st_dev:
            told = f" (for temporary files {temporary} has {bytes_in_words(shutil.disk_usage(temporary).free)})"
    return f"the disk of {folder} has {bytes_in_words(shutil.disk_usage(there).free)} free{told}"


def bytes_in_words(number: float) -> str:
    """Such as ``11.3 GB`` or ``4.2 MB``, in powers of ten, as disks are sold."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1e3:.1f} kB"
