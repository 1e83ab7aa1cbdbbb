"""``launch/transcribe.py --live``: from a stream to words on the screen, and how late they were."""

import argparse
import signal
import sys
import time
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import numpy as np

from ...config.reading import ConfigError
from ...engine.stopping import Ended, StopRequest
from .output import JsonLines, Latencies, PlainText, Shown, Terminal
from .session import PAUSE_SECONDS, LiveSession
from .streams import microphone, standard_input

STREAMS = {"-": standard_input, "microphone": microphone}
WAIT_SECONDS = 0.2  # for more of the stream, before a pause of the stream itself is looked at


class Stream(Protocol):
    """As :class:`.streams.PcmStream`."""

    @property
    def seconds(self) -> float: ...

    def take(self, wait: float) -> np.ndarray | None: ...


class Asked(StopRequest):
    """A request to stop that knows its signal."""

    number = signal.SIGINT

    def __enter__(self) -> "Asked":
        super().__enter__()
        return self

    def receive(self, number: int, frame: FrameType | None) -> None:
        self.number = signal.Signals(number)
        super().receive(number, frame)


@dataclass
class Measured:
    """How late final words were, and how long hearing took."""

    latencies: Latencies
    hearing_seconds: float = 0.0

    def summary(self, seconds: float) -> str:
        """One line on a stream of that length."""
        factor = self.hearing_seconds / seconds if seconds else 0.0
        line = f"{seconds:.1f} s of audio, real-time factor {factor:.3f}"
        if self.latencies.words:
            late, most = self.latencies.mean, self.latencies.percentile(0.95)
            line += (
                f", {self.latencies.words} words {late:.2f} s behind the speaker on average, 95% within {most:.2f} s"
            )
        return line


def check_live(options: argparse.Namespace) -> None:
    """Raises: ConfigError: for what a stream cannot be combined with."""
    if options.files not in [[name] for name in STREAMS]:
        raise ConfigError(
            f"--live takes {' or '.join(STREAMS)}, not {' '.join(options.files)!r}: without --live it takes files"
        )
    excluded = {
        "--second": options.second is not None,
        "--output": options.output is not None,
        "--vad none": options.vad == "none",
        "--timestamps": options.timestamps,
        "--beams": options.beams != 1,
        "--piece-seconds": options.piece_seconds is not None,
        "--segments": options.segments != "auto",
        "--words": options.words,
        "--windows": options.windows != "pieces",
        "--prompt": options.prompt is not None,
        "--hotwords": options.hotwords is not None,
        "--no-fallback": options.no_fallback,
        "--language-model": options.language_model is not None,
        "--n-best": bool(options.n_best),
        f"--format {options.format}": options.format not in ("txt", "json"),
    }
    for name, given in excluded.items():
        if given:
            raise ConfigError(f"--live excludes {name}: it writes words as they become final, as txt or json, greedily")


def transcribe_live(options: argparse.Namespace) -> int:
    """The command; returns its exit code."""
    from ..hearing import Silence
    from ..voice.detector import SpeechDetector
    from .listening import LiveListener

    detector, stop = SpeechDetector(), Asked()
    with STREAMS[options.files[0]]() as stream, stop:
        listener = LiveListener(
            options.checkpoint,
            options.language,
            options.task,
            device=options.device,
            dtype=options.dtype,
            silence=Silence(options.no_speech_threshold, options.logprob_threshold),
        )
        shown: Shown = JsonLines(sys.stdout)
        if options.format == "txt":
            shown = Terminal(sys.stdout) if sys.stdout.isatty() else PlainText(sys.stdout)
        measured = Measured(Latencies())
        session = LiveSession(listener.hear_on, detector)
        run_stream(stream, session, shown, measured, stop)
    print(measured.summary(session.seconds), file=sys.stderr)
    if stream.is_torn:
        print("warning: the stream ended within a sample, whose first byte is left out", file=sys.stderr)
    if stop.asked:
        raise Ended(stop.number)
    return 0


def run_stream(
    stream: Stream, session: LiveSession, shown: Shown, measured: Measured, stop: StopRequest | None = None
) -> None:
    """Take a stream to its end, or until a stop is asked for; whatever was said until then becomes final.

    A stream that stalls is taken for a pause.
    """

    def advance(ended: bool = False) -> None:
        started = time.perf_counter()
        for event in session.advance(ended):
            now = max(stream.seconds, session.seconds)
            if event.kind == "final":
                for word in event.words:
                    measured.latencies.add(now - word.end)
            shown.show(event, now)
        measured.hearing_seconds += time.perf_counter() - started

    stalled = 0.0
    while not (stop and stop.asked) and (audio := stream.take(WAIT_SECONDS)) is not None:
        stalled = 0.0 if len(audio) else stalled + WAIT_SECONDS
        session.take(audio)
        advance(ended=stalled >= PAUSE_SECONDS)
    advance(ended=True)
