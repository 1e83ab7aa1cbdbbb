"""The report's sections on what was measured of a step: against torch's profiler, on a GPU or CPU, side by side with
the usual recipe, and each option's gain."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.memory.gpus import GIB
from trainer.memory.table import gib
from trainer.pages.charts import Chart, Series
from trainer.pages.formats import percent
from trainer.pages.tables import FigureTable

from .inputs import Inputs, has_gpu, provenance
from .pictures import against_each_other, picture, points
from .sections import Section, absent, by_step, model_name, shape_name, step_key, step_name

CHECK, MEASURED = "Predicted against torch.profiler, on CPUs", "Measured"
SIDE_BY_SIDE, OPTIONS = "Side by side with the usual recipe", "Options, each with its gain"
NO_GPU = "No GPU was measured: of a GPU there are predictions only. With one, this measures:"
LIMIT = 0.05  # largest error of a prediction, as a share of the profiler's peak
MIB = 2**20
MOST_CURVES = 8  # in a picture


def check_section(inputs: Inputs) -> Section:
    """Each cell's prediction error, and a chart of all cells."""
    found = inputs.one("check")
    if found is None:
        return absent(CHECK, inputs.problems["check"], inputs.command("check"))
    done = [cell for cell in found["cells"] if "off_by" in cell]
    rows = []
    for cell in found["cells"]:
        predicted = f"{cell['predicted']['peak_bytes'] / MIB:,.1f}"
        told = [f"{cell['status'].replace('_', ' ')}: {cell['reason']}", predicted, ""]
        if "off_by" in cell:
            told = [f"{cell['profiled_bytes'] / MIB:,.1f}", predicted, f"{100 * cell['off_by']:+.2f} %"]
        rows.append((cell["name"], model_name(cell), str(cell["batch_size"]), shape_name(cell), *told))
    columns = ("cell", "model", "batch", "clip and labels", "profiler, MiB", "predicted, MiB", "off by")
    table = FigureTable("Peak of tensors", columns, rows, numbers=frozenset((2, 4, 5, 6)))
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
        pictures.append(against_each_other("check", title, series, "profiled, MiB", "predicted, MiB"))
    return Section(CHECK, tuple(lines), tuple(pictures), (table,), tuple(provenance(found)))


def measured_sections(inputs: Inputs) -> list[Section]:
    """A section for each file of measurements; if none comes from a GPU, the first section says so."""
    files = inputs.files.get("measured", {})
    if not files:
        return [Section(MEASURED, missing=(NO_GPU, inputs.command("measured")))]
    predicted = (inputs.one("predictions") or {}).get("of_measured", [])
    known = {(step_key(cell), cell["batch_size"]): cell["predicted"] for cell in predicted}
    sections = [measured_section(name, content, known) for name, content in files.items()]
    if not any(map(has_gpu, files.values())):
        sections[0] = Section(**{**vars(sections[0]), "missing": (NO_GPU, inputs.command("measured"))})
    return sections


def measured_section(name: str, content: Mapping[str, Any], known: Mapping[Any, Mapping[str, Any]]) -> Section:
    """A file's cells: memory and speed, with the prediction beside each where there is one."""
    cells = content["cells"]
    done = [cell for cell in cells if cell["status"] == "measured"]
    on_gpu = has_gpu(content)
    predictions = [(cell, known.get((step_key(cell), cell["batch_size"]))) for cell in done]
    lines = []
    off = [
        (cell["peak_bytes"]["allocated"], cell["peak_bytes"]["device_used"], one)
        for cell, one in predictions
        if one is not None and cell["data"] == "synthetic" and cell["peak_bytes"]["allocated"]
    ]
    if off:
        allocated = max(abs(one["peak_bytes"] / peak - 1) for peak, _, one in off)
        used = max((abs(one["device_used_bytes"] / peak - 1) for _, peak, one in off if peak), default=0.0)
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
    return Section(f"{MEASURED}: {name}", tuple(lines), tuple(pictures), tuple(tables), tuple(provenance(content)))


def memory_table(
    cells: Sequence[Mapping[str, Any]], known: Mapping[Any, Mapping[str, Any]], on_gpu: bool
) -> FigureTable:
    """Peaks of every cell, on a GPU with the prediction beside what was measured."""
    rows = []
    for cell in cells:
        shown = (model_name(cell), step_name(cell), cell["precision"], shape_name(cell), cell["data"])
        peaks = cell["peak_bytes"]
        one = known.get((step_key(cell), cell["batch_size"])) if cell["data"] == "synthetic" else None
        told: tuple[str, ...] = (cell["status"].replace("_", " "), *[""] * (4 if on_gpu else 0))
        if cell["status"] == "measured" and on_gpu:
            told = (
                gib(peaks["allocated"]),
                gib(one["peak_bytes"] if one else None),
                gib(peaks["reserved"]),
                gib(peaks["device_used"]),
                gib(one["device_used_bytes"] if one else None),
            )
        elif cell["status"] == "measured":
            told = (gib(peaks["resident"]),)
        rows.append((*shown, str(cell["batch_size"]), *told))
    kinds = ("allocated", "predicted", "reserved", "device used", "predicted") if on_gpu else ("resident",)
    columns = ("model", "step", "precision", "clip and labels", "data", "batch", *(f"{kind}, GiB" for kind in kinds))
    return FigureTable("Memory", columns, rows, numbers=frozenset(range(5, len(columns))))


def speed_table(cells: Sequence[Mapping[str, Any]]) -> FigureTable:
    """Times and rates of the cells that were measured."""
    rows = [
        (
            model_name(cell),
            step_name(cell),
            cell["data"],
            str(cell["batch_size"]),
            f"{1 / cell['steps_per_second']:.3g}",
            f"{cell['utterances_per_second']:,.2f}",
            f"{cell['audio_seconds_per_second']:,.1f}",
            f"{cell['target_tokens_per_second']:,.0f}",
            "" if cell["utilisation"] is None else f"{percent(cell['utilisation'])} %",
            f"{percent(cell['data_wait_share'], 2)} %",
        )
        for cell in cells
    ]
    speeds = ("utterances a second", "audio, s a second", "targets a second")
    columns = ("model", "step", "data", "batch", "s a step", *speeds, "of the device's peak", "waiting for data")
    return FigureTable("Speed", columns, rows, numbers=frozenset(range(3, 10)))


def memory_pictures(
    name: str, cells: Sequence[Mapping[str, Any]], known: Mapping[Any, Mapping[str, Any]], on_gpu: bool
) -> list[Chart]:
    """A chart for each step measured at several batch sizes: filled markers measured, open ones predicted."""
    pictures = []
    kind, of = ("device_used", "device_used_bytes") if on_gpu else ("resident", "")
    for number, group in enumerate(by_step(cell for cell in cells if cell["data"] == "synthetic").values()):
        places = [
            (cell["batch_size"], cell["peak_bytes"][kind] / GIB) for cell in group if cell["peak_bytes"].get(kind)
        ]
        if len(places) < 2:
            continue
        beside = [(cell["batch_size"], known.get((step_key(cell), cell["batch_size"]))) for cell in group]
        foreseen = [(batch, one[of] / GIB) for batch, one in beside if one is not None and of]
        series = [Series("measured", points(places), 0)]
        series += [Series("predicted", points(foreseen), 1, is_open=True)] if foreseen else []
        title = f"{model_name(group[0])}: {step_name(group[0])}"
        place = f"{name.removesuffix('.json')}_memory_{number}"
        pictures.append(picture(place, title, series, "batch", f"{kind.replace('_', ' ')}, GiB"))
    return pictures


def speed_pictures(name: str, cells: Sequence[Mapping[str, Any]]) -> list[Chart]:
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


def side_by_side_section(inputs: Inputs) -> Section:
    """The figures of the usual recipe and of this project, and their ratios."""
    found = inputs.one("side_by_side")
    if found is None:
        return absent(SIDE_BY_SIDE, inputs.problems["side_by_side"], inputs.command("side_by_side"))
    sides = (("peer", "Seq2SeqTrainer, plain Whisper, 30 s"), ("own", "this loop, dual decoder"))
    rows = []
    for side, name in sides:
        one = found[side]
        timed = f"{one['timed_utterances']:,} in {one['timed_steps']:,} steps"
        operations = f"{one['operations_per_utterance'] / 1e9:,.1f}"
        speed, step = f"{one['utterances_per_second']:,.3f}", f"{one['median_step_seconds']:,.2f}"
        rows.append((name, str(one["batch_size"]), speed, step, timed, operations))
    rows.append(("ratio", "", f"{found['ratio']:.2f}", "", "", f"{found['ratio_of_operations']:.2f}"))
    columns = ("", "batch", "utterances a second", "median step, s", "timed", "GFLOP an utterance")
    table = FigureTable("Training speed", columns, rows, numbers=frozenset((1, 2, 3, 5)))
    training = found.get("config", {})
    checkpoint = training.get("model", {}).get("checkpoint", "the same checkpoint")
    rounds = ", ".join(f"{ratio:.2f}" for ratio in found["ratio_of_rounds"])
    lines = (
        f"{checkpoint}, the same data, precision, batch and threads on both sides: "
        f"{found['ratio']:.2f} times the utterances a second, for {found['ratio_of_operations']:.2f} times fewer "
        f"operations each. By round: {rounds}.",
    )
    return Section(SIDE_BY_SIDE, lines, (), (table,), tuple(provenance(found)))


def options_section(inputs: Inputs) -> Section:
    """Time and memory without and with each option."""
    found = inputs.one("options")
    if found is None:
        return absent(OPTIONS, inputs.problems["options"], inputs.command("options"))
    rows = []
    for one in found["options"]:
        told = ["", "", ""]
        if "failed" in one:
            rows.append((one["option"], f"failed: {one['failed']}", *told))
            continue
        seconds = " → ".join(f"{one[side]['seconds']:.2f}" for side in ("without", "with"))
        peaks = " → ".join(f"{one[side]['peak_step_bytes'] / MIB:,.0f}" for side in ("without", "with"))
        rows.append((one["option"], seconds, f"{one['times_faster']:.2f}", peaks, f"{one['times_smaller']:.2f}"))
    columns = ("option", "s a step, without → with", "times faster", "step's peak, MiB", "times smaller")
    table = FigureTable("Options", columns, rows, numbers=frozenset((1, 2, 3, 4)))
    lines = ("What is not here was not measured; see docs/performance.md.",)
    return Section(OPTIONS, lines, (), (table,), tuple(provenance(found)))
