"""Several recordings in one file: refused where a transcript belongs to it, else all of them are read, and told."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio.decoding import decode, decode_audio, seconds_of
from data.audio.integrity import fault_of
from data.audio.joined import parts_of
from data.audio.mpeg_frames import frame_bytes
from data.audio.undecodable import UndecodableAudio
from data.preparation.clips import RecordingReader

FORMS = {
    "wav": ("WAV", "PCM_16"), "float wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"), "mp3": ("MP3", None), "aiff": ("AIFF", "PCM_16"), "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"), "w64": ("W64", "PCM_16"), "rf64": ("RF64", "PCM_16"),
}  # fmt: skip
ID3 = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
ID3V1 = b"TAG" + b" " * 125
APE_ITEM = b"abcd\0\0\0\0"


def ape(flags: int) -> bytes:
    """A header or footer of an APEv2 tag, whose size is that of its items and its footer."""
    numbers = (2000, len(APE_ITEM) + 32, 1, flags)
    return b"APETAGEX" + b"".join(number.to_bytes(4, "little") for number in numbers) + bytes(8)


APE = ape(0xA0000000) + APE_ITEM + ape(0x80000000)


def part(number: int, form: str = "wav", rate: int = 16_000, channels: int = 1) -> bytes:
    """A tone of its own, half a second longer each time."""
    time = np.arange(round((0.5 + number / 2) * rate)) / rate
    samples = (0.3 * np.sin(2 * np.pi * (300 + 200 * number) * time)).astype(np.float32)
    file = io.BytesIO()
    kind, subtype = FORMS[form]
    soundfile.write(file, np.tile(samples[:, None], (1, channels)), rate, format=kind, subtype=subtype)
    return file.getvalue()


def check(content: bytes, parts: list[bytes], tmp_path: Path) -> None:
    """Refused as one clip, read as all of its parts otherwise, by its bytes and by its path."""
    path = tmp_path / "joined"
    path.write_bytes(content)
    expected = np.concatenate([decode_audio(one) for one in parts])
    assert "recordings in one file" in (fault_of(content) or "")
    for value in (content, str(path)):
        with pytest.raises(UndecodableAudio, match=f"^{len(parts)} recordings in one file, one after the other"):
            decode_audio(value, whole=True)
        decoded = decode(value, tell=True)
        np.testing.assert_array_equal(decoded.samples, expected)
        assert decoded.remarks == (f"{len(parts)} recordings in one file, one after the other: all of them were read",)
        assert decoded.said == ()
    if not content.startswith((b"fLaC", ID3)):  # the second of FLAC files is found by reading all of the first
        assert seconds_of(content) == seconds_of(str(path)) == pytest.approx(len(expected) / 16_000, abs=2e-3)


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_one_kind(form: str, tmp_path: Path) -> None:
    parts = [part(number, form) for number in range(3)]
    assert all(fault_of(one) is None and parts_of(one) == [(0, len(one))] for one in parts)
    check(b"".join(parts), parts, tmp_path)


@pytest.mark.parametrize("form", ["wav", "flac", "vorbis", "mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 1), (16_000, 2)])
def test_parts_of_other_rates_and_channels(form: str, rate: int, channels: int, tmp_path: Path) -> None:
    parts = [part(0, form), part(1, form, rate, channels)]
    check(b"".join(parts), parts, tmp_path)


@pytest.mark.parametrize("between", [ID3, ID3V1, APE, ID3V1 + ID3, APE + ID3V1, bytes(100)],
                         ids=["ID3v2", "ID3v1", "APE", "both ID3", "APE and ID3v1", "zeros"])  # fmt: skip
def test_mp3_with_tags_between(between: bytes, tmp_path: Path) -> None:
    parts = [part(number, "mp3") for number in range(3)]
    check(between.join(parts), parts, tmp_path)
    check(ID3 + between.join(parts) + ID3V1, parts, tmp_path)


def test_flac_with_tags_between(tmp_path: Path) -> None:
    parts = [part(number, "flac") for number in range(3)]
    check(ID3.join(parts), parts, tmp_path)


def test_of_a_reader_of_segments_too(tmp_path: Path) -> None:
    for form in ("wav", "vorbis", "mp3"):
        path = tmp_path / form
        path.write_bytes(part(0, form) + part(1, form))
        with RecordingReader() as reader:
            for audio in (str(path), path.read_bytes()):
                with pytest.raises(UndecodableAudio, match="2 recordings in one file"):
                    reader.read(audio, 0.1, 0.2)


def test_a_wav_file_of_open_length_before_another(tmp_path: Path) -> None:
    first = part(0)
    streamed = first[:4] + b"\xff" * 4 + first[8:40] + b"\xff" * 4 + first[44:]
    assert fault_of(streamed) is None
    check(streamed + part(1), [streamed, part(1)], tmp_path)


def without_tag(mp3: bytes) -> bytes:
    length = frame_bytes(mp3[:4])
    assert length is not None
    return mp3[length:]


def test_mp3_files_without_tags_that_are_one_stream(tmp_path: Path) -> None:
    """Frames of one kind that follow each other are one recording for every decoder."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16_000, 1, format="MP3", bitrate_mode="CONSTANT") as sound:
        sound.write(np.sin(np.arange(16_000) / 9) * 0.3)
    stream = without_tag(file.getvalue())
    for content in (stream + stream, stream + ID3 + stream):
        assert parts_of(content) == [(0, len(content))]
        decoded = decode(content)
        assert abs(len(decoded.samples) - 2 * len(decode_audio(stream))) < 3000
        assert decoded.remarks == ()


@pytest.mark.parametrize("form", FORMS)
def test_what_lies_behind_a_recording_is_not_taken_for_another(form: str) -> None:
    content = part(0, form)
    frame = b"\xff\xfb\x90\0"  # as far as four bytes say
    for rest in (ID3V1, b"\xff\xfb" + bytes(20), frame + b"abc", b"fLaC as a word", b"RIFF", b"OggS", bytes(3000)):
        assert len(parts_of(content + rest)) == 1, rest[:8]


def test_samples_behind_what_a_wav_header_says_are_not_taken_for_another_recording() -> None:
    """Some programs write the data's size for the file's: then the last 36 bytes are samples, here a frame's header."""
    content = bytearray(part(0))
    content[4:8] = (len(content) - 44).to_bytes(4, "little")
    content[-36:-32] = b"\xff\xfb\x90\0"
    assert parts_of(bytes(content)) == [(0, len(content))]


def test_a_tag_before_another_tag_of_a_recording_that_was_tagged_twice_is_no_recording() -> None:
    content = part(0, "mp3")
    twice = content[: frame_bytes(content[:4])] + content
    assert parts_of(twice) == [(0, len(twice))]
    assert len(decode_audio(twice)) == pytest.approx(len(decode_audio(content)), abs=3000)


def test_one_recording_behind_a_tag(tmp_path: Path) -> None:
    for form in ("wav", "flac", "mp3"):
        content = part(0, form)
        path = tmp_path / form
        path.write_bytes(ID3 + content)
        for value in (ID3 + content, str(path)):
            np.testing.assert_array_equal(decode_audio(value), decode_audio(content))
            np.testing.assert_array_equal(decode_audio(value, whole=True), decode_audio(content))
            assert seconds_of(value) == seconds_of(content)
