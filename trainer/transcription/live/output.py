"""What is shown of a stream: final words and, on a terminal or as JSON, what may follow; and how late they came."""

import json
import shutil
import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol, TextIO

import numpy as np

from .session import Event, TimedWord

DIM, PLAIN, CLEAR = "\x1b[2m", "\x1b[0m", "\x1b[K"
LATEST = 60.0  # seconds: later words count as that late in the percentile
STEP = 0.01


class Latencies:
    """How many seconds after its end each final word was shown; the memory does not grow with their number."""

    def __init__(self) -> None:
        self.counts = np.zeros(round(LATEST / STEP) + 1, np.int64)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[min(max(0, round(seconds / STEP)), len(self.counts) - 1)] += 1
        self.total += seconds

    @property
    def words(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        return self.total / max(1, self.words)

    def percentile(self, share: float) -> float:
        """The seconds that so large a share of the words stays within."""
        return float(np.searchsorted(np.cumsum(self.counts), share * self.words)) * STEP


class Shown(Protocol):
    """Where events go. ``now``: seconds of the stream that have been received."""

    def show(self, event: Event, now: float) -> None: ...


class JsonLines:
    """A line of JSON for each event: its type, text, words with times in seconds of the stream, and latency.

    Final words take the place of the tentative ones; none are left until the next line says so.
    """

    def __init__(self, output: TextIO) -> None:
        self.output, self.last = output, ""

    def show(self, event: Event, now: float) -> None:
        text = joined(event.words)
        if event.kind == "tentative" and text == self.last:
            return
        self.last = text if event.kind == "tentative" else ""
        values: dict[str, Any] = {"type": event.kind, "time": round(now, 2)}
        if event.kind != "end":
            values["text"] = text
        if event.words:
            values |= {"start": event.words[0].start, "end": event.words[-1].end}
        if event.kind == "final":
            values["latency"] = round(now - event.words[-1].end, 2)
            values["words"] = [{"word": word.text, "start": word.start, "end": word.end} for word in event.words]
        print(json.dumps(values, ensure_ascii=False), file=self.output, flush=True)


class PlainText:
    """Final words alone, as they become final; a line for each part between two pauses."""

    def __init__(self, output: TextIO) -> None:
        self.output, self.at_start = output, True

    def show(self, event: Event, now: float) -> None:
        if event.kind == "final":
            self.write(joined(event.words, self.at_start))
        elif event.kind == "end" and not self.at_start:
            self.output.write("\n")
            self.at_start = True
        self.output.flush()

    def write(self, text: str) -> None:
        self.output.write(text)
        self.at_start = False


class Terminal(PlainText):
    """Final words, and after them, dim, what may follow, which is rewritten."""

    def __init__(self, output: TextIO) -> None:
        super().__init__(output)
        self.column = self.dim = 0

    def show(self, event: Event, now: float) -> None:
        if self.dim:
            self.output.write(f"\x1b[{self.dim}D")
        self.output.write(CLEAR)
        self.dim = 0
        super().show(event, now)
        if event.kind == "end":
            self.column = 0
        elif event.kind == "tentative" and event.words:
            text = cut_to(joined(event.words, self.at_start), self.width - self.column - 1)
            self.output.write(f"{DIM}{text}{PLAIN}")
            self.dim = cells(text)
        self.output.flush()

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns

    def write(self, text: str) -> None:
        """Final words, in lines that the terminal does not have to break."""
        for place, part in enumerate(text.split(" ")):
            piece = f" {part}" if place else part
            if self.column and self.column + cells(piece) >= self.width:
                self.output.write("\n")
                self.column, piece = 0, part
            self.output.write(piece)
            self.column += cells(piece)
        self.at_start = False


def joined(words: Sequence[TimedWord], at_start: bool = True) -> str:
    """Words as text, with a space before the first unless it stands at the start of a line."""
    text = "".join(f" {word.text}" if word.spaced else word.text for word in words)
    return text.lstrip() if at_start else text


def cells(text: str) -> int:
    """The columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def cut_to(text: str, width: int) -> str:
    """The beginning of a text that fits into so many columns."""
    while cells(text) > max(0, width):
        text = text[:-1]
    return text
