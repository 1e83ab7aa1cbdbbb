"""The checkpoint and the data that a config names: there and fit to be used; nothing is downloaded or synthesised."""

import os
from collections.abc import Iterator

from data.errors import DataError

from ..config.augmentation_check import check_augmentation
from ..config.reading import ConfigError
from ..model.languages import check_language
from .facts import Facts
from .findings import Finding, told


def offline(facts: Facts) -> bool:
    return facts.environment.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def check_checkpoint(facts: Facts) -> Iterator[Finding]:
    """A local folder is looked into; of a hub name, whether it was downloaded already."""
    if facts.config is None:
        return
    from modeling.checkpoint_files import CheckpointError, check_name  # seconds to import

    settings = facts.config.model
    try:
        if settings.checkpoint is not None:
            check_name(settings.checkpoint)
        model, failed = facts.planned
        if failed is not None:
            raise failed
    except (CheckpointError, ConfigError) as error:
        yield told("checkpoint", error)
        return
    if model is not None:
        whole = sum(parameter.numel() for parameter in model.parameters())
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        found = (
            f"{settings.checkpoint or 'from nothing'}: {whole / 1e6:.1f} M parameters, {trained / 1e6:.1f} M trained"
        )
        yield Finding("model", "good", found)
    if settings.checkpoint is None or os.path.isdir(settings.checkpoint):
        return
    from huggingface_hub import try_to_load_from_cache

    cached = isinstance(try_to_load_from_cache(settings.checkpoint, "config.json", revision=settings.revision), str)
    if cached:
        yield Finding("checkpoint", "good", f"{settings.checkpoint}, downloaded before")
    elif offline(facts):
        remedy = "unset HF_HUB_OFFLINE, or set model.checkpoint to a folder"
        yield Finding("checkpoint", "lacks", f"{settings.checkpoint} is not here, and HF_HUB_OFFLINE is set", remedy)
    else:
        yield Finding("checkpoint", "note", f"{settings.checkpoint} is not here yet: downloaded at the first start")


def check_decoding(facts: Facts) -> Iterator[Finding]:
    """What the generation config forbids and local texts hold; what cannot be read is told by the other checks."""
    if facts.config is None or facts.planned[1] is not None:
        return
    from modeling.checkpoint_files import CheckpointError

    from ..evaluation.decoding_limits import planned_remarks

    try:
        remarks = planned_remarks(facts.config, facts.checkpoint)
    except (CheckpointError, ConfigError, DataError):
        return
    for remark in remarks:
        yield Finding("decoding", "note", remark)


def check_data(facts: Facts) -> Iterator[Finding]:
    """Each source by itself, so that all that is wrong is told at once."""
    from ..plan import planned_rows

    if facts.config is None:
        return
    data = facts.config.data
    try:
        check_language(facts.config)
    except ConfigError as error:
        yield told("language", error)
    try:
        check_augmentation(data)
    except DataError as error:
        yield told("data.augmentation", error)
    sources = list(zip(data.train_names, data.training_sources, strict=True))
    sources += [
        (name, source) for name, source in (("data.validation", data.validation), ("data.test", data.test)) if source
    ]
    for name, source in sources:
        try:
            rows = planned_rows(source, name)
        except (DataError, ConfigError) as error:
            yield told(name, error)
            continue
        if source.hub is not None and offline(facts):
            remedy = "unset HF_HUB_OFFLINE, or take files"
            yield Finding(name, "note", f"{source.hub} is on the hub, and HF_HUB_OFFLINE is set", remedy)
        elif source.hub is not None:
            yield Finding(name, "note", f"{source.hub} is on the hub, not looked at")
        else:
            yield Finding(name, "good", source.described + ("" if rows is None else f", {rows:,} rows"))
