"""How late words of a stream are, and what hearing it live costs in errors, beside the whole recording at once.

    python -m benchmarks.long_form.live --checkpoint openai/whisper-base --speech 'recordings/validation-*.parquet' \
        --language en --minutes 4 --output benchmarks/results/long_form/live.json

The stream is utterances joined with short pauses. It comes on a simulated clock, on which each hearing takes as long as
it is measured to take: seconds of the processor, which other work on the machine does not lengthen, or of the wall.
"""

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.written import add_output, write_result
from data.audio.cutting import speech_region
from data.audio.decoding import decode_audio
from data.config import SourceConfig
from data.sources.source import Source
from data.utterance import SAMPLING_RATE
from trainer.command_line import CommandLine, number, run_command
from trainer.evaluation.error_rates import align, error_rates, one_space
from trainer.evaluation.normalizers import Normalizer, build_normalizer
from trainer.transcription.live.command import Measured, run_stream
from trainer.transcription.live.listening import Guess, LiveListener
from trainer.transcription.live.output import Latencies
from trainer.transcription.live.session import Event, LiveSession
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.voice.detector import SpeechDetector

from .silence import FLOOR, levelled, transcribe

PAUSES = (0.3, 3.0)  # seconds between utterances, log-uniform
CLOCKS = {"processor": time.process_time, "wall": time.perf_counter}


def joined(utterances: Sequence[tuple[np.ndarray, str]], normalize: Normalizer) -> tuple[np.ndarray, list[Any]]:
    """A stream of utterances, float32 [N], and each of its words with its end in seconds, shared out by letters."""
    generator, parts, words, at = np.random.default_rng(0), list[np.ndarray](), list[Any](), 0
    for audio, text in utterances:
        pause = np.zeros(round(np.exp(generator.uniform(*np.log(PAUSES))) * SAMPLING_RATE), np.float32)
        parts += [pause, audio]
        begin, end = (at + len(pause) + place for place in speech_region(audio))
        said = [part for word in text.split() for part in normalize(word).split()]  # alone, as they are shown
        shares = np.cumsum([len(word) for word in said]) / max(1, sum(map(len, said)))
        words += [
            (word, (begin + share * (end - begin)) / SAMPLING_RATE) for word, share in zip(said, shares, strict=True)
        ]
        at += len(pause) + len(audio)
    whole = np.concatenate([*parts, np.zeros(2 * SAMPLING_RATE, np.float32)])
    return whole + levelled(generator.normal(size=len(whole)), FLOOR), words


class Kept:
    """Final words, with when they were shown."""

    def __init__(self) -> None:
        self.words: list[tuple[str, float]] = []

    def show(self, event: Event, now: float) -> None:
        if event.kind == "final":
            self.words += [(word.text, now) for word in event.words]


def lateness(words: Sequence[Any], shown: Sequence[tuple[str, float]], normalize: Normalizer) -> list[float]:
    """Seconds from the end of each word that is right to when it was shown."""
    heard = [(part, now) for text, now in shown for part in normalize(text).split()]
    (alignment,) = align([(one_space(" ".join(word for word, _ in words)), " ".join(word for word, _ in heard))])
    said, found, late = 0, 0, []
    for kind, _, _ in alignment:
        if kind == "equal":
            late.append(heard[found][1] - words[said][1])
        said += kind != "insert"
        found += kind != "delete"
    return late


def live(options: Any, audio: np.ndarray, clock: Callable[[], float]) -> tuple[Kept, Measured, dict[str, Any]]:
    """Hear a stream live; also how often, and how much of the processor it took."""
    from .simulated import SimulatedStream

    stream, kept, measured = SimulatedStream([audio]), Kept(), Measured(Latencies())
    listener = LiveListener(options.checkpoint, options.language)
    costs: list[float] = []

    def hear(piece: np.ndarray, final: Sequence[int]) -> Guess:
        started = clock()
        guess = listener.hear_on(piece, final)
        costs.append(clock() - started)
        stream.now += costs[-1]
        return guess

    started = time.process_time()
    run_stream(stream, LiveSession(hear, SpeechDetector()), kept, measured)
    took = time.process_time() - started
    return kept, measured, {"hearings": len(costs), "mean_hearing_seconds": float(np.mean(costs)), "processor": took}


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True)
    add("--speech", required=True, help="Parquet with audio and text, such as 'folder/*.parquet'")
    add("--language", required=True)
    add("--minutes", type=number(float, 0.1, 600), default=4.0, help="of the stream, about (4)")
    add("--clock", choices=tuple(CLOCKS), default="processor", help="what a hearing's time is measured by (processor)")
    add_output(parser)
    options = parser.parse_args(arguments)
    normalize = build_normalizer("auto", options.language)
    utterances, seconds = [], 0.0
    for row in Source(SourceConfig(files=options.speech), "speech").rows():
        if seconds >= 60 * options.minutes:
            break
        utterances.append((decode_audio(row["audio"]["bytes"]), str(row["text"])))
        seconds += len(utterances[-1][0]) / SAMPLING_RATE + 1.2
    audio, words = joined(utterances, normalize)
    kept, measured, figures = live(options, audio, CLOCKS[options.clock])
    late = lateness(words, kept.words, normalize)
    (whole,) = transcribe(Transcriber(options.checkpoint, options.language, voice=SpeechDetector()), [audio])
    said = {"stream": " ".join(text for _, text in utterances)}
    rates = {
        "live": error_rates(said, {"stream": " ".join(text for text, _ in kept.words)}, normalize).word_error_rate,
        "whole": error_rates(said, {"stream": whole.text}, normalize).word_error_rate,
    }
    length = len(audio) / SAMPLING_RATE
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "checkpoint": options.checkpoint,
        "clock": options.clock,
        "audio_seconds": length,
        "words": len(words),
        "late_mean": float(np.mean(late)),
        "late_95": float(np.percentile(late, 95)),
        "late_estimated_mean": measured.latencies.mean,
        "late_estimated_95": measured.latencies.percentile(0.95),
        "hearings": figures["hearings"],
        "mean_hearing_seconds": figures["mean_hearing_seconds"],
        "processor_seconds_per_audio_second": figures["processor"] / length,
        "word_error_rate": rates,
    }
    result["machine"]["versions"] |= {"silero-vad": version("silero-vad")}
    for name, value in result.items():
        print(f"{name}: {value}")
    write_result(options.output, result)


if __name__ == "__main__":
    run_command(main)
