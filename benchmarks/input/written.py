"""Where a benchmark's result goes: JSON for whoever computes with it, and the table as Markdown beside it."""

import json
from pathlib import Path
from typing import Any


def write_result(output: str | None, result: dict[str, Any], table: str) -> None:
    """Print the table; with ``output``, a JSON file's path, write both."""
    print(table)
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(table, encoding="utf-8")
