"""What is shown of a stream: on a pipe, as JSON, on a terminal; and how late words were."""

import io
import json
import re

import pytest

from trainer.transcription.live import output
from trainer.transcription.live.output import JsonLines, Latencies, PlainText, Terminal
from trainer.transcription.live.session import Event, TimedWord


def words(text: str, start: float = 1.0) -> tuple[TimedWord, ...]:
    return tuple(TimedWord(word, start + n, start + n + 1) for n, word in enumerate(text.split()))


EVENTS = [
    Event("tentative", words("hello word")),
    Event("final", words("hello")),
    Event("tentative", words("world of", 2.0)),
    Event("final", words("world", 2.0)),
    Event("tentative"),
    Event("end"),
    Event("final", words("more", 9.0)),
    Event("end"),
]


def shown(stream: type[PlainText] | type[JsonLines], events: list[Event] = EVENTS) -> str:
    out = io.StringIO()
    printer = stream(out)
    for place, event in enumerate(events):
        printer.show(event, 3.0 + place)
    return out.getvalue()


def test_a_pipe_gets_final_words_alone_a_line_for_each_part() -> None:
    assert shown(PlainText) == "hello world\nmore\n"
    chinese = [Event("final", (TimedWord("你", 0, 1, False), TimedWord("好", 1, 2, False))), Event("end")]
    assert shown(PlainText, chinese) == "你好\n"


def test_json_is_a_line_for_each_event() -> None:
    lines = [json.loads(line) for line in shown(JsonLines).splitlines()]
    kinds = ["tentative", "final", "tentative", "final", "end", "final", "end"]
    assert [line["type"] for line in lines] == kinds
    assert lines[1] == {
        "type": "final",
        "time": 4.0,
        "text": "hello",
        "start": 1.0,
        "end": 2.0,
        "latency": 2.0,
        "words": [{"word": "hello", "start": 1.0, "end": 2.0}],
    }
    again = shown(JsonLines, [EVENTS[0], EVENTS[0]])
    assert len(again.splitlines()) == 1, "what has not changed is not repeated"


def screen(written: str, width: int = 80) -> list[str]:
    """What a terminal shows after it: the cursor moves left, the rest of a line is cleared, colours do not count."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[\d*[A-Za-z]|[^\x1b]", written):
        if part == "\n":
            lines.append("")
            column = 0
        elif part.startswith("\x1b") and part.endswith("D"):
            column -= int(part[2:-1])
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif not part.startswith("\x1b"):
            lines[-1] = lines[-1][:column] + part
            column += 1
            assert column <= width
    return lines


def test_a_terminal_rewrites_what_is_tentative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "width", 80)
    assert screen(shown(Terminal, EVENTS[:1])) == ["hello word"]
    assert "\x1b[2mhello word\x1b[0m" in shown(Terminal, EVENTS[:1]), "dim"
    assert screen(shown(Terminal, EVENTS[:3])) == ["hello world of"]
    assert screen(shown(Terminal)) == ["hello world", "more", ""]


def test_a_narrow_terminal_breaks_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "width", 12)
    events = [Event("final", words("one two three four five")), Event("tentative", words("six seven eight"))]
    lines = screen(shown(Terminal, events), 12)
    assert lines[0] == "one two" and " ".join(lines).startswith("one two three four five")
    assert all(len(line) < 12 for line in lines)


def test_latencies_are_summed_up_without_keeping_them() -> None:
    found = Latencies()
    assert (found.words, found.mean) == (0, 0)
    for tenth in range(1, 101):
        found.add(tenth / 10)
    assert found.words == 100 and found.mean == pytest.approx(5.05)
    assert found.percentile(0.95) == pytest.approx(9.5, abs=0.02)
    found.add(1e6)
    assert found.percentile(1.0) == pytest.approx(output.LATEST)
