"""Which second recording belongs to each recording that is to be transcribed."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from data.audio.decoding import seconds_of
from data.audio.mixing import CHANNELS
from data.audio.opening import open_audio
from data.audio.sounds import check_has_channel, open_sound
from data.audio.suffixes import is_recording
from data.audio.undecodable import MissingChannel, UndecodableAudio
from data.corpora.second.names import NAME, NamePattern, check_second, is_pattern
from data.errors import DataError, some_of

from ...config.reading import ConfigError
from ..recordings import STANDARD_INPUT, Recording, warn
from .pairing import SecondUse, check_lengths

MOST_CHECKED = 5000  # headers that are read before a model is


def with_second(
    recordings: Sequence[Recording], second: str, arguments: Sequence[str], use: SecondUse
) -> list[Recording]:
    """The recordings, each with its second one; without those that are second recordings of others.

    Of several recordings some may lack a second one, which a warning tells.

    Args:
        second: a file, a folder of files of the same names, a pattern with ``{name}`` seen from each recording's
            folder, or ``channel`` and ``left_channel`` for the right and the left channel of stereo files.
        arguments: files and folders as the user named them.

    Raises:
        ConfigError: for a pattern that is none.
        DataError: where none is there, and for second recordings that lack a channel or are far longer than the first
            by their headers.
    """
    if second in CHANNELS:
        found = of_channels(recordings, second)
    elif is_pattern(second):
        found = by_pattern(recordings, second)
    elif os.path.isdir(second):
        found = of_folder(recordings, Path(second), arguments)
    else:
        found = of_one_file(recordings, second, use)
    for recording in found[:MOST_CHECKED]:
        if recording.second is not None:
            check_header(recording, use)
    return found


def of_channels(recordings: Sequence[Recording], second: str) -> list[Recording]:
    """Both channels of each file."""
    first, other = CHANNELS[second]
    if any(recording.path is None for recording in recordings):
        raise DataError(f"--second {second} takes both channels of a file, and standard input is none; name the file")
    return [Recording(recording.path, first, Recording(recording.path, other)) for recording in recordings]


def by_pattern(recordings: Sequence[Recording], second: str) -> list[Recording]:
    """Files whose names follow from the first ones'."""
    try:
        check_second(second)
    except ValueError as error:
        raise ConfigError(f"--second {error}") from None
    pattern = NamePattern(second)
    seconds = pattern.among([str(recording.path) for recording in recordings if recording.path])
    found, missing = [], []
    for recording in recordings:
        if recording.path is not None and str(recording.path) in seconds:
            continue
        if recording.path is None:
            raise DataError(f"--second {second} is seen from a recording's name, and standard input has none")
        there, place = pattern.find(str(recording.path))
        if there is None:
            missing.append(place or f"another than {recording.name} itself")
            found.append(recording)
        else:
            path = Path(there if recording.path.is_absolute() else os.path.relpath(there))
            found.append(dataclasses.replace(recording, second=Recording(path)))
    check_found(found, missing, second)
    return found


def of_folder(recordings: Sequence[Recording], folder: Path, arguments: Sequence[str]) -> list[Recording]:
    """Files of the same names in another folder, whatever their suffixes; in subfolders as the first ones are."""
    roots = [Path(argument) for argument in arguments if argument != STANDARD_INPUT and os.path.isdir(argument)]
    own = folder.resolve()
    found, missing = [], []
    for recording in recordings:
        if recording.path is None:
            raise DataError(f"--second {folder} holds files by their names, and standard input has none; name a file")
        if recording.path.resolve().is_relative_to(own):
            continue  # the folder lies within the one that is transcribed
        below = [recording.path.relative_to(root) for root in roots if recording.path.is_relative_to(root)]
        names = [*below, Path(recording.path.name)]
        there = next(filter(None, (same_name(folder / name) for name in names)), None)
        if there is None:
            missing.append(str(folder / recording.path.name))
            found.append(recording)
        else:
            found.append(dataclasses.replace(recording, second=Recording(there)))
    check_found(found, missing, str(folder))
    return found


def same_name(path: Path) -> Path | None:
    """A file, or the first recording beside it whose name differs in the suffix alone; None where there is none."""
    if path.is_file():
        return path
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return min((file for file in beside if file.stem == path.stem and is_recording(file.name)), default=None)


def check_found(found: Sequence[Recording], missing: Sequence[str], second: str) -> None:
    """Warn of recordings that lack a second one.

    Raises:
        DataError: if all do, or no recording is left that could have one.
    """
    if found and len(missing) == len(found):
        raise DataError(
            f"--second is {second}, but each recording would lack a second one: {some_of(missing)} not found"
        )
    if missing:
        warn(f"{len(missing)} of {len(found)} recordings have no second one and are heard alone: {some_of(missing)}")
    if not found:
        raise DataError(f"--second is {second}: all recordings that are named are second ones; name the first ones")


def of_one_file(recordings: Sequence[Recording], second: str, use: SecondUse) -> list[Recording]:
    """One file, which is of one recording; a clip of the speaker is of all."""
    path = Path(second)
    if not path.exists():
        right = f"a file, a folder, a pattern such as {NAME}_room.wav, channel or left_channel is right"
        raise DataError(f"--second is {second!r}, which does not exist; {right}")
    if len(recordings) > 1 and use.kind == "scene":
        right = f"a folder of files of the same names, or a pattern such as {NAME}_room.wav, is right"
        raise DataError(f"--second is {second}, one file for {len(recordings)} recordings; {right}")
    if any(recording.path is not None and recording.path.resolve() == path.resolve() for recording in recordings):
        right = "another recording, or channel for the other one of a stereo file, is right"
        raise DataError(f"--second is {second}, which is the first recording itself; {right}")
    return [dataclasses.replace(recording, second=Recording(path)) for recording in recordings]


def check_header(recording: Recording, use: SecondUse) -> None:
    """Raises: DataError: for a second recording that cannot be right by its file's header.

    A first one that cannot be read is told when its turn comes.
    """
    second = recording.second
    assert second is not None and second.path is not None
    try:
        if second.channel is not None:
            with open_audio(str(second.path), None) as file, open_sound(file) as sound:
                check_has_channel(sound.channels, 1)
            return
        length = seconds_of(str(second.path))
    except MissingChannel as error:
        raise DataError(f"--second asks for a channel of {second.name}: {error}") from None
    except UndecodableAudio as error:
        if second.path == recording.path:
            return
        raise DataError(
            f"{second.label}, the second recording of {recording.name}, cannot be decoded: {error}"
        ) from None
    try:
        first = None if recording.path is None else seconds_of(str(recording.path))
    except UndecodableAudio:
        first = None
    if first is not None:
        check_lengths(recording, first, length, use)
