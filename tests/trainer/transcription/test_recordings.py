"""Which recordings a command line names, and where their transcripts go."""

import io
import re
import sys
from pathlib import Path

import pytest
import soundfile

from data.errors import DataError
from trainer.config.reading import ConfigError
from trainer.transcription.recordings import (
    Recording,
    TranscriptFolder,
    find_recordings,
    header_seconds,
    progress,
    transcript_paths,
)


def test_files_of_folders_and_names_come_once_in_order(tmp_path: Path) -> None:
    for name in ("b.wav", "a.FLAC", "notes.txt", "deep/c.mp3", "deep/d.opus"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "session.wav").mkdir()  # a folder, whatever its name
    named = tmp_path / "notes.txt"  # named outright, it is tried whatever its suffix
    found = find_recordings([str(named), "-", str(tmp_path), str(tmp_path / "b.wav"), "-"])
    assert [recording.path and recording.path.relative_to(tmp_path).as_posix() for recording in found] == [
        "notes.txt",
        None,
        "a.FLAC",
        "b.wav",
        "deep/c.mp3",
        "deep/d.opus",
    ]


def test_a_folder_within_a_folder_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "session.wav").mkdir()
    for folder in (tmp_path, tmp_path / "session.wav"):
        with pytest.raises(DataError, match="holds no recording"):
            find_recordings([str(folder)])


@pytest.mark.parametrize(("name", "reason"), [("nowhere.wav", "does not exist"), ("", "holds no recording")])
def test_nothing_to_transcribe(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        find_recordings([str(tmp_path / name)])


def test_a_name_that_is_no_text_can_be_printed() -> None:
    recording = Recording(Path("caf\udce9.wav"))  # Latin-1 on disk
    assert recording.name.encode() == "caf\ufffd.wav".encode()


@pytest.mark.parametrize(
    ("recordings", "expected"),
    [
        (["talk.flac"], ["talk.srt"]),
        (["/a/b/talk.flac"], ["talk.srt"]),
        (["/a/b/x.wav", "/a/b/y.wav", None], ["x.srt", "y.srt", "stdin.srt"]),
        (["/a/b/x.wav", "/a/c/x.wav", "/a/x.wav"], ["b/x.srt", "c/x.srt", "x.srt"]),
        (["/a/x.wav", "/a/x.flac", "/a/X.WAV"], ["x.srt", "x.flac.srt", "X.WAV.srt"]),
        (["/a/x.wav", "/a/x.flac", "/a/x.flac.wav"], ["x.srt", "x.flac.srt", "x.flac.wav.srt"]),
        (["/a/x.wav.wav", "/a/x.flac", "/a/x.wav", "/a/X.wav"], ["x.wav.srt", "x.srt", "x.wav-2.srt", "X.wav-3.srt"]),
        (["/a/first.take.wav"], ["first.take.srt"]),
        ([None, "/a/stdin.wav"], ["stdin.srt", "stdin.wav.srt"]),
    ],
)
def test_no_transcript_overwrites_another(recordings: list[str | None], expected: list[str]) -> None:
    paths = transcript_paths(Path("out"), "srt", [path if path is None else Path(path) for path in recordings])
    assert [path.relative_to("out").as_posix() for path in paths] == expected


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(ConfigError, match=r"--output is .*where nothing can be written"):
            TranscriptFolder(str(folder), "txt", False, [])
    TranscriptFolder(str(tmp_path / "new" / "deep"), "txt", False, [])
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_seconds_by_headers(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", [0.0] * 8000, 8000)
    (tmp_path / "text.wav").write_text("text")
    recordings = [Recording(tmp_path / "a.wav"), Recording(tmp_path / "text.wav"), Recording(tmp_path / "a.wav")]
    assert header_seconds(recordings) == 2.0
    assert header_seconds([*recordings, Recording(None)]) is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("output", [io.StringIO, Terminal])
def test_a_bar_in_seconds_is_drawn_on_a_terminal_and_leaves_a_pipe_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: type[io.StringIO]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    soundfile.write(tmp_path / "a.wav", [0.0] * 80_000, 8000)
    terminal, stdout = Terminal(), output()
    monkeypatch.setattr(sys, "stdout", stdout)
    with progress(terminal, [Recording(tmp_path / "a.wav")]) as advance_to:
        advance_to(4)
        print("text", flush=True)
    assert "4/10 s of audio" in re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    drawn = terminal.getvalue() if stdout.isatty() else stdout.getvalue()  # above the bar, or in the pipe
    assert "text" in drawn


def test_no_bar_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with progress(stream, [Recording(Path("nowhere"))]) as advance_to:
        advance_to(4)
    assert stream.getvalue() == ""
