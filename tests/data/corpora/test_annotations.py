"""Timestamped text, TextGrid and ELAN files say what they say; broken ones say where they are broken."""

import time
from typing import Any

import pytest

from data.corpora.annotations.elan import read_elan
from data.corpora.annotations.textgrid import read_text_grid
from data.corpora.annotations.tiers import Segment, TierChoice
from data.corpora.annotations.timed_text import is_timed_text, read_timed_text
from data.corpora.annotations.timeline import Timeline, parse_interval, parse_time
from data.errors import DataError


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
        (b"1,5\t2,5\tlabel", r"a\.txt: line 1: start is '1,5'.*no comma"),
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


def test_a_plain_transcript_is_told_from_timestamped_text() -> None:
    assert is_timed_text(b"# x\n\n1.5 2.5 one two", "a.txt") is True
    assert is_timed_text(b"one two three", "a.txt") is False
    assert is_timed_text(b"2 1 zero", "a.txt") is False
    assert is_timed_text(b"\n# nothing\n", "a.txt") is None


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
