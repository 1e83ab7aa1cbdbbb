"""What a config names on the hub, and whether it is here or may be downloaded."""

import os
from collections.abc import Iterator

from ..checks import Finding
from .facts import Facts


def is_offline(facts: Facts) -> bool:
    return facts.environment.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def check_hub(facts: Facts) -> Iterator[Finding]:
    """Where downloads go, and whether they are allowed."""
    if is_offline(facts):
        yield Finding("hub", "note", "HF_HUB_OFFLINE is set: only what was downloaded before can be opened")
    if "HF_HOME" in facts.environment and not os.access(facts.environment["HF_HOME"], os.W_OK):
        yield Finding("hub", "note", f"HF_HOME is {facts.environment['HF_HOME']}, where nothing can be written")


def check_checkpoint(facts: Facts) -> Iterator[Finding]:
    """Whether the config's checkpoint was downloaded before, if it is the hub's."""
    settings = facts.config.model if facts.config is not None else None
    if settings is None or settings.checkpoint is None or os.path.isdir(settings.checkpoint):
        return
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(settings.checkpoint, "config.json", revision=settings.revision), str):
        yield Finding("checkpoint", "good", f"{settings.checkpoint}, downloaded before")
    elif is_offline(facts):
        remedy = "unset HF_HUB_OFFLINE, or set model.checkpoint to a folder"
        yield Finding("checkpoint", "lacks", f"{settings.checkpoint} is not here, and HF_HUB_OFFLINE is set", remedy)
    else:
        yield Finding("checkpoint", "note", f"{settings.checkpoint} is not here yet: downloaded at the first start")
