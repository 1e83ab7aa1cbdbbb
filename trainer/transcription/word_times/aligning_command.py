"""From a checkpoint and a config's data to alignment heads in the checkpoint's generation config."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from data.audio.cutting import has_sound
from data.batches.collation import read_audio, text_of
from data.errors import DataError
from data.sources.source import Source
from data.utterance import SAMPLING_RATE
from modeling.alignment.heads import ALIGNMENT_HEADS
from modeling.checkpoint_files import GENERATION_CONFIG

from ...config.reading import ConfigError
from ...record.durable import write_text
from ..hearing import Listener
from .aligning import FoundHeads, find_heads
from .joining import Joined, join

MEASURED = "alignment_heads_measured"  # the generation config's key of the errors
LONGEST_SECONDS = 28.0  # of a joined recording
LONGEST_SHARE = 0.5  # of the longest clip: a clip that is no longer can be joined with another
CLIPS_READ = 400  # of the split, at most


def align(listener: Listener, checkpoint: str, source: Source, recordings: int, write: bool) -> FoundHeads:
    """Find the heads and write them into the checkpoint's generation config, if they are better than those there.

    Args:
        source: of utterances with texts; short ones are joined.
        recordings: joined ones, at most.

    Raises:
        DataError: if the utterances are too few or too long.
    """
    joined = joined_clips(list(clips_of(source, listener)), recordings)
    if not joined:
        raise DataError(f"{source.name} has no two clips that are short enough to be joined")
    found = find_heads(listener, joined)
    if write and found.is_better:
        note(Path(checkpoint), listener.model.generation_config, found)
    return found


def check_place(checkpoint: str, write: bool) -> None:
    """Raises: ConfigError: for a hub name, into which nothing can be written."""
    if write and not Path(checkpoint).is_dir():
        raise ConfigError(
            f"--checkpoint is {checkpoint!r}, which is no folder here, so nothing can be written; --dry-run only "
            "measures"
        )


def clips_of(source: Source, listener: Listener) -> Iterator[tuple[str, np.ndarray, str | None]]:
    """Texts, float32 samples [N] and languages of the first utterances that can be read and hold sound."""
    for _, row in zip(range(CLIPS_READ), source.rows(), strict=False):
        try:
            text, audio = text_of(row[source.columns.text]).strip(), read_audio(row, source)
        except DataError:
            continue  # evaluation reports it
        language = source.columns.language and row.get(source.columns.language)
        language = language or source.config.language or listener.language
        if text and len(audio) and has_sound(audio):
            yield text, audio, language


def joined_clips(clips: Sequence[tuple[str, np.ndarray, str | None]], most: int) -> list[Joined]:
    """Recordings of two clips or more of one language, at most as long as the longest clip, or 28 s.

    So they are of lengths that a model which hears clips as long as they are was trained on.
    """
    longest = max((len(audio) for _, audio, _ in clips), default=0) / SAMPLING_RATE
    limit = min(longest, LONGEST_SECONDS)
    generator = random.Random(0)
    found: list[Joined] = []
    for language in sorted({language or "" for _, _, language in clips}):
        short = [
            (text, audio)
            for text, audio, of in clips
            if (of or "") == language and len(audio) <= LONGEST_SHARE * limit * SAMPLING_RATE
        ]
        generator.shuffle(short)
        while len(short) > 1:
            taken = [short.pop(), short.pop()]
            while short and sum(len(audio) for _, audio in (*taken, short[-1])) <= limit * SAMPLING_RATE:
                taken.append(short.pop())
            found.append(join(taken, generator, language or None))
    generator.shuffle(found)
    return found[:most]


def note(folder: Path, generation_config: Any, found: FoundHeads) -> None:
    """Write the heads, as transformers reads them, and the errors into ``generation_config.json``."""
    path = folder / GENERATION_CONFIG
    text = path.read_text(encoding="utf-8") if path.exists() else generation_config.to_json_string()
    values = json.loads(text)
    values[ALIGNMENT_HEADS] = sorted(list(head) for head in found.heads)
    measured = {"recordings": found.recordings, "before": asdict(found.before), "after": asdict(found.after)}
    values[MEASURED] = measured
    write_text(path, json.dumps(values, indent=2, sort_keys=True) + "\n")
