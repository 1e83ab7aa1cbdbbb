"""The report's sections on what was predicted: the largest batches, memory by batch, a public project's batches."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.memory.gpus import GIB, GPUS
from trainer.memory.table import gib
from trainer.pages.charts import Chart, Point, Series
from trainer.pages.tables import FigureTable

from .inputs import Inputs, provenance
from .pictures import picture, points
from .sections import Section, absent, by_step, engine_name, model_name, saver_name, shape_name, step_name

FITTING, MEMORY = "Which batch fits my GPU?", "Memory against batch, predicted"
PUBLIC = "A public project's batches, predicted"
FITTING_LINES = (
    "The largest batch_size that fits, in utterances of one microbatch on one GPU. Find your GPU's column and your "
    "model's row in the table of your engine; none: not even one utterance fits. Predicted, not run on a GPU.",
    'Another GPU, shorter clips or your own config: python -m benchmarks.memory predict --config CONFIG --gpu "24 GB" '
    "--seconds 15, which needs no GPU and prints the lines to paste.",
)
PICTURED = ("tiny", "base", "small", "medium", "large-v3", "large-v3-turbo")
LEVELS = ("A10 24GB", "A100 40GB", "A100 80GB")


def prediction_sections(inputs: Inputs) -> list[Section]:
    """The three sections, or one that says that the predictions are missing."""
    found = inputs.one("predictions")
    if found is None:
        return [absent("Predicted memory", inputs.problems["predictions"], inputs.command("predictions"))]
    origin = tuple(provenance(found))
    assumed = f"Assumed: {'; '.join(found['assumptions'])}."
    return [
        Section(FITTING, (*FITTING_LINES, assumed), (), largest_tables(found["largest_batches"]), origin),
        Section(
            MEMORY,
            ("Bytes of one GPU with CUDA's context; dashed lines: what cards have. Not measured.",),
            memory_pictures(found["cells"]),
            (memory_table(found["cells"]),),
            origin,
        ),
        Section(PUBLIC, public_lines(found["public_project"]), (), public_tables(found), origin),
    ]


def public_lines(cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
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


def cell_name(cell: Mapping[str, Any]) -> str:
    """``whisper-small, full, batch 8``."""
    return f"whisper-{model_name(cell)}, {cell['strategy'].replace('_', ' ')}, batch {cell['batch_size']}"


def settings(remedy: Mapping[str, Any]) -> str:
    """A remedy as overrides of the command line."""
    return " ".join(f"{key}={str(value).lower()}" for key, value in remedy["settings"].items())


def public_tables(found: Mapping[str, Any]) -> tuple[FigureTable, ...]:
    """A table of all cells, and one of the settings tried for those that do not fit."""
    rows, advised = [], []
    for cell in found["public_project"]:
        predicted = cell["predicted"]
        rows.append(
            (
                model_name(cell),
                cell["strategy"].replace("_", " "),
                str(cell["batch_size"]),
                gib(predicted["peak_bytes"]),
                gib(predicted["reserved_bytes"]),
                gib(predicted["device_used_bytes"]),
                "yes" if cell["fits"] else "no",
            )
        )
        for remedy in cell["advice"]:
            used, told = gib(remedy["predicted"]["device_used_bytes"]), "yes" if remedy["fits"] else "no"
            advised.append((cell_name(cell), settings(remedy), used, told))
    gpu = found["public_project"][0]["gpu"] if rows else ""
    head = ("model", "strategy", "batch", "tensors, GiB", "reserved, GiB", "device used, GiB", f"fits {gpu}")
    tables = [FigureTable("As they are", head, rows, numbers=frozenset((2, 3, 4, 5)))]
    if advised:
        columns, title = ("cell", "settings", "device used, GiB", "fits"), "With the settings that the advice prints"
        tables.append(FigureTable(title, columns, advised, numbers=frozenset((2,))))
    return tuple(tables)


def largest_tables(rows: Sequence[Mapping[str, Any]]) -> tuple[FigureTable, ...]:
    """A table for each engine, one GPU first: a row for each model and strategy, a column for each GPU."""
    engines: dict[str, list[Mapping[str, Any]]] = {}
    for row in ordered(rows):
        engines.setdefault(engine_name(row), []).append(row)
    first = sorted(engines, key=lambda name: name != "one process")
    return tuple(largest_table(name, engines[name]) for name in first)


def largest_table(engine: str, rows: Sequence[Mapping[str, Any]]) -> FigureTable:
    """The largest batches of one engine."""
    gpus = list(dict.fromkeys(gpu for row in rows for gpu in row["largest_batch"]))
    told_rows = []
    for row in rows:
        strategy = row["strategy"].replace("_", " ") + saver_name(row)
        batches = (str(row["largest_batch"].get(gpu, "") or "none") for gpu in gpus)
        told_rows.append((model_name(row), strategy, *batches, f"{row['model_flops_per_utterance'] / 1e12:.2f}"))
    columns = ("model", "strategy", *gpus, "TFLOP an utterance")
    return FigureTable(engine_title(engine), columns, told_rows, numbers=frozenset(range(2, len(columns))))


def engine_title(engine: str) -> str:
    """The title of an engine's table, from its :func:`engine_name`."""
    if engine == "one process":
        return "One GPU"
    kind, _, rest = engine.partition(" ")
    count, comma, offload = rest.partition(",")
    return f"{kind} on {count} {'GPU' if count == '1' else 'GPUs, on each of them'}{comma}{offload}"


def ordered(cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The cells sorted by model, strategy and engine."""

    def place(cell: Mapping[str, Any]) -> tuple[Any, ...]:
        name = model_name(cell)
        known = PICTURED.index(name) if name in PICTURED else len(PICTURED)
        kind = (cell["strategy"] != "full", cell["strategy"], saver_name(cell))
        return (known, name, *kind, cell["zero_stage"], cell["processes"], cell.get("batch_size", 0))

    return sorted(cells, key=place)


def memory_table(cells: Sequence[Mapping[str, Any]]) -> FigureTable:
    """Tensors, reserved and device-used peaks of every cell."""
    rows = []
    for cell in ordered(cells):
        predicted = cell["predicted"]
        sizes = (predicted[key] for key in ("peak_bytes", "reserved_bytes", "device_used_bytes"))
        strategy = cell["strategy"].replace("_", " ") + saver_name(cell)
        rows.append((model_name(cell), strategy, engine_name(cell), str(cell["batch_size"]), *map(gib, sizes)))
    columns = ("model", "strategy", "engine", "batch", "tensors, GiB", "reserved, GiB", "device used, GiB")
    shape = f" at {shape_name(cells[0])}, {cells[0]['precision']}" if cells else ""
    return FigureTable(f"Every cell{shape}", columns, rows, numbers=frozenset((3, 4, 5, 6)))


def memory_pictures(cells: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    """For each model its engines with everything trained, then its strategies in one process."""
    levels = [(gpu.memory_bytes / GIB, gpu.name) for gpu in GPUS if gpu.name in LEVELS]
    pictures = []
    for model in PICTURED:
        groups = list(by_step(cell for cell in cells if model_name(cell) == model).values())
        full = [group for group in groups if group[0]["strategy"] == "full" and not saver_name(group[0])]
        single = [group for group in groups if group[0]["processes"] == 1]
        for kind, title, shown, named in (
            ("engines", f"{model}, full, by engine", full, engine_name),
            ("strategies", f"{model}, one process", single, strategy_name),
        ):
            series = [Series(named(group[0]), used(group), colour) for colour, group in enumerate(shown)]
            if series:
                name = f"memory_{model}_{kind}"
                pictures.append(picture(name, title, series, "batch", "device used, GiB", levels=levels))
    return tuple(pictures)


def strategy_name(cell: Mapping[str, Any]) -> str:
    """What a cell trains, for the legend of a chart of one process."""
    return step_name(cell).removesuffix(", one process")


def used(group: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Points of device memory used, in GiB, against batch size."""
    return points([(cell["batch_size"], cell["predicted"]["device_used_bytes"] / GIB) for cell in group])
