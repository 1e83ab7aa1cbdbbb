"""How a user says where second recordings are: a pattern of names, a column, or the channels of a file."""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ... import storage
from ...audio.suffixes import SOUNDFILE_SUFFIXES, is_recording, is_sound
from ..places import canonical, normal

NAME = "{name}"
COLUMN = "second_audio"  # what shards call it


def check_second(second: str) -> None:
    """Refuse what says no second recordings.

    Raises:
        ValueError: in words that follow the option's name.
    """
    if not second.strip():
        raise ValueError(f"{NAME}_room.wav, channel, left_channel or a column's name is right")
    if re.search("[{}]", second.replace(NAME, "")):
        raise ValueError(f"the only braces of a pattern are {NAME}, the first recording's name without its suffix")
    if NAME in second and not is_sound(second):
        raise ValueError(f"a pattern ends in the suffix of a recording, as {NAME}_room.wav does")


def is_pattern(second: str | None) -> bool:
    """Whether second recordings are found by their names."""
    return second is not None and NAME in second


@dataclass(frozen=True)
class NamePattern:
    """Where the second recording of a first one lies: ``{name}_room.wav``, ``room/{name}.flac``, ``../far/{name}.wav``.

    ``{name}`` is the first one's name without its folder and suffix; the pattern is seen from its folder.
    """

    text: str

    def place(self, first: str) -> str | None:
        """The address that the second recording of a first one would have; None where that is the first one's own."""
        folder, name = posixpath.split(first)
        found = storage.join(folder, self.text.replace(NAME, posixpath.splitext(name)[0]))
        return None if canonical(found) == canonical(first) else found

    def find(self, first: str) -> tuple[str | None, str | None]:
        """The second recording of a first one, and where it should be; None for what is not."""
        place = self.place(first)
        if place is None:
            return None, None
        place = storage.as_spelt(normal(place))
        return (place, place) if storage.exists(place) else (None, place)

    def among(self, files: Iterable[str]) -> set[str]:
        """Those of a folder's files that are second recordings of others of them."""
        sounds = {canonical(file): file for file in files if is_recording(file)}
        places = (self.place(file) for file in sounds.values())
        return {sounds[place] for found in places if found and (place := canonical(found)) in sounds}

    def is_second(self, file: str) -> bool:
        """Whether a recording is the second of another that lies there, as far as its own name tells.

        A pattern with ``..``, or that is no relative path, does not say which folder the first lies in.
        """
        if ".." in self.text or self.text.startswith("/") or "://" in self.text:
            return False
        before, _, after = re.escape(self.text).partition(re.escape(NAME))
        form = f"(?P<folder>(?:.*/)?){before}(?P<name>[^/]+){after.replace(re.escape(NAME), '(?P=name)')}"
        found = re.fullmatch(form, file)
        if found is None:
            return False
        stem = f"{found['folder']}{found['name']}"
        others = (f"{stem}{suffix}" for suffix in sorted(SOUNDFILE_SUFFIXES))
        return any(other != file and storage.exists(other) for other in others)


def without_seconds(files: list[str], second: str | None) -> list[str]:
    """A folder's files without second recordings, and without what lies beside those alone."""
    if not is_pattern(second):
        return files
    seconds = NamePattern(str(second)).among(files)
    firsts = {posixpath.splitext(file)[0] for file in files if is_recording(file) and file not in seconds}
    gone = {posixpath.splitext(file)[0] for file in seconds} - firsts
    return [file for file in files if file not in seconds and posixpath.splitext(file)[0] not in gone]
