"""Preparing as it is often done: every clip is decoded with librosa to learn its length, and lists are written as JSON.

Durations, filter, random split and manifests; the audio stays where it is.
"""

import json
import multiprocessing
import random
from pathlib import Path
from typing import Any


def with_duration(row: dict[str, Any]) -> dict[str, Any] | None:
    """The row with its seconds; None where it cannot be decoded."""
    import librosa

    try:
        samples, rate = librosa.load(row["audio_filepath"], sr=16_000)
    except Exception:
        return None
    return row | {"duration": len(samples) / rate}


def prepare(listing: Path, output: Path, workers: int, min_seconds: float = 0.1, max_seconds: float = 30.0) -> int:
    """Manifests for 90 % and 10 % of a listing's clips (JSON lines with ``audio_filepath`` and ``text``).

    Returns:
        The number of clips that were kept.
    """
    with listing.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    if workers:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            timed = pool.map(with_duration, rows, chunksize=64)
    else:
        timed = [with_duration(row) for row in rows]
    kept = [row for row in timed if row is not None and min_seconds <= row["duration"] <= max_seconds]
    random.Random(0).shuffle(kept)
    cut = len(kept) // 10
    output.mkdir(parents=True, exist_ok=True)
    for name, part in (("validation", kept[:cut]), ("train", kept[cut:])):
        (output / f"{name}.json").write_text(json.dumps(part, ensure_ascii=False), encoding="utf-8")
    return len(kept)
