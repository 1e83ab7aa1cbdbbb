"""A section of the report, independent of its output format, and the names of cells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.pages.charts import Chart
from trainer.pages.tables import FigureTable

OWN_KEYS = ("batch_size", "data")  # what may differ within a curve


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
    lines: tuple[str, ...] = ()
    pictures: tuple[Chart, ...] = ()
    tables: tuple[FigureTable, ...] = ()
    provenance: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def absent(title: str, problem: str, command: str) -> Section:
    """A section whose input is missing."""
    return Section(title, missing=(f"{problem}. This makes it:", command))


def model_name(cell: Mapping[str, Any]) -> str:
    """``small``, or ``small, plain`` without the second attention."""
    name = str(cell["model"]).removeprefix("openai/whisper-")
    return name if cell.get("dual_attention", True) else f"{name}, plain"


def engine_name(cell: Mapping[str, Any]) -> str:
    """``ZeRO-2, 8 GPUs``, ``DDP, 2 processes``, ``one process``."""
    stage, processes = cell["zero_stage"], cell["processes"]
    if not stage and processes == 1:
        return "one process"
    offload = "" if cell["cpu_offload"] == "none" else f", {cell['cpu_offload']} offloaded"
    return f"{f'ZeRO-{stage}' if stage else 'DDP'} {processes}{offload}"


def saver_name(cell: Mapping[str, Any]) -> str:
    """A suffix that names gradient checkpointing; empty without it."""
    value = cell["gradient_checkpointing"]
    if value in (False, "none", None):
        return ""
    return ", checkpointing" if value in (True, "all") else f", checkpointing of the {value}"


def step_name(cell: Mapping[str, Any]) -> str:
    """A short name of a cell's strategy, optimizer and engine."""
    optimizer = "" if cell["optimizer"] in ("adamw", "cpu_adam") else f", {cell['optimizer']}"
    return f"{cell['strategy'].replace('_', ' ')}{saver_name(cell)}{optimizer}, {engine_name(cell)}"


def shape_name(cell: Mapping[str, Any]) -> str:
    """``30 s, 448 positions``."""
    return f"{cell['seconds']:g} s, {cell['tokens']} positions"


def step_key(cell: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A key that is the same for cells that differ only in batch size."""
    return tuple((key, cell.get(key)) for key in STEP_KEYS if key not in OWN_KEYS)


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


def by_step(cells: Iterable[Mapping[str, Any]]) -> dict[tuple[tuple[str, Any], ...], list[Mapping[str, Any]]]:
    """Cells grouped by :func:`step_key`, each group sorted by batch size."""
    found: dict[tuple[tuple[str, Any], ...], list[Mapping[str, Any]]] = {}
    for cell in cells:
        found.setdefault(step_key(cell), []).append(cell)
    return {key: sorted(group, key=lambda cell: cell["batch_size"]) for key, group in found.items()}
