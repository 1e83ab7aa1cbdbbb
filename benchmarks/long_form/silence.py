"""What is written where nobody speaks, with and without voice activity detection, and what that costs in speech.

    python -m benchmarks.long_form.silence --checkpoint base=openai/whisper-base --noise noise/* \
        --speech 'recordings/validation-*.parquet' --language en \
        --output benchmarks/results/long_form/silence.json

Sounds without speech: white and pink noise, music, many voices far away, and the recordings of a folder. Speech:
utterances joined with pauses of 0.5 to 8 s; and a first word after 34 s in which nobody speaks.
"""

import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.signal import butter, sosfilt

from benchmarks.machine import describe_machine
from benchmarks.written import add_output, table_head, write_result
from data.audio.decoding import decode_audio
from data.config import SourceConfig
from data.digit_speech import UNSEEN_VOICES, synthesize_clip
from data.sources.source import Source
from data.utterance import SAMPLING_RATE
from trainer.command_line import CommandLine, number, run_command
from trainer.evaluation.error_rates import error_rates
from trainer.evaluation.normalizers import build_normalizer
from trainer.transcription.recordings import Recording
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.transcripts import Segment, Transcript
from trainer.transcription.voice.detector import SpeechDetector

LEVELS = (-60.0, -45.0, -30.0)  # root mean square, decibels of full scale
FLOOR = -65.0  # of the noise under utterances
TOGETHER = 10  # utterances in a recording
PAUSES = (0.5, 8.0)  # seconds before each of them, log-uniform
BEFORE = 34.0  # seconds before the first word, and ...
DIGITS_BEGIN = 0.1  # ... after which synthesised digits begin
CHORDS = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16))  # semitones above the lowest tone
VOICES = 12
FAR = 1500.0  # hertz above which voices far away are not heard

Audio = np.ndarray


def levelled(audio: Audio, decibels: float) -> Audio:
    """At this root mean square, in decibels of full scale; limited to full scale."""
    scaled = audio * (10 ** (decibels / 20) / np.sqrt(np.square(audio).mean()))
    return np.clip(scaled, -1, 1).astype(np.float32)


def white(generator: np.random.Generator, seconds: float) -> Audio:
    return generator.normal(size=round(seconds * SAMPLING_RATE))


def pink(generator: np.random.Generator, seconds: float) -> Audio:
    """Noise of equal power in each octave above 20 Hz."""
    spectrum = np.fft.rfft(white(generator, seconds))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), seconds * 20)))


def tone(hertz: float, seconds: float, fall: float) -> Audio:
    """A tone with eight harmonics that falls to 1/e in ``fall`` seconds."""
    times = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    waves = [np.sin(2 * np.pi * hertz * n * times) / n for n in range(1, 9) if hertz * n < SAMPLING_RATE / 2]
    return np.sum(waves, axis=0) * np.exp(-times / fall) * np.minimum(1, times / 0.01)


def music(generator: np.random.Generator, seconds: float) -> Audio:
    """Chords with a melody above, a drum on each beat and a brush between, 120 beats a minute."""
    beat, audio = 0.5, np.zeros(round((seconds + 3) * SAMPLING_RATE))

    def add(sound: Audio, at: float, level: float) -> None:
        begin = round(at * SAMPLING_RATE)
        audio[begin : begin + len(sound)] += level * sound

    for number_, at in enumerate(np.arange(0, seconds, beat)):
        chord = CHORDS[number_ // 4 % len(CHORDS)]
        if number_ % 4 == 0:
            for step in chord:
                add(tone(130.8 * 2 ** (step / 12), 4 * beat, 1.5), at, 0.3)
        add(tone(523.3 * 2 ** (int(generator.choice(chord)) / 12), beat, 0.4), at, 0.4)
        add(tone(55, 0.3, 0.06), at, 1.0)
        add(generator.normal(size=1600) * np.exp(-np.arange(1600) / 300), at + beat / 2, 0.15)
    return audio[: round(seconds * SAMPLING_RATE)]


def babble(utterances: Sequence[Audio], generator: np.random.Generator, seconds: float) -> Audio:
    """Many voices at once, each speaking all the time, without what lies above 1.5 kHz."""
    length = round(seconds * SAMPLING_RATE)
    voices = []
    for _ in range(VOICES):
        said, total = list[Audio](), 0
        while total < length:
            said.append(levelled(utterances[int(generator.integers(len(utterances)))], -20))
            total += len(said[-1])
        voices.append(np.concatenate(said)[:length])
    return sosfilt(butter(4, FAR, fs=SAMPLING_RATE, output="sos"), np.sum(voices, axis=0))


def sounds(utterances: Sequence[Audio], noise: Sequence[Path], seconds: float) -> dict[str, list[Audio]]:
    """Recordings without speech, by kind and level; those that are made last so many seconds."""
    generator = np.random.default_rng(0)
    made = {kind.__name__: kind(generator, seconds) for kind in (white, pink, music)}
    made["many voices far away"] = babble(utterances, generator, seconds)
    found = {f"{kind} {level:g} dB": [levelled(audio, level)] for kind, audio in made.items() for level in LEVELS}
    if noise:
        found["recorded noises"] = [decode_audio(str(path)) for path in noise]
    return found


def transcribe(transcriber: Transcriber, recordings: Sequence[Audio]) -> list[Transcript]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number_:04d}.wav") for number_ in range(len(recordings))]
        for path, audio in zip(paths, recordings, strict=True):
            soundfile.write(path, audio, SAMPLING_RATE, subtype="FLOAT")
        results = list(transcriber.transcribe_all([Recording(path) for path in paths]))
    assert all(isinstance(result, Transcript) for result in results)
    return [result for result in results if isinstance(result, Transcript)]


def words(segments: Sequence[Segment]) -> int:
    return sum(len(segment.text.split()) for segment in segments)


def measure_sounds(transcriber: Transcriber, made: Mapping[str, Sequence[Audio]]) -> dict[str, Any]:
    """Words an hour, of all that is written and of what the rule of no speech leaves; for each kind of sound."""
    found = {}
    kinds = [kind for kind, recordings in made.items() for _ in recordings]
    transcripts = transcribe(transcriber, [audio for recordings in made.values() for audio in recordings])
    for kind in made:
        of_kind = [one for one, its in zip(transcripts, kinds, strict=True) if its == kind]
        hours = sum(one.duration for one in of_kind) / 3600
        kept, left_out = (sum(words(part) for part in parts) for parts in (
            [one.segments for one in of_kind], [one.left_out for one in of_kind]))  # fmt: skip
        found[kind] = {"hours": hours, "without_rule": (kept + left_out) / hours, "with_rule": kept / hours}
    return found


def joined(utterances: Sequence[Audio], generator: np.random.Generator) -> Audio:
    """Utterances one after the other on a floor of faint noise, with pauses between them and at both ends."""
    parts = []
    for audio in utterances:
        parts += [np.zeros(round(np.exp(generator.uniform(*np.log(PAUSES))) * SAMPLING_RATE), np.float32), audio]
    whole = np.concatenate([*parts, np.zeros(SAMPLING_RATE, np.float32)])
    return whole + levelled(generator.normal(size=len(whole)), FLOOR)


def measure_speech(transcriber: Transcriber, utterances: Sequence[tuple[Audio, str]], language: str) -> dict[str, Any]:
    """Error rates of recordings of several utterances each."""
    generator, started = np.random.default_rng(1), time.process_time()
    groups = [utterances[at : at + TOGETHER] for at in range(0, len(utterances), TOGETHER)]
    recordings = [joined([audio for audio, _ in group], generator) for group in groups]
    transcripts = transcribe(transcriber, recordings)
    said = {str(place): " ".join(text for _, text in group) for place, group in enumerate(groups)}
    heard = {str(place): one.text for place, one in enumerate(transcripts)}
    rates = error_rates(said, heard, build_normalizer("auto", language))
    return {
        "utterances": len(utterances),
        "recordings": len(groups),
        "audio_seconds": sum(len(audio) for audio in recordings) / SAMPLING_RATE,
        "word_error_rate": rates.word_error_rate,
        "character_error_rate": rates.character_error_rate,
        "processor_seconds": time.process_time() - started,
    }


def first_words(count: int) -> list[Audio]:
    """Spoken digits, synthesised, that begin after exactly 0.1 s."""
    with tempfile.TemporaryDirectory() as folder:
        voices = list(itertools.islice(itertools.cycle(UNSEEN_VOICES), count))
        return [
            decode_audio(str(synthesize_clip(Path(folder), voice=voice, seed=seed)[0]))
            for seed, voice in enumerate(voices)
        ]


def measure_start(transcriber: Transcriber, clips: Sequence[Audio]) -> dict[str, Any]:
    """Seconds from the first word, which comes after 34 s, to the first segment's start; by what is before it."""
    generator, found = np.random.default_rng(2), {}
    length = round(BEFORE * SAMPLING_RATE)
    for kind in ("silence", "noise -45 dB"):
        recordings, true = [], []
        for audio in clips:
            before = np.zeros(length, np.float32)
            if kind != "silence":
                before = levelled(generator.normal(size=length), -45)
                audio = audio + levelled(generator.normal(size=len(audio)), -45)
            recordings.append(np.concatenate([before, audio]).astype(np.float32))
            true.append(BEFORE + DIGITS_BEGIN)
        late = []
        for transcript, start in zip(transcribe(transcriber, recordings), true, strict=True):
            late.append(round(transcript.segments[0].start - start, 3) if transcript.segments else None)
        sizes = [abs(one) for one in late if one is not None]
        found[kind] = {
            "late": late,
            "median": float(np.median(sizes)) if sizes else None,
            "largest": max(sizes, default=None),
            "within_0.3_s": sum(one <= 0.3 for one in sizes),
        }
    return found


def table(result: Mapping[str, Any]) -> str:
    """Figures as Markdown."""
    lines = []
    for name, parts in result["checkpoints"].items():
        lines += [f"{name}: words an hour where nobody speaks", ""]
        lines.append(table_head(("sound", "neither", "no-speech rule", "silero", "both")))
        for kind in parts["none"]["sounds"]:
            cells = [parts[way]["sounds"][kind][rule] for way in ("none", "silero") for rule in (
                "without_rule", "with_rule")]  # fmt: skip
            lines.append(f"| {kind} | {' | '.join(f'{cell:.0f}' for cell in cells)} |")
        lines += ["", table_head(("speech", "none", "silero"))]
        rates = [parts[way]["speech"]["word_error_rate"] for way in ("none", "silero")]
        lines.append(f"| word error rate | {' | '.join(f'{rate:.2%}' for rate in rates)} |")
        for kind in parts["none"]["start"]:
            both = [parts[way]["start"][kind] for way in ("none", "silero")]
            cells = [f"{one['within_0.3_s']} of {len(one['late'])}" for one in both]
            lines.append(f"| first segment within 0.3 s, after {kind} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, action="append", metavar="NAME=FOLDER", help="may be given several times")
    add("--speech", required=True, help="Parquet with audio and text, such as 'folder/*.parquet'")
    add("--noise", type=Path, nargs="+", default=[], metavar="FILE", help="recordings without speech")
    add("--seconds", type=number(float, 10, 3600), default=60.0, help="of each sound that is made (60)")
    add("--language", required=True)
    add("--limit", type=number(int, 1, 10**9), metavar="N", help="utterances; all by default")
    add("--starts", type=number(int, 1, 10**9), default=8, metavar="N", help="recordings that begin after 34 s (8)")
    add("--batch-size", type=number(int, 1, 4096), default=8)
    add_output(parser, with_table=True)
    options = parser.parse_args(arguments)
    source = Source(SourceConfig(files=options.speech, max_utterances=options.limit), "speech")
    utterances = [(decode_audio(row["audio"]["bytes"]), str(row["text"])) for row in source.rows()]
    clips = [audio for audio, _ in utterances]
    made, detector = sounds(clips, options.noise, options.seconds), SpeechDetector()
    result: dict[str, Any] = {"machine": describe_machine(), "checkpoints": {}}
    result["machine"]["versions"] |= {"silero-vad": version("silero-vad")}
    for given in options.checkpoint:
        name, _, folder = given.rpartition("=")
        parts = result["checkpoints"].setdefault(name or folder, {})
        for way, voice in (("silero", detector), ("none", None)):
            transcriber = Transcriber(
                folder, options.language, batch_size=options.batch_size, timestamps="auto", voice=voice
            )
            parts[way] = {"sounds": measure_sounds(transcriber, made)}
            parts[way]["start"] = measure_start(transcriber, first_words(options.starts))
            parts[way]["speech"] = measure_speech(transcriber, utterances, options.language)
            write_result(options.output, result)
        write_result(options.output, result, table(result))
    print(table(result))


if __name__ == "__main__":
    run_command(main)
