"""The report's sections on growth: time and memory against batch, length, model and processes, and what is sent."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.memory.gpus import GIB
from trainer.memory.table import gib
from trainer.pages.charts import Chart, Series
from trainer.pages.tables import FigureTable

from .inputs import Inputs, provenance
from .pictures import picture, points
from .sections import Section, absent, engine_name, model_name, shape_name

GROWTH, COMMUNICATION = "Cost of growth", "What a step sends"
GROWING = {"batch_size": "batch", "seconds": "seconds of a clip", "model": "model", "processes": "processes"}
SIZES = ("tiny", "base", "small", "medium", "large-v3")
CHARTED_STRATEGY = "full"


def growth_section(inputs: Inputs) -> Section:
    """Pictures of time and of memory for everything that grew, and a table of all cells."""
    found = inputs.one("growth")
    if found is None:
        return absent(GROWTH, inputs.problems["growth"], inputs.command("growth"))
    cells = found["cells"]
    done = [cell for cell in cells if cell["status"] == "measured"]
    pictures = []
    for key, title in GROWING.items():
        group = [cell for cell in done if key in cell.get("grows", ())]
        if group:
            pictures += growth_pictures(key, title, group)
    rows = []
    for cell in cells:
        grows = ", ".join(GROWING.get(key, key) for key in cell.get("grows", ()))
        shown = (grows, model_name(cell), shape_name(cell), str(cell["batch_size"]), engine_name(cell))
        told: tuple[str, ...] = (f"{cell['status'].replace('_', ' ')}: {cell['reason']}", "", "", "")
        if cell["status"] == "measured":
            told = (
                f"{step_seconds(cell):.3f}",
                f"{cell['utterances_per_second']:.3f}",
                "" if cell["flops_per_second"] is None else f"{cell['flops_per_second'] / 1e9:.1f}",
                gib(cell["peak_bytes"]["resident"]),
            )
        rows.append((*shown, *told))
    figures = ("s a step", "utterances a second", "GFLOP/s", "resident of a process, GiB")
    columns = ("grows", "model", "clip and labels", "batch", "engine", *figures)
    table = FigureTable("Every cell", columns, rows, numbers=frozenset((3, 5, 6, 7, 8)))
    lines = (
        "One thing grows at a time, the rest stays; synthetic tensors, random weights, on CPUs, a thread each. Two "
        "processes are DDP over gloo, each with the batch of one.",
    )
    return Section(GROWTH, lines, tuple(pictures), (table,), tuple(provenance(found)))


def step_seconds(cell: Mapping[str, Any]) -> float:
    seconds: float = 1 / cell["steps_per_second"]
    return seconds


def resident(cell: Mapping[str, Any]) -> float:
    size: float = cell["peak_bytes"]["resident"] / GIB
    return size


def growth_pictures(key: str, title: str, cells: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Two charts: seconds per step and resident memory against what grows."""

    def place(cell: Mapping[str, Any]) -> float:
        name = model_name(cell)
        return (SIZES.index(name) if name in SIZES else len(SIZES)) if key == "model" else cell[key]

    ordered = sorted(cells, key=place)
    names: tuple[str, ...] = ()
    if key in ("model", "processes"):
        names = tuple(model_name(cell) if key == "model" else str(cell[key]) for cell in ordered)
    at = [float(number) for number in range(len(ordered))] if names else [float(cell[key]) for cell in ordered]
    measures: tuple[tuple[str, str, Callable[[Mapping[str, Any]], float]], ...] = (
        ("time", "s a step", step_seconds),
        ("memory", "resident, GiB", resident),
    )
    return [
        picture(
            f"growth_{key}_{kind}",
            f"{kind.capitalize()} against {title}",
            [Series("measured", points([(x, value(cell)) for x, cell in zip(at, ordered, strict=True)]), 0)],
            title,
            unit,
            categories=names,
        )
        for kind, unit, value in measures
    ]


def communication_section(inputs: Inputs) -> Section:
    """Bytes that a GPU sends at a step, computed for many GPUs, and the formula held against a count on two."""
    found = inputs.one("communication")
    if found is None:
        return absent(COMMUNICATION, inputs.problems["communication"], inputs.command("communication"))
    tables = []
    rows = found.get("computed", ())
    if rows:
        tables.append(sent_table(rows))
    if found.get("counted"):
        tables.append(counted_table(found["counted"]))
    lines = (
        "Gigabytes that each GPU sends at an optimizer step, by formula; gradients in float32 under DDP, bf16 under "
        "ZeRO. Overlap with computing and latencies are not in it; no network was measured.",
    )
    origin = provenance({"command": inputs.command("communication")} | found)  # its file does not hold the command
    return Section(COMMUNICATION, lines, communication_pictures(rows), tuple(tables), tuple(origin))


def sent_table(rows: Sequence[Mapping[str, Any]]) -> FigureTable:
    """Gigabytes by model, strategy and engine, a column for each number of GPUs."""
    gpus = list(rows[0]["gpus"])
    told = [
        (
            row["size"],
            row["strategy"].replace("_", " "),
            row["engine"],
            f"{row['trained'] / 1e6:,.1f} M",
            *(f"{row['gpus'][count]['bytes'] / 1e9:,.3f}" for count in gpus),
        )
        for row in rows
    ]
    columns = ("model", "strategy", "engine", "trained", *(f"{count} GPUs, GB" for count in gpus))
    return FigureTable("Sent by each GPU at a step", columns, told, numbers=frozenset(range(3, len(columns))))


def counted_table(cases: Sequence[Mapping[str, Any]]) -> FigureTable:
    """Bytes that were counted between two processes beside the formula's."""
    told = []
    for case in cases:
        counted, computed = sum(case["counted"].values()), sum(case["computed"].values())
        told.append((case["case"], f"{counted:,.0f}", f"{computed:,.0f}", f"{counted / computed:.4f}"))
    columns = ("two processes, a tiny model", "counted, bytes", "formula, bytes", "ratio")
    return FigureTable("The formula against a count", columns, told, numbers=frozenset((1, 2, 3)))


def communication_pictures(rows: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
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
