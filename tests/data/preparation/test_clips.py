"""Clips hold exactly the samples that their recording has there, whatever its encoding and in whatever order they are
cut; what a recording does not have is refused."""

import io
import itertools
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile

from data import storage
from data.audio.decoding import UndecodableAudio, decode_audio
from data.corpora.record import Record
from data.preparation import clips
from data.preparation.clips import RecordingReader, cut_clip, encode_flac, normalized


def sweep(seconds: float, rate: int) -> np.ndarray:
    """Float32 [frames] with no two moments alike."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.02, len(time))
    return (0.4 * np.sin(2 * np.pi * (200 + 15 * time) * time) + noise).astype(np.float32)


def encoded(samples: np.ndarray, rate: int, kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    channels = samples.shape[1] if samples.ndim > 1 else 1
    with soundfile.SoundFile(file, "w", rate, channels, subtype, format=kind) as sound:
        for begin in range(0, len(samples), 8_000):  # libsndfile overflows its stack on long writes of Vorbis
            sound.write(samples[begin : begin + 8_000])
    return file.getvalue()


def cut(audio: Any, start: float = 0.0, end: float | None = None, **options: Any) -> np.ndarray:
    return cut_clip(Record("here", audio, start=start, end=end), **options)


RAMP = (np.arange(20 * 16_000) % 60_000 - 30_000).astype(np.int16)  # of any sample its place can be told
IN_PLACES = [(3.0, 4.5), (0.0, 0.25), (19.0, 20.0), (1.00003, 1.00009), (4.5, 6.0), (7.12344, None), (0.0, None)]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "W64"])
@pytest.mark.parametrize("blocks", [2**20, 777])
def test_a_clip_holds_exactly_the_samples_between_its_times(
    kind: str, blocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "BLOCK_FRAMES", blocks)
    path = tmp_path / "ramp"
    path.write_bytes(encoded(RAMP, 16_000, kind, "PCM_16"))
    with RecordingReader() as reader:
        for start, end in IN_PLACES:
            clip = cut(str(path), start, end, recordings=reader)
            expected = RAMP[round(start * 16_000) : None if end is None else round(end * 16_000)]
            assert clip.dtype == np.float32
            np.testing.assert_array_equal(clip * 32_768, expected)


def test_adjoining_clips_are_the_recording(tmp_path: Path) -> None:
    for rate in (16_000, 22_050):
        recording = encoded(sweep(5, rate), rate, "WAV")
        times = [0, 0.7777777, 1.23456789, 1.3, 3.9999, 5]
        parts = [cut(recording, start, end) for start, end in itertools.pairwise(times)]
        np.testing.assert_allclose(np.concatenate(parts), decode_audio(recording), atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_127, 22_050, 44_100, 48_000, 96_000])
def test_a_resampled_clip_is_what_the_resampled_recording_has_there(rate: int) -> None:
    recording = encoded(np.stack([sweep(12, rate), -0.5 * sweep(12, rate)], axis=1), rate, "WAV", "FLOAT")
    whole = decode_audio(recording)
    for start, end in [(2.0, 3.0), (0.0, 0.1), (0.05, 0.2), (5.00013, 9.3), (11.5, 12.0)]:
        clip = cut(recording, start, end)
        expected = whole[round(start * 16_000) : round(end * 16_000)]
        assert len(clip) == len(expected)
        np.testing.assert_allclose(clip, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate"),
    [("MP3", None, 22_050), ("MP3", None, 44_100), ("OGG", "VORBIS", 22_050), ("OGG", "OPUS", 16_000)],
)
def test_compressed_recordings_are_cut_as_exactly_in_any_order(kind: str, subtype: str | None, rate: int) -> None:
    recording = encoded(sweep(40, rate), rate, kind, subtype)
    with soundfile.SoundFile(io.BytesIO(recording)) as sound:
        unbroken = sound.read(dtype="float32")  # in one piece: no decoder had to begin anew
    whole = decode_audio({"array": unbroken, "sampling_rate": rate})
    random = np.random.default_rng(1)
    with RecordingReader() as reader:
        for start in [*np.sort(random.uniform(0, 38, 20)), *random.uniform(0, 38, 6), 39.5]:
            end = min(40.0, start + random.uniform(0.01, 2))
            clip = cut(recording, start, end, recordings=reader)
            expected = whole[round(start * 16_000) : round(end * 16_000)]
            assert len(clip) == len(expected)
            np.testing.assert_allclose(clip, expected, atol=1e-5)


def test_every_form_of_audio_is_cut(tmp_path: Path) -> None:
    flac = encoded(RAMP, 16_000, "FLAC", "PCM_16")
    path = tmp_path / "ramp.flac"
    path.write_bytes(flac)
    fsspec.filesystem("memory").pipe_file("/clips/ramp.flac", flac)
    samples = {"array": RAMP.astype(np.float32) / 32_768, "sampling_rate": 16_000}
    for audio in (flac, str(path), {"bytes": flac, "path": "x"}, {"path": str(path)}, samples, f"file://{path}",
                  "memory://clips/ramp.flac"):  # fmt: skip
        np.testing.assert_array_equal(cut(audio, 2, 3.5) * 32_768, RAMP[32_000:56_000])
        np.testing.assert_array_equal(cut(audio, 18) * 32_768, RAMP[18 * 16_000 :])


def test_a_remote_recording_is_fetched_once_and_a_local_one_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    read_bytes = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda address: fetched.append(address) or read_bytes(address))
    for name in ("a", "b"):
        fsspec.filesystem("memory").pipe_file(f"/once/{name}.mp3", encoded(sweep(3, 16_000), 16_000, "MP3"))
    path = tmp_path / "long.wav"
    path.write_bytes(encoded(RAMP, 16_000, "WAV", "PCM_16"))
    with RecordingReader() as reader:
        for name in "aab":
            for start in (2.0, 0.5, 1.0):  # back and forth
                cut(f"memory://once/{name}.mp3", start, start + 0.5, recordings=reader)
        assert fetched == ["memory://once/a.mp3", "memory://once/b.mp3"]
        cut(str(path), 1, 2, recordings=reader)
        taken: list[int] = []
        monkeypatch.setattr(reader._file, "read", lambda *_: pytest.fail("read whole"), raising=False)
        read = clips.SequentialSound.read
        monkeypatch.setattr(
            clips.SequentialSound, "read", lambda self, count, **rest: taken.append(count) or read(self, count, **rest)
        )
        cut(str(path), 15, 16, recordings=reader)
        assert sum(taken) == 16_000
    assert len(fetched) == 2


def test_a_recording_that_cannot_be_opened_is_not_tried_again_for_each_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_audio(audio: Any, root: str | None) -> Any:
        opened.append(audio)
        raise UndecodableAudio("cannot open it")

    monkeypatch.setattr(clips, "open_audio", open_audio)
    with RecordingReader() as reader:
        for path in ("gone.wav", "gone.wav", "also gone.wav", "gone.wav"):
            with pytest.raises(UndecodableAudio, match="cannot open it"):
                cut(path, 0, 1, recordings=reader)
    assert opened == ["gone.wav", "also gone.wav", "gone.wav"]


def test_a_network_that_fails_is_no_fault_of_the_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(address: str) -> bytes:
        raise storage.StorageError("cannot read it") from TimeoutError()

    with pytest.raises(UndecodableAudio, match=r"cannot read memory://nowhere/a\.wav"):
        cut("memory://nowhere/a.wav", 0, 1)
    monkeypatch.setattr(storage, "read_bytes", unreachable)
    with pytest.raises(storage.StorageError, match="cannot read it"):
        cut("memory://nowhere/a.wav", 0, 1)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
def test_the_end_may_lie_half_a_second_beyond_the_recording_and_no_more(kind: str, rate: int) -> None:
    recording = encoded(sweep(2, rate), rate, kind)
    seconds = len(decode_audio(recording)) / 16_000
    for beyond in (0.01, 0.49):
        assert abs(len(cut(recording, 1, seconds + beyond)) - (seconds - 1) * 16_000) <= 1
    with pytest.raises(
        UndecodableAudio, match=rf"segment ends at {seconds + 0.6:.3f} s, the recording at {seconds:.3f}"
    ):
        cut(recording, 1, seconds + 0.6)
    for start, end in [(seconds, seconds + 0.4), (seconds + 3, None), (seconds + 3, seconds + 4)]:
        with pytest.raises(UndecodableAudio, match=rf"starts at {start:.3f} s, the recording ends at {seconds:.3f} s"):
            cut(recording, start, end)


def with_claimed_length(flac: bytes, length: bytes) -> bytes:
    claimed = bytearray(flac)
    claimed[21] = (claimed[21] & 0xF0) | (length[0] & 0x0F)
    claimed[22:26] = length[1:]
    return bytes(claimed)


def test_a_recording_whose_header_errs_is_believed_in_its_samples() -> None:
    flac = encoded(RAMP, 16_000, "FLAC", "PCM_16")
    unknown = with_claimed_length(flac, b"\0\0\0\0\0")  # as where FLAC was written to a pipe
    np.testing.assert_array_equal(cut(unknown, 5, 7) * 32_768, RAMP[80_000:112_000])
    with pytest.raises(UndecodableAudio, match=r"ends at 25.000 s, the recording at 20.000 s"):
        cut(unknown, 5, 25)
    with pytest.raises(UndecodableAudio, match=r"starts at 24.000 s, the recording ends at 20.000 s"):
        cut(unknown, 24, 25)
    broken_off = flac[: len(flac) // 2]
    np.testing.assert_array_equal(cut(broken_off, 1, 3) * 32_768, RAMP[16_000:48_000])
    with pytest.raises(UndecodableAudio):
        cut(broken_off, 12, 18)


def test_after_a_failure_the_next_segment_is_cut() -> None:
    flac = encoded(RAMP, 16_000, "FLAC", "PCM_16")
    with RecordingReader() as reader:
        for start in (18, 30, 2):
            if start > 20:
                with pytest.raises(UndecodableAudio):
                    cut(flac, start, start + 1, recordings=reader)
            else:
                expected = RAMP[start * 16_000 : (start + 1) * 16_000]
                np.testing.assert_array_equal(cut(flac, start, start + 1, recordings=reader) * 32_768, expected)


def test_samples_that_are_not_finite_matter_where_they_are_heard() -> None:
    samples = sweep(3, 16_000)
    samples[20_000] = np.nan
    recording = encoded(samples, 16_000, "WAV", "FLOAT")
    assert len(cut(recording, 2, 3)) == 16_000
    for start, end in ((1, 2), (0, None)):
        with pytest.raises(UndecodableAudio, match="not finite"):
            cut(recording, start, end)


UNUSABLE: list[tuple[Any, str]] = [
    (None, "no audio"),
    (b"", "the file is empty"),
    (b"neither sound nor music" * 100, "not audio that soundfile reads"),
    ("/nowhere/at/all.wav", r"cannot open /nowhere/at/all\.wav"),
    ("unheard://of/all.wav", "unheard"),
    ({"array": [0.0] * 99, "sampling_rate": 16_000}, "starts at 1.000 s, the recording ends at 0.006 s"),
    (encoded(np.zeros(0, np.float32), 16_000, "WAV"), "no samples"),
    (encoded(np.zeros((16_000, 20), np.float32), 16_000, "WAV"), "20 channels"),
]


@pytest.mark.parametrize(("audio", "reason"), UNUSABLE)
def test_what_cannot_be_cut_says_why(audio: Any, reason: str) -> None:
    with pytest.raises((UndecodableAudio, storage.StorageError), match=reason):
        cut(audio, 1, 2)


def test_a_segment_without_a_sample_is_refused() -> None:
    for end in (1.00001, 1.0, 0.5):
        with pytest.raises(UndecodableAudio, match="holds no sample"):
            cut(encoded(RAMP, 16_000, "WAV", "PCM_16"), 1.0, end)


def test_silent_ends_are_trimmed_to_a_margin() -> None:
    samples = np.zeros(5 * 16_000, np.float32)
    samples[2 * 16_000 : 3 * 16_000] = sweep(1, 16_000)
    recording = encoded(samples, 16_000, "WAV", "FLOAT")
    assert len(cut(recording, 1, 5)) == 4 * 16_000
    trimmed = cut(recording, 1, 5, trim_silence=True)
    np.testing.assert_array_equal(trimmed, samples[round(1.9 * 16_000) : round(3.1 * 16_000)])
    assert len(cut(recording, 0, 1, trim_silence=True)) == 16_000  # nothing but silence stays


@pytest.mark.parametrize("gain", [0.001, 0.3, 2.4])
def test_levels(gain: float) -> None:
    samples = np.clip(sweep(2, 16_000) * gain, -1, 1)
    loud = normalized(samples, "peak")
    assert np.abs(loud).max() == pytest.approx(10 ** (-1 / 20), abs=1e-5)
    even = normalized(samples, "rms")
    assert np.sqrt(np.square(even).mean()) == pytest.approx(0.1, rel=1e-4)
    assert even.dtype == loud.dtype == np.float32
    np.testing.assert_allclose(even / np.abs(even).max(), samples / np.abs(samples).max(), atol=1e-5)
    assert normalized(samples, "none") is samples


def test_a_click_limits_the_gain_and_silence_has_none() -> None:
    clicked = sweep(2, 16_000) * 0.01
    clicked[100] = 0.9
    assert np.abs(normalized(clicked, "rms")).max() == pytest.approx(10 ** (-1 / 20), abs=1e-5)
    for silence in (np.zeros(100, np.float32), np.full(100, 1 / 32_768, np.float32)):
        for normalize in ("peak", "rms"):
            np.testing.assert_array_equal(normalized(silence, normalize), silence)


def test_trimming_comes_before_levels() -> None:
    samples = np.concatenate([np.zeros(64_000, np.float32), sweep(1, 16_000), np.zeros(64_000, np.float32)])
    clip = cut(encoded(samples, 16_000, "WAV", "FLOAT"), 0, None, trim_silence=True, normalize="rms")
    assert np.sqrt(np.square(clip).mean()) == pytest.approx(0.1, rel=1e-4)


def test_flac_gives_16_bit_samples_back_exactly_and_does_not_wrap() -> None:
    steps = np.array([-32_768, -32_767, -1, 0, 1, 32_766, 32_767, *range(-3000, 3000, 7)], np.int16)
    flac = encode_flac(steps.astype(np.float32) / 32_768)
    info = soundfile.info(io.BytesIO(flac))
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16_000, 1)
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(flac), dtype="int16")[0], steps)
    beyond = np.array([1.0, -1.0, 1.5, -1.5, 0.6 / 32_768, -0.6 / 32_768, 0.4 / 32_768], np.float32)
    back = soundfile.read(io.BytesIO(encode_flac(beyond)), dtype="int16")[0]
    assert back.tolist() == [32_767, -32_768, 32_767, -32_768, 1, -1, 0]
    assert encode_flac(beyond) == encode_flac(beyond)
