"""Recordings of noise that cannot be used: named on standard error, a line each, once, and not too many."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.augmentation.changes.reverberation import recorded_response
from data.augmentation.fields import NoiseSourceConfig
from data.augmentation.noise_clips import NoiseClips
from data.augmentation.warning import warn_once
from tests.data.augmentation.test_noises import clips_of, hiss

Told = pytest.CaptureFixture[str]


def test_what_cannot_be_used_is_left_out_and_named_in_a_line(tmp_path: Path, capsys: Told) -> None:
    folder = tmp_path
    soundfile.write(folder / "good.wav", hiss(0.5), 16_000)
    (folder / "broken.wav").write_bytes(b"no audio at all")
    soundfile.write(folder / "blink.wav", hiss(0.0005), 16_000)
    clips = clips_of(folder)
    told = (
        f"warning: data.augmentation.noise: folder {folder}: 2 recordings left out; the first: blink.wav: 0.50 ms long"
    )
    assert capsys.readouterr().err == f"{told}, shorter than a millisecond\n"
    clips_of(folder)
    assert not capsys.readouterr().err  # said already
    assert len(clips) == 1 and [skipped.id for skipped in clips.skipped] == ["blink.wav", "broken.wav"]


def test_a_clip_whose_samples_cannot_be_read_is_passed_over(tmp_path: Path, capsys: Told) -> None:
    soundfile.write(tmp_path / "good.wav", hiss(0.5), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(8000, np.nan, np.float32), 16_000, subtype="FLOAT")
    clips = clips_of(tmp_path)  # sorted first, "good" is all that is decoded at the start
    assert not capsys.readouterr().err
    for seed in range(10):
        assert np.isfinite(clips.excerpt(4000, np.random.default_rng(seed))).all()
    message = "nan.wav cannot be decoded and will be passed over where drawn: samples that are not finite"
    assert capsys.readouterr().err == f"warning: data.augmentation.noise: folder {tmp_path}: {message}\n"
    assert [skipped.id for skipped in clips.skipped] == ["nan.wav"] and clips.names == ["good.wav", "nan.wav"]


@pytest.mark.parametrize("broken", ["a.wav", "b.wav"])
def test_each_clip_that_cannot_be_decoded_is_named_once_wherever_it_sorts(
    tmp_path: Path, broken: str, capsys: Told
) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        samples = np.full(8000, np.nan, np.float32) if name == broken else hiss(0.5)
        soundfile.write(tmp_path / name, samples, 16_000, subtype="FLOAT")
    clips = clips_of(tmp_path)
    for seed in range(10):
        clips.excerpt(4000, np.random.default_rng(seed))
    assert [broken in line for line in capsys.readouterr().err.splitlines()] == [True]


@pytest.mark.parametrize("first", [True, False])
def test_of_many_that_cannot_be_decoded_the_first_are_named(tmp_path: Path, capsys: Told, first: bool) -> None:
    for number in range(8):
        soundfile.write(tmp_path / f"n{number}.wav", np.full(800, np.nan, np.float32), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / ("a.wav" if first else "z.wav"), hiss(0.5), 16_000)
    clips = clips_of(tmp_path)
    for seed in range(40):
        clips.excerpt(4000, np.random.default_rng(seed))
    lines = capsys.readouterr().err.splitlines()
    assert len(clips.skipped) == 8
    if not first:  # all are found while something that sounds is looked for
        assert len(lines) == 1 and "8 recordings cannot be decoded" in lines[0] and "the first: n0.wav: " in lines[0]
        return
    assert len(lines) == 6 and all("cannot be decoded and will be" in line for line in lines[:5])
    assert lines[5].endswith("further ones are not named")


def test_only_the_first_process_tells_what_all_find(monkeypatch: pytest.MonkeyPatch, capsys: Told) -> None:
    monkeypatch.setenv("RANK", "1")
    warn_once("all of them know", known_to_all=True)
    warn_once("its own\nfinding")
    assert capsys.readouterr().err == "[rank 1] warning: its own finding\n"


def test_a_response_that_cannot_be_decoded_is_named(tmp_path: Path, capsys: Told) -> None:
    soundfile.write(tmp_path / "a.wav", hiss(0.1), 16_000)
    soundfile.write(tmp_path / "b.wav", np.full(800, np.nan, np.float32), 16_000, subtype="FLOAT")
    clips = NoiseClips(NoiseSourceConfig(folder=str(tmp_path)), "reverberation_responses")
    for seed in range(8):
        recorded_response(clips, np.random.default_rng(seed))
    told = capsys.readouterr().err
    assert told.startswith("warning: reverberation_responses: ") and ": b.wav cannot be decoded" in told
