"""Makes long recordings of a source's utterances: FLAC files, each with a JSON file of its segments beside it.

``launch/prepare.py`` and ``launch/eval.py --recordings`` read the folder. ``made.json`` says how it was made.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.written import write_whole
from data.audio.decoding import decode_audio
from data.augmentation.fields import NoiseSourceConfig
from data.augmentation.noise_clips import NoiseClips
from data.config import SourceConfig
from data.errors import DataError
from data.sources.config import ColumnNames
from data.sources.source import Source
from data.utterance import SAMPLING_RATE
from trainer.command_line import CommandLine, number
from trainer.config.reading import ConfigError

from .joining import LEVELS, Spoken, fitted_lengths, joined, levelled, log_uniform, music

MADE = "made.json"
BEGINNING_SECONDS = 10.0, 30.0
LAST_PAUSE = 1.0


@dataclass(frozen=True)
class Planned:
    """A recording before it is made.

    Attributes:
        order: ``turns``: what a speaker says is together; ``mixed``: it is not.
        beginning: ``noise``, ``music`` or empty, and for how many seconds it is heard.
        pauses: seconds before each utterance, and after the last.
    """

    name: str
    order: str
    beginning: str
    beginning_seconds: float
    utterances: Sequence[Spoken]
    pauses: Sequence[float]


def add_recordings(parser: CommandLine) -> None:
    """The options of ``recordings``."""
    add = parser.add_argument
    add("--source", required=True, nargs="+", metavar="FILE", help="Parquet with audio, text and maybe speaker")
    add("--output", required=True, type=Path, metavar="FOLDER", help="where the recordings go")
    add("--recordings", type=number(int, 1, 10_000), default=10, metavar="N", help="how many are made (10)")
    add("--minutes", type=number(float, 0.01, 600), nargs=2, default=(2.0, 10.0), help="shortest and longest (2 10)")
    add("--pauses", type=number(float, 0.01, 600), nargs=2, default=(0.5, 30.0), help="seconds between utterances, "
        "log-uniform (0.5 30)")  # fmt: skip
    add("--floor", type=number(float, -120, 0), default=-65.0, help="noise under all of it, dB of full scale (-65)")
    add("--noise", metavar="FOLDER", help="recordings of noise for beginnings; without it they have music alone")
    add("--beginnings", type=number(float, 0, 1), default=0.5, metavar="SHARE", help="of the recordings begin with "
        "10 to 30 s of noise or music (0.5)")  # fmt: skip
    add("--language", default="en", help="of all utterances, as code (en)")
    add("--limit", type=number(int, 1, 10**9), metavar="N", help="take only the first so many utterances")
    add("--seed", type=number(int, 0, 2**32), default=0, help="the same seed makes the same recordings (0)")


def utterances_of(files: Sequence[str], limit: int | None) -> list[Spoken]:
    """The utterances of Parquet files, in order. Raises DataError if there are none, or audio cannot be decoded."""
    source = Source(SourceConfig(files=tuple(files), max_utterances=limit, columns=ColumnNames()), "--source")
    found = []
    for place, row in enumerate(source.rows()):
        audio = decode_audio(row["audio"], source.audio_root)
        speaker = row.get("speaker")
        name = str(row.get("id") or place)
        found.append(Spoken(name, audio, str(row["text"]), "" if speaker is None else str(speaker)))
    if not found:
        raise DataError("--source holds no utterances")
    return found


def in_turns(utterances: Sequence[Spoken], generator: np.random.Generator) -> list[Spoken]:
    """The utterances speaker by speaker, the speakers in random order; each as in the source."""
    speakers = sorted({one.speaker for one in utterances})
    generator.shuffle(speakers)
    place = {speaker: number for number, speaker in enumerate(speakers)}
    return sorted(utterances, key=lambda one: place[one.speaker])


def check_limits(options: argparse.Namespace) -> None:
    """Raises: ConfigError: for limits that are in the wrong order."""
    for name in ("minutes", "pauses"):
        low, high = getattr(options, name)
        if low > high:
            raise ConfigError(f"--{name} is {low:g} {high:g}: the lower one comes first")


def planned(options: argparse.Namespace, utterances: Sequence[Spoken]) -> list[Planned]:
    """What each recording is made of. The first half has speakers in turns, the second has them mixed.

    Raises:
        ConfigError: if the utterances with their pauses are too short for so many recordings.
    """
    count, (low, high) = options.recordings, (60 * minutes for minutes in options.minutes)
    generator = np.random.default_rng(options.seed)
    pauses = log_uniform(*options.pauses, len(utterances), generator)
    beginnings = beginnings_of(count, options.beginnings, options.noise is not None)
    before = [generator.uniform(*BEGINNING_SECONDS) if kind else 0.0 for kind in beginnings]
    total = sum(one.seconds for one in utterances) + float(pauses.sum()) + sum(before) + LAST_PAUSE * count
    if total < low * count:
        raise ConfigError(
            f"--recordings is {count} of at least {low / 60:g} minutes, but the utterances with their pauses make "
            f"{total / 60:.1f} minutes: fewer recordings, or shorter --minutes"
        )
    lengths = fitted_lengths(total, log_uniform(low, high, count, generator), low, high)
    left, at, found = in_turns(utterances, generator), 0, list[Planned]()
    for recording, (length, beginning) in enumerate(zip(lengths, beginnings, strict=True)):
        order = "turns" if recording < count // 2 else "mixed"
        if recording == count // 2:
            generator.shuffle(left)  # type: ignore[arg-type]
        limit = high if recording == count - 1 else min(float(length), high)
        seconds, taken = before[recording] + LAST_PAUSE, 0
        while taken < len(left):
            more = left[taken].seconds + float(pauses[at + taken])
            if taken and seconds + more > limit:
                break
            seconds, taken = seconds + more, taken + 1
        own = [*map(float, pauses[at : at + taken]), LAST_PAUSE]
        name = f"recording_{recording + 1:0{len(str(count))}d}"
        found.append(
            Planned(
                name=name,
                order=order,
                beginning=beginning,
                beginning_seconds=before[recording],
                utterances=left[:taken],
                pauses=own,
            )
        )
        left, at = left[taken:], at + taken
    return found


def beginnings_of(count: int, share: float, has_noise: bool) -> list[str]:
    """What each recording begins with: noise and music by turns in so large a share of them, evenly spread."""
    kinds, given, found = ("noise", "music") if has_noise else ("music",), 0, []
    for recording in range(count):
        is_next = round(share * (recording + 1)) > given
        found.append(kinds[given % len(kinds)] if is_next else "")
        given += is_next
    return found


def make_recordings(options: argparse.Namespace) -> int:
    """Write the recordings; prints what was made."""
    check_limits(options)
    noises = None if options.noise is None else NoiseClips(NoiseSourceConfig(folder=options.noise), "--noise")
    utterances = utterances_of(options.source, options.limit)
    plan = planned(options, utterances)
    options.output.mkdir(parents=True, exist_ok=True)
    made = [
        write_recording(options, one, np.random.default_rng((options.seed, place)), noises)
        for place, one in enumerate(plan)
    ]
    asked = {name: getattr(options, name) for name in ("minutes", "pauses", "floor", "beginnings", "language", "seed")}
    unused = len(utterances) - sum(len(one.utterances) for one in plan)
    write_whole(options.output / MADE, {**asked, "unused_utterances": unused, "recordings": made})
    for line in told(made, unused, options.output):
        print(line)
    return 0


def write_recording(
    options: argparse.Namespace, plan: Planned, generator: np.random.Generator, noises: NoiseClips | None
) -> dict[str, Any]:
    """Write a recording and its segments; returns what ``made.json`` says of it."""
    samples = round(plan.beginning_seconds * SAMPLING_RATE)
    beginning = np.zeros(0, np.float32)
    if samples:
        use_noise = plan.beginning == "noise" and noises is not None
        sound = noises.excerpt(samples, generator) if use_noise and noises else music(samples, generator)
        beginning = levelled(sound, generator.uniform(*LEVELS))
    audio, placed = joined(
        plan.utterances,
        plan.pauses,
        beginning,
        floor=options.floor,
        shortest=60 * options.minutes[0],
        generator=generator,
    )
    path = options.output / f"{plan.name}.flac"
    soundfile.write(path, audio, SAMPLING_RATE, subtype="PCM_16")
    segments = [
        {
            "start": one.start,
            "end": one.end,
            "text": one.spoken.text,
            **({"speaker": one.spoken.speaker} if one.spoken.speaker else {}),
            "id": one.spoken.id,
        }
        for one in placed
    ]
    text = json.dumps({"language": options.language, "segments": segments}, ensure_ascii=False, indent=1)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    return {
        "name": plan.name,
        "seconds": round(len(audio) / SAMPLING_RATE, 3),
        "speech_seconds": round(sum(one.end - one.start for one in placed), 3),
        "segments": len(placed),
        "order": plan.order,
        "beginning": plan.beginning,
        "beginning_seconds": round(samples / SAMPLING_RATE, 3),
    }


def told(made: Sequence[dict[str, Any]], unused: int, output: Path) -> Iterator[str]:
    """What was made, a line each."""
    for one in made:
        beginning = f", {one['beginning_seconds']:.0f} s of {one['beginning']} first" if one["beginning"] else ""
        yield f"{one['name']}: {one['seconds']:.0f} s, {one['segments']} segments, {one['order']}{beginning}"
    seconds, speech = (sum(one[key] for one in made) for key in ("seconds", "speech_seconds"))
    yield f"{len(made)} recordings, {seconds / 60:.1f} minutes, {speech / 60:.1f} of them speech: {output}"
    if unused:
        yield f"{unused} utterances were not needed"
