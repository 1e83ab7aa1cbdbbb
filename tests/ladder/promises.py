"""The table of docs/versions.md: what holds on which release of transformers."""

from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "docs" / "versions.md"
KEPT, BROKEN = "yes", "no"


def read_promises(path: Path = TABLE) -> tuple[list[str], dict[str, dict[str, bool]]]:
    """The releases, oldest first, and for each promise on which of them it holds."""
    rows = [line.strip().strip("|").split("|") for line in path.read_text(encoding="utf-8").splitlines() if "|" in line]
    header, _, *body = [[cell.strip() for cell in row] for row in rows]
    releases = header[1:]
    promises: dict[str, dict[str, bool]] = {}
    for name, *cells in body:
        assert len(cells) == len(releases) and set(cells) <= {KEPT, BROKEN}, f"{path}: the row of {name!r}"
        promises[name] = {release: cell == KEPT for release, cell in zip(releases, cells, strict=True)}
    return releases, promises


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def column_of(version: str, releases: list[str]) -> str:
    """The newest release of the table that is no newer than ``version``."""
    return max((r for r in releases if as_numbers(r) <= as_numbers(version)), key=as_numbers)
