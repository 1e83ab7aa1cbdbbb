"""What a check found, and how checks are run: one that fails is a finding itself, whatever the machine is like."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .facts import Facts

State = Literal["good", "note", "lacks"]
VERBS = ("add", "choose", "give", "install", "leave", "pip", "set", "take", "unset", "use")  # what advice begins with


@dataclass(frozen=True)
class Finding:
    """A line of the report.

    Attributes:
        name: what was looked at.
        state: good; note: it works, but not as well as it could, or could not be told; lacks: a run would fail.
        found: what is there, with its figures.
        remedy: what to do about it, empty where nothing.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


Check = Callable[[Facts], Iterable[Finding]]


def examine(facts: Facts, checks: Sequence[Check]) -> list[Finding]:
    """The findings of all checks in turn."""
    findings: list[Finding] = []
    for check in checks:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            for finding in check(facts):  # what it found before it failed counts
                findings.append(finding)
        except (Exception, SystemExit) as error:  # any: a machine may be odd in any way; the other checks still count
            findings.append(could_not(name, error))
    return findings


def could_not(name: str, error: BaseException) -> Finding:
    """A check that failed, in a line."""
    lines = (line.strip() for line in str(error).splitlines())
    said = next(filter(None, lines), "")
    return Finding(name, "note", f"could not be checked: {type(error).__name__}{': ' if said else ''}{said}")


def told(name: str, error: Exception, state: State = "lacks") -> Finding:
    """The project's own complaint as a finding; what it says to do, after its last semicolon or colon, apart."""
    text = " ".join(str(error).split())
    cut = max(text.rfind("; "), text.rfind(": "))
    advice = text[cut + 2 :]
    if cut > 0 and advice.split()[0] in VERBS:
        return Finding(name, state, text[:cut], advice)
    return Finding(name, state, text)
