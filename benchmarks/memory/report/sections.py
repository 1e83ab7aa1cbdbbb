"""A section of the report, independent of its output format, and the names of cells."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainer.pages.charts import Chart
from trainer.pages.tables import FigureTable

from .inputs import Inputs, provenance

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        lines: sentences before anything else.
        pictures, tables: in this order.
        provenance: hardware, versions and date, and the command; a line each.
        missing: what is not there, and the command that makes it; empty where all is.
    """

    title: str
    lines: Sequence[str] = ()
    pictures: Sequence[Chart] = ()
    tables: Sequence[FigureTable] = ()
    provenance: Sequence[str] = ()
    missing: Sequence[str] = ()


def sections_from(
    inputs: Inputs, kind: str, title: str, sections: Callable[[dict[str, Any]], Sequence[Section]]
) -> Sequence[Section]:
    """What ``sections`` makes of the content of a kind's file, with its provenance.

    Args:
        title: of the section that says that the file is missing.
    """
    content, command = inputs.one(kind), inputs.command(kind)
    if content is None:
        return [Section(title, missing=(f"{inputs.problems[kind]}. This makes it:", command))]
    origin = provenance({"command": command} | content)  # communication.json does not hold its command
    return [replace(one, provenance=origin) for one in sections(content)]


def model_name(cell: Cell) -> str:
    """``small``, or ``small, plain`` without the second attention."""
    name = str(cell["model"]).removeprefix("openai/whisper-")
    return name if cell.get("dual_attention", True) else f"{name}, plain"


def strategy_name(cell: Cell) -> str:
    """``frozen primary, checkpointing``."""
    return cell["strategy"].replace("_", " ") + saver_name(cell)


def batch_name(cell: Cell) -> str:
    """The batch size as text."""
    return str(cell["batch_size"])


def status_name(cell: Cell) -> str:
    """``out of memory: CUDA!``, of a cell that was not measured."""
    return f"{cell['status'].replace('_', ' ')}: {cell['reason']}"


def engine_name(cell: Cell) -> str:
    """``ZeRO-2, 8 GPUs``, ``DDP, 2 processes``, ``one process``."""
    stage, processes = cell["zero_stage"], cell["processes"]
    if not stage and processes == 1:
        return "one process"
    offload = "" if cell["cpu_offload"] == "none" else f", {cell['cpu_offload']} offloaded"
    return f"{f'ZeRO-{stage}' if stage else 'DDP'} {processes}{offload}"


def saver_name(cell: Cell) -> str:
    """A suffix that names gradient checkpointing; empty without it."""
    value = cell["gradient_checkpointing"]
    if value in (False, "none", None):
        return ""
    return ", checkpointing" if value in (True, "all") else f", checkpointing of the {value}"


def step_name(cell: Cell) -> str:
    """A short name of a cell's strategy, optimizer and engine."""
    optimizer = "" if cell["optimizer"] in ("adamw", "cpu_adam") else f", {cell['optimizer']}"
    return f"{strategy_name(cell)}{optimizer}, {engine_name(cell)}"


def shape_name(cell: Cell) -> str:
    """``30 s, 448 positions``."""
    return f"{cell['seconds']:g} s, {cell['tokens']} positions"


def step_key(cell: Cell) -> tuple[tuple[str, Any], ...]:
    """A key that is the same for cells that differ only in batch size."""
    return tuple((key, cell.get(key)) for key in STEP_KEYS)


STEP_KEYS = (
    "model",
    "dual_attention",
    "strategy",
    "optimizer",
    "zero_stage",
    "cpu_offload",
    "precision",
    "processes",
    "gradient_checkpointing",
    "encoder_padding",
    "accumulation",
    "seconds",
    "tokens",
)


def by_step(cells: Iterable[Cell]) -> dict[tuple[tuple[str, Any], ...], list[Cell]]:
    """Cells grouped by :func:`step_key`, each group sorted by batch size."""
    found: dict[tuple[tuple[str, Any], ...], list[Cell]] = {}
    for cell in cells:
        found.setdefault(step_key(cell), []).append(cell)
    return {key: sorted(group, key=lambda cell: cell["batch_size"]) for key, group in found.items()}
