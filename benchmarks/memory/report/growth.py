"""The report's sections on growth: time and memory against batch, length, model and processes, and what is sent."""

from collections.abc import Callable, Sequence
from typing import Any

from trainer.memory.gpus import GIB
from trainer.memory.table import gib
from trainer.pages.charts import Chart, Series
from trainer.pages.tables import FigureTable

from .pictures import picture, points
from .sections import Cell, Section, batch_name, engine_name, model_name, shape_name, status_name

GROWING = {"batch_size": "batch", "seconds": "seconds of a clip", "model": "model", "processes": "processes"}
SIZES = ("tiny", "base", "small", "medium", "large-v3")
CHARTED_STRATEGY = "full"


def growth_section(found: dict[str, Any]) -> list[Section]:
    """Pictures of time and of memory for everything that grew, and a table of all cells."""
    cells = found["cells"]
    pictures = []
    for key, title in GROWING.items():
        group = [cell for cell in cells if cell["status"] == "measured" and key in cell.get("grows", ())]
        if group:
            pictures += growth_pictures(key, title, group)

    def measured(text: Callable[[Cell], str], is_first: bool = False) -> Callable[[Cell], str]:
        otherwise = status_name if is_first else lambda cell: ""
        return lambda cell: (text if cell["status"] == "measured" else otherwise)(cell)

    columns = {
        "grows": lambda cell: ", ".join(GROWING.get(key, key) for key in cell.get("grows", ())),
        "model": model_name,
        "clip and labels": shape_name,
        "batch": batch_name,
        "engine": engine_name,
        "s a step": measured(lambda cell: f"{1 / cell['steps_per_second']:.3f}", is_first=True),
        "utterances a second": measured(lambda cell: f"{cell['utterances_per_second']:.3f}"),
        "GFLOP/s": measured(lambda cell: "" if (flops := cell["flops_per_second"]) is None else f"{flops / 1e9:.1f}"),
        "resident of a process, GiB": measured(lambda cell: gib(cell["peak_bytes"]["resident"])),
    }
    table = FigureTable.of("Every cell", cells, columns, (3, 5, 6, 7, 8))
    line = (
        "One thing grows at a time, the rest stays: synthetic tensors, random weights, on CPUs, one thread per process."
        " Two processes are DDP over gloo, each with the batch size of the single-process run."
    )
    return [Section("Cost of growth", [line], pictures, [table])]


def growth_pictures(key: str, title: str, cells: Sequence[Cell]) -> list[Chart]:
    """Two charts: seconds per step and resident memory against what grows."""

    def place(cell: Cell) -> float:
        name = model_name(cell)
        return (SIZES.index(name) if name in SIZES else len(SIZES)) if key == "model" else cell[key]

    ordered = sorted(cells, key=place)
    names: Sequence[str] = ()
    if key in ("model", "processes"):
        names = [model_name(cell) if key == "model" else str(cell[key]) for cell in ordered]
    at = range(len(ordered)) if names else [float(cell[key]) for cell in ordered]
    measures = {
        "time": ("s a step", [1 / cell["steps_per_second"] for cell in ordered]),
        "memory": ("resident, GiB", [cell["peak_bytes"]["resident"] / GIB for cell in ordered]),
    }
    return [
        picture(
            f"growth_{key}_{kind}",
            f"{kind.capitalize()} against {title}",
            [Series("measured", points(list(zip(at, values, strict=True))), 0)],
            title,
            unit,
            categories=names,
        )
        for kind, (unit, values) in measures.items()
    ]


def communication_section(found: dict[str, Any]) -> list[Section]:
    """Bytes that a GPU sends at a step, computed for many GPUs, and the formula held against a count on two."""
    rows = found.get("computed", ())
    tables = [sent_table(rows)] if rows else []
    if found.get("counted"):
        tables.append(counted_table(found["counted"]))
    line = (
        "Gigabytes that each GPU sends at an optimizer step, by formula; gradients in float32 under DDP, bf16 under "
        "ZeRO. Overlap with computing and latencies are not in it; no network was measured."
    )
    return [Section("What a step sends", [line], communication_pictures(rows), tables)]


def sent_table(rows: Sequence[Cell]) -> FigureTable:
    """Gigabytes by model, strategy and engine, a column for each number of GPUs."""
    columns = {
        "model": lambda row: row["size"],
        "strategy": lambda row: row["strategy"].replace("_", " "),
        "engine": lambda row: row["engine"],
        "trained": lambda row: f"{row['trained'] / 1e6:,.1f} M",
        **{
            f"{count} GPUs, GB": lambda row, count=count: f"{row['gpus'][count]['bytes'] / 1e9:,.3f}"
            for count in rows[0]["gpus"]
        },
    }
    return FigureTable.of("Sent by each GPU at a step", rows, columns, range(3, len(columns)))


def counted_table(cases: Sequence[Cell]) -> FigureTable:
    """Bytes that were counted between two processes beside the formula's."""
    told = []
    for case in cases:
        counted, computed = sum(case["counted"].values()), sum(case["computed"].values())
        told.append((case["case"], f"{counted:,.0f}", f"{computed:,.0f}", f"{counted / computed:.4f}"))
    columns = ("two processes, a tiny model", "counted, bytes", "formula, bytes", "ratio")
    return FigureTable("The formula against a count", columns, told, numbers=(1, 2, 3))


def communication_pictures(rows: Sequence[Cell]) -> tuple[Chart, ...]:
    """For each model what is sent against the number of GPUs, a line for each engine."""
    pictures = []
    charted = [row for row in rows if row["strategy"] == CHARTED_STRATEGY]
    for size in dict.fromkeys(row["size"] for row in charted):
        curves: dict[tuple[tuple[float, float], ...], list[str]] = {}  # engines that send the same share a curve
        for row in charted:
            if row["size"] == size:
                places = tuple((float(gpus), one["bytes"] / 1e9) for gpus, one in row["gpus"].items())
                curves.setdefault(places, []).append(row["engine"])
        series = [
            Series(" and ".join(names), points(places), colour) for colour, (places, names) in enumerate(curves.items())
        ]
        name, title = f"sent_{size}", f"Sent at a step: {size}, full"
        pictures.append(picture(name, title, series, "GPUs", "GB of each GPU", log_x=True, log_y=True))
    return tuple(pictures)
