"""The files that a report is made of: where each lies, which command makes it, and what is wrong with one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.pages.formats import counted

FOLDER = Path("benchmarks/results/memory")
SIDE_BY_SIDE_CONFIG = "benchmarks/results/strategies/base.yaml"

# The command that writes each kind of input.
COMMANDS = {
    "predictions": "python -m benchmarks.memory predictions --output {path}",
    "check": "python -m benchmarks.memory check --output {path}",
    "measured": "python -m benchmarks.memory measure --config configs/small.yaml --batch-sizes 8,16 --output {path}",
    "growth": "python -m benchmarks.training.growth --output {path}",
    "side_by_side": f"python -m benchmarks.training.side_by_side --config {SIDE_BY_SIDE_CONFIG} --output {{path}}",
    "options": "python -m benchmarks.training.options --output {path}",
    "communication": "python -m benchmarks.communication --output {path}",
}


@dataclass(frozen=True)
class Inputs:
    """The inputs that were found.

    Attributes:
        files: by kind, the contents by file name; several only of ``measured``.
        problems: by kind, why there is nothing.
    """

    folder: Path
    files: Mapping[str, Mapping[str, dict[str, Any]]]
    problems: Mapping[str, str] = field(default_factory=dict)

    def one(self, kind: str) -> dict[str, Any] | None:
        """The content of a kind's only file; None if there is none."""
        return next(iter(self.files.get(kind, {}).values()), None)

    def command(self, kind: str) -> str:
        """The command that writes a kind's file."""
        return COMMANDS[kind].format(path=wanted_path(self.folder, kind).as_posix())


def wanted_path(folder: Path, kind: str) -> Path:
    """The path of a kind's file: in the folder, or its usual place elsewhere."""
    elsewhere = {
        "communication": folder.parent / "communication" / "communication.json",
        "options": folder.parent / "options.json",
    }
    inside = folder / f"{kind}.json"
    return elsewhere[kind] if kind in elsewhere and not inside.exists() else inside


def read_inputs(folder: Path) -> Inputs:
    """Read all inputs of a folder; files that are missing or cannot be read become problems."""
    files: dict[str, dict[str, dict[str, Any]]] = {}
    problems: dict[str, str] = {}
    for kind in COMMANDS:
        path = wanted_path(folder, kind)
        for one in sorted(folder.glob("measured*.json")) if kind == "measured" else [path]:
            try:
                content = json.loads(one.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                problems[kind] = f"{one.name} cannot be read: {error}"
                continue
            if not isinstance(content, dict):
                problems[kind] = f"{one.name} is not a JSON object"
                continue
            files.setdefault(kind, {})[one.name] = content
        if kind not in files and kind not in problems:
            problems[kind] = f"{'measured*.json' if kind == 'measured' else path.name} is not there"
    return Inputs(folder, files, problems)


def provenance(content: Mapping[str, Any]) -> list[str]:
    """Lines on how a file was made: hardware with versions and date, then the command."""
    machine = content.get("machine") or {}
    hardware = machine.get("device", "an unknown machine")
    if "cores" in machine:
        hardware += f", {machine['cores']} cores"
    if "threads" in machine:
        hardware += f", {counted(machine['threads'], 'thread')} a process"
    versions = ", ".join(f"{name} {version}" for name, version in (machine.get("versions") or {}).items())
    python = f"Python {machine['python']}" if "python" in machine else ""
    lines = [", ".join(filter(None, (hardware, python, versions))) + f"; {machine.get('date', 'date unknown')}"]
    if content.get("command"):
        lines.append(str(content["command"]))
    return lines


def has_gpu(content: Mapping[str, Any]) -> bool:
    """Whether a file's cells were measured on a GPU."""
    return any((cell.get("peak_bytes") or {}).get("allocated") for cell in content.get("cells", ()))
