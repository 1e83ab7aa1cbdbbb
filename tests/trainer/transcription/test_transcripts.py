"""How transcripts are written: each format by its own rules, whatever the text holds."""

import json
import re

import pytest

from trainer.transcription.transcripts import Segment, Transcript, Word, join_texts, timed_texts, written

FIRST = 1000  # the token of 0.00 s


def transcript(*segments: Segment) -> Transcript:
    return Transcript("talk.flac", "az", True, 400_000.5, "bir & iki", segments)


HARD = transcript(
    Segment(0, 1.9996, "a --> b"), Segment(2, 2, "<i>x</i> & y"), Segment(359_999.5, 360_003.25, "yüz saat")
)


def test_txt() -> None:
    assert written(HARD, "txt") == "bir & iki\n"
    assert written(HARD, "txt", timestamps=True).splitlines() == [
        "[00:00:00.000 --> 00:00:02.000] a --> b",
        "[00:00:02.000 --> 00:00:02.001] <i>x</i> & y",
        "[99:59:59.500 --> 100:00:03.250] yüz saat",
    ]


def test_srt_has_numbers_commas_and_no_arrow_in_text() -> None:
    cues = written(HARD, "srt").split("\n\n")
    assert cues == [
        "1\n00:00:00,000 --> 00:00:02,000\na → b",
        "2\n00:00:02,000 --> 00:00:02,001\n<i>x</i> & y",
        "3\n99:59:59,500 --> 100:00:03,250\nyüz saat\n",
    ]


def test_vtt_has_a_header_points_and_escapes() -> None:
    cues = written(HARD, "vtt").split("\n\n")
    assert cues == [
        "WEBVTT",
        "00:00:00.000 --> 00:00:02.000\na --&gt; b",
        "00:00:02.000 --> 00:00:02.001\n&lt;i&gt;x&lt;/i&gt; &amp; y",
        "99:59:59.500 --> 100:00:03.250\nyüz saat\n",
    ]


def test_nothing_said() -> None:
    nothing = Transcript("a.wav", None, False, 1.0, "", ())
    assert [written(nothing, kind) for kind in ("txt", "srt", "vtt")] == ["\n", "", "WEBVTT\n"]
    assert written(nothing, "txt", timestamps=True) == ""


def test_json_is_one_line_that_holds_everything() -> None:
    text = written(HARD, "json")
    assert text.count("\n") == 1
    assert "yüz" in text
    assert json.loads(text) == {
        "file": "talk.flac",
        "language": "az",
        "language_detected": True,
        "duration": 400_000.5,
        "text": "bir & iki",
        "segments": [{"start": s.start, "end": s.end, "text": s.text} for s in HARD.segments],
        "left_out": [],
        "language_probability": None,
        "repeats": False,
        "remarks": [],
    }
    assert json.loads(written(HARD, "json", indent=2)) == json.loads(text)


@pytest.mark.parametrize(("language", "text"), [("en", "a b"), (None, "a b"), ("ja", "ab"), ("zh", "ab")])
def test_parts_are_joined_as_the_language_is_written(language: str | None, text: str) -> None:
    assert join_texts(["a", "", "b"], language) == text


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([FIRST, 1, 2, FIRST + 100], [(0, 2, [1, 2])]),
        ([FIRST, 1, FIRST + 50, FIRST + 60, 2, FIRST + 100], [(0, 1, [1]), (1.2, 2, [2])]),
        ([FIRST, 1, FIRST + 50, 2, FIRST + 60], [(0, 1, [1]), (1, 1.2, [2])]),  # no second of the pair
        ([FIRST + 50, 1, 2], [(1, 10, [1, 2])]),  # unfinished: to the end of the piece
        ([1, 2], [(0, 10, [1, 2])]),
        ([FIRST + 50, 1, FIRST + 20, FIRST + 10, 2, FIRST + 1500], [(1, 1, [1]), (1, 10, [2])]),  # out of order, beyond
        ([FIRST, FIRST + 50], []),
        ([], []),
    ],
)
def test_times_of_timestamp_tokens(tokens: list[int], expected: list[tuple[float, float, list[int]]]) -> None:
    found = timed_texts(tokens, FIRST, 0.02, 10.0)
    assert [(pytest.approx(a), pytest.approx(b), ids) for a, b, ids in found] == expected


def test_clock_times_never_run_backwards() -> None:
    segments = [Segment(i / 7, i / 7 + 0.0001, "x") for i in range(100)]
    for line in re.findall(r".* --> .*", written(transcript(*segments), "vtt")):
        start, end = line.split(" --> ")
        assert start < end


SPOKEN = transcript(
    Segment(
        1.0,
        3.0,
        "bir & <iki>, üç",
        words=(Word("bir &", 1, 1.5, 0.9), Word("<iki>,", 1.5, 2, 0.8), Word("üç", 2.6, 3, 0.7)),
    ),
    Segment(4.0, 5.0, "dörd"),
)


def test_words_in_json() -> None:
    first, second = json.loads(written(SPOKEN, "json"))["segments"]
    assert first["words"][0] == {"word": "bir &", "start": 1, "end": 1.5, "probability": 0.9}
    assert "words" not in second


def test_words_in_vtt_have_time_tags_within_their_cue() -> None:
    cues = written(SPOKEN, "vtt").split("\n\n")
    assert cues[1:] == [
        "00:00:01.000 --> 00:00:03.000\n<c>bir &amp;</c> <00:00:01.500><c>&lt;iki&gt;,</c> <00:00:02.600><c>üç</c>",
        "00:00:04.000 --> 00:00:05.000\ndörd\n",
    ]


def test_words_in_srt_are_underlined_while_they_are_said() -> None:
    cues = [cue.strip().split("\n") for cue in written(SPOKEN, "srt").split("\n\n")]
    assert [cue[0] for cue in cues] == ["1", "2", "3", "4", "5"]
    assert [cue[1:] for cue in cues] == [
        ["00:00:01,000 --> 00:00:01,500", "<u>bir &</u> <iki>, üç"],
        ["00:00:01,500 --> 00:00:02,000", "bir & <u><iki>,</u> üç"],
        ["00:00:02,000 --> 00:00:02,600", "bir & <iki>, üç"],
        ["00:00:02,600 --> 00:00:03,000", "bir & <iki>, <u>üç</u>"],
        ["00:00:04,000 --> 00:00:05,000", "dörd"],
    ]


def test_words_of_a_script_without_spaces_and_words_that_are_not_the_text() -> None:
    words = (Word("你好，", 0, 0.5, 1), Word("世", 0.5, 0.7, 1), Word("界。", 0.7, 1, 1))
    together = transcript(Segment(0, 1, "你好，世界。", words=words))
    assert "<c>你好，</c><00:00:00.500><c>世</c><00:00:00.700><c>界。</c>" in written(together, "vtt")
    other = transcript(Segment(0, 1, "otherwise", words=words))
    assert written(other, "vtt").endswith("\notherwise\n")
    assert written(other, "srt").count("-->") == 1


def test_txt_is_the_same_with_words() -> None:
    assert written(SPOKEN, "txt", timestamps=True).splitlines()[0] == (
        "[00:00:01.000 --> 00:00:03.000] bir & <iki>, üç"
    )
