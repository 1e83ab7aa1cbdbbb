"""The report's sections on what was measured of a step: against torch's profiler, on a GPU or CPU, side by side with
the usual recipe, and each option's gain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainer.memory.gpus import GIB
from trainer.memory.table import gib
from trainer.pages.charts import Chart, Series
from trainer.pages.formats import percent
from trainer.pages.tables import FigureTable

from .inputs import Inputs, has_gpu, provenance
from .pictures import picture, points
from .sections import (
    Cell,
    Section,
    batch_name,
    by_step,
    model_name,
    shape_name,
    status_name,
    step_key,
    step_name,
)

MEASURED = "Measured"
NO_GPU = "No GPU was measured: of a GPU there are predictions only. With one, this measures:"
LIMIT = 0.05  # largest error of a prediction, as a share of the profiler's peak
MIB = 2**20
MOST_CURVES = 8  # in a picture


Known = Mapping[Any, Cell]  # predictions by step and batch size


def check_section(found: dict[str, Any]) -> list[Section]:
    """Each cell's prediction error, and a chart of all cells."""
    done = [cell for cell in found["cells"] if "off_by" in cell]
    columns = {
        "cell": lambda cell: cell["name"],
        "model": model_name,
        "batch": batch_name,
        "clip and labels": shape_name,
        "profiler, MiB": lambda cell: mebibytes(cell["profiled_bytes"]) if "off_by" in cell else status_name(cell),
        "predicted, MiB": lambda cell: mebibytes(cell["predicted"]["peak_bytes"]),
        "off by": lambda cell: f"{100 * cell['off_by']:+.2f} %" if "off_by" in cell else "",
    }
    table = FigureTable.of("Peak of tensors", found["cells"], columns, (2, 4, 5, 6))
    within = sum(abs(cell["off_by"]) <= LIMIT for cell in done)
    lines = [
        "Real training steps in fresh processes, random weights; the peak of tensors in torch.profiler's memory events "
        f"beside what was predicted before. Within {LIMIT:.0%}: {within} of {len(found['cells'])} cells."
    ]
    pictures = []
    if done:
        worst = max(done, key=lambda cell: abs(cell["off_by"]))
        lines.append(f"The worst is {worst['name']}, off by {100 * worst['off_by']:+.2f} %.")
        places = [(cell["profiled_bytes"] / MIB, cell["predicted"]["peak_bytes"] / MIB) for cell in done]
        title = "Predicted against profiled; dashed: equal"
        series = [Series("a cell", points(places), 0, is_joined=False)]
        pictures.append(picture("check", title, series, "profiled, MiB", "predicted, MiB", is_square=True))
    return [Section("Predicted against torch.profiler, on CPUs", lines, pictures, [table])]


def mebibytes(count: float) -> str:
    """A number of bytes in MiB."""
    return f"{count / MIB:,.1f}"


def measured_sections(inputs: Inputs) -> list[Section]:
    """A section for each file of measurements; if none comes from a GPU, the first section says so."""
    files = inputs.files.get("measured", {})
    if not files:
        return [Section(MEASURED, missing=(NO_GPU, inputs.command("measured")))]
    predicted = (inputs.one("predictions") or {}).get("of_measured", [])
    known = {(step_key(cell), cell["batch_size"]): cell["predicted"] for cell in predicted}
    sections = [measured_section(name, content, known) for name, content in files.items()]
    if not any(map(has_gpu, files.values())):
        sections[0] = replace(sections[0], missing=(NO_GPU, inputs.command("measured")))
    return sections


def measured_section(name: str, content: Cell, known: Known) -> Section:
    """A file's cells: memory and speed, with the prediction beside each where there is one."""
    cells = content["cells"]
    done = [cell for cell in cells if cell["status"] == "measured"]
    on_gpu = has_gpu(content)
    lines = []
    off = [
        (cell["peak_bytes"], one)
        for cell in done
        if (one := foreseen(cell, known)) and cell["data"] == "synthetic" and cell["peak_bytes"]["allocated"]
    ]
    if off:
        allocated = max(abs(one["peak_bytes"] / peak["allocated"] - 1) for peak, one in off)
        on_device = [(one["device_used_bytes"], peak["device_used"]) for peak, one in off if peak["device_used"]]
        used = max((abs(predicted / peak - 1) for predicted, peak in on_device), default=0.0)
        lines.append(
            f"Predicted beside measured in {len(off)} cells: tensors at most {percent(allocated)} % off, device used "
            f"{percent(used)} %."
        )
    elif not on_gpu:
        lines.append("On a CPU: resident memory, the libraries' half a GiB among it, which is not predicted.")
    for cell in cells:
        if cell["status"] != "measured":
            lines.append(f"{model_name(cell)}, {step_name(cell)}, batch {cell['batch_size']}: {cell['reason']}.")
    tables = [memory_table(cells, known, on_gpu), *([speed_table(done)] if done else [])]
    pictures = [*memory_pictures(name, done, known, on_gpu), *speed_pictures(name, done)]
    return Section(f"{MEASURED}: {name}", lines, pictures, tables, provenance(content))


def foreseen(cell: Cell, known: Known) -> Cell | None:
    """What was predicted of a cell."""
    return known.get((step_key(cell), cell["batch_size"]))


def memory_table(cells: Sequence[Cell], known: Known, on_gpu: bool) -> FigureTable:
    """Peaks of every cell, on a GPU with the prediction beside what was measured."""
    kinds = ("allocated", "predicted", "reserved", "device used", "predicted") if on_gpu else ("resident",)
    rows = []
    for cell in cells:
        peaks = cell["peak_bytes"]
        one = foreseen(cell, known) if cell["data"] == "synthetic" else None
        told = [cell["status"].replace("_", " "), *[""] * (len(kinds) - 1)]
        if cell["status"] == "measured":
            sizes = [peaks["resident"]]
            if on_gpu:
                predicted, used = (one["peak_bytes"], one["device_used_bytes"]) if one else (None, None)
                sizes = [peaks["allocated"], predicted, peaks["reserved"], peaks["device_used"], used]
            told = [gib(size) for size in sizes]
        shown = (model_name(cell), step_name(cell), cell["precision"], shape_name(cell), cell["data"])
        rows.append((*shown, batch_name(cell), *told))
    columns = ("model", "step", "precision", "clip and labels", "data", "batch", *(f"{kind}, GiB" for kind in kinds))
    return FigureTable("Memory", columns, rows, numbers=range(5, len(columns)))


def speed_table(cells: Sequence[Cell]) -> FigureTable:
    """Times and rates of the cells that were measured."""
    columns: dict[str, Callable[[Cell], str]] = {
        "model": model_name,
        "step": step_name,
        "data": lambda cell: cell["data"],
        "batch": batch_name,
        "s a step": lambda cell: f"{1 / cell['steps_per_second']:.3g}",
        "utterances a second": lambda cell: f"{cell['utterances_per_second']:,.2f}",
        "audio, s a second": lambda cell: f"{cell['audio_seconds_per_second']:,.1f}",
        "targets a second": lambda cell: f"{cell['target_tokens_per_second']:,.0f}",
        "of the device's peak": lambda cell: "" if cell["utilisation"] is None else f"{percent(cell['utilisation'])} %",
        "waiting for data": lambda cell: f"{percent(cell['data_wait_share'], 2)} %",
    }
    return FigureTable.of("Speed", cells, columns, range(3, 10))


def memory_pictures(name: str, cells: Sequence[Cell], known: Known, on_gpu: bool) -> list[Chart]:
    """A chart for each step measured at several batch sizes: filled markers measured, open ones predicted."""
    pictures = []
    kind, of = ("device_used", "device_used_bytes") if on_gpu else ("resident", "")
    for number, group in enumerate(by_step(cell for cell in cells if cell["data"] == "synthetic").values()):
        places = [
            (cell["batch_size"], cell["peak_bytes"][kind] / GIB) for cell in group if cell["peak_bytes"].get(kind)
        ]
        if len(places) < 2:
            continue
        predicted = [
            (cell["batch_size"], one[of] / GIB) for cell in group if of and (one := foreseen(cell, known)) is not None
        ]
        series = [Series("measured", points(places), 0)]
        series += [Series("predicted", points(predicted), 1, is_open=True)] if predicted else []
        title = f"{model_name(group[0])}: {step_name(group[0])}"
        place = f"{name.removesuffix('.json')}_memory_{number}"
        pictures.append(picture(place, title, series, "batch", f"{kind.replace('_', ' ')}, GiB"))
    return pictures


def speed_pictures(name: str, cells: Sequence[Cell]) -> list[Chart]:
    """Utterances per second against batch size; a curve for each step measured at several sizes."""
    groups = [group for group in by_step(c for c in cells if c["data"] == "synthetic").values() if len(group) > 1]
    pictures = []
    for begin in range(0, len(groups), MOST_CURVES):
        series = [
            Series(
                f"{model_name(group[0])}, {step_name(group[0])}",
                points([(cell["batch_size"], cell["utterances_per_second"]) for cell in group]),
                colour,
            )
            for colour, group in enumerate(groups[begin : begin + MOST_CURVES])
        ]
        place = f"{name.removesuffix('.json')}_speed_{begin // MOST_CURVES}"
        pictures.append(picture(place, "Speed against batch", series, "batch", "utterances a second"))
    return pictures


def side_by_side_section(found: dict[str, Any]) -> list[Section]:
    """The figures of the usual recipe and of this project, and their ratios."""
    sides = [("Seq2SeqTrainer, plain Whisper, 30 s", found["peer"]), ("this loop, dual decoder", found["own"])]
    columns: dict[str, Callable[[tuple[str, Cell]], str]] = {
        "": lambda side: side[0],
        "batch": lambda side: batch_name(side[1]),
        "utterances a second": lambda side: f"{side[1]['utterances_per_second']:,.3f}",
        "median step, s": lambda side: f"{side[1]['median_step_seconds']:,.2f}",
        "timed": lambda side: f"{side[1]['timed_utterances']:,} in {side[1]['timed_steps']:,} steps",
        "GFLOP an utterance": lambda side: f"{side[1]['operations_per_utterance'] / 1e9:,.1f}",
    }
    table = FigureTable.of("Training speed", sides, columns, (1, 2, 3, 5))
    faster, fewer = f"{found['ratio']:.2f}", f"{found['ratio_of_operations']:.2f}"
    table = replace(table, rows=[*table.rows, ("ratio", "", faster, "", "", fewer)])
    checkpoint = found.get("config", {}).get("model", {}).get("checkpoint", "the same checkpoint")
    rounds = ", ".join(f"{ratio:.2f}" for ratio in found["ratio_of_rounds"])
    line = (
        f"{checkpoint}, the same data, precision, batch and threads on both sides: {faster} times the utterances a "
        f"second, for {fewer} times fewer operations each. By round: {rounds}."
    )
    return [Section("Side by side with the usual recipe", [line], (), [table])]


def options_section(found: dict[str, Any]) -> list[Section]:
    """Time and memory without and with each option."""
    rows = []
    for one in found["options"]:
        if "failed" in one:
            rows.append((one["option"], f"failed: {one['failed']}", "", "", ""))
            continue
        seconds = " → ".join(f"{one[side]['seconds']:.2f}" for side in ("without", "with"))
        peaks = " → ".join(f"{one[side]['peak_step_bytes'] / MIB:,.0f}" for side in ("without", "with"))
        rows.append((one["option"], seconds, f"{one['times_faster']:.2f}", peaks, f"{one['times_smaller']:.2f}"))
    columns = ("option", "s a step, without → with", "times faster", "step's peak, MiB", "times smaller")
    table = FigureTable("Options", columns, rows, numbers=range(1, 5))
    lines = ["What is not here was not measured; see docs/performance.md."]
    return [Section("Options, each with its gain", lines, (), [table])]
