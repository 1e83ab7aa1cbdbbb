"""The suite from end to end: every checkpoint under every condition, each kept as soon as it is measured."""

import datetime
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..config.run import RunConfig
from ..engine.accelerator import build_accelerator, describe_engine
from ..engine.device import hardware
from ..record.durable import check_place, write_text
from .charts import write_picture
from .checkpoints import NamedCheckpoint, check_weights, named_checkpoints
from .config import NoiseSuiteConfig
from .figures import condition_figures, type_figures
from .materials import Materials, as_suite, gather
from .measuring import Say, Subject
from .page import suite_report
from .results import Measured
from .speech import Noises
from .trained_noises import overlap_with_training

LIBRARIES = ("torch", "transformers", "accelerate", "numpy", "soxr", "soundfile")

say_at_once: Say = partial(print, flush=True)


def run_suite(
    suite: NoiseSuiteConfig | Mapping[str, Any] | str | Path,
    checkpoints: Sequence[str | Path] | Mapping[str, str | Path],
    output: str | Path,
    *,
    config: RunConfig | str | Path | None = None,
    split: str | None = None,
    say: Say = say_at_once,
) -> dict[str, Any] | None:
    """Measure checkpoints under the suite's conditions; all processes must call it.

    Results in ``output`` of the same weights under the same settings are not measured again.

    Args:
        suite: a config, its values, or its file.
        checkpoints: paths or hub names, ``NAME=PATH``, or paths by their names; differences are to the first.
        output: a folder; gets noise_suite.json, .md, .html, .png and predictions/.
        config: its data, engine and evaluation sections are used; if None, those of the first checkpoint in a run.
        split: of that config; else test, or validation.
        say: gets each line of progress, from the first process alone.

    Returns:
        What noise_suite.json holds; None on all but the first process.

    Raises:
        ConfigError, DataError, CheckpointError: for what the user can put right.
    """
    suite = as_suite(suite)
    named = named_checkpoints(checkpoints)
    folder = Path(output)
    check_place(folder, "--output")
    for checkpoint in named:
        check_weights(checkpoint)
    materials = gather(suite, named, config, split)
    accelerator = build_accelerator(materials.run)
    is_first = accelerator.is_main_process
    tell: Say = say if is_first else lambda text: None
    begun = time.perf_counter()
    found: dict[str, dict[str, Measured]] = {}
    odds: dict[str, Any] = {}
    for remark in materials.warnings:
        tell(f"warning: {remark}")
    remarks = {checkpoint.name: remarks_on(checkpoint, materials.noises) for checkpoint in named}
    for name, about in remarks.items():
        for remark in about["warnings"]:
            tell(f"warning: {name}: {remark}")
    for checkpoint in named:
        place = folder / "predictions" / checkpoint.name
        identity = remarks[checkpoint.name]["weights"]
        subject = Subject(accelerator, checkpoint, identity, materials=materials, place=place, tell=tell)
        found[checkpoint.name] = subject.measured()
        odds[checkpoint.name] = subject.attention_odds()
    if not is_first:
        return None
    result = header(materials, accelerator, time.perf_counter() - begun)
    result["noises_unreadable"] = unreadable_in(found.values(), materials.noises)
    first = named[0].name
    cluster = materials.evaluation.cluster
    for checkpoint in named:
        one, base = found[checkpoint.name], None if checkpoint.name == first else found[first]
        figures = {
            condition.name: condition_figures(
                condition, one[condition.name], None if base is None else base[condition.name], cluster
            )
            for condition in suite.conditions
        }
        result["checkpoints"].append(
            {"name": checkpoint.name, "path": checkpoint.path}
            | remarks[checkpoint.name]
            | {"conditions": figures, "types": type_figures(one, base, suite.conditions, cluster)}
            | {"attention_odds": odds[checkpoint.name]}
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "noise_suite.json", written + "\n")
    result = json.loads(written)  # return what was written, to the last digit
    for name, text in suite_report(result).items():
        write_text(folder / name, text)
    write_picture(folder / "noise_suite.png", result)
    return result


def remarks_on(checkpoint: NamedCheckpoint, noises: Noises | None) -> dict[str, Any]:
    """A checkpoint's identity, and warnings that concern its figures."""
    overlap, warnings = overlap_with_training(checkpoint, noises)
    if overlap:
        shown = ", ".join(overlap[:5]) + (f" and {len(overlap) - 5} more" if len(overlap) > 5 else "")
        number = f"{len(overlap)} of the suite's {len(noises.names if noises else [])} noises"
        warnings.append(f"was trained in {number}, so its figures are not of noises new to it: {shown}")
    return {"weights": checkpoint.identity(), "trained_in": overlap, "warnings": warnings}


def unreadable_in(found: Iterable[Mapping[str, Measured]], noises: Noises | None) -> list[dict[str, str]]:
    """Noises that could not be used, now or when kept results were measured, with the reason."""
    every = [{"id": one.id, "reason": one.reason} for one in getattr(noises, "skipped", [])]
    every += [fault for one in found for measured in one.values() for fault in measured.noises_unreadable]
    return sorted({fault["id"]: fault for fault in every}.values(), key=lambda fault: fault["id"])


def header(materials: Materials, accelerator: Any, seconds: float) -> dict[str, Any]:
    """How, where and with what the figures were measured."""
    source = materials.speech.source
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "hardware": hardware(),
        "engine": describe_engine(accelerator),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "suite": materials.suite.model_dump(mode="json"),
        "decoding": {key: getattr(materials.evaluation, key) for key in ("beams", "max_new_tokens", "normalizer")},
        "language": materials.language,
        "speech": source.config.described,
        "noises": [] if materials.noises is None else materials.noises.names,
        "noises_unreadable": [],
        "warnings": materials.warnings,
        "interval_units": materials.evaluation.cluster or "utterances",
        "conditions": [condition.name for condition in materials.suite.conditions],
        "checkpoints": [],
    }
