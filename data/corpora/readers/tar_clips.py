"""Clips as WebDataset's shards hold them: the members of a tar file that share a key, and the row that they are.

A key is a member's path up to the first point of its name: ``a/clip.flac`` and ``a/clip.json`` are of one.
See https://github.com/webdataset/webdataset#the-webdataset-format.
"""

import posixpath
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...audio.suffixes import is_sound
from ..census import NO_TRANSCRIPTS
from ..format import Fault
from ..tar_members import DamagedTar, TarMembers
from .table_files.json_items import DECODER

TEXTS, OBJECTS = ("txt", "text", "transcript"), ("json", "jsn")
KEY = "__key__"  # the column of keys, as WebDataset calls it


@dataclass(slots=True)
class Clip:
    """The members of a tar file that share a key and lie next to each other.

    Attributes:
        begin: the byte at which the first of them begins.
        members: content by suffix, the part of the name behind the key; None for what was not read.
        fault: why the clip cannot be used; None where it can.
    """

    key: str
    begin: int
    members: dict[str, bytes | None] = field(default_factory=dict)
    fault: str | None = None

    def of_kind(self, kind: str) -> list[str]:
        """The suffixes of its members of a kind."""
        return [suffix for suffix in self.members if kind_of(suffix) == kind]

    @property
    def is_row(self) -> bool:
        """Whether it says or sounds anything; a licence or readme does not."""
        kinds = set(map(kind_of, self.members)) - {None}
        name = posixpath.basename(self.key).lower()
        return self.fault is not None or (bool(kinds) and not (kinds == {"text"} and name.startswith(NO_TRANSCRIPTS)))

    @property
    def unused(self) -> list[str]:
        """The suffixes of its members that nobody reads, as they are told."""
        suffixes = (suffix for suffix in self.members if kind_of(suffix) is None or not self.is_row)
        return [f".{suffix}" if suffix else "without a suffix" for suffix in suffixes]


def kind_of(suffix: str) -> str | None:
    """Whether a member is ``audio``, ``text`` or ``json``, by its suffix; None for one that is not used."""
    if is_sound(f"a.{suffix}"):
        return "audio"
    last = suffix.lower().rpartition(".")[2]
    return "text" if last in TEXTS else "json" if last in OBJECTS else None


def parted(name: str) -> tuple[str, str]:
    """Key and suffix of a member's name."""
    folder, base = posixpath.split(name)
    stem, _, suffix = base.partition(".")
    return posixpath.join(folder, stem), suffix


def clips_of(tar: TarMembers, kinds: Collection[str], end: int | None = None) -> Iterator[Clip]:
    """The clips of a tar file, in its order; damage is the fault of the last one.

    Args:
        kinds: of the members whose content is read.
        end: the byte from which on clips are another's to read.
    """
    clip: Clip | None = None
    try:
        for member in tar:
            if member.is_folder or posixpath.basename(member.name).startswith("."):
                continue
            key, suffix = parted(member.name)
            if clip is None or key != clip.key:
                if clip is not None:
                    yield clip
                clip = None
                if end is not None and member.begin >= end:
                    return
                clip = Clip(key, member.begin)
            if suffix in clip.members:
                clip.fault = f"{posixpath.basename(member.name)} is there twice"
            if member.fault and kind_of(suffix):
                clip.fault = f"{posixpath.basename(member.name)} {member.fault}"
            clip.members[suffix] = None
            if kind_of(suffix) in kinds and member.fault is None:
                clip.members[suffix] = tar.content()
    except DamagedTar as error:
        if clip is None or not tar.inside:
            if clip is not None:
                yield clip
            clip = Clip("", tar.header)
        clip.fault = f"the shard is damaged: {error}"
    if clip is not None:
        yield clip


def row_of(
    clip: Clip, audio: str | None, without_text: bool = False, second: str | None = None
) -> dict[str, Any] | Fault:
    """A clip's columns and values, or why it has none.

    Args:
        audio: the suffix of the member that is the audio; None where there is one only.
        without_text: a recording alone is a row, too.
        second: the suffix of the member that is the second recording, or a column of the object.
    """
    if clip.fault is not None:
        return Fault(clip.fault)
    sounds, texts, objects = clip.of_kind("audio"), clip.of_kind("text"), clip.of_kind("json")
    if second is not None:
        sounds = [suffix for suffix in sounds if suffix != second]
    if audio is not None:
        sounds = [suffix for suffix in sounds if suffix == audio]
    if not sounds:
        wanted = f".{audio}" if audio else "audio"
        return Fault(f"no audio: {', '.join(f'.{suffix}' for suffix in clip.members)} and no {wanted} of this key")
    if len(sounds) > 1:
        return Fault(f"several recordings of this key: .{', .'.join(sounds)}; --columns audio={sounds[0]} takes one")
    if not texts and not objects and not without_text:
        return Fault(f"no .txt or .json beside .{sounds[0]}")
    if len(objects) > 1:
        return Fault(f"several objects of this key: .{', .'.join(objects)}")
    row: dict[str, Any] = {}
    if objects:
        found = object_of(clip.members[objects[0]] or b"")
        if isinstance(found, Fault):
            return Fault(f".{objects[0]}: {found}")
        row |= found
    for suffix in texts:
        row[suffix] = words = text_of(clip.members[suffix] or b"")
        if isinstance(words, str) and "-->" in words:
            return Fault(f".{suffix} holds times, not a transcript; unpack the shards and prepare the folder")
    if second in clip.members and kind_of(second) == "audio":
        row[second] = {"bytes": clip.members[second], "path": f"{posixpath.basename(clip.key)}.{second}"}
    if not clip.members[sounds[0]]:
        return Fault(f".{sounds[0]} is empty")
    name = f"{posixpath.basename(clip.key)}.{sounds[0]}"
    return row | {KEY: clip.key, "audio": {"bytes": clip.members[sounds[0]], "path": name}}


def object_of(content: bytes) -> dict[str, Any] | Fault:
    """A JSON member as an object, or why it is none."""
    try:
        found = DECODER.decode(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Fault("not UTF-8")
    except (ValueError, RecursionError) as error:
        return Fault(f"not JSON: {error}")
    return found if isinstance(found, dict) else Fault(f"{type(found).__name__}, not an object with columns")


def text_of(content: bytes) -> str | bytes:
    """The words of a text member; bytes, which are refused as text later, where they are not UTF-8."""
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return b""
