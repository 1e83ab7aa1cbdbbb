"""What a job writes: Parquet shards or an AudioFolder, whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow
import pyarrow.parquet

from .. import storage
from ..corpora.second.names import COLUMN
from ..corpora.settings import SHARD_COLUMNS
from .checking import Clip

SHARD_BYTES = 500 * 2**20
GROUP_BYTES = 8 * 2**20
GROUP_ROWS = 1024
NO_SCORES: Mapping[str, str] = {}
SECOND_FILE = f"{COLUMN}_file_name"  # as Hugging Face's AudioFolder calls further files of a row
WINDOW_COLUMNS = ("segments", "previous_text")  # of windows of several segments
UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Shard:
    """A written file: its name in the output, its split, and what it holds.

    Attributes:
        bytes: of audio.
        with_second: clips with a second recording.
        size: of the file, by which one that is gone or cut off is found.
    """

    file: str
    split: str
    clips: int = 0
    seconds: float = 0.0
    bytes: int = 0
    size: int = 0
    with_second: int = 0

    def with_clips(self, clips: Sequence[Clip]) -> "Shard":
        """The shard with more clips in it."""
        return replace(
            self,
            clips=self.clips + len(clips),
            seconds=self.seconds + sum(clip.duration for clip in clips),
            bytes=self.bytes + sum(clip.bytes for clip in clips),
            with_second=self.with_second + sum(clip.second is not None for clip in clips),
        )


def schema(
    extra: Sequence[str], scored: Mapping[str, str], with_second: bool = False, with_windows: bool = False
) -> Any:
    """The shards' columns, with the metadata by which `datasets` knows the audio."""
    kinds: dict[str, Any] = dict.fromkeys((*SHARD_COLUMNS, *extra), pyarrow.string())
    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in kinds}
    audio = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    kinds |= {"audio": audio, "duration": pyarrow.float64()}
    features |= {"audio": {"_type": "Audio"}, "duration": {"dtype": "float64", "_type": "Value"}}
    if with_second:
        kinds, features = kinds | {COLUMN: audio}, features | {COLUMN: {"_type": "Audio"}}
    if with_windows:
        of_one = {"start": "float64", "end": "float64", "text": "string"}
        segment = pyarrow.struct([(name, pyarrow.type_for_alias(kind)) for name, kind in of_one.items()])
        kinds |= {"segments": pyarrow.list_(segment), "previous_text": pyarrow.string()}
        described_one = {name: {"dtype": kind, "_type": "Value"} for name, kind in of_one.items()}
        features |= {"segments": [described_one], "previous_text": {"dtype": "string", "_type": "Value"}}
    kinds |= {name: pyarrow.type_for_alias(kind) for name, kind in scored.items()}
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in scored.items()}
    described = json.dumps({"info": {"features": features}})
    return pyarrow.schema(list(kinds.items()), metadata={b"huggingface": described.encode()})


class ParquetShards:
    """One Parquet file a split, or several where it would grow beyond :data:`SHARD_BYTES`.

    Row groups hold at most :data:`GROUP_BYTES` of audio: as much as a reader holds at a time.

    Args:
        extra: columns that are carried along.
        scored: columns that scoring adds, and their types.
        with_second: whether there is a column of second recordings.
        with_windows: whether there are the columns of windows.
    """

    def __init__(
        self,
        output: str,
        job: int,
        extra: Sequence[str],
        scored: Mapping[str, str] = NO_SCORES,
        *,
        with_second: bool = False,
        with_windows: bool = False,
    ) -> None:
        self.output, self.job, self.extra, self.scored = output, job, extra, scored
        self.with_second, self.with_windows = with_second, with_windows
        self.schema = schema(extra, scored, with_second, with_windows)
        self.scratch = tempfile.TemporaryDirectory(prefix="shards-", dir=scratch_folder(output))
        self.groups: dict[str, list[Clip]] = {}
        self.group_bytes: dict[str, int] = {}
        self.writers: dict[str, Any] = {}
        self.open: dict[str, Shard] = {}
        self.closed: list[Shard] = []

    def add(self, clip: Clip) -> None:
        split = clip.split
        self.groups.setdefault(split, []).append(clip)
        size = self.group_bytes[split] = self.group_bytes.get(split, 0) + clip.bytes
        if size >= GROUP_BYTES or len(self.groups[split]) == GROUP_ROWS:
            self.flush(split)
            if self.open[split].bytes >= SHARD_BYTES:
                self.close_shard(split)

    def flush(self, split: str) -> None:
        """Write a row group."""
        clips = self.groups.pop(split)
        del self.group_bytes[split]
        if split not in self.writers:
            part = sum(shard.split == split for shard in self.closed)
            name = f"{split}-{self.job:05d}{f'-{part:03d}' if part else ''}.parquet"
            self.open[split] = Shard(name, split)
            plain = ["id", "text", "language", "speaker", "duration", "audio.path", *self.extra, *self.scored]
            held = ["audio.bytes"]
            if self.with_windows:
                plain += [*(f"segments.list.element.{name}" for name in ("start", "end", "text")), "previous_text"]
            if self.with_second:
                plain, held = [*plain, f"{COLUMN}.path"], [*held, f"{COLUMN}.bytes"]
            self.writers[split] = pyarrow.parquet.ParquetWriter(
                os.path.join(self.scratch.name, name),
                self.schema,
                compression=dict.fromkeys(plain, "zstd") | dict.fromkeys(held, "none"),
                use_dictionary=["language", "speaker", *self.extra],
                write_statistics=False,
                write_page_checksum=True,
            )
        columns = {name: [getattr(clip, name) for clip in clips] for name in SHARD_COLUMNS}
        columns |= {name: [clip.extra.get(name) for clip in clips] for name in self.extra}
        columns |= {name: [clip.score_value(name) for clip in clips] for name in self.scored}
        columns |= {name: [getattr(clip, name) for clip in clips] for name in WINDOW_COLUMNS if self.with_windows}
        columns["audio"] = [{"bytes": clip.audio, "path": clip.path} for clip in clips]
        if self.with_second:
            columns[COLUMN] = [clip.second and {"bytes": clip.second.audio, "path": clip.second.path} for clip in clips]
        self.writers[split].write_table(pyarrow.table(columns, schema=self.schema), row_group_size=len(clips))
        self.open[split] = self.open[split].with_clips(clips)

    def close_shard(self, split: str) -> None:
        """Finish a split's file."""
        self.writers.pop(split).close()
        self.closed.append(self.open.pop(split))

    def finish(self) -> list[Shard]:
        """Put what was written in place; the shards."""
        for split in list(self.groups):
            self.flush(split)
        for split in list(self.writers):
            self.close_shard(split)
        done = []
        for shard in self.closed:
            path = os.path.join(self.scratch.name, shard.file)
            done.append(replace(shard, size=os.path.getsize(path)))
            storage.remove(original_of(self.output, shard.file))
            storage.place(path, storage.join(self.output, shard.file))
        return sorted(done, key=lambda shard: shard.file)

    def close(self) -> None:
        """Remove what is unfinished."""
        for writer in self.writers.values():
            with contextlib.suppress(Exception):
                writer.close()
        self.scratch.cleanup()


class AudioFolderPieces:
    """Like :class:`ParquetShards`, but audio files in ``split/00012/``, and lines of metadata that are joined later."""

    def __init__(
        self,
        output: str,
        job: int,
        extra: Sequence[str],
        scored: Mapping[str, str] = NO_SCORES,
        *,
        with_second: bool = False,
        with_windows: bool = False,
    ) -> None:
        self.output, self.job, self.extra, self.scored = output, job, extra, scored
        self.with_second, self.with_windows = with_second, with_windows
        self.lines: dict[str, list[str]] = {}
        self.totals: dict[str, Shard] = {}
        self.taken: set[str] = set()

    def add(self, clip: Clip) -> None:
        name = f"{self.job:05d}/{self.file_name(clip)}"
        storage.write_bytes(storage.join(self.output, f"{clip.split}/{name}"), clip.audio or b"")
        row = {"file_name": name} | {key: getattr(clip, key) for key in SHARD_COLUMNS if key != "audio"} | clip.extra
        row |= {key: clip.score_value(key) for key in self.scored}
        if self.with_windows:
            row |= {name: getattr(clip, name) for name in WINDOW_COLUMNS}
        if self.with_second:
            row[SECOND_FILE] = clip.second and self.add_second(clip, name)
        self.lines.setdefault(clip.split, []).append(json.dumps(row, ensure_ascii=False))
        before = self.totals.get(clip.split) or Shard(piece_name(clip.split, self.job), clip.split)
        self.totals[clip.split] = before.with_clips([clip])

    def add_second(self, clip: Clip, name: str) -> str:
        """Write the second recording beside the first; ``name``: of that."""
        assert clip.second is not None
        stem, suffix = os.path.splitext(name)[0], os.path.splitext(clip.second.path)[1].lower()
        while f"{stem}-second{suffix}".rpartition("/")[2].lower() in self.taken:
            stem += "-2"
        second = f"{stem}-second{suffix}"
        self.taken.add(second.rpartition("/")[2].lower())
        storage.write_bytes(storage.join(self.output, f"{clip.split}/{second}"), clip.second.audio or b"")
        return second

    def file_name(self, clip: Clip) -> str:
        """The clip's id as a file's name, whatever the id holds; no two alike in a job."""
        suffix = os.path.splitext(clip.path)[1].lower()
        stem = UNSAFE.sub("_", clip.id).strip("._")[:100] or "clip"
        if f"{stem}{suffix}".lower() in self.taken or stem != clip.id:
            stem += f"-{hashlib.blake2b(clip.id.encode('utf-8', 'replace'), digest_size=5).hexdigest()}"
        while f"{stem}{suffix}".lower() in self.taken:
            stem += "-2"
        self.taken.add(f"{stem}{suffix}".lower())
        return f"{stem}{suffix}"

    def finish(self) -> list[Shard]:
        """Put what was written in place; the shards."""
        done = []
        for split, lines in sorted(self.lines.items()):
            content = "".join(f"{line}\n" for line in lines).encode()
            storage.write_bytes(storage.join(self.output, piece_name(split, self.job)), content)
            done.append(replace(self.totals[split], size=len(content)))
        return done

    def close(self) -> None:
        """Nothing is kept open."""


def original_of(output: str, file: str) -> str:
    """Where a shard waits as it was before rows were taken out of it, or the audio of such a row."""
    return storage.join(output, f".jobs/originals/{file}")


def piece_name(split: str, job: int) -> str:
    """Where a job's part of a split's metadata waits."""
    return f".jobs/{split}-{job:05d}.jsonl"


def scratch_folder(output: str) -> str | None:
    """Where unfinished shards lie: beside the output, so that putting them in place is one rename; None if remote."""
    if storage.is_remote(output):
        return None
    folder = os.path.join(output, ".jobs")
    storage.retried(lambda: os.makedirs(folder, exist_ok=True), folder, "write")
    return folder
