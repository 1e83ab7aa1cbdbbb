"""Audio in every form a row may carry comes out as float32, 16 kHz, mono; what cannot be used says why in one line."""

import errno
import io
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.audio.decoding import UndecodableAudio, decode, decode_audio, digest_id, seconds_of
from data.preparation.measuring import look_through


def tone(seconds: float = 0.5, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = 16_000, kind: str = "FLAC", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def test_every_form_gives_the_same_samples(tmp_path: Path) -> None:
    samples = tone()
    flac = encoded(samples)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.flac").write_bytes(flac)
    forms: list[tuple[Any, str | None]] = [
        (flac, None),
        ({"bytes": flac, "path": "elsewhere/a.flac"}, None),
        (str(tmp_path / "clips" / "a.flac"), None),
        (str(tmp_path / "clips" / "a.flac"), "/nowhere"),
        ("clips/a.flac", str(tmp_path)),
        ({"bytes": None, "path": "a.flac"}, str(tmp_path / "clips")),
        (f"file://{tmp_path}/clips/a.flac", None),
        ({"array": samples, "sampling_rate": 16_000}, None),
        ({"array": samples.tolist(), "sampling_rate": 16_000, "path": "a.flac"}, None),
    ]
    for value, root in forms:
        decoded = decode_audio(value, root)
        assert decoded.dtype == np.float32 and decoded.shape == samples.shape
        np.testing.assert_allclose(decoded, samples, atol=1e-4)
        assert seconds_of(value, root) == pytest.approx(0.5)


def test_file_systems_that_cannot_map_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(mmap, "mmap", fail)
    for kind in ("WAV", "FLAC", "MP3", "OGG"):
        path = tmp_path / kind
        path.write_bytes(content := encoded(tone(), kind=kind))
        decoded = decode(str(path), tell=True)
        np.testing.assert_array_equal(decoded.samples, decode_audio(content))
        assert decoded.remarks == ()
        assert seconds_of(str(path)) == seconds_of(content)
        assert look_through(str(path))[1] is None


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_and_keep_length_and_pitch(rate: int) -> None:
    for value in (encoded(tone(1.0, rate), rate), {"array": tone(1.0, rate), "sampling_rate": rate}):
        decoded = decode_audio(value)
        assert abs(len(decoded) - 16_000) <= 1
        assert np.argmax(np.abs(np.fft.rfft(decoded))) == pytest.approx(440, abs=1)
        assert np.abs(decoded[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)
        assert seconds_of(value) == pytest.approx(1.0)


def test_channels_are_averaged() -> None:
    left, right = tone(hertz=300), tone(hertz=500)
    channels = np.stack([left, right])
    as_file = encoded(channels.T, kind="WAV", subtype="FLOAT")
    for value in (
        as_file,
        {"array": channels, "sampling_rate": 16_000},
        {"array": channels.T.tolist(), "sampling_rate": 16_000},
    ):
        np.testing.assert_allclose(decode_audio(value), (left + right) / 2, atol=1e-6)
        assert seconds_of(value) == pytest.approx(0.5)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1), (48_000, 6)])
def test_samples_do_not_depend_on_the_blocks_they_are_decoded_in(
    rate: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (rate + 13, channels)).astype(np.float32)
    value = encoded(samples, rate, "WAV", "FLOAT")
    whole = decode_audio(value)
    assert abs(len(whole) - 16_000 * len(samples) / rate) <= 1
    np.testing.assert_array_equal(decode_audio({"array": samples, "sampling_rate": rate}), whole)
    monkeypatch.setattr("data.audio.sounds.BLOCK_FRAMES", 999)
    np.testing.assert_array_equal(decode_audio(value), whole)


def test_blocks_of_mp3_at_low_rates_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeking between blocks, as soundfile does by itself, gave other samples there."""
    time = np.arange(22_050 * 6) / 22_050
    file = io.BytesIO()
    soundfile.write(file, 0.4 * np.sin(2 * np.pi * 440 * time), 22_050, format="MP3")
    whole = decode_audio(file.getvalue())
    monkeypatch.setattr("data.audio.sounds.BLOCK_FRAMES", 5000)
    np.testing.assert_array_equal(decode_audio(file.getvalue()), whole)


def test_flac_from_a_pipe_says_no_length_and_is_read_to_its_end() -> None:
    piped = with_claimed_length(FLAC, bytes(5))
    np.testing.assert_array_equal(decode_audio(piped), decode_audio(FLAC))
    assert seconds_of(piped) == len(decode_audio(FLAC)) / 16_000


def test_more_channels_than_samples() -> None:
    samples = np.arange(6, dtype=np.float32)[None].repeat(2, axis=0) / 10
    np.testing.assert_allclose(decode_audio(encoded(samples, kind="WAV", subtype="FLOAT")), [0.25, 0.25])


def test_so_little_that_resampling_leaves_nothing() -> None:
    with pytest.raises(UndecodableAudio, match="no samples"):
        decode_audio(encoded(np.full(1, 0.1), 96_000, kind="WAV"))


def test_samples_stay_within_one() -> None:
    decoded = decode_audio(encoded(tone() * 5, kind="WAV", subtype="FLOAT"))
    assert decoded.max() == 1.0 and decoded.min() == -1.0


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_seconds_agree_with_what_is_decoded(kind: str, rate: int) -> None:
    value = encoded(tone(0.73, rate), rate, kind)
    assert seconds_of(value) == pytest.approx(len(decode_audio(value)) / 16_000, abs=1e-3)


def with_claimed_length(flac: bytes, length: bytes) -> bytes:
    """FLAC whose header says something else of its number of samples, as where it was written to a pipe."""
    claimed = bytearray(flac)
    claimed[21] = (claimed[21] & 0xF0) | (length[0] & 0x0F)
    claimed[22:26] = length[1:]
    return bytes(claimed)


FLAC = encoded(tone())
NOT_A_NUMBER = np.where(np.arange(800) == 400, np.nan, 0.1).astype(np.float32)
UNUSABLE: dict[str, tuple[Any, str]] = {
    "nothing": (None, "no audio"),
    "a number": (7, "no audio: neither bytes nor a path nor samples, but int"),
    "empty dict": ({"bytes": None, "path": None}, "no audio"),
    "no bytes": (b"", "the file is empty"),
    "garbage": (b"this is not audio, but quite long\n" * 40, "Format not recognised"),
    "garbage in a dict": ({"bytes": b"garbage", "path": "a.wav"}, "not audio"),
    "cut flac": (FLAC[: len(FLAC) // 2], "not audio"),
    "cut header": (FLAC[:30], "not audio"),
    "a length beyond memory": (with_claimed_length(FLAC, b"\xff" * 5), "not audio"),
    "missing file": ("nowhere/a.wav", "cannot open nowhere/a.wav: No such file"),
    "missing file in a dict": ({"path": "nowhere/a.wav"}, "cannot open nowhere/a.wav"),
    "a folder": ("/", "directory"),
    "unknown address": ("gopher://example/a.wav", "cannot open gopher://example/a.wav"),
    "missing in memory": ("memory://nowhere/a.wav", "cannot read memory://nowhere/a.wav"),
    "zero in the path": ("a\0b.wav", "cannot open"),
    "no samples": (encoded(np.zeros(0), kind="WAV"), "no samples"),
    "no stereo samples": (encoded(np.zeros((0, 2)), kind="WAV"), "no samples"),
    "empty array": ({"array": [], "sampling_rate": 16_000}, "no samples"),
    "no rate": ({"array": [0.1, 0.2]}, "sampling_rate"),
    "rate of zero": ({"array": [0.1, 0.2], "sampling_rate": 0}, "sampling_rate"),
    "unequal channels": ({"array": [[0.1], [0.1, 0.2]], "sampling_rate": 16_000}, "unequal length"),
    "text as samples": ({"array": ["loud"], "sampling_rate": 16_000}, "not numbers"),
    "three dimensions": ({"array": np.zeros((1, 2, 3)), "sampling_rate": 16_000}, "3 dimensions"),
    "not a number": (encoded(NOT_A_NUMBER, kind="WAV", subtype="FLOAT"), "not finite"),
    "not a number in an array": ({"array": NOT_A_NUMBER, "sampling_rate": 16_000}, "not finite"),
    "a microphone array": (encoded(np.full((800, 50), 0.1), kind="WAV"), "50 channels"),
    "a microphone array in an array": ({"array": np.zeros((9, 800)), "sampling_rate": 16_000}, "9 channels"),
    "infinite": ({"array": [0.0, float("inf")], "sampling_rate": 8_000}, "not finite"),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """clips/a.flac, out.flac beside clips, and clips/link.flac that leads to it."""
    (tmp_path / "clips").mkdir()
    for path in (tmp_path / "clips" / "a.flac", tmp_path / "out.flac"):
        path.write_bytes(FLAC)
    (tmp_path / "clips" / "link.flac").symlink_to(tmp_path / "out.flac")
    return tmp_path


@pytest.mark.parametrize("read", [decode_audio, seconds_of])
def test_a_path_may_not_leave_its_root(tree: Path, monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    root = str(tree / "clips")
    for path in ("a.flac", "./a.flac", "../clips/a.flac", "link.flac", str(tree / "out.flac")):
        assert read(path, root) is not None
    for path in ("../out.flac", "x/../../out.flac", "../../out.flac", {"path": "../out.flac"}, "../clips2/a.flac"):
        with pytest.raises(UndecodableAudio, match=r"lies outside .*clips; set audio_root"):
            read(path, root)
    monkeypatch.chdir(tree)
    assert read("a.flac", "clips") is not None
    assert read("clips/a.flac", ".") is not None
    with pytest.raises(UndecodableAudio, match="lies outside clips"):
        read("../out.flac", "clips")


def test_all_paths_lie_in_an_audio_root_that_was_named(tree: Path) -> None:
    root = str(tree / "clips")
    for path in ("a.flac", "link.flac", f"{root}/a.flac"):
        assert len(decode_audio(path, root, True)) == 8000
    for path in (str(tree / "out.flac"), f"{root}/../out.flac", f"file://{tree}/out.flac", f"{root}2/a.flac"):
        with pytest.raises(UndecodableAudio, match="lies outside"):
            decode_audio(path, root, True)


def test_a_remote_root(tree: Path) -> None:
    import fsspec

    for name in ("clips/a.flac", "out.flac"):
        with fsspec.open(f"memory://store/{name}", "wb") as file:
            file.write(FLAC)
    for path in ("a.flac", "memory://store/clips/a.flac"):
        assert len(decode_audio(path, "memory://store/clips", True)) == 8000
    assert len(decode_audio("memory://store/out.flac", "memory://store/clips")) == 8000
    for path in ("../out.flac", "memory://store/out.flac", "memory://store/clips/../out.flac", str(tree / "out.flac")):
        with pytest.raises(UndecodableAudio, match="lies outside memory://store/clips"):
            decode_audio(path, "memory://store/clips", True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_audio_says_why_in_one_line(case: str) -> None:
    value, reason = UNUSABLE[case]
    with pytest.raises(UndecodableAudio) as caught:
        decode_audio(value)
    message = str(caught.value)
    assert reason in message and "\n" not in message and " at 0x" not in message


@pytest.mark.parametrize("case", [case for case in UNUSABLE if case not in ("cut flac", "a length beyond memory")])
def test_seconds_of_unusable_audio(case: str) -> None:
    value, _ = UNUSABLE[case]
    if "finite" in UNUSABLE[case][1] or case == "a microphone array":
        assert seconds_of(value) > 0  # not seen in the header
        return
    with pytest.raises(UndecodableAudio) as caught:
        seconds_of(value)
    assert "\n" not in str(caught.value)


def test_seconds_come_from_the_header_alone() -> None:
    assert seconds_of(FLAC[:200]) == pytest.approx(0.5)


def test_ids_are_stable_and_differ_where_audio_or_text_differ() -> None:
    other = encoded(tone(hertz=300))
    rows: list[tuple[Any, str]] = [
        ({"bytes": FLAC, "path": "a.flac"}, "one"),
        ({"bytes": FLAC, "path": "a.flac"}, "two"),
        ({"bytes": other, "path": "a.flac"}, "one"),
        ({"bytes": None, "path": "x/a.flac"}, "one"),
        ({"bytes": None, "path": "y/a.flac"}, "one"),
        ({"array": tone(), "sampling_rate": 16_000}, "one"),
        ({"array": tone(hertz=300), "sampling_rate": 16_000}, "one"),
        ("x/b.flac", "one"),
        ("y/b.flac", "one"),
        (FLAC, "one"),
        (other, "one"),
    ]
    ids = [digest_id(value, text) for value, text in rows]
    assert len(set(ids)) == len(ids)
    assert ids == [digest_id(value, text) for value, text in rows]
    assert ids[0].startswith("a-") and ids[7].startswith("b-") and ids[9].startswith("row-")
    # As it was written once: ids in logs and quarantine files must be found again in a later run.
    assert digest_id("x/b.flac", "one") == "b-148563a57fa0"


def test_the_id_does_not_hang_on_where_a_file_with_bytes_lies() -> None:
    assert digest_id({"bytes": FLAC, "path": "/cache/1/a.flac"}, "one") == digest_id(
        {"bytes": FLAC, "path": "a.flac"}, "one"
    )


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_rows_have_ids_too(case: str) -> None:
    value, _ = UNUSABLE[case]
    assert digest_id(value, "one") != digest_id(value, "two")
