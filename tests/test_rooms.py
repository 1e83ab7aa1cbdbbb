"""The arrows between rooms: launch and benchmarks import trainer, trainer imports modeling and data, never back."""

import ast
from pathlib import Path

import pytest

from tests import ROOT

MAY_IMPORT = {
    "data": {"data"},
    "modeling": {"modeling"},
    "trainer": {"trainer", "data", "modeling"},
    "launch": {"launch", "trainer", "data", "modeling"},
    "benchmarks": {"benchmarks", "trainer", "data", "modeling"},
}


# What a checkpoint carries.
TRAVELLING = {path.stem for path in (ROOT / "modeling" / "network").glob("*.py")} - {"__init__"}


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports by absolute name, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names & MAY_IMPORT.keys()


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        assert imported_rooms(path) <= MAY_IMPORT[room], path


def test_what_travels_in_a_checkpoint_imports_transformers_and_torch_alone() -> None:
    for name in TRAVELLING:
        tree = ast.parse((ROOT / "modeling" / "network" / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.module in TRAVELLING, f"{name}.py imports {node.module}, which a checkpoint lacks"
    # Releases of transformers before 5.23 copy only what the model's own file imports.
    model = ast.parse((ROOT / "modeling" / "network" / "dual_whisper.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(model) if isinstance(node, ast.ImportFrom) and node.level}
    assert imported == TRAVELLING - {"dual_whisper"}


@pytest.mark.parametrize("folder", ["data", "data/preparation", "modeling", "trainer"])
def test_a_room_is_read_at_a_glance(folder: str, most: int = 22) -> None:
    seen = [path.name for path in (ROOT / folder).iterdir() if not path.name.startswith("__")]
    assert len(seen) <= most, sorted(seen)


def test_files_stay_small_and_say_why_they_exist() -> None:
    for room in MAY_IMPORT:
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert len(text.splitlines()) <= (80 if room == "launch" else 320), path
            assert ast.get_docstring(ast.parse(text)), path
            assert path.stem not in ("utils", "helpers", "common", "misc"), path


def crowded(path: Path, most: int = 5) -> list[str]:
    """Definitions and calls with more than ``most`` positional arguments, ``self`` and starred ones aside."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            count, name = len(names) - (names[:1] in (["self"], ["cls"])), node.name
        elif isinstance(node, ast.Call):
            count, name = sum(not isinstance(one, ast.Starred) for one in node.args), ast.unparse(node.func)
        else:
            continue
        if count > most:
            found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name} takes {count}")
    return found


# Rooms where what takes many values takes them by name, or as one dataclass.
NAMED = ("data/*.py", *(f"data/{room}/**/*.py" for room in ("audio", "augmentation", "batches", "inspection")))
NAMED += tuple(f"benchmarks/{room}/**/*.py" for room in ("decoding", "input"))


@pytest.mark.parametrize("room", NAMED)
def test_nothing_takes_more_than_five_values_by_position(room: str) -> None:
    paths = list(ROOT.glob(room))
    assert paths
    assert not [line for path in paths for line in crowded(path)]
