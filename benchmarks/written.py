"""Where a benchmark's result goes: JSON for whoever computes with it, and its table as Markdown beside it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.command_line import CommandLine


def add_output(parser: CommandLine, with_table: bool = False) -> None:
    """The option ``--output``: a path, or None. Its folder is made as it is read, not after minutes of measuring."""

    def path_of(value: str) -> Path:
        Path(value).parent.mkdir(parents=True, exist_ok=True)
        return Path(value)

    beside = "; the table goes beside it as .md" if with_table else ""
    parser.add_argument("--output", type=path_of, metavar="FILE", help=f"a JSON file for the figures{beside}")


def write_result(output: Path | None, result: Any, table: str = "") -> None:
    """Write the result, and the table, if any, as a ``.md`` beside it; nothing without ``output``."""
    if output is None:
        return
    write_whole(output, result)
    if table:
        output.with_suffix(".md").write_text(table, encoding="utf-8")


def write_whole(path: Path, values: Any) -> None:
    """Write JSON, and its folder; the file is whole or not there, whenever its writer is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def table_head(columns: Sequence[str]) -> str:
    """The first two lines of a Markdown table."""
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
