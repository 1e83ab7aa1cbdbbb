"""Transcribing short recordings: a checkpoint at clip length beside transformers' own pipeline of 30 s windows.

    python -m benchmarks.decoding.transcription --checkpoint runs/children_speech/best --plain openai/whisper-base \
        --files 'recordings/children_speech/validation-*.parquet' --language en --output results.json

Both sides start from the same encoded files, decode greedily in batches of the same size, and are counted from the
first file to the last transcript; models are loaded and warmed up before.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.written import add_output, write_result
from data.audio.decoding import decode_audio
from data.config import SourceConfig
from data.sources.source import Source
from trainer.command_line import CommandLine, number, run_command
from trainer.evaluation.error_rates import error_rates
from trainer.evaluation.normalizers import build_normalizer
from trainer.transcription.recordings import Recording
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.transcripts import Transcript

Side = Callable[[list[Path]], list[str]]  # transcribes files


def write_files(source: Source, folder: Path, limit: int | None) -> dict[Path, str]:
    """The recordings of a source as files, and their texts."""
    files = {}
    columns = source.columns
    for place, row in enumerate(itertools.islice(source.rows(), limit)):
        path = folder / f"{place:06d}.flac"
        path.write_bytes(row[columns.audio]["bytes"])
        files[path] = str(row[columns.text])
    return files


def ours(checkpoint: str, language: str, batch_size: int) -> Side:
    """What ``launch/transcribe.py`` does."""
    transcriber = Transcriber(checkpoint, language, batch_size=batch_size, device="cpu")

    def transcribe(files: list[Path]) -> list[str]:
        results = transcriber.transcribe_all([Recording(path) for path in files])
        texts = [result.text for result in results if isinstance(result, Transcript)]
        assert len(texts) == len(files), "a recording could not be decoded"
        return texts

    return transcribe


def pipeline_of_windows(checkpoint: str, language: str, batch_size: int) -> Side:
    """What transformers offers: every recording padded to 30 s."""
    from transformers import pipeline

    windows = pipeline("automatic-speech-recognition", model=checkpoint, dtype=torch.float32, device="cpu")
    if windows.tokenizer.pad_token_id is None:
        windows.tokenizer.pad_token = windows.tokenizer.eos_token
    most = windows.model.config.max_target_positions - 4  # as many as the other side may
    options = {"language": language, "task": "transcribe", "num_beams": 1, "max_new_tokens": most}

    def transcribe(files: list[Path]) -> list[str]:
        audio: list[Any] = [{"raw": decode_audio(str(path)), "sampling_rate": 16_000} for path in files]
        return [row["text"] for row in windows(audio, batch_size=batch_size, generate_kwargs=dict(options))]

    return transcribe


def measure(transcribe: Side, files: dict[Path, str], language: str, repeats: int) -> dict[str, Any]:
    """Utterances a second of the fastest of ``repeats``, all times, and the error rates."""
    paths = list(files)
    transcribe(paths[:8])  # warm-up
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        texts = transcribe(paths)
        seconds.append(time.perf_counter() - start)
    names = [path.name for path in paths]
    references = dict(zip(names, files.values(), strict=True))
    hypotheses = dict(zip(names, texts, strict=True))
    rates = error_rates(references, hypotheses, build_normalizer("auto", language))
    return {
        "utterances_per_second": len(paths) / min(seconds),
        "seconds": seconds,
        "word_error_rate": rates.word_error_rate,
        "character_error_rate": rates.character_error_rate,
    }


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--checkpoint", required=True, help="trained at clip length")
    parser.add_argument("--plain", default="openai/whisper-base", help="whose pipeline it is compared with")
    parser.add_argument("--files", required=True, help="Parquet with audio and text, such as 'folder/*.parquet'")
    parser.add_argument("--language", required=True)
    parser.add_argument("--batch-size", type=number(int, 1, 4096), default=8)
    parser.add_argument("--limit", type=number(int, 8, 10**9), help="recordings; all by default")
    parser.add_argument("--repeats", type=number(int, 1, 100), default=1)
    add_output(parser)
    options = parser.parse_args(arguments)
    source = Source(SourceConfig(files=options.files), "files")
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(source, Path(folder), options.limit)
        sides = {
            "clip length": ours(options.checkpoint, options.language, options.batch_size),
            "30 s pipeline": pipeline_of_windows(options.plain, options.language, options.batch_size),
        }
        figures = {name: measure(side, files, options.language, options.repeats) for name, side in sides.items()}
    speeds = {name: side["utterances_per_second"] for name, side in figures.items()}
    ratio = speeds["clip length"] / speeds["30 s pipeline"]
    for name, side in figures.items():
        print(f"{name}: {speeds[name]:.2f} utterances a second, word error rate {side['word_error_rate']:.1%}")
    print(f"ratio: {ratio:.1f}, {len(files)} utterances in batches of {options.batch_size}")
    result = {"machine": describe_machine(), "utterances": len(files), "batch_size": options.batch_size}
    write_result(options.output, {**result, **figures, "ratio": ratio})


if __name__ == "__main__":
    run_command(main)
