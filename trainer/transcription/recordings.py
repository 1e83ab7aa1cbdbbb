"""The recordings that a command line names, and where their transcripts are written."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from data.audio.decoding import Decoded, decode, seconds_of
from data.audio.mixing import SIDES
from data.audio.suffixes import is_recording, readable_suffixes, unreadable
from data.audio.undecodable import UndecodableAudio
from data.errors import DataError

from ..config.reading import ConfigError
from .transcripts import Transcript, written

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Recording:
    """A recording to transcribe; no path for standard input.

    Attributes:
        channel: the one that is heard, from 0; None for the mean of all.
        second: what is heard beside it.
    """

    path: Path | None
    channel: int | None = None
    second: "Recording | None" = None

    @property
    def name(self) -> str:
        """As the user wrote it; bytes that are no UTF-8 are replaced, so that it can be printed."""
        return os.fsencode(self.path).decode("utf-8", "replace") if self.path else STANDARD_INPUT

    @property
    def label(self) -> str:
        """The name, with the channel."""
        return self.name if self.channel is None else f"{self.name} ({SIDES[self.channel]} channel)"

    def decode(self) -> Decoded:
        """All that can be read of it, and what is wrong with it; raises as :func:`data.audio.decoding.decode`."""
        value = sys.stdin.buffer.read() if self.path is None else str(self.path)
        return decode(value, tell=True, channel=self.channel)


def find_recordings(arguments: Sequence[str]) -> list[Recording]:
    """The files named, the recordings in the folders named and ``-`` for standard input, each once.

    Raises DataError for a path that does not exist, or a folder without recordings.
    """
    found: list[Path | None] = []
    for argument in arguments:
        path = Path(argument)
        if argument == STANDARD_INPUT:
            found.append(None)
        elif path.is_dir():
            inside = sorted(file for file in path.rglob("*") if is_recording(file.name) and file.is_file())
            if not inside:
                known = f"{path} holds no recording ({', '.join(sorted(readable_suffixes()))})"
                raise DataError("; ".join([known, *left_in_folders([argument])]))
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist")
    return [Recording(path) for path in dict.fromkeys(found)]


def left_in_folders(arguments: Sequence[str]) -> list[str]:
    """A line on what the folders named hold of recordings that only ffmpeg would read, where it is not installed."""
    folders = {Path(argument) for argument in arguments if argument != STANDARD_INPUT and Path(argument).is_dir()}
    line = unreadable({str(file) for folder in folders for file in folder.rglob("*") if file.is_file()})
    return [line] if line else []


def warn(*lines: str) -> None:
    """Write warnings to standard error, a line each."""
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def header_seconds(recordings: Iterable[Recording]) -> float | None:
    """Seconds of audio by the files' headers; None where one cannot be known before it is read."""
    total = 0.0
    for recording in recordings:
        if recording.path is None:
            return None
        try:
            total += seconds_of(str(recording.path))
        except UndecodableAudio:
            continue  # reported when its turn comes
    return total


class PrintedTranscripts:
    """Transcripts on standard output; with several recordings, each line begins with its file.

    Raises:
        ConfigError: for subtitles of several recordings, which need a file each.
    """

    def __init__(self, kind: str, timestamps: bool, several: bool) -> None:
        if several and kind in ("srt", "vtt"):
            raise ConfigError(f"--format {kind} of several recordings needs --output FOLDER, for a file each")
        self.kind, self.timestamps, self.several = kind, timestamps, several

    def write(self, number: int, transcript: Transcript) -> None:
        text = written(transcript, self.kind, self.timestamps)
        if self.several and self.kind == "txt":
            text = "".join(f"{transcript.file}: {line}\n" for line in text.splitlines())
        sys.stdout.write(text)
        sys.stdout.flush()


class TranscriptFolder:
    """A file for each recording, below ``folder`` as the recordings lie below the folder that holds them all.

    Recordings of one folder that differ in their suffix alone keep it: ``talk.txt``, ``talk.flac.txt``.

    Raises:
        ConfigError: if the folder cannot be made or written to.
    """

    def __init__(self, folder: str, kind: str, timestamps: bool, recordings: Sequence[Recording]) -> None:
        self.kind, self.timestamps = kind, timestamps
        self.paths = transcript_paths(Path(folder), kind, [recording.path for recording in recordings])
        make_writable(Path(folder))

    def write(self, number: int, transcript: Transcript) -> None:
        """Write the transcript of the recording of that number."""
        path = self.paths[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written(transcript, self.kind, self.timestamps, indent=2), encoding="utf-8")


def make_writable(folder: Path) -> None:
    """Make the folder of ``--output``, with those above it. Raises ConfigError if no file can be written there."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--output is {str(folder)!r}, where nothing can be written: {error.strerror}") from None


def transcript_paths(folder: Path, kind: str, recordings: Sequence[Path | None]) -> list[Path]:
    """A path for each recording (None: standard input); no two are alike, even if capitals do not count."""
    absolute = [None if path is None else Path(os.path.abspath(path)) for path in recordings]
    parents = {path.parent for path in absolute if path is not None}
    root = Path(os.path.commonpath(parents)) if parents else Path()
    taken: set[str] = set()
    paths = []
    for recording in absolute:
        relative = Path("stdin") if recording is None else recording.relative_to(root)
        for name in names(relative):
            path = folder / relative.parent / f"{name}.{kind}"
            if str(path).lower() not in taken:
                break
        taken.add(str(path).lower())
        paths.append(path)
    return paths


def names(recording: Path) -> Iterator[str]:
    """Names for a transcript, the best first."""
    yield from (recording.stem, recording.name)
    yield from (f"{recording.name}-{number}" for number in itertools.count(2))


@contextlib.contextmanager
def progress(stream: TextIO, recordings: Sequence[Recording]) -> Iterator[Callable[[float], None]]:
    """Show a bar on a terminal, and nothing elsewhere.

    Yields a function to call with the seconds of audio that are done.
    """
    if not stream.isatty():
        yield lambda seconds: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("s of audio"), TimeRemainingColumn())
    to_terminal = sys.stdout.isatty()  # a pipe's output must not go through the terminal
    with Progress(*columns, console=Console(file=stream), transient=True, redirect_stdout=to_terminal) as bar:
        # Reading the headers of very many files would take long; the bar then shows no end.
        total = header_seconds(recordings) if len(recordings) <= 5000 else None
        task = bar.add_task("", total=None if total is None else round(total))
        yield lambda seconds: bar.update(task, completed=round(seconds))
