"""Recordings of which it is known what is said when: how they are read, and what is refused, in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.errors import DataError
from trainer.transcription.long_form.known import Unit, read_known


def write_recording(folder: Path, *segments: dict[str, Any], name: str = "talk", seconds: float = 40.0) -> Path:
    """A recording of faint noise and its segments."""
    audio = np.random.default_rng(0).standard_normal(round(seconds * 16_000)) * 0.001
    soundfile.write(folder / f"{name}.flac", audio, 16_000)
    (folder / f"{name}.json").write_text(json.dumps({"language": "en", "segments": segments}))
    return folder


def segment(start: float, end: float, text: str = "so", **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text, **more}


def test_segments_are_put_in_order(tmp_path: Path) -> None:
    write_recording(tmp_path, segment(5, 6, "then"), segment(1, 2, "first"))
    (one,) = read_known(str(tmp_path)).recordings
    assert one.segments == (Unit(1, 2, "first"), Unit(5, 6, "then"))
    assert (one.language, one.path.name, one.words) == ("en", "talk.flac", ())
    assert one.seconds == pytest.approx(40.0)


def test_words_are_read_where_every_segment_has_them(tmp_path: Path) -> None:
    words = [{"word": " so", "start": 1.0, "end": 1.4}, {"word": " far", "start": 1.4, "end": 2.0}]
    write_recording(tmp_path, segment(1, 2, "so far", words=words))
    (one,) = read_known(str(tmp_path)).recordings
    assert one.words == (Unit(1.0, 1.4, "so"), Unit(1.4, 2.0, "far"))
    write_recording(tmp_path, segment(1, 2, "so far", words=words), segment(3, 4, "and"), name="other")
    assert [bool(one.words) for one in read_known(str(tmp_path)).recordings] == [False, True]


def test_a_table_and_subtitles_are_read_as_well(tmp_path: Path) -> None:
    write_recording(tmp_path)
    (tmp_path / "talk.json").unlink()
    (tmp_path / "talk.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\nso far\n")
    assert read_known(str(tmp_path)).recordings[0].segments == (Unit(1.0, 2.5, "so far"),)
    (tmp_path / "segments.csv").write_text("audio_path,start,end,text\ntalk.flac,3,4,and on\n")
    assert read_known(str(tmp_path)).recordings[0].segments == (Unit(3.0, 4.0, "and on"),)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([segment(1, 3), segment(2, 4)], r"talk.json: segment 2: starts at 2 s, before segment 1 ends \(3 s\)"),
        ([segment(3, 1)], r"talk.json: segment 1: ends at 1 s, not after its start at 3 s"),
        ([segment(1, 32)], r"talk.json: segment 1: 31 s long; at most 30 s are right"),
        ([segment(39, 41)], r"talk.json: segment 1: ends at 41 s, but its recording at 40 s"),
        ([segment(1, 2, words=[{"word": "so"}])], r"talk.json: segment 1: word 1: start is None|start is empty"),
        ([segment(1, 2, words=["so"])], r"segment 1: word 1: word, start and end are right"),
        (
            [segment(1, 2, words=[{"word": "a", "start": 2, "end": 3}, {"word": "b", "start": 1, "end": 3}])],
            r"segment 1: word 2: starts at 1 s, before the word that precedes it",
        ),
    ],
)
def test_times_that_cannot_be_are_told_in_one_line(
    tmp_path: Path, segments: list[dict[str, Any]], message: str
) -> None:
    write_recording(tmp_path, *segments)
    with pytest.raises(DataError, match=message) as raised:
        read_known(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_segment_may_end_a_little_after_its_recording(tmp_path: Path) -> None:
    write_recording(tmp_path, segment(39, 40.4))
    assert read_known(str(tmp_path)).recordings[0].segments[0].end == 40.4


def test_whole_texts_and_undecodable_recordings_are_refused(tmp_path: Path) -> None:
    write_recording(tmp_path, segment(1, 2))
    (tmp_path / "talk.flac").write_bytes(b"no recording")
    with pytest.raises(DataError, match=r"talk\.flac"):
        read_known(str(tmp_path))
    with pytest.raises(DataError, match="nowhere"):
        read_known(str(tmp_path / "nowhere"))
