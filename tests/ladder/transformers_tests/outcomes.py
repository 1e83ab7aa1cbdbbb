"""Compares how transformers' tests went on its own Whisper and on this project's classes with what is listed.

python -m tests.ladder.transformers_tests.outcomes junit.xml
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from .cannot_hold import OF_ANY_WHISPER, OF_OUR_CLASSES, OF_SECOND_ATTENTIONS

PLAIN, WITHOUT, DUAL = "PlainWhisperTest", "WithoutSecondAttentionsTest", "DualWhisperTest"
LISTED = {
    PLAIN: OF_ANY_WHISPER,
    WITHOUT: OF_ANY_WHISPER | OF_OUR_CLASSES,
    DUAL: OF_ANY_WHISPER | OF_OUR_CLASSES | OF_SECOND_ATTENTIONS,
}
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def read_outcomes(file: Path) -> dict[str, dict[str, str]]:
    """Of each class what came of each test; one that failed in part has failed."""
    found: dict[str, dict[str, str]] = {name: {} for name in LISTED}
    for case in ElementTree.parse(file).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = FAILED if kinds & {"failure", "error"} else SKIPPED if "skipped" in kinds else PASSED
        tests = found[(case.get("classname") or "").split(".")[-1]]
        name = case.get("name") or ""
        if tests.get(name) != FAILED:
            tests[name] = outcome
    return found


def surprises(found: dict[str, dict[str, str]]) -> list[str]:
    """What differs from the lists, a sentence each: a test that should hold and does not, or the other way round.

    What transformers' Whisper passes must be passed here too, not skipped; what it skips may be.
    """
    told = []
    for kind, listed in LISTED.items():
        for name, outcome in found[kind].items():
            if name in listed:
                wrong = outcome == PASSED
            else:
                wrong = outcome == FAILED or (outcome == SKIPPED and found[PLAIN].get(name) == PASSED)
            if wrong:
                told.append(f"{kind}: {name} {outcome}, and is {'' if name in listed else 'not '}in cannot_hold.py")
        told += [f"{kind}: there is no {name}; take it out of cannot_hold.py" for name in listed.keys() - found[kind]]
    return told


def main(file: str) -> int:
    found = read_outcomes(Path(file))
    for kind, tests in found.items():
        counts = {outcome: list(tests.values()).count(outcome) for outcome in (PASSED, FAILED, SKIPPED)}
        print(f"{kind}: {', '.join(f'{number} {outcome}' for outcome, number in counts.items())}")
    for sentence in surprises(found):
        print(sentence)
    return 1 if surprises(found) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
