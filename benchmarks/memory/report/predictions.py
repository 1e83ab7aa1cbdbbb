"""The report's sections on what was predicted: the largest batches, memory by batch, a public project's batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.memory.gpus import GIB, GPUS
from trainer.memory.table import gib
from trainer.pages.charts import Chart, Series
from trainer.pages.tables import FigureTable

from .pictures import picture, points
from .sections import (
    Cell,
    Section,
    batch_name,
    by_step,
    engine_name,
    model_name,
    saver_name,
    shape_name,
    step_name,
    strategy_name,
)

FITTING_LINES = (
    "The largest batch_size that fits, in utterances of one microbatch on one GPU. Find your GPU's column and your "
    "model's row in the table of your engine; none: not even one utterance fits. Predicted, not run on a GPU.",
    'Another GPU, shorter clips or your own config: python -m benchmarks.memory predict --config CONFIG --gpu "24 GB" '
    "--seconds 15, which needs no GPU and prints the lines to paste.",
)
PICTURED = ("tiny", "base", "small", "medium", "large-v3", "large-v3-turbo")
PEAKS: Mapping[str, Callable[[Cell], str]] = {
    "tensors, GiB": lambda cell: gib(cell["predicted"]["peak_bytes"]),
    "reserved, GiB": lambda cell: gib(cell["predicted"]["reserved_bytes"]),
    "device used, GiB": lambda cell: gib(cell["predicted"]["device_used_bytes"]),
}
LEVELS = ("A10 24GB", "A100 40GB", "A100 80GB")


def prediction_sections(found: dict[str, Any]) -> list[Section]:
    """The three sections of predictions.json."""
    assumed = f"Assumed: {'; '.join(found['assumptions'])}."
    cells, public = found["cells"], found["public_project"]
    told = ("Bytes of one GPU with CUDA's context; dashed lines: what cards have. Not measured.",)
    return [
        Section("Which batch fits my GPU?", (*FITTING_LINES, assumed), (), largest_tables(found["largest_batches"])),
        Section("Memory against batch, predicted", told, memory_pictures(cells), [memory_table(cells)]),
        Section("A public project's batches, predicted", public_lines(public), (), public_tables(public)),
    ]


def public_lines(cells: Sequence[Cell]) -> tuple[str, ...]:
    """How many cells fit, and with which settings the others would."""
    fitting = sum(cell["fits"] for cell in cells)
    lines = [
        "What a public project ran on a 40 GB card, each clip padded to 30 s, without gradient checkpointing: as its "
        f"cells are predicted here, in bf16 and in one process, {fitting} of {len(cells)} fit as they are.",
    ]
    for cell in cells:
        if not cell["fits"] and cell["advice"] and cell["advice"][-1]["fits"]:
            lines.append(f"{cell_name(cell)} does not fit as it is, and fits with {settings(cell['advice'][-1])}.")
    return tuple(lines)


def cell_name(cell: Cell) -> str:
    """``whisper-small, full, batch 8``."""
    return f"whisper-{model_name(cell)}, {cell['strategy'].replace('_', ' ')}, batch {cell['batch_size']}"


def settings(remedy: Cell) -> str:
    """A remedy as overrides of the command line."""
    return " ".join(f"{key}={str(value).lower()}" for key, value in remedy["settings"].items())


def public_tables(cells: Sequence[Cell]) -> list[FigureTable]:
    """A table of all cells, and one of the settings tried for those that do not fit."""
    columns = {
        "model": model_name,
        "strategy": lambda cell: cell["strategy"].replace("_", " "),
        "batch": batch_name,
        **PEAKS,
        f"fits {cells[0]['gpu'] if cells else ''}": fits,
    }
    tables = [FigureTable.of("As they are", cells, columns, range(2, 6))]
    advised = [(cell, remedy) for cell in cells for remedy in cell["advice"]]
    if advised:
        columns = {
            "cell": lambda pair: cell_name(pair[0]),
            "settings": lambda pair: settings(pair[1]),
            "device used, GiB": lambda pair: gib(pair[1]["predicted"]["device_used_bytes"]),
            "fits": lambda pair: fits(pair[1]),
        }
        tables.append(FigureTable.of("With the settings that the advice prints", advised, columns, (2,)))
    return tables


def fits(cell: Cell) -> str:
    """Whether a cell or a remedy fits."""
    return "yes" if cell["fits"] else "no"


def largest_tables(rows: Sequence[Cell]) -> list[FigureTable]:
    """A table for each engine, one GPU first: a row for each model and strategy, a column for each GPU."""
    engines: dict[str, list[Cell]] = {}
    for row in ordered(rows):
        engines.setdefault(engine_name(row), []).append(row)
    first = sorted(engines, key=lambda name: name != "one process")
    return [largest_table(name, engines[name]) for name in first]


def largest_table(engine: str, rows: Sequence[Cell]) -> FigureTable:
    """The largest batches of one engine."""
    gpus = dict.fromkeys(gpu for row in rows for gpu in row["largest_batch"])
    columns = {
        "model": model_name,
        "strategy": strategy_name,
        **{gpu: lambda row, gpu=gpu: str(row["largest_batch"].get(gpu, "") or "none") for gpu in gpus},
        "TFLOP an utterance": lambda row: f"{row['model_flops_per_utterance'] / 1e12:.2f}",
    }
    return FigureTable.of(engine_title(engine), rows, columns, range(2, len(columns)))


def engine_title(engine: str) -> str:
    """The title of an engine's table, from its :func:`engine_name`."""
    if engine == "one process":
        return "One GPU"
    kind, _, rest = engine.partition(" ")
    count, comma, offload = rest.partition(",")
    return f"{kind} on {count} {'GPU' if count == '1' else 'GPUs, on each of them'}{comma}{offload}"


def ordered(cells: Sequence[Cell]) -> list[Cell]:
    """The cells sorted by model, strategy and engine."""

    def place(cell: Cell) -> tuple[Any, ...]:
        name = model_name(cell)
        known = PICTURED.index(name) if name in PICTURED else len(PICTURED)
        kind = (cell["strategy"] != "full", cell["strategy"], saver_name(cell))
        return (known, name, *kind, cell["zero_stage"], cell["processes"], cell.get("batch_size", 0))

    return sorted(cells, key=place)


def memory_table(cells: Sequence[Cell]) -> FigureTable:
    """Tensors, reserved and device-used peaks of every cell."""
    columns = {"model": model_name, "strategy": strategy_name, "engine": engine_name, "batch": batch_name, **PEAKS}
    shape = f" at {shape_name(cells[0])}, {cells[0]['precision']}" if cells else ""
    return FigureTable.of(f"Every cell{shape}", ordered(cells), columns, range(3, 7))


def memory_pictures(cells: Sequence[Cell]) -> tuple[Chart, ...]:
    """For each model its engines with everything trained, then its strategies in one process."""
    levels = [(gpu.memory_bytes / GIB, gpu.name) for gpu in GPUS if gpu.name in LEVELS]
    pictures = []
    for model in PICTURED:
        groups = list(by_step(cell for cell in cells if model_name(cell) == model).values())
        full = [group for group in groups if group[0]["strategy"] == "full" and not saver_name(group[0])]
        single = [group for group in groups if group[0]["processes"] == 1]
        for kind, title, shown, named in (
            ("engines", f"{model}, full, by engine", full, engine_name),
            ("strategies", f"{model}, one process", single, lambda cell: step_name(cell).removesuffix(", one process")),
        ):
            series = []
            for colour, group in enumerate(shown):
                used = [(cell["batch_size"], cell["predicted"]["device_used_bytes"] / GIB) for cell in group]
                series.append(Series(named(group[0]), points(used), colour))
            if series:
                name = f"memory_{model}_{kind}"
                pictures.append(picture(name, title, series, "batch", "device used, GiB", levels=levels))
    return tuple(pictures)
