"""Noises from folders and datasets: any rate and channels, in a stable order, silence passed over, faults named."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from data.audio.decoders import ffmpeg
from data.augmentation import noise_clips
from data.augmentation.augmenter import Augmenter
from data.augmentation.config import AugmentationConfig
from data.augmentation.fields import NoiseSourceConfig
from data.augmentation.noise_clips import NoiseClips, overlapping
from data.errors import DataError


def hiss(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate))).astype(np.float32)


def sine(seconds: float, rate: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def place_in(whole: np.ndarray, part: np.ndarray) -> int:
    """Where a part, which may go on at the beginning, is most like the whole."""
    likeness = np.fft.irfft(np.fft.rfft(whole) * np.conj(np.fft.rfft(part, len(whole))), len(whole))
    return int(likeness.argmax())


def clips_of(folder: Path, **values: Any) -> NoiseClips:
    return NoiseClips(NoiseSourceConfig(folder=str(folder), **values), "data.augmentation.noise")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cafe").mkdir()
    soundfile.write(tmp_path / "b.flac", hiss(1.0, seed=1), 16_000)
    soundfile.write(tmp_path / "a10.wav", hiss(0.5, seed=2), 16_000)
    soundfile.write(tmp_path / "cafe" / "a2.wav", hiss(0.25, seed=3), 16_000)
    (tmp_path / "readme.txt").write_text("not a noise")
    return tmp_path


def test_names_are_sorted_paths_below_the_folder(folder: Path) -> None:
    clips = clips_of(folder)
    assert clips.names == ["a10.wav", "b.flac", "cafe/a2.wav"] and len(clips) == 3
    assert [len(clips.audio(index)) for index in range(3)] == [8000, 16_000, 4000]
    assert clips.audio(0).dtype == np.float32


def test_globs_choose_by_file_name_or_path(folder: Path) -> None:
    assert clips_of(folder, keep=["a*.wav"]).names == ["a10.wav", "cafe/a2.wav"]
    assert clips_of(folder, keep=["cafe/*", "b.flac"]).names == ["b.flac", "cafe/a2.wav"]
    assert clips_of(folder, drop=["a[0-9][0-9].wav"]).names == ["b.flac", "cafe/a2.wav"]
    assert clips_of(folder, keep=["a*"], drop=["a2.*"]).names == ["a10.wav"]


def test_other_rates_and_stereo_become_16_khz_mono(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1.0, 44_100), 44_100)
    soundfile.write(tmp_path / "b.wav", np.stack([sine(1.0, 8000), np.zeros(8000)], axis=1), 8000)
    clips = clips_of(tmp_path)
    for index, level in ((0, 0.5), (1, 0.25)):
        audio = clips.audio(index)
        assert audio.shape == (16_000,)
        assert audio[500:-500] == pytest.approx(level * sine(1.0, 16_000)[500:-500] / 0.5, abs=0.01)


def test_an_excerpt_is_a_stretch_of_a_clip_or_the_clip_again_and_again(folder: Path) -> None:
    clips = clips_of(folder, keep=["b.flac"])
    whole, generator = clips.audio(0), np.random.default_rng(0)
    begins = set()
    for _ in range(20):
        part = clips.excerpt(4000, generator)
        begin = place_in(whole, part)
        assert np.array_equal(part, whole[begin : begin + 4000])
        begins.add(begin)
    assert len(begins) > 15 and min(begins) < 2000 and max(begins) > 10_000
    longer = clips.excerpt(40_000, generator)
    begin = place_in(whole, longer[:400])
    assert np.array_equal(longer, np.resize(np.roll(whole, -begin), 40_000))


def test_excerpts_depend_on_the_generator_alone_not_on_what_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [clips_of(folder).excerpt(3000, np.random.default_rng(seed)).tobytes() for seed in range(10)]
    monkeypatch.setattr(noise_clips, "KEPT_SAMPLES", 1)
    clips = clips_of(folder)
    for _ in range(2):
        assert [clips.excerpt(3000, np.random.default_rng(seed)).tobytes() for seed in range(10)] == first
    assert len(clips.kept) == 1
    assert len(set(first)) == 10


def test_silence_is_passed_over(tmp_path: Path) -> None:
    mostly_silent = np.zeros(160_000, np.float32)
    mostly_silent[100_000:104_000] = hiss(0.25)
    soundfile.write(tmp_path / "a.wav", mostly_silent, 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    clips = clips_of(tmp_path)
    for seed in range(20):
        assert np.abs(clips.excerpt(8000, np.random.default_rng(seed))).max() > 0.01


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_of_a_long_file_only_what_is_wanted_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    soundfile.write(tmp_path / "long.flac", np.stack([hiss(70, rate, 5), hiss(70, rate, 6)], axis=1), rate)
    whole = clips_of(tmp_path).audio(0)

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded whole")

    monkeypatch.setattr(noise_clips, "decode_audio", refused)
    clips = clips_of(tmp_path)
    for seed in range(3):
        part = clips.excerpt(8000, np.random.default_rng(seed))
        assert part.shape == (8000,) and part.dtype == np.float32
        begin = place_in(whole, part)
        assert np.corrcoef(part[200:-200], whole[begin + 200 : begin + 7800])[0, 1] > 0.8  # up to half a sample off


def test_the_longest_excerpt_of_a_long_file_is_all_of_it_again(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", hiss(61), 16_000)
    part = clips_of(tmp_path).excerpt(62 * 16_000, np.random.default_rng(0))
    assert len(part) == 62 * 16_000 and np.array_equal(part[:16_000], part[61 * 16_000 :])


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()


def test_a_dataset_needs_audio_alone(tmp_path: Path, folder: Path) -> None:
    table = pa.table(
        {
            "sound": [{"bytes": wav(hiss(0.2, seed=i)), "path": None} for i in range(3)],
            "name": ["c", "a", "b"],
            "fold": [1, 1, 2],
        }
    )
    pq.write_table(table, tmp_path / "noises.parquet")
    dataset = {"files": str(tmp_path / "*.parquet"), "columns": {"audio": "sound", "id": "name"}}
    clips = NoiseClips(NoiseSourceConfig.model_validate({"dataset": dataset}))
    assert clips.names == ["a", "b", "c"]
    assert clips.audio(0) == pytest.approx(hiss(0.2, seed=1), abs=1e-4)
    assert len(clips.excerpt(5000, np.random.default_rng(0))) == 5000
    kept = dataset | {"keep": {"fold": [2]}, "columns": {"audio": "sound"}}
    unnamed = NoiseClips(NoiseSourceConfig.model_validate({"dataset": kept}))
    assert len(unnamed) == 1 and unnamed.audio(0) == pytest.approx(hiss(0.2, seed=2), abs=1e-4)
    with pytest.raises(DataError, match=r"noise\.dataset\.columns\.audio: .* has no column 'audio'"):
        NoiseClips(NoiseSourceConfig.model_validate({"dataset": {"files": dataset["files"]}}))


def test_a_dataset_too_large_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_clips, "ENCODED_BYTES", 2**16)
    pq.write_table(pa.table({"audio": [{"bytes": wav(hiss(1.0)), "path": None}] * 4}), tmp_path / "0.parquet")
    dataset = {"files": str(tmp_path / "0.parquet")}
    with pytest.raises(DataError, match="set max_utterances"):
        NoiseClips(NoiseSourceConfig.model_validate({"dataset": dataset}))
    assert len(NoiseClips(NoiseSourceConfig.model_validate({"dataset": dataset | {"max_utterances": 2}}))) == 1


def test_the_same_recordings_are_found_under_other_names(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "renamed.flac").write_bytes((folder / "b.flac").read_bytes())
    soundfile.write(other / "new.wav", hiss(1.0, seed=9), 16_000)
    assert overlapping(clips_of(folder), clips_of(other)) == ["b.flac"]
    assert overlapping(clips_of(other), clips_of(folder)) == ["renamed.flac"]
    content = (folder / "b.flac").read_bytes()
    pq.write_table(pa.table({"audio": [{"bytes": content, "path": None}], "id": ["x"]}), other / "0.parquet")
    dataset = {"files": str(other / "0.parquet"), "columns": {"id": "id"}}
    assert overlapping(NoiseClips(NoiseSourceConfig.model_validate({"dataset": dataset})), clips_of(folder)) == ["x"]


def test_what_is_drawn_does_not_depend_on_what_failed_before(tmp_path: Path) -> None:
    for number in range(3):
        soundfile.write(tmp_path / f"good{number}.wav", hiss(0.5, seed=number), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(8000, np.nan, np.float32), 16_000, subtype="FLOAT")

    def drawn(clips: NoiseClips, seeds: range) -> list[bytes]:
        return [clips.excerpt(4000, np.random.default_rng(seed)).tobytes() for seed in seeds]

    first, again = clips_of(tmp_path), clips_of(tmp_path)
    whole = drawn(first, range(20))
    assert drawn(again, range(10, 20)) == whole[10:]  # as after a resume
    assert [[skipped.id for skipped in clips.skipped] for clips in (first, again)] == [["nan.wav"]] * 2


def write_silence(folder: Path) -> None:
    soundfile.write(folder / "a.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "b.flac", np.zeros(1_000_000), 16_000)


def write_broken(folder: Path) -> None:
    (folder / "a.wav").write_bytes(b"RIFF")


def write_blink(folder: Path) -> None:
    soundfile.write(folder / "a.wav", hiss(0.0005), 16_000)


def write_text(folder: Path) -> None:
    (folder / "a.txt").write_text("a")


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (write_silence, "all 2 recordings are silent or unreadable"),
        (write_broken, "no recording can be used; the first: a.wav: "),
        (write_blink, "no recording can be used; the first: a.wav: 0.50 ms long, shorter than a millisecond"),
        (write_text, "has no recordings"),
        (lambda folder: None, "has no recordings"),
    ],
)
def test_a_folder_without_a_noise_is_refused(tmp_path: Path, write: Any, told: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=told) as raised:
        clips_of(tmp_path)
    assert str(raised.value).startswith("data.augmentation.noise") and str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_or_glob_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data.augmentation.noise.folder: nowhere is missing \(working folder"):
        NoiseClips(NoiseSourceConfig(folder="nowhere"))
    with pytest.raises(DataError, match=r"b\.flac is not a folder"):
        clips_of(folder / "b.flac")
    with pytest.raises(
        DataError, match=r"data.augmentation.noise.keep: no recording's name fits 'n1\*'; one is 'a10.wav'"
    ):
        clips_of(folder, keep=["n1*"])
    with pytest.raises(DataError, match=r"noise\.drop: no recording's name fits 'z'"):
        clips_of(folder, drop=["z"])
    with pytest.raises(DataError, match="keep and drop leave none of 3 recordings"):
        clips_of(folder, drop=["*"])


def test_noises_that_are_not_there_are_named() -> None:
    missing = {"folder": "nowhere"}
    with pytest.raises(DataError, match="nowhere is missing"):
        Augmenter(AugmentationConfig.model_validate({"noise": missing, "noise_share": 0.1}), 0, (0.1, 30.0))
    rooms = {"reverberation_responses": missing, "reverberation_share": 0.1}
    with pytest.raises(DataError, match=r"reverberation_responses\.folder: nowhere is missing"):
        Augmenter(AugmentationConfig.model_validate(rooms), 0, (0.1, 30.0))


def test_noises_that_only_ffmpeg_would_read_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ffmpeg, "is_installed", lambda: False)
    (folder / "cafe" / "c.m4a").write_bytes(b"")
    assert "b.flac" in clips_of(folder).names
    assert "not used: 1 .m4a, such as" in capsys.readouterr().err
    alone = folder / "alone"
    alone.mkdir()
    (alone / "d.m4a").write_bytes(b"")
    with pytest.raises(DataError, match=r"has no recordings \(.*\); not used: 1 \.m4a, such as .*d\.m4a"):
        clips_of(alone)
