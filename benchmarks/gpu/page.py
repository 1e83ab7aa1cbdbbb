"""The page of a run of all cells, whole or not: report.html, and report.md for the repository."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.pages.formats import plain_number, signed
from trainer.pages.page import rendered_report
from trainer.pages.tables import FigureTable

from .promises import PROMISES, parts_of, share

MIB = 2**20


@dataclass(frozen=True)
class Section:
    """A cell as the page shows it.

    Attributes:
        lines: how it went, and why parts have no figures.
        tables: its figures.
        log: the last lines of its process, where something went wrong.
    """

    title: str
    lines: Sequence[str]
    tables: Sequence[FigureTable]
    log: Sequence[str] = ()


def write_page(results: Mapping[str, Any], folder: Path) -> None:
    """Write both files into a folder that is there."""
    report = rendered_report(
        "benchmarks/gpu",
        "report",
        hardware=hardware(results),
        promises=promise_table(results),
        compared=memory_table(results),
        sections=[section_of(cell) for cell in results["cells"]],
        command=results["command"],
        date=results["date"],
        on_cpu=results["on_cpu"],
    )
    for name, text in report.items():
        (folder / name).write_text(text, encoding="utf-8")


def hardware(results: Mapping[str, Any]) -> str:
    """Device, cores, versions and date in a line."""
    about = next((figures for name, figures in parts_of(results, "machine") if name == "machine"), None)
    if about is None:
        return f"{results['device']}; {results['date']}"
    device = [str(about["device"]), f"{about['cores']} cores", f"Python {about['python']}"]
    device += [f"{plain_number(about['memory_bytes'] / 2**30)} GiB"] if "memory_bytes" in about else []
    device += [f"CUDA {about['cuda']}", f"cuDNN {about['cudnn']}"] if about["cuda"] else []
    return f"{', '.join([*device, *(f'{name} {one}' for name, one in about['versions'].items())])}; {about['date']}"


def promise_table(results: Mapping[str, Any]) -> FigureTable:
    columns = ("", "must be", "goal", "measured", "")
    return FigureTable("What must be reached", columns, [one.row(results) for one in PROMISES], numbers=(3,))


def memory_table(results: Mapping[str, Any]) -> FigureTable:
    """Predicted beside measured; without rows where nothing was measured."""
    rows = [
        (
            name,
            str(found["batch_size"]),
            f"{found['predicted_bytes'] / MIB:,.0f}",
            f"{found['measured_bytes'] / MIB:,.0f}",
            f"{signed(found['off_by'])} %",
        )
        for name, found in parts_of(results, "memory")
    ]
    columns = ("cell", "batch", "predicted, MiB", "measured, MiB", "off by")
    return FigureTable("Peak of tensors, predicted and measured", columns, rows, numbers=(1, 2, 3, 4))


def section_of(cell: Mapping[str, Any]) -> Section:
    """A cell's state in words, and a table or more for each part."""
    took = f"{cell['status']} in {cell['seconds']:.0f} s, of {cell['budget']:.0f} s"
    lines = [f"{took}: {cell['reason']}" if cell["reason"] else took]
    tables: list[FigureTable] = []
    for part in cell["parts"]:
        if "figures" in part:
            tables += tables_of(part["name"], part["figures"])
        else:
            lines.append(f"{part['name']}: {part['status'].replace('_', ' ')}, {part['reason']}")
    return Section(cell["title"], lines, tables, cell.get("log", ()))


def tables_of(title: str, figures: Mapping[str, Any]) -> list[FigureTable]:
    """Single figures in a table of two columns, each list of rows in one of its own."""
    flat = flattened(figures)
    single = [(words(name), told(name, value)) for name, value in flat.items() if not is_rows(value)]
    tables = [FigureTable(title, ("", "figure"), single, numbers=(1,))] if single else []
    return [*tables, *(rows_table(f"{title}: {words(name)}", value) for name, value in flat.items() if is_rows(value))]


def flattened(figures: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Figures of mappings within, under both names."""
    found: dict[str, Any] = {}
    for name, value in figures.items():
        whole = f"{before}{name}"
        found |= flattened(value, f"{whole}: ") if isinstance(value, Mapping) else {whole: value}
    return found


def is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> FigureTable:
    """A column for each key of any row; empty where a row lacks it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [tuple(told(name, row[name]) if name in row else "" for name in names) for row in rows]
    numbers = [place for place, name in enumerate(names) if any(isinstance(row.get(name), float) for row in rows)]
    return FigureTable(title, tuple(map(words, names)), cells, numbers=numbers)


def words(name: str) -> str:
    """A key as words, with the unit that :func:`told` writes."""
    return (
        f"{name.removesuffix('_bytes')}, MiB".replace("_", " ") if name.endswith("_bytes") else name.replace("_", " ")
    )


def told(name: str, value: Any) -> str:
    """A figure as text: shares in percent, bytes in MiB."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(told("", one) for one in value) or "none"
    if not isinstance(value, (int, float)):
        return str(value)
    if name.endswith("_bytes"):
        return f"{value / MIB:,.0f}"
    if name.endswith(("_share", "utilisation")) or name == "share_of_peak":
        return share(value)
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else plain_number(value)
