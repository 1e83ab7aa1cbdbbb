"""What is told of splits: shares asked for and got, why they differ, and who is heard in more than one."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ..settings import PrepareSettings
from .groups import Heard
from .shares import empty_splits

NOTABLE = 0.01  # of all clips or audio: a share that is missed by more is explained
PLURALS = {"id": "clips", "speaker": "speakers", "recording": "recordings"}
Totals = Mapping[str, tuple[int, float]]  # clips and seconds by split


def shares_got(settings: PrepareSettings, splits: Totals, heard: Heard) -> dict[str, dict[str, Any]]:
    """For each split that was asked for: its share as asked, got of the clips and of the audio; speakers in it."""
    clips = sum(count for count, _ in splits.values()) or 1
    seconds = sum(length for _, length in splits.values()) or 1.0
    got: dict[str, dict[str, Any]] = {}
    for name, share in (settings.shares or {}).items():
        count, length = splits.get(name, (0, 0.0))
        got[name] = {"asked": share, "of_clips": round(count / clips, 4), "of_audio": round(length / seconds, 4)}
        if settings.split_by != "id":
            among = heard.speakers if settings.split_by == "speaker" else heard.recordings
            got[name][PLURALS[settings.split_by]] = sum(name in places for places in among.values())
    return got


def shares_told(settings: PrepareSettings, got: Mapping[str, Mapping[str, Any]], splits: Totals) -> list[str]:
    """A line for each split, and one that says why shares were missed, if they were."""
    things = PLURALS[settings.split_by]
    lines = []
    for name, share in got.items():
        count = splits.get(name, (0, 0.0))[0]
        of = f"; {counted(share[things], settings.split_by)}" if things in share else ""
        lines.append(
            f"{name}: asked for {share['asked']:.1%}, got {share['of_clips']:.1%} of the clips ({count:,}{of}) and "
            f"{share['of_audio']:.1%} of the audio"
        )
    measures = ("of_audio",) if settings.split_method == "balanced" else ("of_clips", "of_audio")
    missed = max((abs(share[of] - share["asked"]) for share in got.values() for of in measures), default=0.0)
    if missed <= NOTABLE:
        return lines
    number = sum(share[things] for share in got.values()) if settings.split_by != "id" else None
    many = f"{sum(count for count, _ in splits.values()):,}" if number is None else f"{number:,}"
    if settings.split_method == "balanced":
        lines.append(f"shares differ since {things} stay whole: {many} in all")
    else:
        lines.append(f"shares differ since each of {many} {things} goes where a hash of its name falls: "
                     "--split-method balanced comes as near the shares as whole ones allow")  # fmt: skip
    return lines


def counted(number: int, by: str) -> str:
    """``1 speaker`` or ``7 speakers``."""
    return f"{number:,} {by if number == 1 else PLURALS[by]}"


def split_warnings(settings: PrepareSettings, splits: Totals, heard: Heard) -> list[str]:
    """Splits without clips; speakers and recordings in more than one split; a corpus of one speaker; a line each."""
    by, own = settings.split_by, settings.shares is None
    lines = empty_splits(settings.shares or {}, by, splits, settings.split_method == "balanced")
    if by == "speaker":
        if len(heard.speakers) == 1:
            lines.append(f"all clips are of one speaker, {next(iter(heard.speakers))}: by speaker they are one split")
        clips = sum(count for count, _ in splits.values())
        if clips > 1 and len(heard.speakers) == clips:
            lines.append(f"each of the {clips:,} clips has a speaker of its own: is the column the speaker's?")
        alike = differing_in_capitals(heard)
        if alike:
            lines.append(f"speakers {alike} are taken for different people; if they are not, one is heard in two "
                         "splits: write the name in one way")  # fmt: skip
    remedy = {
        "speaker": "--split-by speaker keeps each in one split",
        "recording": "--split-by recording keeps each whole",
    }
    for kind, among in (("speaker", heard.speakers), ("recording", heard.recordings)):
        shared = [(name, places) for name, places in among.items() if len(places) > 1]
        if not shared:
            continue
        name, places = min(shared)
        told = f"{name}: {', '.join(sorted(places))}"
        whose = "the corpus's own splits: with --split NAME=SHARE,... " if own else ""
        what = f"{PLURALS[kind]} are heard" if kind == "speaker" else "recordings have parts"
        lines.append(f"{len(shared):,} of {len(among):,} {what} in more than one split ({told}); {whose}{remedy[kind]}")
    return lines


def differing_in_capitals(heard: Heard) -> str | None:
    """Names in different splits that differ in capitals alone, such as ``ann (train) and Ann (test)``."""
    alike = defaultdict(list)
    for name in heard.speakers:
        alike[name.casefold()].append(name)
    for names in alike.values():
        if len(set().union(*(heard.speakers[name] for name in names))) > 1 and len(names) > 1:
            return " and ".join(f"{name} ({', '.join(sorted(heard.speakers[name]))})" for name in sorted(names)[:2])
    return None
