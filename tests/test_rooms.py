"""The plan of the house: which room imports which, which floor is above which, how much is seen on opening a folder."""

import ast
from graphlib import CycleError, TopologicalSorter
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


# What is seen on opening a room, by floors from the lowest. A floor imports those below it, not its neighbours.
FLOORS = {
    "data": (
        "errors terminal utterance",
        "digit_speech jobs storage",
        "audio",
        "sources",
        "corpora",
        "ngram preparation",
        "opening",
        "augmentation",
        "config",
        "batches",
        "inspection",
        "prepare_command",
    ),
    "modeling": (
        "byte_processor frozen fusion hub network parameters processors quantization",
        "decoding published",
        "checkpoint_files greedy",
        "adapters alignment checkpoint_parts",
        "checkpoints",
    ),
    "trainer": (
        "config errors library_output pages",
        "engine",
        "command_line model record",
        "step",
        "memory",
        "evaluation",
        "checks comparison export noise_suite transcription",
        "loop plan visualization",
        "doctor run",
        "demonstration",
    ),
    "benchmarks": (
        "machine noise outcomes written",
        "decoding memory",
        "communication peers",
        "input long_form",
        "training",
        "gpu",
    ),
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {module_of(path): path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py")}


def imported_by(module: str) -> set[str]:
    """The project's modules that a module imports, anywhere in it: late imports count."""
    package = module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            below = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*below, *([node.module] if node.module else [])])
            found |= {base, f"{base}.__init__"} | {f"{base}.{alias.name}" for alias in node.names}
    return (found & MODULES.keys()) - {module}


IMPORTS = {module: imported_by(module) for module in MODULES}


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    modules = [module for module in MODULES if module.startswith(f"{room}.")]
    assert modules
    for module in modules:
        assert {other.split(".")[0] for other in IMPORTS[module]} <= MAY_IMPORT[room], module


def test_no_imports_go_round_in_a_circle() -> None:
    try:
        list(TopologicalSorter(IMPORTS).static_order())
    except CycleError as error:
        raise AssertionError(f"a circle: {' -> '.join(error.args[1])}") from None


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_a_floor_imports_the_floors_below_it(room: str) -> None:
    floor = {name: number for number, names in enumerate(FLOORS[room]) for name in names.split()}
    inside = {module: module.split(".")[1] for module in MODULES if module.startswith(f"{room}.")}
    assert set(inside.values()) - {"__init__", "results"} == floor.keys()
    for module, name in inside.items():
        for other in IMPORTS[module] & inside.keys():
            if name != "__init__" and inside[other] not in (name, "__init__"):
                assert floor[inside[other]] < floor[name], f"{module} imports {other}"


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


MOST = {"trainer": 22, "data": 17, "modeling": 16, "benchmarks": 16}


@pytest.mark.parametrize("room", sorted(MOST))
def test_a_room_is_read_at_a_glance(room: str) -> None:
    within = [path for path in (ROOT / room).rglob("*") if path.is_dir() and "results" not in path.parts]
    for folder in (ROOT / room, *within):
        seen = [path.name for path in folder.iterdir() if not path.name.startswith("__")]
        most = MOST[room] if folder == ROOT / room else 22 if room == "trainer" else 15
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


# What takes many values takes them by name, or as one dataclass; a network's forward() takes what transformers' does.
NAMED = ("data/**/*.py", "launch/*.py", "modeling/*.py", "trainer/**/*.py", "benchmarks/**/*.py")


@pytest.mark.parametrize("room", NAMED)
def test_nothing_takes_more_than_five_values_by_position(room: str) -> None:
    paths = list(ROOT.glob(room))
    assert paths
    assert not [line for path in paths for line in crowded(path)]
