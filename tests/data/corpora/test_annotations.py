"""Timestamped text, TextGrid and ELAN files say what they say; broken ones say where they are broken."""

import contextlib
import re
import time
from typing import Any

import pytest

from data.corpora.annotations.elan import read_elan
from data.corpora.annotations.subtitles import read_subtitles
from data.corpora.annotations.text_kinds import appearance, check_plain, read_text
from data.corpora.annotations.textgrid import read_text_grid
from data.corpora.annotations.tiers import Segment, TierChoice
from data.corpora.annotations.timed_text import read_timed_text
from data.corpora.annotations.timeline import Timeline, parse_interval, parse_time
from data.corpora.annotations.transcript_json import is_transcript, read_transcript
from data.errors import DataError
from trainer.transcription import transcripts


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(3, 3.0), (0.25, 0.25), ("12.5", 12.5), (" 7 ", 7.0), (".5", 0.5), ("1e2", 100.0), ("0:00:01.000", 1.0),
     ("1:02:03.250", 3723.25), ("00:00:59.999", 59.999), ("02:03.5", 123.5), ("75:00", 4500.0),
     ("100:00:00", 360_000.0)],
)  # fmt: skip
def test_times(value: Any, seconds: float) -> None:
    assert parse_time(value, "start") == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1,5", "start is '1,5'; seconds .12.5. or h:mm:ss.mmm are right, with a point and no comma"),
        ("00:00:01,500", "no comma"),
        ("", "start is empty"),
        (None, "start is empty"),
        ("soon", "start is 'soon'; seconds"),
        ("1_000", "1_000"),
        ("nan", "nan"),
        (float("nan"), "nan"),
        ("inf", "inf"),
        (float("inf"), "inf"),
        ("1e999", "1e999"),
        (10**400, "start is 1000"),
        (48_000_000, "48000000"),
        ("-1", "start is '-1'; a time is not negative"),
        (-0.5, "not negative"),
        (float("-inf"), "not negative"),
        (True, "True"),
        ([1], "1"),
        ("1:60", "1:60"),
        ("1:60:00", "1:60:00"),
        ("1:2:3:4", "1:2:3:4"),
        ("٣", "٣"),
    ],
)
def test_what_is_no_time(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_time(value, "start")


def test_an_interval_ends_after_its_start() -> None:
    assert parse_interval("1", 2.5) == (1.0, 2.5)
    for start, end in ((2, 1), (2, 2), ("0:00:03", "2.999")):
        with pytest.raises(DataError, match=r"ends at .* s, not after its start at"):
            parse_interval(start, end)


def timeline(*intervals: tuple[float, float]) -> Timeline:
    line = Timeline()
    for row, (start, end) in enumerate(intervals, start=1):
        line.add(start, end, row, lambda row: f"row {row}")
    return line


def test_segments_in_any_order_that_touch_or_share_a_rounding_error() -> None:
    line = timeline((5, 6), (1, 2), (2, 3), (0, 1.0009), (2.9992, 5.0), (6, 9))
    assert list(line.starts) == sorted(line.starts) and list(line.rows) == [4, 2, 3, 5, 1, 6]


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ((3.2, 4), r"starts at 3.2 s, before row 2 ends \(3.9 s\)"),
        ((3.898, 4), r"starts at 3.898 s, before row 2 ends"),
        ((0.5, 1.5), r"ends at 1.5 s, after row 3 starts \(1 s\)"),
        ((0.2, 9), r"ends at 9 s, after row 3 starts"),
        ((6.1, 6.2), r"before row 1 ends \(7 s\)"),
        ((6, 7), r"before row 1 ends \(7 s\)"),
        ((4.5, 6.5), r"ends at 6.5 s, after row 1 starts \(6 s\)"),
    ],
)
def test_segments_that_overlap(interval: tuple[float, float], message: str) -> None:
    line = timeline((6, 7), (3, 3.9), (1, 2))
    with pytest.raises(DataError, match=message):
        line.add(*interval, 4, lambda row: f"row {row}")
    assert len(line.rows) == 3


def texts(segments: Any) -> list[tuple[float, float, str]]:
    return [(segment.start, segment.end, segment.text) for segment in segments]


def test_lines_of_text_in_every_shape() -> None:
    content = (
        "\ufeff# made by hand\r\n\r\n0.5\t1.25\tsalam dünya\r\n"
        "2 3   two  spaces # and no comment\n"
        "[00:00:04.000 --> 00:00:05.500] from Whisper\n"
        "0:06 --> 0:07 without brackets\n"
        "[00:08.000 --> 00:09.000]   \n"
        "10.000000\t11.000000\t[laughs] 5 --> 6\n\\\t100.0\t200.0\n"
        "12\t13"
    )
    expected = [
        (0.5, 1.25, "salam dünya"),
        (2, 3, "two  spaces # and no comment"),
        (4, 5.5, "from Whisper"),
        (6, 7, "without brackets"),
        (8, 9, ""),
        (10, 11, "[laughs] 5 --> 6"),
        (12, 13, ""),
    ]
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        segments = list(read_timed_text(content.encode(encoding), "a.txt"))
        assert texts(segments) == expected
    assert [segment.label for segment in segments][:3] == ["line 3", "line 4", "line 5"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 2 yes\nhello", r"a\.txt: line 2: 'hello' is no segment; start, end and text are right"),
        (b"hello there world", r"a\.txt: line 1: start is 'hello'"),
        (b"1,5\t2.5\tlabel", r"a\.txt: line 1: start is '1,5'.*no comma"),
        (b"1\t2,5\tlabel", r"a\.txt: line 1: end is '2,5'.*no comma"),
        (b"2 1 text", r"a\.txt: line 1: ends at 1 s, not after its start at 2 s"),
        (b"1 1 point label", r"not after its start"),
        (b"[00:00:02.000 --> nan] text", r"a\.txt: line 1: end is 'nan'"),
        (b"1 2 ok\n3 4 caf\xe9", r"a\.txt: line 2: byte 14 is neither UTF-8 nor.*save it as UTF-8"),
        (b"1 2 ok\n3 4 a\0b", r"a\.txt: line 2 holds a NUL"),
        (b"\xff\xfe1\x002", r"neither UTF-8 nor"),
    ],
)
def test_lines_that_are_no_segments(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_timed_text(content, "a.txt"))


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 6.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Aygün"
        xmin = 0
        xmax = 6.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = ""
        intervals [2]:
            xmin = 1.5
            xmax = 3.25
            text = "he said ""yes"" – 5
twice"
        intervals [3]:
            xmin = 3.25
            xmax = 6.5
            text = "  "
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 6.5
        points: size = 1
        points [1]:
            number = 2
            mark = "ding"
    item [3]:
        class = "IntervalTier"
        name = "Sentences"
        xmin = 0
        xmax = 6.5
        intervals: size = 1
        intervals [1]:
            xmin = 4
            xmax = 5
            text = "bəli"
"""
SHORT = '''File type = "ooTextFile"
"TextGrid"

0 ! where it begins: "0"
6.5
<exists>
3
"IntervalTier"
"Aygün"
0
6.5
3
0
1.5
""
1.5
3.25
"he said ""yes"" – 5
twice"
3.25
6.5
"  "
"TextTier" "bell" 0 6.5 1
2
"ding"
"IntervalTier" "Sentences" 0 6.5 1 4 5 "bəli"'''


@pytest.mark.parametrize("content", [LONG, SHORT, LONG.replace("\n", "\r\n")], ids=["long", "short", "windows"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_text_grid(content: str, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    tiers = read_text_grid((mark + content).encode(encoding), "a.TextGrid")
    assert [(tier.name, tier.usual) for tier in tiers] == [("Aygün", True), ("bell", False), ("Sentences", True)]
    assert tiers[0].segments == (
        Segment("tier 'Aygün', interval 2", 1.5, 3.25, 'he said "yes" – 5 twice', speaker="Aygün"),
    )
    assert tiers[2].segments == (Segment("tier 'Sentences', interval 1", 4, 5, "bəli", speaker=None),)


def test_a_text_grid_without_tiers() -> None:
    assert read_text_grid(b'"ooTextFile" "TextGrid" 0 1 <absent>', "a.TextGrid") == []


def broken(old: str, new: str) -> bytes:
    assert old in LONG
    return LONG.replace(old, new, 1).encode()


TRUNCATED = LONG[: LONG.index("points [1]")].encode()
BROKEN_GRIDS: list[tuple[bytes, str]] = [
    (b"", "line 1: the file ends where the file's type should stand"),
    (b"hello", "the file ends where the file's type should stand"),
    (b"ooBinaryFile\x08TextGrid", "binary TextGrid; save it as a text file"),
    (b'"ooTextFile" "Collection" 1', "'ooTextFile' with 'Collection', not 'ooTextFile' with 'TextGrid'"),
    (TRUNCATED, "line 33: the file ends where the time of point 1 of tier 'bell' should stand"),
    (broken('text = "bəli"', 'text = "bəli'), "line 46: a quote that is never closed"),
    (broken('text = "bəli"', 'text = "bəli""'), "a quote that is never closed"),
    (broken("xmin = 1.5", "xmin = 1,5"), "line 20: '1,5' is no number"),
    (broken("xmin = 1.5", "xmin = nan"), "stands where the end of tier 'Aygün', interval 2 should"),
    (broken("xmin = 1.5", "xmin = -1.5"), "tier 'Aygün', interval 2: start is -1.5; a time is not negative"),
    (broken("xmax = 3.25", "xmax = 1.25"), "tier 'Aygün', interval 2: ends at 1.25 s, not after its start at 1.5 s"),
    (broken("xmax = 3.25", "xmax = 1e999"), "tier 'Aygün', interval 2: end is inf"),
    (broken("size = 3\n        int", "size = 2\n        int"), "stands where the class of tier 2 should"),
    (
        broken("size = 3\n        int", "size = 99999999\n        int"),
        "where the beginning of tier 'Aygün', interval 4",
    ),
    (broken("size = 3\nitem", "size = 4\nitem"), "line 46: the file ends where the class of tier 4 should stand"),
    (broken("size = 3\nitem", "size = -3\nitem"), "the number of tiers is -3"),
    (broken("size = 3\nitem", "size = 1e999\nitem"), "the number of tiers is inf"),
    (broken('class = "TextTier"', 'class = "MiddleTier"'), "tier 'bell' is 'MiddleTier'"),
    (LONG.encode("cp1252", "ignore"), "line 11: byte .* neither UTF-8 nor"),
    (SHORT[:60].encode("utf-16-le"), "line 1 holds a NUL"),
    ((LONG + 'text = "one more"').encode(), 'line 47: "one more" stands where the file\'s end should'),
    (
        broken("size = 1\n        intervals", "size = 0\n        intervals"),
        "line 44: 4 stands where the file's end should",
    ),
]


@pytest.mark.parametrize(("content", "message"), BROKEN_GRIDS)
def test_a_broken_text_grid(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=r"^a\.TextGrid.*" + message):
        read_text_grid(content, "a.TextGrid")


def test_every_beginning_of_a_text_grid_is_refused() -> None:
    content = LONG.encode()
    for end in range(0, content.rindex(b'"') + 1, 7):
        with pytest.raises(DataError, match=r"a\.TextGrid"):
            read_text_grid(content[:end], "a.TextGrid")


def test_a_large_text_grid_is_read_in_time_that_grows_with_its_length() -> None:
    intervals = "\n".join(f'{second} {second + 1} "word {second}"' for second in range(60_000))
    content = f'"ooTextFile" "TextGrid" 0 60000 <exists> 1 "IntervalTier" "A" 0 60000 60000 {intervals}'.encode()
    begin = time.process_time()
    (tier,) = read_text_grid(content, "a.TextGrid")
    assert len(tier.segments) == 60_000 and time.process_time() - begin < 20
    with pytest.raises(DataError, match="never closed"):
        read_text_grid(content + b' "IntervalTier' + b'""' * 500_000, "a.TextGrid")


def test_tiers_are_chosen_by_name() -> None:
    tiers = read_text_grid(LONG.encode(), "a.TextGrid")
    assert texts(TierChoice().choose(tiers, "a")) == [(1.5, 3.25, 'he said "yes" – 5 twice'), (4, 5, "bəli")]
    choice = TierChoice(("Sentences", "Nobody"))
    assert texts(choice.choose(tiers, "a")) == [(4, 5, "bəli")]
    with pytest.raises(DataError, match="corpus: --tiers names 'Nobody', but no file has that tier"):
        choice.check_all_seen("corpus")
    with pytest.raises(
        DataError, match=r"a: --tiers names 'Sentence' \(did you mean 'Sentences'\?\); it has Aygün, bell"
    ):
        TierChoice(("Sentence",)).choose(tiers, "a")
    with pytest.raises(DataError, match="a: --tiers names 'bell', but that tier holds points"):
        TierChoice(("bell",)).choose(tiers, "a")


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="http://www.mpi.nl/EAFv3.0.xsd">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/field/talk%20one.wav" MIME_TYPE="audio/x-wav"
        RELATIVE_MEDIA_URL="./talk%20one.wav"/>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2250"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="3000"/><TIME_SLOT TIME_SLOT_ID="ts4"/>
    <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="4000"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="utterance" TIER_ID="tx@A" PARTICIPANT=" Aygün ">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>salam
         dünya &amp; co</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>no end</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts5">
      <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="free" TIER_ID="translation" PARENT_REF="tx@A">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>hello world</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="word" TIER_ID="words" PARENT_REF="tx@A">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a5" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>salam</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="utterance" TIER_ID="empty"/>
</ANNOTATION_DOCUMENT>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_elan_file(encoding: str) -> None:
    document = read_elan(EAF.replace("UTF-8", encoding).encode(encoding), "a.eaf")
    assert document.media == [("./talk%20one.wav", "file:///C:/field/talk%20one.wav")]
    assert [(tier.name, tier.usual) for tier in document.tiers] == [
        ("tx@A", True),
        ("translation", False),
        ("words", False),
        ("empty", True),
    ]
    assert document.tiers[0].segments == (
        Segment("tier 'tx@A', annotation 1", 0.5, 2.25, "salam dünya & co", "Aygün"),
        Segment("tier 'tx@A', annotation 2", 0, 0, "no end", "Aygün", fault="a time slot without a time"),
        Segment("tier 'tx@A', annotation 3", 3, 4, "", "Aygün"),
    )
    assert texts(TierChoice(("translation",)).choose(document.tiers, "a.eaf")) == [(0.5, 2.25, "hello world")]
    assert texts(TierChoice(("words",)).choose(document.tiers, "a.eaf")) == [(0.5, 2.25, "salam")]
    assert len(TierChoice().choose(document.tiers, "a.eaf")) == 3


def bad_eaf(old: str, new: str) -> bytes:
    assert old in EAF
    return EAF.replace(old, new, 1).encode()


LAUGHS = "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(1, 12))
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
BOMB = bad_eaf(HEAD, f'{HEAD}<!DOCTYPE lolz [<!ENTITY lol0 "ha">{LAUGHS}]>').replace(b"salam", b"&lol11;")
BROKEN_ELAN: list[tuple[bytes, str]] = [
    (BOMB, "a document type"),
    (
        bad_eaf(HEAD, HEAD + '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>').replace(b"salam", b"&f;"),
        "a document type",
    ),
    (bad_eaf(HEAD, HEAD + '<!DOCTYPE x SYSTEM "http://nowhere/x.dtd">'), "a document type"),
    (EAF[:1500].encode(), "not XML: .* line"),
    (b"", "not XML"),
    (b"\0\1\2", "not XML"),
    (b"<TextGrid/>", "is 'TextGrid', not ELAN's 'ANNOTATION_DOCUMENT'"),
    (EAF.encode("latin-1"), "not XML: not well-formed"),
    (bad_eaf("UTF-8", "KLINGON"), "not XML: unknown encoding"),
    (bad_eaf("&amp;", "&nbsp;"), "not XML: undefined entity"),
    (bad_eaf('"milliseconds"', '"PAL-frames"'), "its times are in 'PAL-frames'"),
    (bad_eaf('MIME_TYPE="audio/x-wav"', 'TIME_ORIGIN="300"'), "is shifted against the annotations"),
    (bad_eaf('TIME_VALUE="2250"', 'TIME_VALUE="soon"'), "tier 'tx@A', annotation 1: end is 'soon'"),
    (bad_eaf('TIME_VALUE="2250"', 'TIME_VALUE="400"'), "annotation 1: ends at 0.4 s, not after its start at 0.5 s"),
    (bad_eaf('TIME_VALUE="500"', 'TIME_VALUE="-500"'), "annotation 1: start is -0.5; a time is not negative"),
    (bad_eaf('TIME_SLOT_REF2="ts2"', 'TIME_SLOT_REF2="ts9"'), "annotation 1: there is no time slot 'ts9'"),
    (bad_eaf('TIME_SLOT_REF2="ts2"', ""), "annotation 1: there is no time slot None"),
    (bad_eaf('ANNOTATION_REF="a1"', 'ANNOTATION_REF="a9"'), "'translation', annotation 1: it refers to 'a9', which"),
    (bad_eaf('ANNOTATION_REF="a1"', 'ANNOTATION_REF="a4"'), "annotation 1: it refers to itself"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN_ELAN)
def test_a_broken_elan_file(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.eaf.*{message}"):
        read_elan(content, "a.eaf")


def subtitles(content: str | bytes, name: str = "a.srt") -> list[tuple[float, float, str]]:
    content = content.encode() if isinstance(content, str) else content
    return texts(read_subtitles(content, name).tiers[0].segments)


SRT = """1
00:00:01,000 --> 00:00:02,500
{\\an8}<i>Salam</i>,
dünya

2
0:00:02.500 --> 00:00:04,000 X1:100 X2:200 Y1:10 Y2:20
<font color="#fff">a < b</font> {b}bold{/b} <laughs> {not a tag}

3
00:00:05,000 --> 00:00:06,000

4
00:00:06,000 --> 00:00:07,000
[MUSIC] ♪ la
42

5
01:00:00,5 --> 01:00:01,5
1984
"""
CUES = [
    (1, 2.5, "Salam, dünya"), (2.5, 4, "a < b bold <laughs> {not a tag}"), (5, 6, ""), (6, 7, "[MUSIC] ♪ la 42"),
    (3600.5, 3601.5, "1984"),
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_subrip(encoding: str, end: str) -> None:
    assert subtitles(SRT.replace("\n", end).encode(encoding)) == CUES


def test_subrip_as_programs_and_people_leave_it() -> None:
    without_numbers = re.sub(r"(?m)^\d\n(?=\d)", "", SRT)
    without_blanks = SRT.replace("\n\n", "\n")
    for content in (without_numbers, without_blanks, "\n\n" + SRT, SRT.rstrip(), "0\n" + SRT[2:]):
        assert subtitles(content) == CUES
    assert subtitles("00:00:01,000 --> 00:00:01,000\nflash") == [(0, 0, "flash")]  # at fault, see below
    (cue,) = read_subtitles(b"00:00:01,000 --> 00:00:01,000\nflash", "a.srt").tiers[0].segments
    assert cue.fault == "it ends where it starts, at 1 s" and cue.label == "line 1"
    assert subtitles("") == [] and subtitles("\n \n") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n00:00:01,000 --> 00:00:0l,000\nx", "line 2: end is '00:00:0l.000'"),
        ("1\n00:00:03,000 --> 00:00:01,000\nx", "line 2: ends at 1 s, not after its start at 3 s"),
        ("1\n00:00:01,000 -> 00:00:02,000\nx", "line 2: '00:00:01,000 -> 00:00:02,000' looks like times"),
        ("1\n00:00:01,000 --> 00:00:02,000\nx\n\n2\nl0:00:03,000 --> 00:00:04,000\ny", "line 6: .* looks like times"),
        ("1\n00:00:01,000 --> 00:00:02,000\nx\n\n2\n00:00:03,000 -->", "line 6: .* looks like times"),
        ("1\n00:00:01,000 --> 00:00:02,000 said on the line\nx", "line 2: 'said on the line' stands after the times"),
        ("hello\n\n1\n00:00:01,000 --> 00:00:02,000\nx", "line 1: 'hello' stands before any times"),
        ("hello", "line 1: 'hello' is no subtitle, and none follows"),
        ("1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9".encode("latin-1"), "line 3: byte .* is neither UTF-8"),
    ],
)
def test_damaged_subrip(content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.srt: {message}"):
        subtitles(content)


VTT = """\ufeffWEBVTT - a title
Kind: captions
Language: az-Latn

NOTE
a comment --
of two lines

STYLE
::cue { color: red }

REGION
id:fred

intro
00:01.000 --> 00:02.000 align:start position:0%
<v.loud Ann Ağa>Salam &amp; <c.yellow>dünya</c></v>

00:00:02.000 --> 00:00:03.500
<00:00:02.500><c> a &lt; b</c>&nbsp;c <lang en>d</lang>

2
00:00:04.000 --> 00:00:05.000
<v Ann>Hi</v> <v Bob>Ho</v>
<ruby>漢<rt>kan</rt></ruby> <laughs>
00:00:05.000 --> 00:00:06.000

NOTE at the end
"""


def test_web_vtt() -> None:
    document = read_subtitles(VTT.encode(), "a.vtt")
    assert texts(document.tiers[0].segments) == [
        (1, 2, "Salam & dünya"), (2, 3.5, "a < b c d"), (4, 5, "Hi Ho 漢 <laughs>"), (5, 6, "")
    ]  # fmt: skip
    assert [segment.speaker for segment in document.tiers[0].segments] == ["Ann Ağa", None, None, None]
    assert document.language == "az" and subtitles("WEBVTT", "a.vtt") == subtitles("\n", "a.vtt") == []
    assert subtitles(VTT, "a.srt") == subtitles(VTT, "a.vtt")
    with pytest.raises(DataError, match=r"a\.vtt: line 1: '1' stands where 'WEBVTT' should"):
        subtitles(SRT, "a.vtt")
    with pytest.raises(DataError, match=r"a\.vtt: line 3: end is '00:xx'"):
        subtitles("WEBVTT\n\n00:01.000 --> 00:xx\nhello", "a.vtt")


def test_youtube_s_subtitles() -> None:
    content = "0:00:01.000,0:00:02.500\none\ntwo\n\n0:00:03.000,0:00:04.000\nthree\n"
    assert subtitles(content, "a.sbv") == [(1, 2.5, "one two"), (3, 4, "three")]
    with pytest.raises(DataError, match=r"a\.sbv: line 4: .* looks like times"):
        subtitles("0:00:01.000,0:00:02.500\none\n\n0:00:03.000,0:00:0x\ntwo", "a.sbv")


ROLLING = """WEBVTT

00:00:00.160 --> 00:00:02.000 align:start position:0%
 
so<00:00:00.500><c> we</c><00:00:01.000><c> begin</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
so we begin
 

00:00:02.010 --> 00:00:04.000 align:start position:0%
so we begin
the<00:00:02.500><c> second</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
the second
 

00:00:04.010 --> 00:00:06.000 align:start position:0%
the second
line

00:00:06.000 --> 00:00:06.010 align:start position:0%
line
 

00:00:06.010 --> 00:00:08.000 align:start position:0%
line
end
"""


def test_captions_that_roll_are_read_once() -> None:
    expected = [(0.16, 2, "so we begin"), (2.01, 4, "the second"), (4.01, 6, "line"), (6.01, 8, "end")]
    assert subtitles(ROLLING, "a.vtt") == expected
    srt = re.sub(r"<[^>]*>|WEBVTT\n\n| align.*", "", ROLLING).replace(".", ",")
    assert subtitles(srt) == expected
    refrain = "".join(
        f"00:0{n},0 --> 00:0{n},5\n{text}\n\n" for n, text in enumerate(["♪", "♪", "No.", "No.\nNo.", "a\nb"])
    )
    assert [text for _, _, text in subtitles(refrain)] == ["♪", "♪", "No.", "No. No.", "a b"]


def test_texts_of_any_kind_are_judged_in_time_that_grows_with_their_length() -> None:
    begin = time.process_time()
    cue = "00:01.000 --> 00:02.000 "
    for part in (
        "<v ",
        "<rt>",
        "{\\",
        "<1:",
        "[0:0",
        "1:",
        "a:b ",
        "X1:1 ",
        "( ",
        "1 ",
        "1\t",
        " ",
        "\n",
        "0:01 ",
        "a\n",
    ):
        for content in (part * 20_000 + "!", f"{cue}{part * 20_000}!", f"WEBVTT\n\n{cue}\n{part * 20_000}", part):
            appearance(content.encode(), lambda: None)
            with contextlib.suppress(DataError):
                read_text(content.encode(), "a.txt")
    assert time.process_time() - begin < 10
    assert not read_text(b"", "a.txt").tiers[0].segments


def test_speakers_that_programs_tell_apart() -> None:
    (cue,) = read_subtitles(b"0:01.0 --> 0:02.0\n[SPEAKER_01]: yes", "a.srt").tiers[0].segments
    assert (cue.text, cue.speaker) == ("yes", "SPEAKER_01")


SAID = [(0.0, 1.25, "hello & <co>"), (1.25, 1.5, "42"), (1.5, 3.0, ""), (3.0, 3723.004, "3"), (3723.5, 3724.0, "# [x]")]


@pytest.mark.parametrize("kind", ["txt", "json", "srt", "vtt"])
def test_what_transcription_writes_is_read_back(kind: str) -> None:
    parts = tuple(transcripts.Segment(*one) for one in SAID)
    transcript = transcripts.Transcript("a.wav", "az", True, 4000.0, "all", parts)
    for indent in (None, 2):
        content = transcripts.written(transcript, kind, timestamps=True, indent=indent).encode()
        read = {"txt": read_text, "json": read_transcript}.get(kind, read_subtitles)(content, f"a.{kind}")
        assert texts(read.tiers[0].segments) == [
            (pytest.approx(start), pytest.approx(end), text) for start, end, text in SAID
        ]
    if kind == "json":
        assert read.language == "az" and is_transcript(content)


def test_transcripts_in_json() -> None:
    content = b'{"segments": [{"start": 0, "end": 1.5, "text": " a  b ", "speaker": "S1", "id": 0}, '
    whole = content + b'{"start": 2, "end": 2, "text": "x"}], "language": "english"}'
    one, two = read_transcript(whole, "a.json").tiers[0].segments
    assert (one.text, one.speaker, one.label) == ("a b", "S1", "segment 1")
    assert two.fault == "it ends where it starts, at 2 s" and read_transcript(whole, "a.json").language is None
    assert is_transcript(whole) and is_transcript(content)
    for other in (
        b"{}",
        b"[]",
        b'{"segments": 3}',
        b'{"segments": [{"id": 1}]}',
        b'{"text": ""}',
        b"\xff",
        b'["segments"]',
    ):
        assert not is_transcript(other)
    for broken, message in (
        (content, "not JSON"),
        (b'{"segments": 3}', "no list of segments"),
        (whole.replace(b"1.5", b"-1"), "segment 1: end is -1; a time is not negative"),
        (whole.replace(b"1.5", b'"1,5"'), "segment 1: end is '1,5'"),
        (whole.replace(b'"x"', b"null"), "segment 2: start, end and text are right"),
    ):
        with pytest.raises(DataError, match=rf"a\.json: {message}"):
            read_transcript(broken, "a.json")


def test_decimal_commas_where_every_time_has_one() -> None:
    assert texts(read_timed_text(b"0,000000\t1,250000\ta, b\n1,5\t2,75\tc\n", "a.txt")) == [
        (0, 1.25, "a, b"), (1.5, 2.75, "c")
    ]  # fmt: skip
    assert texts(read_timed_text(b"[00:00:01,500 --> 00:00:02,000] x", "a.txt")) == [(1.5, 2, "x")]


def test_labels_of_audacity_that_are_points() -> None:
    segment, point = read_timed_text(b"1.0\t2.0\tx\n\\\t100.0\t200.0\n3.5\t3.5\tclick\n", "a.txt")
    assert segment.fault is None and (point.text, point.fault) == ("click", "it ends where it starts, at 3.5 s")


@pytest.mark.parametrize("line", ["(1.5-3.2) x", "[1.5 3.2] x", "[1.5 – 3.2]: x", "1.5 - 3.2 x", "1.5-3.2 x"])
def test_other_ways_to_write_two_times(line: str) -> None:
    assert texts(read_timed_text(line.encode(), "a.txt")) == [(1.5, 3.2, "x")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[00:01:02] text", "line 1: .* has a start and no end"),
        ("0:01 text that goes on", "line 1: .* has a start and no end"),
        ("2\t1\ta\n4\t3\tb", "line 1: ends at 1 s, .* in all 2 lines: start and end have changed places"),
        ("1\n00:00:01,000 --> 00:00:02\nx\n\n00:00:03,000 -> 00:00:04,000", "line 5: .*looks like times"),
    ],
)
def test_timed_text_that_cannot_be_read(content: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.txt: {message}"):
        read_text(content.encode(), "a.txt")


LOOKS: dict[str, list[tuple[str, float | None]]] = {
    "timed": [
        ("1.5\t3.25\tx", 5), ("1,5\t3,25\tx", 5), ("5\t3\tx", None), (SRT, 9), (VTT, 9), ("0:00:01.0,0:00:02.0\nx", 9),
        ("1.5;3.2;text", 9), ("ann\t1.5\ttext\t3.2", 9), (LONG, 9), (SHORT, 9), (EAF, 9),
        ("[00:01:02] text", 5), ("1.5 --> 3", 5), ("(1.5-3.2) text", 5), ("some words [0:05] more", 3),
        ("00:00:01 Ann: text", 5), ("[00:12.00]la la", 9), ("plain\n[1.5] x", 9), ("# x\n\n1 2 a\n2 3 b", 9),
        ("1500 3250 a\n4000 5000 b\n5000 6000 c", 9), ("1 2 a\n3 4 b\n5 6 c", None),
        ("0.0s 1.5s hello", 5), ("0m0s - 1m1.5s hello", 5), ("0.0 -> 1.5: hello", 5),
        ("00:00:00:00 - 00:00:01:12\nx", 5),
        ("00;00;00;00 - 00;00;01;12\nx", 5), ("[Script Info]\nTitle: x\nDialogue: 0,0:00:00.00,0:00:01.50,x", 5),
        ("SPEAKER talk 1 0.0 1.5 <NA> <NA> ann <NA> <NA>", 5), ('[{"start": 0, "end": 1.5, "text": "hello"}]', 5),
        ('{\n  "text": "hello",\n  "start_time": 0\n}', 5),
    ],
    "numbers": [("0.5 1.25 salam", 5), ("7.30 8.15 and 9.45 trains", 20), ("1 2 three", 5), ("1.5 - 3.2 text", None)],
    "beyond": [("1984 2001 were good years", 5), ("7.30 8.15 and 9.45 trains", 5), ("1500 3250 a", 9), ("(1-2) x", 1)],
    "unsure": [
        ("0:01 x", 5), ("7:30 is when", 1000), ("1.5 3.25 hello\nworld", 9), ("1.5; 3.2; text", 9), ("1.5,3.2,text", 9),
        ("hello\nAnn  0:05\nyes\nBob  0:10", 50), ("0.0 a\n1.5 b\n3.5 c", 9), ("5 2 9\n1 3 4", 9),
        ("talk 1 0.0 0.5 hello\ntalk 1 0.5 0.4 bye", 5), ("talk A ann 0.0 1.5 <o,f0> hello", 5),
        ("0.0\thello\n1.5\tbye", 5),
        ("hello (0:00-0:01)\nbye (0:01-0:03)", 5), ("Ann 00:00:01\nhello", 5), ("hello there 00:00:01 and bye", 5),
    ],
    "plain": [
        ("one two three", 5), ("2 1 zero", 5), ("7:30 is when we meet", 9), ("3-4 people came", 9), ("3.5 percent", 9),
        ("we meet at 7:30", 900), ("John 3:16 says", 900), ("4 000 000 people", 9), ("1. one\n2. two\n3. three", 9),
        ("[1] hello", 9), ("3,4,5 and 6", 9), ("<|0.00|> x", 9), ("a --> b", 9),
        ("7:30 8:15 and 9:45 trains\nleave", 9), ("100 200\n300 and more", 9),
        ("she ran 2:03:04 in Berlin", 9), ("open (7:30-8:15)", 9), ("5 s and 10 s", 9), ("take 2 of 1.5 litres", 9),
        ("{text} in braces", 9), ("his score was 3.5\tand more", 9), ("5 m 3 s hurdles", 9),
    ],
    "nothing": [("", None), ("\n# nothing\n", None)],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "seconds"), [(kind, *case) for kind in LOOKS for case in LOOKS[kind]])
def test_what_a_text_beside_a_recording_looks_like(kind: str, text: str, seconds: float | None) -> None:
    for content in (text.encode(), text.encode("utf-16")):
        assert appearance(content, lambda: seconds).kind == kind
    assert appearance(("1.5\t3.25\tcafé\n").encode("latin-1"), lambda: 9).kind == "timed"
    if kind == "timed" and text.count("\n") < 2 and not text.startswith("#"):
        with pytest.raises(DataError, match=r"a\.txt: line \d+: .* says when, so this is no transcript"):
            check_plain(text, "a.txt")
    elif kind != "timed":
        check_plain(text, "a.txt")


def test_the_length_of_a_recording_is_asked_for_only_where_numbers_may_be_times() -> None:
    for content in (b"words", b"1\t2\tx", b"", b"[0:01] x", b"1 2 a\n2 3 b\n4 5 c"):
        appearance(content, lambda: pytest.fail("asked"))


def test_unread_tiers_are_counted_and_named() -> None:
    choice = TierChoice()
    for _ in range(2):
        choice.choose(read_elan(EAF.encode(), "a.eaf").tiers, "a.eaf")
    choice.choose(read_text_grid(LONG.encode(), "a.TextGrid"), "a.TextGrid")
    assert list(choice.notices()) == [
        "not read: tiers that depend on other tiers (--tiers NAME reads them): 'translation' (2 annotations in 2 "
        "files), 'words' (2 annotations in 2 files)",
        "not read: tiers that hold points in time, which have no end: 'bell' (1 annotation in 1 file)",
    ]
    choice = TierChoice(("Sentences",))
    choice.choose(read_text_grid(LONG.encode(), "a.TextGrid"), "a.TextGrid")
    assert "not read: tiers that --tiers does not name: 'Aygün' (1 annotation in 1 file)" in choice.notices()


def test_tiers_with_times_and_no_words_name_those_that_have_words() -> None:
    words = EAF.replace("salam\n         dünya &amp; co", "").replace("no end", "")
    faults = [segment.fault for segment in TierChoice().choose(read_elan(words.encode(), "a.eaf").tiers, "a.eaf")]
    assert faults[::2] == ["no text in the tiers that are read; --tiers reads others: 'translation', 'words'"] * 2
