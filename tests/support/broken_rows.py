"""Rows of a manifest damaged in every way known to happen, each with what must become of it."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .broken_audio import encode, speech, whole

MISSING = object()
GOOD = "good.wav"
SECONDS = 0.5


@dataclass(frozen=True)
class RowCase:
    """A line of JSON.

    Attributes:
        line: the whole line, where it is not an object made of ``row``.
        reason: a pattern that the reason for leaving it out must have; None where it is kept.
        kept: columns that a row that is kept must have.
        notice: of a row that is kept because it was put right: part of the notice.
    """

    name: str
    row: dict[str, Any] | None = None
    line: bytes | None = None
    reason: str | None = "."
    kept: dict[str, Any] | None = None
    notice: str | None = None

    def json_line(self, number: int) -> bytes:
        if self.line is not None:
            return self.line
        row = {"audio": GOOD, "text": "bir iki", "id": f"case{number}"} | (self.row or {})
        return json.dumps({key: value for key, value in row.items() if value is not MISSING}).encode()


def write_surroundings(folder: Path) -> None:
    """What the rows' paths lead to; ``folder`` is the corpus's, and what lies beside it is none of its business."""
    folder.mkdir(parents=True)
    (folder / GOOD).write_bytes(whole("wav"))
    (folder.parent / "outside.wav").write_bytes(whole("wav"))
    (folder.parent / f"{folder.name}-2").mkdir()
    (folder.parent / f"{folder.name}-2" / "outside.wav").write_bytes(whole("wav"))
    (folder / "folder.wav").mkdir()
    (folder / "dangling.wav").symlink_to("nowhere.wav")
    (folder / "circle.wav").symlink_to("circle.wav")
    os.mkfifo(folder / "pipe.wav")
    (folder / "unreadable.wav").symlink_to("/proc/self/mem")
    (folder / os.fsdecode(b"latin-\xfc.wav")).write_bytes(whole("wav"))


def text_cases() -> Iterator[RowCase]:
    for name, value in (
        ("missing", MISSING),
        ("null", None),
        ("empty", ""),
        ("blank", "  \n\t "),
        ("NaN", float("nan")),
    ):
        is_there = isinstance(value, str)
        yield RowCase(f"text {name}", {"text": value}, reason=f"the text is {'empty' if is_there else 'null'}")
    for token in ("<|endoftext|>", "<|0.00|>"):
        yield RowCase(
            f"text holds {token}", {"text": f"bir {token} iki"}, reason=f"the text holds .*{re.escape(token)}"
        )
    for value in (True, [], ["bir"], {}, {"bir": 1}, float("inf"), -float("inf")):
        yield RowCase(f"text is {value}", {"text": value}, reason="text is (bool|list|dict|float), not text")
    for name, letter in (("a lone surrogate", "\ud83d"), ("NUL", "\0"), ("a replacement character", "\ufffd"),
                         ("a control character", "\x08"), ("a byte of Windows's", "\x93"),
                         ("an escape", "\x1b[31m")):  # fmt: skip
        yield RowCase(f"text holds {name}", {"text": f"bir {letter} iki"}, reason=r"the text holds U\+")
    for name, text in (("right-to-left marks", "\u200fbir\u200e \u05d0"), ("10,000 letters", "a b" * 3333),
                       ("an emoji", "😀"), ("a line break", "bir\niki")):  # fmt: skip
        yield RowCase(f"text holds {name}", {"text": text}, reason=None, kept={"text": text})
    yield RowCase("text is 42", {"text": 42}, reason=None, kept={"text": "42"})
    yield RowCase("text is 1.5", {"text": 1.5}, reason=None, kept={"text": "1.5"})


def audio_value_cases() -> Iterator[RowCase]:
    for name, value in (("missing", MISSING), ("null", None), ("empty", ""), ("blank", "  "), ("empty object", {}),
                        ("path null", {"path": None}), ("bytes empty", {"bytes": "", "path": None})):  # fmt: skip
        yield RowCase(f"audio {name}", {"audio": value}, reason="no audio")
    for value in (0, 17, 1.5, True, float("nan"), [], [GOOD], {"path": 5}, {"path": [GOOD]}):
        yield RowCase(f"audio is {value}", {"audio": value}, reason="audio is .*, neither|no audio")
    for value in (GOOD, "/etc/hostname", 5, [1, 2], {"a": 1}):
        yield RowCase(f"audio has bytes {value}", {"audio": {"bytes": value}}, reason="the audio's bytes are")
    array = speech().tolist()
    samples: dict[str, Any] = {"array": array, "sampling_rate": 16_000}
    yield RowCase("samples", {"audio": samples}, reason=None, kept={"duration": SECONDS})
    for rate in (None, 0, -1, 1, 1e12, "16000", "abc", True, float("nan"), [16_000]):
        yield RowCase(
            f"samples of rate {rate}", {"audio": samples | {"sampling_rate": rate}}, reason="sampling_rate is"
        )
    yield RowCase("samples without rate", {"audio": {"array": array}}, reason="sampling_rate is")
    for name, value, reason in (
        ("empty", [], "no samples"), ("NaN", [*array, float("nan")], "not finite"), ("text", ["a"], "not numbers"),
        ("infinite", [*array, float("inf")], "not finite"), ("ragged", [[0.1, 0.2], [0.1]], "not numbers|unequal"),
        ("of three dimensions", [[[0.1]]], "3 dimensions"), ("nulls", [None] * 8000, "not finite|not numbers"),
        ("of 50 channels", np.zeros((8000, 50)).tolist(), "50 channels"), ("an object", {"a": 1}, "not numbers"),
        ("a number", 5.0, "0 dimensions"), ("beyond floats", [1e300] * 8000, "not finite|not numbers"),
    ):  # fmt: skip
        yield RowCase(f"samples {name}", {"audio": {"array": value, "sampling_rate": 16_000}}, reason=reason)


def path_cases() -> Iterator[RowCase]:
    for path in ("../outside.wav", "a/../../outside.wav", "./../outside.wav", "../corpus-2/outside.wav", "..",
        "a/../..",
                 "../../../../../../../../etc/hostname"):  # fmt: skip
        yield RowCase(f"path {path}", {"audio": path}, reason="leaves")
    for path in ("absent.wav", "folder.wav", "dangling.wav", "circle.wav", "pipe.wav", "unreadable.wav",
        "good.wav/x.wav",
                 "a" * 300 + ".wav", "a/" * 3000 + "b.wav", ".", "..\\outside.wav", "/dev/zero", "/dev/null",
                 "/dev/stdin",
                 "/proc/self/environ", "/etc/hostname", "/", "~/x.wav", "nosuch://bucket/x.wav", "memory://nothing.wav",
                 "file:///etc/hostname", "chained::good.wav"):  # fmt: skip
        yield RowCase(
            f"path {path[:40]!r}", {"audio": path}, reason="cannot (open|read)|not audio|not a plain file|empty"
        )
    yield RowCase("path with NUL", {"audio": "good.wav\0.txt"}, reason="NUL")
    yield RowCase("path not UTF-8 at all", {"audio": "\udcff\ud800.wav"}, reason=".")
    yield RowCase("path within", {"audio": "folder.wav/../good.wav"}, reason=None, kept={"duration": SECONDS})


def number_cases() -> Iterator[RowCase]:
    for value in (
        -1,
        float("nan"),
        float("inf"),
        -float("inf"),
        "abc",
        "nan",
        "inf",
        "1,5",
        True,
        [1],
        {},
        10**400,
        1e300,
    ):
        shown = value if not isinstance(value, int) or abs(value) < 100 else "10^400"
        yield RowCase(f"duration {shown!r}", {"duration": value}, reason="duration is .*, not a number")
    for value in (5.0, 0.3, "0.7", 0):
        yield RowCase(f"duration {value}, not {SECONDS}", {"duration": value}, reason="the corpus says .* the audio is")
    for value in (None, "", "0.5", 0.52, " 0.5 "):
        yield RowCase(f"duration {value!r} is fine", {"duration": value}, reason=None, kept={"duration": SECONDS})
    for value in (8000, 44_100, "48000"):
        yield RowCase(f"rate {value}, not 16000", {"sampling_rate": value}, reason=f"the corpus says {value} Hz")
    for value in ("abc", -1, [16_000], True, float("nan")):
        yield RowCase(f"rate {value}", {"sampling_rate": value}, reason="sampling_rate is")
    yield RowCase("rate 16000.0", {"sampling_rate": 16_000.0}, reason=None)
    for name, values, reason in (
        ("starts before the beginning", {"start": -1, "end": 0.4}, "start is -1,"),
        ("ends before it starts", {"start": 0.3, "end": 0.2}, "before it starts"),
        ("ends where it starts", {"start": 0.3, "end": 0.3}, "before it starts"),
        ("starts behind the end", {"start": 0.9, "end": 1.2}, "starts at|ends at"),
        ("ends behind the end", {"start": 0.1, "end": 2.0}, "ends at 2"),
        ("starts at NaN", {"start": float("nan"), "end": 0.4}, "start is nan"),
        ("ends at infinity", {"start": 0.1, "end": float("inf")}, "end is inf"),
        ("starts at a text", {"start": "abc", "end": 0.4}, "start is 'abc'"),
        ("of a pipe", {"audio": "pipe.wav", "start": 0.1, "end": 0.4}, "not a plain file"),
        ("of a folder", {"audio": "folder.wav", "start": 0.1, "end": 0.4}, "Is a directory"),
        ("of no recording", {"audio": "absent.wav", "start": 0.1, "end": 0.4}, "cannot open"),
        ("of a damaged recording", {"audio": "cut.wav", "start": 0.1, "end": 0.2}, "promises"),
        ("of a recording of another rate", {"audio": "rate.wav", "start": 0.1, "end": 0.2}, "contradicts itself"),
        ("of a recording with a damaged page", {"audio": "page.ogg", "start": 0.1, "end": 0.2}, "damaged"),
        ("of an empty recording", {"audio": "empty.wav", "start": 0.1, "end": 0.2}, "empty"),
    ):
        yield RowCase(f"segment {name}", values, reason=reason)


def write_recordings(folder: Path) -> None:
    """Recordings that segments are cut from: whole at the segment, and yet not to be believed."""
    long = speech(3.0)
    recording = encode(long, format="WAV", subtype="PCM_16")
    (folder / "cut.wav").write_bytes(recording[:-20_000])
    (folder / "rate.wav").write_bytes(recording[:25] + b"\x1f" + recording[26:])  # 7.9 kHz, says the header
    ogg = encode(long, format="OGG", subtype="VORBIS")
    (folder / "page.ogg").write_bytes(ogg[:-3000] + b"\0" + ogg[-2999:])
    (folder / "empty.wav").write_bytes(b"")


def name_cases() -> Iterator[RowCase]:
    for value, kept in ((17, "17"), (1.5, "1.5"), ("a/b", "a/b"), ("../../x", "../../x"), ("/etc/x", "/etc/x"),
                        (".", "."),
                        ("i" * 10_000, "i" * 10_000), ("CON", "CON"), ("a b?*|", "a b?*|"), ("əüş", "əüş"),
                        ("-rf", "-rf")):  # fmt: skip
        yield RowCase(f"id {str(value)[:20]}", {"id": value}, reason=None, kept={"id": kept})
    for value in (None, "", float("nan"), MISSING):
        yield RowCase(f"id {value if value is not MISSING else 'missing'}", {"id": value}, reason=None, kept={"text": "bir iki"})  # fmt: skip # noqa: E501
    for value in (True, ["a"], {}, float("inf")):
        yield RowCase(f"id is {value}", {"id": value}, reason="id is")
    for name, value in (
        ("NUL", "a\0b"),
        ("a line break", "a\nb"),
        ("a lone surrogate", "a\udc80"),
        ("an escape", "\x1b[2J"),
    ):
        yield RowCase(f"id holds {name}", {"id": value}, reason=r"id holds U\+")
    for value in ("Klingon", "xyz1", "a", "12", 5, "az/../x", "\0az", "🇦🇿"):
        yield RowCase(f"language {value}", {"language": value}, reason="language is")
    for value in (["az"], {"az": 1}, True):
        yield RowCase(f"language is {value}", {"language": value}, reason="language is")
    for value in ("az-AZ", "AZ", "az_Latn", "az\n"):
        yield RowCase(
            f"language {value!r}", {"language": value}, reason=None, kept={"language": "az"}, notice="language"
        )
    for value in ("", None):
        yield RowCase(f"language {value!r}", {"language": value}, reason=None, kept={"language": "tr"})
    for value in (["x"], True, "x\0", "\ud800"):
        yield RowCase(f"speaker {value!r}", {"speaker": value}, reason="speaker (is|holds)")
    for value in ("a/b", "../x", "/x", "..", ".hidden", "x" * 10_000, "a\0b", "a\nb", "tr ain", "\ud800"):
        yield RowCase(f"split {value[:20]!r}", {"split": value}, reason="split is")
    for value in (["train"], {}, True):
        yield RowCase(f"split is {value}", {"split": value}, reason="split is")
    for value, kept in (("dev", "validation"), ("", "train"), (None, "train"), (7, "7")):
        yield RowCase(f"split {value!r} is fine", {"split": value}, reason=None, kept={"split_name": kept})
    yield RowCase("extra column with a lone surrogate", {"topic": "\ud800"}, reason="topic holds")
    yield RowCase("extra column is a list", {"topic": ["a"]}, reason="topic is list")


def line_cases() -> Iterator[RowCase]:
    deep = b'{"audio": "good.wav", "text": "bir", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    nested = b'{"audio": "good.wav", "text": "bir nested", "deep": ' + b"[" * 200 + b"]" * 200 + b"}"
    for name, line, reason in (
        ("cut", b'{"audio": "good.wav", "te', "not JSON"), ("a brace", b"{", "not JSON"),
        ("words", b"bir iki", "not JSON"),
        ("null", b"null", "not an object"), ("a list", b"[1]", "not an object"), ("a number", b"5", "not an object"),
        ("a text", b'"x"', "not an object"), ("NaN", b"NaN", "not an object"), ("true", b"true", "not an object"),
        ("Latin-1", '{"audio": "good.wav", "text": "üç"}'.encode("latin-1"), "not UTF-8"),
        ("Windows-1254", '{"audio": "good.wav", "text": "şəkil"}'.encode("cp1254", "replace"), "not UTF-8"),
        ("UTF-16", '{"audio": "good.wav"}'.encode("utf-16-le"), "not JSON|not UTF-8"),
        ("a surrogate as UTF-8", b'{"audio": "good.wav", "text": "\xed\xa0\x80"}', "not UTF-8"),
        ("two objects", b'{"audio": "good.wav", "text": "a"} {"audio": "good.wav", "text": "b"}', "not JSON"),
        ("a trailing comma", b'{"audio": "good.wav", "text": "a",}', "not JSON"),
        ("single quotes", b"{'audio': 'good.wav', 'text': 'a'}", "not JSON"),
        ("a key twice", b'{"audio": "good.wav", "text": "bir", "text": "iki"}', "'text' comes twice"),
        ("nested 100,000 deep", deep, "not JSON"), ("NULs", bytes(100), "not JSON"),
        ("a number of 5,000 digits", b'{"audio": "good.wav", "text": ' + b"1" * 5000 + b"}", "not JSON"),
        ("a letter with NUL", b'{"audio": "good.wav", "text": "\x00"}', "not JSON"),
        ("an empty object", b"{}", "no audio"),
    ):  # fmt: skip
        yield RowCase(f"line is {name}", line=line, reason=reason)
    yield RowCase("line is nested 200 deep", line=nested, reason=None, kept={"text": "bir nested"})


def row_cases() -> list[RowCase]:
    makers = (text_cases, audio_value_cases, path_cases, number_cases, name_cases, line_cases)
    cases = [case for make in makers for case in make()]
    assert len({case.name for case in cases}) == len(cases), sorted(case.name for case in cases)
    return cases
