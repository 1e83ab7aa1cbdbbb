"""What the reading of a corpus took and what it left lying: told, so that nobody believes a count that lacks half."""

import functools
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .. import storage
from ..audio.decoders.ffmpeg import INSTALL
from ..audio.suffixes import is_recording, is_sound, suffix_of_path
from ..errors import some_of
from .columns import Layout
from .places import canonical, is_hidden, relative
from .second.names import COLUMN

# Of files that hold, or may hold, what is said in a recording.
TEXT_SUFFIXES = frozenset(
    (".ass", ".cha", ".csv", ".ctm", ".doc", ".docx", ".eaf", ".json", ".jsonl", ".lab", ".lrc", ".mlf", ".ndjson",
     ".ods", ".odt", ".rtf", ".sbv", ".srt", ".stm", ".text", ".textgrid", ".trn", ".trs", ".tsv", ".txt", ".vtt",
     ".xls", ".xlsx", ".xml")
)  # fmt: skip
ARCHIVE_SUFFIXES = frozenset(
    (".7z", ".ark", ".bz2", ".gz", ".lz4", ".rar", ".tar", ".tbz", ".tbz2", ".tgz", ".txz", ".tzst", ".xz", ".zip",
     ".zst")
)  # fmt: skip
PACKED_TEXTS = (".csv.gz", ".json.gz", ".jsonl.gz", ".ndjson.gz", ".tsv.gz", ".txt.gz")
NO_TRANSCRIPTS = ("authors", "changelog", "citation", "copying", "license", "licence", "readme")
ASKED_FOR = ("audio", "text", "speaker", "id")  # columns that a user wants to know of, whether or not they are there
PREPARED = ".jobs/settings.json"  # lies in what a preparation wrote
MOST_NOTICES = 20  # shown on a terminal: a glob of many tables may have one for each


@dataclass
class Census:
    """What was taken of a corpus and what was not.

    Only the process that plans the jobs fills it; it is whole once the last job was planned.

    Attributes:
        notices: what is worth knowing of how the corpus was read, a line each, in the order in which it was found.
        columns: the corpus's name of each of our columns that it has, by the tables and folders read so.
        unused: columns that were found and not taken, likewise.
        left: files that look like sound or text and belong to no row, by kind; of a folder all of which was read.
    """

    notices: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set, repr=False)
    knows_audio: bool = True

    def notice(self, line: str) -> None:
        """Take in what the user should know; the same line once."""
        if line not in self.notices:
            self.notices.append(line)

    def use(self, *files: str) -> None:
        """These files belong to rows: recordings, transcripts, tables."""
        self.used.update(map(spelling, files))

    def is_used(self, file: str) -> bool:
        """Whether a file belongs to a row."""
        return spelling(file) in self.used

    def take_layout(self, layout: Layout) -> None:
        """The columns that were taken for ours, and those that were not."""
        for ours, theirs in layout.names.items():
            if theirs is not None and layout.names_its_columns:
                before = self.columns.setdefault(ours, theirs)
                if theirs not in before.split(", "):
                    self.columns[ours] = f"{before}, {theirs}"
        if layout.second is not None:
            self.columns.setdefault(COLUMN, layout.second)
        self.unused += [name for name in layout.unused if name not in self.unused]

    def leave(self, files: Iterable[str], folder: str) -> None:
        """Find out which of a folder's files look like sound or text and belong to no row."""
        left = defaultdict(list)
        files = list(files)
        prepared = {file.removesuffix(PREPARED) for file in files if file.endswith(PREPARED)}
        ours = {f"{place}{name}" for place in prepared for name in ("manifest.json", "quarantine.jsonl")}
        for file in files:
            if file in ours:
                continue
            if is_hidden(file, folder) or self.is_used(file):
                continue
            kind = self.kind_of(file)
            if kind is not None:
                left[kind].append(relative(file, folder))
        self.left = {kind: sorted(names) for kind, names in sorted(left.items())}

    def kind_of(self, file: str) -> str | None:
        """What a file is that belongs to no row; None for what is neither sound nor text."""
        suffix = suffix_of_path(file)
        if is_recording(file):
            return "recordings without a transcript" if self.knows_audio else None
        if is_sound(file):
            return f"{suffix} recordings, which ffmpeg would read ({INSTALL})"
        name = file.rpartition("/")[2].lower()
        if suffix in ARCHIVE_SUFFIXES and not name.endswith(PACKED_TEXTS):
            return f"packed {suffix} files"
        suffix = suffix_of_path(name.removesuffix(".gz"))
        if suffix in TEXT_SUFFIXES and not name.startswith(NO_TRANSCRIPTS):
            return f"{suffix} files"
        return None

    def lines(self) -> list[str]:
        """What is to be told: notices, then what was left lying."""
        told = self.notices[:MOST_NOTICES]
        if len(self.notices) > MOST_NOTICES:
            told.append(f"and {len(self.notices) - MOST_NOTICES:,} more lines of this kind")
        for kind, names in self.left.items():
            what = kind if len(names) > 1 else re.sub(r"(recording|file)s", r"\1", kind, count=1)
            told.append(f"not used: {len(names):,} {what}: {some_of(names)}")
        return told

    @property
    def column_line(self) -> str | None:
        """Which columns were taken for what, and which were not; None for a corpus without columns."""
        if not self.columns and not self.unused:
            return None
        taken = ", ".join(f"{ours} from {theirs}" for ours, theirs in self.columns.items())
        lacking = [ours for ours in ASKED_FOR if ours not in self.columns]
        parts = [f"columns: {taken}"]
        if lacking:
            parts.append(f"none for {', '.join(lacking)}")
        if self.unused:
            parts.append(f"not used: {', '.join(self.unused)}")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The census for a manifest."""
        return {
            "columns": self.columns,
            "unused_columns": self.unused,
            "not_used": {kind: len(names) for kind, names in self.left.items()},
            "remarks": self.notices,
        }


def spelling(file: str) -> str:
    """One spelling of a file's address, whichever links lead to its folder and whichever form of Unicode it is in."""
    address = canonical(file)
    if not storage.is_remote(address):
        folder, name = os.path.split(address)
        address = os.path.join(real_folder(folder), name)
    return address if address.isascii() else unicodedata.normalize("NFC", address)


@functools.lru_cache(maxsize=4096)
def real_folder(folder: str) -> str:
    """A folder of this machine without links."""
    return os.path.realpath(folder)
