"""What ffmpeg reads is read like everything else; damage is found; no name or content opens anything else."""

import io
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.audio.containers import MP4
from data.audio.decoders import ffmpeg
from data.audio.decoding import decode, decode_audio, seconds_of
from data.audio.integrity import fault_of
from data.audio.suffixes import is_recording, is_sound, readable_suffixes
from data.audio.undecodable import UndecodableAudio
from data.augmentation.fields import NoiseSourceConfig
from data.augmentation.noise_clips import NoiseClips
from data.preparation.clips import RecordingReader

from ...support.films import KINDS, RATE, SECONDS, converted, film, needs_ffmpeg, spoken

DAMAGED = [kind for kind in KINDS if kind not in ("mp3.wav", "mp2")]  # nothing says how long an MP2 file is
PLAYLISTS = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.m4a\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile secret.m4a\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
)


@pytest.fixture
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@needs_ffmpeg
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_whatever_it_is_called(kind: str, tmp_path: Path) -> None:
    """The tone is where it was, give or take an encoder's delay."""
    path = tmp_path / "recording.wav"
    path.write_bytes(film(kind))
    decoded = decode_audio(str(path), whole=True)
    assert len(decoded) / 16_000 == pytest.approx(SECONDS, abs=0.1)
    assert np.argmax(np.abs(np.fft.rfft(decoded[:32_000]))) / 2 == pytest.approx(300, abs=3)
    assert seconds_of(str(path)) == pytest.approx(len(decoded) / 16_000, abs=0.06)


@needs_ffmpeg
def test_every_form_of_a_row_gives_the_same_samples(tmp_path: Path) -> None:
    content = film("m4a")
    (tmp_path / "a.m4a").write_bytes(content)
    first = decode_audio(content)
    for value in ({"bytes": content, "path": "a.wav"}, str(tmp_path / "a.m4a"), {"path": str(tmp_path / "a.m4a")}):
        np.testing.assert_array_equal(decode_audio(value, whole=True), first)
    np.testing.assert_array_equal(decode_audio("a.m4a", str(tmp_path), True, whole=True), first)


@needs_ffmpeg
def test_mixing_and_resampling_are_those_of_every_recording() -> None:
    """Of what is coded without loss, the samples are those of the same as WAV."""
    stereo = np.stack([spoken(), -0.9 * spoken()], axis=1)
    file = io.BytesIO()
    soundfile.write(file, stereo, RATE, format="WAV", subtype="PCM_16")
    for name, options in (("a.mka", ("-c:a", "flac", "-sample_fmt", "s16")), ("a.mov", ("-c:a", "pcm_s16le"))):
        sixteen = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")[0]
        read = decode(converted(sixteen, RATE, name, *options))
        expected = decode(file.getvalue())
        assert read.remarks == expected.remarks and "out of phase" in read.remarks[0]
        np.testing.assert_array_equal(read.samples, expected.samples)


@needs_ffmpeg
@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_found(kind: str) -> None:
    """Cut off, a hole in the middle, zeros in the middle."""
    content = film(kind)
    half = len(content) // 2
    damaged = {"cut": content[:half], "cut late": content[: int(0.93 * len(content))]}
    if kind in ("m4a", "webm", "wma", "aac"):
        damaged["hole"] = content[:half] + content[half + 3000 :]
        damaged["zeros"] = content[:half] + bytes(500) + content[half + 500 :]
    for name, part in damaged.items():
        with pytest.raises(UndecodableAudio) as caught:
            decode_audio(part, whole=True)
        message = str(caught.value)
        assert "\n" not in message and "@ 0x" not in message and "/dev/fd" not in message, name
        if name == "hole":
            assert message == one_more_time(part), "the reason is another every time"


def one_more_time(content: bytes) -> str:
    with pytest.raises(UndecodableAudio) as caught:
        decode_audio(content, whole=True)
    return str(caught.value)


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["m4a", "fragmented.mp4", "webm", "live.webm", "mka", "wma", "avi", "flv"])
def test_films_one_after_the_other(kind: str) -> None:
    """ffmpeg reads the first of them, or some, and says nothing."""
    one = film(kind)
    assert fault_of(one) is None
    told = (
        f"2 recordings in one file, one after the other, the second from byte {len(one)}, and ffmpeg may not read all"
    )
    with pytest.raises(UndecodableAudio, match=told):
        decode_audio(one + one, whole=True)
    assert decode(one + one, tell=True).remarks[0].startswith(told)


@needs_ffmpeg
def test_what_can_be_read_of_a_damaged_recording_is_with_a_remark() -> None:
    content = film("webm")
    decoded = decode(content[: len(content) // 2])
    assert 0.5 < len(decoded.samples) / 16_000 < 2
    assert any("ended prematurely" in line for line in decoded.said)
    assert any("promises" in remark for remark in decoded.remarks)


@needs_ffmpeg
def test_segments_are_those_of_the_whole_and_it_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "talk.m4a"
    path.write_bytes(film("m4a"))
    whole = decode_audio(str(path))
    started: list[Any] = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda line, **rest: started.append(line) or popen(line, **rest))
    with RecordingReader() as reader:
        for start, end in ((1.0, 2.0), (0.0, 0.5), (2.5, None), (0.123456, 0.2)):
            expected = whole[round(start * 16_000) : None if end is None else round(end * 16_000)]
            np.testing.assert_array_equal(reader.read(str(path), start, end), expected)
        with pytest.raises(UndecodableAudio, match="the recording"):
            reader.read(str(path), 2.0, 9.0)
    assert sum("ffmpeg" in line[0] for line in started) == 1


@needs_ffmpeg
@pytest.mark.parametrize(
    "name", ["-i.m4a", "concat:a.m4a|b.m4a", "http:a.m4a", "%03d.m4a", "a\nb.m4a", "caf\udce9.m4a"]
)
def test_names_are_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(film("m4a"))
    np.testing.assert_array_equal(decode_audio(name, whole=True), decode_audio(film("m4a")))


@needs_ffmpeg
@pytest.mark.parametrize("name", ["list.m4a", "list.ts", "list.mp4", "list.m3u8"])
def test_a_playlist_in_disguise_opens_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.m4a").write_bytes(film("m4a"))
    for content in PLAYLISTS:
        (tmp_path / name).write_text(content)
        with pytest.raises(UndecodableAudio, match="not audio"):
            decode_audio(str(tmp_path / name))


@needs_ffmpeg
def test_ffmpeg_may_open_files_and_nothing_else(tmp_path: Path) -> None:
    """Whatever a container names; the form of the input is fixed already."""
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    line = ffmpeg.command("ffprobe", MP4, 0, ())
    line[line.index("-i") + 1] = f"concat:{tmp_path}/a.wav"
    ended = subprocess.run(line, capture_output=True, text=True, timeout=20)
    assert ended.returncode and "not on whitelist" in ended.stderr


@needs_ffmpeg
def test_the_first_of_several_tracks_is_read_and_told(tmp_path: Path) -> None:
    loud, faint = spoken(), 0.1 * spoken()
    soundfile.write(tmp_path / "other.wav", faint, RATE)
    other = ("-i", str(tmp_path / "other.wav"), "-map", "0:a", "-map", "1:a", "-c:a", "flac")
    decoded = decode(converted(loud, RATE, "a.mka", *other), whole=True)
    assert decoded.remarks == ("2 sound tracks, the first of which was read",)
    assert np.abs(decoded.samples).max() > 0.2


@needs_ffmpeg
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_sound_that_begins_after_the_picture_keeps_its_place(name: str, tmp_path: Path) -> None:
    """Subtitles count from the film's beginning."""
    (tmp_path / "film.mp4").write_bytes(film("film.mp4"))
    line = ["ffmpeg", "-v", "error", "-i", "film.mp4", "-itsoffset", "1.5", "-i", "film.mp4", "-map", "0:v", "-map",
            "1:a", "-c", "copy", f"late-{name}"]  # fmt: skip
    subprocess.run(line, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    late = decode(str(tmp_path / f"late-{name}"), whole=True)
    expected = decode_audio(film("film.mp4"))
    loud = np.flatnonzero(np.abs(late.samples) > 0.1)[0] - np.flatnonzero(np.abs(expected) > 0.1)[0]
    assert loud / 16_000 == pytest.approx(1.5, abs=0.1)
    assert not late.samples[: 16_000 * 14 // 10].any()
    assert late.remarks == ()
    assert seconds_of(str(tmp_path / f"late-{name}")) == pytest.approx(len(late.samples) / 16_000, abs=0.1)


@needs_ffmpeg
def test_a_film_without_sound(tmp_path: Path) -> None:
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=32x32:r=5:d=1", "-c:v", "mpeg4", "silent.mp4"]
    subprocess.run(line, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    for read in (decode_audio, seconds_of):
        with pytest.raises(UndecodableAudio, match="MP4 or QuickTime, but there is no sound in it"):
            read(str(tmp_path / "silent.mp4"))


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).write_text("#!/bin/sh\nexec sleep 60\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(ffmpeg, "STALL_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(UndecodableAudio, match="nothing of it for"):
        decode_audio(M4A_STUMP)
    probed = ffmpeg.Probe("aac", 44_100, 1, None, 1)
    monkeypatch.setattr(ffmpeg, "probe", lambda *_: probed)
    with pytest.raises(UndecodableAudio, match="no sample of it for"):
        decode_audio(M4A_STUMP)
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexec >&-\nexec sleep 60\n")  # it says that it is done, and is not
    with pytest.raises(UndecodableAudio, match="ffmpeg did not end for"):
        decode_audio(M4A_STUMP)
    assert time.monotonic() - started < 10


@needs_ffmpeg
def test_noises_may_be_films(tmp_path: Path) -> None:
    (tmp_path / "street.mp4").write_bytes(film("film.mp4"))
    clips = NoiseClips(NoiseSourceConfig(folder=str(tmp_path)))
    assert clips.names == ["street.mp4"] and len(clips.audio(0)) / 16_000 == pytest.approx(SECONDS, abs=0.1)


def test_complaints_about_pictures_are_none_about_the_sound() -> None:
    lines = b"[h264 @ 0x55] non-existing PPS 0 referenced\n    Last message repeated 3 times\n"
    assert ffmpeg.said_first(lines) == ""
    assert ffmpeg.said_first(lines + b"[aac @ 0x56] channel element 0.0 is not allocated\n") == (
        "channel element 0.0 is not allocated"
    )


# Without it

M4A_STUMP = b"\0\0\0\x1cftypM4A " + bytes(100)
STUMPS = {
    "MP4": M4A_STUMP,
    "AAC without a container": 2 * (bytes.fromhex("fff150801fdffc") + bytes(247)),
    "Matroska or WebM": b"\x1aE\xdf\xa3" + bytes(100),
    "WMA": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(100),
    "AVI": b"RIFF\x64\0\0\0AVI LIST" + bytes(100),
    "MPEG transport stream": (b"G" + bytes(187)) * 6,
    "AMR": b"#!AMR\n" + bytes(100),
}


@pytest.mark.usefixtures("without_ffmpeg")
@pytest.mark.parametrize("kind", STUMPS)
@pytest.mark.parametrize("read", [decode_audio, seconds_of, lambda value: decode_audio(value, whole=True)])
def test_without_ffmpeg_one_line_says_what_it_is_and_how_to_get_it(kind: str, read: Any, tmp_path: Path) -> None:
    path = tmp_path / "recording.mp3"
    path.write_bytes(STUMPS[kind])
    for value in (STUMPS[kind], str(path)):
        with pytest.raises(UndecodableAudio) as caught:
            read(value)
        message = str(caught.value)
        assert kind in message and "install ffmpeg (apt install ffmpeg, or brew install ffmpeg)" in message
        assert "damaged" not in message and "\n" not in message


@pytest.mark.usefixtures("without_ffmpeg")
def test_without_ffmpeg_its_suffixes_are_sound_but_no_recordings() -> None:
    for name in ("a.m4a", "b.WEBM", "c.mp4"):
        assert is_sound(name) and not is_recording(name)
    assert is_recording("d.WAV") and ".m4a" not in readable_suffixes()


@needs_ffmpeg
def test_with_ffmpeg_its_suffixes_are_recordings() -> None:
    assert all(is_recording(name) for name in ("a.m4a", "b.WEBM", "c.mp4", "d.wav"))
    assert not is_recording("e.txt")
