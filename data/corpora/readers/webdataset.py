"""WebDataset's shards: tar files in which the members of a clip lie next to each other, read without unpacking them."""

import gzip
import hashlib
import io
import itertools
import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

from ... import storage
from ...errors import DataError
from ..annotations.text_kinds import surely_timed, two_times
from ..annotations.tiers import decoded_text
from ..census import Census
from ..columns import Layout
from ..format import Fault, Format
from ..places import is_hidden, relative, split_of_file, split_of_path
from ..record import Record
from ..settings import CorpusSettings
from ..tar_members import SpoiltTar, TarMembers, is_compressed, opened_tar
from .tar_clips import KEY, Clip, clips_of, kind_of, object_of, row_of

SUFFIXES = (".tar", ".tar.gz", ".tgz")
LOOKED_AT = 2**20  # bytes of a shard that tell which columns there are
MOST_LOOKED_AT = 2**28  # bytes within which the first clip must end


@dataclass(frozen=True, kw_only=True)
class ShardRows:
    """The clips of a shard that begin at bytes ``begin`` to ``end``, read when their records are wanted.

    Attributes:
        version: see :func:`data.storage.version`.
        limit: no more rows than these.
        audio: the suffix of the members that are the audio, where a clip may have several.
        before: keys of these clips that clips before them have.
        without_text: a recording alone is a row, too.
    """

    file: str
    layout: Layout
    version: str
    begin: int = 0
    end: int | None = None
    limit: int | None = None
    audio: str | None = None
    before: tuple[str, ...] = ()
    without_text: bool = False

    def records(self) -> Iterator[Record]:
        seen = set(self.before)
        with opened_tar(self.file, self.begin) as tar:
            clips = clips_of(tar, ("audio", "text", "json"), self.end)
            for clip in itertools.islice((clip for clip in clips if clip.is_row), self.limit):
                yield self.record(clip, clip.key in seen)
                seen.add(clip.key)

    def record(self, clip: Clip, is_again: bool) -> Record:
        """A clip as a record."""
        place = f"{self.file}: {clip.key or f'byte {clip.begin}'}"
        again = Fault("its key came before in this shard; the members of a clip lie next to each other")
        row = (
            again
            if is_again and clip.fault is None
            else row_of(clip, self.audio, self.without_text, self.layout.second)
        )
        if isinstance(row, Fault):
            return Record(place, id=clip.key or None, fault=str(row))
        record = self.layout.record(row, place)
        return replace(record, split=record.split or split_of_path(clip.key))

    def digest(self) -> str:
        described = (posixpath.basename(self.file), self.version, self.begin, self.end, self.limit, self.audio)
        return hashlib.blake2b(repr((*described, self.before)).encode(), digest_size=16).hexdigest()

    def limited(self, limit: int) -> tuple[Self, int]:
        limit = limit if self.limit is None else min(limit, self.limit)
        return replace(self, limit=limit), limit

    def audio_files(self) -> list[str]:
        """The file that the audio lies in."""
        return [self.file]


def read_webdataset(address: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[ShardRows]:
    """A shard, or a folder of them, in pieces: ranges of a local tar file, else whole shards.

    Only headers are read of a local tar file, and of others the first :data:`LOOKED_AT` bytes.

    Raises:
        DataError: if a shard cannot be read at all, or its first clips have no audio or text.
    """
    is_folder = storage.is_folder(address)
    unused, are_counted = Counter[str](), True
    for shard in shards_in(address) if is_folder else [address]:
        census.use(shard)
        clips, _ = first_clips(shard)
        if is_folder:
            split = split_of_path(relative(shard, address)) or split_of_file(shard)
        if is_folder and not any(clip.is_row for clip in clips):
            census.notice(f"{shard} has no clips")
            continue
        layout = layout_of(shard, settings, split, clips)
        audio = settings.columns.get("audio")
        rows = ShardRows(
            file=shard,
            layout=layout,
            version=storage.version(shard),
            audio=audio,
            without_text=settings.without_text,
        )
        if not storage.is_remote(shard) and not is_compressed(shard):
            yield from ranges_of(rows, settings.job_rows, unused)
            continue
        are_counted = False
        unused.update(suffix for clip in clips for suffix in clip.unused)
        if settings.max_samples:  # counted, since what is left of the limit is for the next shard
            limited = replace(rows, limit=settings.max_samples)
            rows = replace(rows, limit=sum(1 for _ in limited.records()))
        yield rows
    if unused:
        kinds = (f"{count:,} {suffix}" if are_counted else suffix for suffix, count in sorted(unused.items()))
        census.notice(f"{address}: members that are not used: {', '.join(kinds)}")


def shards_in(folder: str) -> Iterator[str]:
    """The tar files in a folder; hidden ones do not count."""
    for file in storage.files_below(folder):
        if file.lower().endswith(SUFFIXES) and not is_hidden(file, folder):
            yield file


def first_clips(shard: str) -> tuple[list[Clip], bool]:
    """The first clips of a shard, with texts and objects, and whether it begins with a folder.

    They are those that lie whole in its first :data:`LOOKED_AT` bytes, but at least one that can be used, if there is.

    Raises:
        DataError: if it is no tar file.
    """
    size = LOOKED_AT
    while True:
        content = storage.read_part(shard, 0, size)
        is_all = len(content) < size
        raw: Any = io.BytesIO(content)
        if is_compressed(shard):
            raw = gzip.GzipFile(fileobj=raw)
        tar = TarMembers(raw)
        try:
            clips = list(clips_of(tar, ("text", "json")))
        except SpoiltTar as error:
            raise DataError(f"{shard} is damaged: {error}") from None
        if tar.first is None and clips:
            raise DataError(f"{shard} cannot be read as a tar file: {clips[0].fault}")
        if not is_all:  # the last one goes on behind what was read
            clips = clips[: -2 if clips and not clips[-1].key else -1]
        if is_all or any(clip.is_row and clip.fault is None for clip in clips) or size >= MOST_LOOKED_AT:
            return clips, tar.first is not None and tar.first.is_folder and bool(tar.first.name.strip("./"))
        size *= 4


def is_shard(address: str, settings: CorpusSettings) -> bool:
    """Whether a tar file's first members are a recording and its text or object, next to each other.

    A tar file that begins with a folder, or whose text has times, is an archive: unpacked, and read as a folder.
    """
    if settings.kind == WEBDATASET.kind:
        return True
    try:
        clips, begins_with_folder = first_clips(address)
    except storage.StorageError:
        raise
    except DataError:  # whoever unpacks it says what is wrong
        return False
    clip = next((clip for clip in clips if clip.is_row and clip.fault is None), None)
    if clip is None or begins_with_folder:
        return False
    texts = clip.of_kind("text")
    if not clip.of_kind("audio") or not (texts or clip.of_kind("json")):
        return False
    return not any(is_timed(clip.members[suffix] or b"", address) for suffix in texts)


def is_timed(content: bytes, address: str) -> bool:
    """Whether a text is a table of times."""
    try:
        text = decoded_text(content, address)
    except DataError:  # another encoding
        return False
    return surely_timed(text) is not None or two_times(text.strip().partition("\n")[0]) is not None


def layout_of(shard: str, settings: CorpusSettings, split: str | None, clips: list[Clip]) -> Layout:
    """How the clips of a shard are read, by the first of them.

    Raises:
        DataError: if they have no audio, or no column for text.
    """
    usable = [clip for clip in clips if clip.fault is None and clip.of_kind("audio")]
    if not usable:
        names = sorted({f".{suffix}" for clip in clips for suffix in clip.members})
        found = f"; its first members are {', '.join(names[:8])}" if names else ""
        found += next((f"; {clip.fault}" for clip in clips if clip.fault), "")
        raise DataError(f"{shard} is no shard of WebDataset: no audio with a .txt or .json of the same key{found}")
    columns: dict[str, None] = {}
    for clip in usable:
        for suffix in clip.of_kind("text"):
            columns |= {suffix: None}
        for suffix in clip.of_kind("json"):
            row = object_of(clip.members[suffix] or b"")
            columns |= dict.fromkeys({} if isinstance(row, Fault) else row)
    if any(settings.second_column in clip.members for clip in usable):
        columns |= {str(settings.second_column): None}
    if settings.without_text and not columns:
        columns = {"txt": None}
    texts = [name for name in columns if kind_of(name) == "text"]
    # Start and end tell where the clip was cut from.
    ours: dict[str, str | None] = {"id": KEY, "start": None, "end": None}
    if texts:
        ours["text"] = "txt" if "txt" in texts else texts[0]
    ours |= settings.columns | {"audio": "audio"}
    chosen = settings.model_copy(update={"columns": ours})
    return Layout.of(shard, chosen, dict.fromkeys(("audio", KEY, *columns)), root="", split=split)


def ranges_of(rows: ShardRows, size: int, unused: Counter[str]) -> Iterator[ShardRows]:
    """A shard in ranges of ``size`` rows, found by its headers alone.

    Args:
        unused: counts the members that are not used, by suffix.
    """
    earlier, keys = set[str](), set[str]()  # of the ranges before, and of this one
    count, begin, before = 0, 0, list[str]()
    with opened_tar(rows.file) as tar:
        for clip in clips_of(tar, ()):
            unused.update(clip.unused)
            if not clip.is_row:
                continue
            if count == size:
                yield replace(rows, begin=begin, end=clip.begin, limit=count, before=tuple(before))
                count, begin, before = 0, clip.begin, []
                earlier |= keys
                keys.clear()
            if clip.key in earlier and clip.key not in keys:
                before.append(clip.key)
            keys.add(clip.key)
            count += 1
    if count:
        yield replace(rows, begin=begin, limit=count, before=tuple(before))


def is_shard_folder(folder: str, settings: CorpusSettings) -> bool:
    """Whether the first tar file in a folder is a shard."""
    return any(is_shard(shard, settings) for shard in itertools.islice(shards_in(folder), 1))


WEBDATASET = Format(
    "webdataset",
    read_webdataset,
    suffixes=SUFFIXES,
    is_file=is_shard,
    sign=".tar with each recording beside its .txt or .json",
    is_folder=is_shard_folder,
)
