"""Two recordings on one clock, in pieces that end at pauses of both."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.errors import DataError
from data.utterance import SAMPLING_RATE
from tests.trainer.transcription.second.test_alignment import voice
from trainer.transcription.recordings import Recording
from trainer.transcription.second.pairing import SecondUse, cut_pair, read_second

FUSED, BESIDE, CLIP = SecondUse(fuse=True), SecondUse(), SecondUse("speaker")


def seconds(*parts: float) -> np.ndarray:
    """Noise at that level for a second each, float32 [N]."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (len(parts), SAMPLING_RATE))
    return (noise * np.array(parts)[:, None]).astype(np.float32).ravel()


def test_both_are_cut_at_the_same_times_where_both_pause() -> None:
    first = seconds(1, 1, 1, 0.001, 1, 0.001, 1, 1, 1, 1)
    second = seconds(1, 1, 1, 1, 1, 0.001, 1, 1, 1, 1) * 0.1
    pieces = cut_pair(first, second, FUSED, 7)
    assert [piece.begin // SAMPLING_RATE for piece in pieces] == [0, 5]
    for piece in pieces:
        assert piece.second is not None
        end = piece.begin + len(piece.audio)
        assert np.array_equal(piece.audio, first[piece.begin : end])
        assert np.array_equal(piece.second, second[piece.begin : end])
    assert sum(len(piece.audio) for piece in pieces) == len(first)


def test_a_second_one_that_covers_a_part_is_heard_there_alone() -> None:
    first = seconds(*[1] * 6, 0.001, *[1] * 10, 0.001, *[1] * 6)
    second = first.copy()
    second[: 5 * SAMPLING_RATE] = 0
    pieces = cut_pair(first, second[: 19 * SAMPLING_RATE], BESIDE, 30)
    assert [piece.second is not None for piece in pieces] == [False, True, False]
    assert [piece.begin // SAMPLING_RATE for piece in pieces] == [0, 6, 17]  # the pauses next to its ends
    assert sum(len(piece.audio) for piece in pieces) == len(first)


@pytest.mark.parametrize("length", [8.0, 7.7, 12.0])
def test_ends_may_differ_a_little(length: float) -> None:
    first = seconds(*[1] * 8)
    second = voice(length)
    (piece,) = cut_pair(first, second, FUSED, 30)
    assert piece.second is not None
    assert len(piece.audio) == len(first)
    assert len(piece.second) == min(len(second), len(first))


def test_too_little_of_a_second_one_is_left_out() -> None:
    (piece,) = cut_pair(seconds(*[1] * 8), seconds(0.5)[:9000], FUSED, 30)
    assert piece.second is None


def test_what_one_of_them_does_not_hear() -> None:
    first, second = seconds(1, 1, 0, 0, 1, 1), seconds(1, 1, 1, 1, 0, 0)
    second[-1] = 0.5
    for use, expected in ((FUSED, [True, True]), (BESIDE, [True])):
        pieces = cut_pair(
            first[2 * SAMPLING_RATE : 4 * SAMPLING_RATE], second[2 * SAMPLING_RATE : 4 * SAMPLING_RATE], use, 30
        )
        assert [piece.of_second for piece in pieces] == expected[1:]
    (piece,) = cut_pair(first[4 * SAMPLING_RATE :], second[4 * SAMPLING_RATE :] * 0, BESIDE, 30)
    assert piece.second is None


def test_a_clip_of_the_speaker_is_heard_beside_every_piece() -> None:
    clip = seconds(1)
    pieces = cut_pair(seconds(*[1] * 9), clip, CLIP, 4)
    assert len(pieces) > 2
    assert all(piece.second is clip for piece in pieces)
    assert [piece.second for piece in cut_pair(seconds(1), None, None, 4)] == [None]


def recording(folder: Path, first: np.ndarray, second: np.ndarray) -> Recording:
    for name, samples in (("a.wav", first), ("b.wav", second)):
        soundfile.write(folder / name, samples, SAMPLING_RATE, subtype="FLOAT")
    return Recording(folder / "a.wav", second=Recording(folder / "b.wav"))


@pytest.mark.parametrize(("later", "told"), [(-2.5, "began 2.5 s later"), (2.5, "began 2.5 s earlier"), (0.2, None)])
def test_a_long_delay_is_taken_out_and_told(tmp_path: Path, later: float, told: str | None) -> None:
    scene = voice(12)
    first = scene[3 * SAMPLING_RATE : 11 * SAMPLING_RATE]
    second = scene[round((3 - later) * SAMPLING_RATE) : 11 * SAMPLING_RATE]
    pair = read_second(recording(tmp_path, first, second), first, BESIDE)
    if told is None:
        assert (pair.delay, pair.remarks) == (None, ())
        assert np.array_equal(pair.samples, second)
        return
    assert pair.delay == pytest.approx(later, abs=0.002)
    (remark,) = pair.remarks
    assert remark.endswith(f"b.wav {told} and was moved into place")
    common = slice(3 * SAMPLING_RATE, 7 * SAMPLING_RATE)
    assert np.abs(pair.samples[common] - first[common]).max() < 0.02 or later % 1


@pytest.mark.parametrize(("use", "part"), [(FUSED, "the text will suffer"), (BESIDE, "another party's voice")])
def test_another_take_is_told(tmp_path: Path, use: SecondUse, part: str) -> None:
    first = voice(6, 1)
    pair = read_second(recording(tmp_path, first, voice(6, 2)), first, use)
    (remark,) = pair.remarks
    assert "no speech in common" in remark
    assert part in remark
    assert read_second(recording(tmp_path, first, voice(6, 2)), first, CLIP).remarks == ()


@pytest.mark.parametrize(
    ("second", "use", "part"),
    [
        (np.zeros(SAMPLING_RATE), FUSED, "holds no sound"),
        (voice(70), BESIDE, "is 70.0 s long, far longer than the first with its 2.0 s"),
        (voice(31), CLIP, "is 31.0 s long; a clip of the speaker of up to 30 s is right"),
    ],
)
def test_what_cannot_be_a_second_recording(tmp_path: Path, second: np.ndarray, use: SecondUse, part: str) -> None:
    first = voice(2)
    with pytest.raises(DataError, match=part):
        read_second(recording(tmp_path, first, second), first, use)
