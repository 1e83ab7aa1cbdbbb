"""Whether the Hugging Face hub answers, asked once in a process: its libraries would try again and again for each file.

Knows nothing of what is opened.
"""

import os
import random
import sys
import time
from typing import Any

ATTEMPTS = 5
FIRST_WAIT = 0.5  # seconds, doubled after each attempt, up to half as much again at random
PATIENCE = 5.0  # seconds for an answer

# Empty until the hub was asked; then holds "" for a hub that answers, or why it does not.
FOUND: list[str] = []
TOLD: set[str] = set()


def where_to_look(name: str, revision: str | None = None) -> dict[str, Any]:
    """Keywords for ``from_pretrained``: the revision, and only what was downloaded before where no hub answers."""
    options = {"revision": revision}
    return options | {"local_files_only": True} if why_unreachable(name) else options


def why_unreachable(name: str) -> str:
    """Nothing if the hub answers, or ``name`` is a folder; else why it does not, after :data:`ATTEMPTS` questions."""
    from huggingface_hub import constants

    if os.path.isdir(name) or constants.HF_HUB_OFFLINE:
        return ""
    if not FOUND:
        FOUND.append(asked(name))
    return FOUND[0]


def tell_whence(name: str) -> None:
    """Say, once, that what was opened is what was downloaded before; nothing where the hub answers."""
    why = why_unreachable(name)
    if why and name not in TOLD and os.environ.get("RANK", "0") == "0":
        TOLD.add(name)
        print(f"{why}; {name} is opened as it was downloaded before", file=sys.stderr, flush=True)


def asked(name: str) -> str:
    """Ask the hub for a model, up to :data:`ATTEMPTS` times; why there is no answer, or nothing if there is one."""
    from huggingface_hub import HfApi

    failure = ""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            HfApi().model_info(name, timeout=PATIENCE)
            return ""
        except Exception as error:  # each of the hub's releases has another library, with errors of its own
            failure = no_answer(error)
            if not failure:
                return ""
        if attempt < ATTEMPTS:
            if os.environ.get("RANK", "0") == "0":
                print(f"cannot ask the hub for {name}: {failure}; trying again", file=sys.stderr, flush=True)
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(1, 1.5))
    return f"the hub gives no answer: {failure} (tried {ATTEMPTS} times)"


def no_answer(error: BaseException) -> str:
    """Nothing if the error is an answer, such as that there is no such model; else what it says, in a line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, ValueError) or (status is not None and status != 429 and status < 500):
        return ""
    return " ".join(str(error).split())[:200] or type(error).__name__
