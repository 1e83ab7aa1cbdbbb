"""README and docs name only what there is: files, links, sections, recipes and options of the commands."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT
from trainer.config.reading import read_yaml

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "configs" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
PLACE = re.compile(r"(?<![\w/.])((?:configs|docs|launch|data|modeling|trainer|benchmarks|tests)/[\w/.*-]*[\w*/])")
COMMAND = re.compile(r"launch/(\w+)\.py((?:[^\n`\\]|\\\n)*)")
LANGUAGE_MODEL = "trainer/evaluation/language_model/options.py"
ELSEWHERE = {  # a command's options
    "prepare": ("data/prepare_command.py",),
    "batch_size": ("trainer/memory/command.py",),
    "eval": (LANGUAGE_MODEL,),
    "transcribe": ("trainer/transcription/command.py", LANGUAGE_MODEL),
}
MADE = (
    "benchmarks/results/memory/",
    "benchmarks/results/gpu/",
    "benchmarks/results/options_gpu.json",
)  # written by the command beside them


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def anchors(page: Path) -> set[str]:
    """The names by which a page's sections are linked to."""
    heads = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@cache
def options_of(command: str) -> set[str]:
    """The options in the source of a command of launch/, with those that all commands have."""
    sources = [ROOT / "launch" / f"{command}.py", ROOT / "trainer" / "command_line.py"]
    sources += [ROOT / source for source in ELSEWHERE.get(command, ())]
    return {"--help", *re.findall(r'"(--[a-z-]+)"', "".join(map(text_of, sources)))}


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 140


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        if "://" in link:
            continue
        name, _, section = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not section or section in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_places_exist(page: Path) -> None:
    for place in PLACE.findall(text_of(page)):
        if place.startswith(MADE) or list(ROOT.glob(place.rstrip("/"))):
            continue
        assert place.startswith("configs/") and place.endswith(".yaml") and read_yaml(ROOT / place), place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_exist(page: Path) -> None:
    for command, arguments in COMMAND.findall(text_of(page)):
        options = re.findall(r"(?<!\S)--[a-z][a-z-]*", arguments.split(" #")[0])
        assert set(options) <= options_of(command), f"launch/{command}.py{arguments}"
