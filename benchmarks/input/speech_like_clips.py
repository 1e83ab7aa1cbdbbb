"""Clips that cost to decode what speech costs, and Parquet files of them, for measuring streams without recordings.

Noise with speech's slope of spectrum, in syllables and pauses: FLAC packs it about as tightly as it packs speech.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE = 16_000
SECONDS = 3.4  # of children's utterances, on average
ROWS_PER_ROW_GROUP = 100  # as the hub writes audio
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema([("id", pa.string()), ("audio", AUDIO), ("text", pa.string()), ("duration", pa.float64())])


def clip(seconds: float, seed: int) -> np.ndarray:
    """float32 [samples] in [-1, 1]."""
    generator = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    spectrum = np.fft.rfft(generator.normal(size=samples))
    hertz = np.fft.rfftfreq(samples, 1 / RATE)
    spectrum /= 1 + (hertz / 500) ** 1.5  # about 9 dB an octave above 500 Hz
    voice = np.fft.irfft(spectrum, samples)
    syllables = generator.uniform(0, 1, max(2, round(4 * seconds)))  # four a second
    syllables[syllables < 0.25] = 0.003  # a quarter is pauses, with the room's noise
    loudness = np.interp(np.arange(samples), np.linspace(0, samples, len(syllables)), syllables)
    spoken = voice * loudness
    return (0.5 * spoken / max(np.abs(spoken).max(), 1e-9)).astype(np.float32)


def encoded(samples: np.ndarray) -> bytes:
    """As 16-bit FLAC."""
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def write_parquet(path: Path, clips: Sequence[bytes], seconds: Sequence[float], rows: int) -> None:
    """``rows`` rows of the clips in turn, a row group at a time; small ones do not stand in the footer as minima."""
    with pq.ParquetWriter(path, SCHEMA, use_dictionary=False, write_statistics=False) as writer:
        for begin in range(0, rows, ROWS_PER_ROW_GROUP):
            numbers = range(begin, min(begin + ROWS_PER_ROW_GROUP, rows))
            columns = [
                [f"clip{number}" for number in numbers],
                [{"bytes": clips[number % len(clips)], "path": None} for number in numbers],
                [f"the {number}th thing that was said of it all" for number in numbers],
                [seconds[number % len(clips)] for number in numbers],
            ]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))


def write_alike(path: Path, quick: bool, rows: int) -> list[bytes]:
    """A Parquet file of clips of :data:`SECONDS`; returns the clips, of which ``quick`` makes only a few."""
    clips = [encoded(clip(SECONDS, seed)) for seed in range(16 if quick else 128)]
    write_parquet(path, clips, [SECONDS] * len(clips), rows)
    return clips
