"""How often inspection tells two recordings of the same speech from two of different speech.

    python -m benchmarks.input.other_takes --data 'recordings/children_speech/train-*.parquet' \
        --noise recordings/noise --output benchmarks/results/second_recording/other_takes.json

Each clip is heard by two microphones, each in a synthetic room of 0.2 to 0.8 s, in noise of its own, at a
level of its own. Their clocks differ by up to 200 ppm, and the second begins earlier or later. The first is compared
with the second, and with another clip as the second microphone hears it.
"""

import glob
import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.written import add_output, table_head, write_result
from data.audio.decoding import decode_audio
from data.audio.likeness import SHORTEST_SECONDS, likeness_of
from data.augmentation.changes.channel import band_limited
from data.augmentation.changes.reverberation import reverberated, synthetic_response
from data.augmentation.fields import NoiseSourceConfig
from data.augmentation.noise_clips import NoiseClips
from data.augmentation.noise_mixing import mix
from data.errors import DataError
from data.inspection.second import LONGEST_DELAY
from data.utterance import SAMPLING_RATE
from trainer.command_line import CommandLine, number, run_command

ROOM_SECONDS = 0.2, 0.8
CLOCKS = 100e-6  # by which either clock is off, at most
QUIETEST = -20.0  # decibels of full scale
TELEPHONE = 300.0, 3400.0  # hertz
RIGHT = 0.01  # seconds that a delay may be off


class Setting(NamedTuple):
    """What two microphones hear.

    Attributes:
        ratio: decibels of speech over noise in both; None for no noise.
        apart: seconds by which the second begins earlier or later, at most.
        telephone: whether the second is a telephone's.
    """

    ratio: float | None
    apart: float = 0.3
    telephone: bool = False


SETTINGS = {
    "no noise": Setting(None),
    "10 dB": Setting(10),
    "0 dB": Setting(0),
    "0 dB, the second a telephone": Setting(0, telephone=True),
    "0 dB, up to 1 s apart": Setting(0, apart=1.0),
    "-5 dB": Setting(-5),
}


class Microphone(NamedTuple):
    """Where a microphone stands.

    Attributes:
        number: 0 or 1; the two draw from other recordings of noise, of which each has every second one.
        later: samples by which it began later, below 0 earlier.
    """

    number: int
    later: int = 0


def noise_of(number: int, samples: int, noises: NoiseClips, generator: np.random.Generator) -> np.ndarray:
    """So many samples of a recording of noise that only this microphone hears."""
    while True:
        index = 2 * int(generator.integers(len(noises) // 2)) + number
        if (part := noises.cut(index, samples, generator.random(), whole=True)) is not None:
            return part


def heard(
    speech: np.ndarray, setting: Setting, microphone: Microphone, noises: NoiseClips, generator: np.random.Generator
) -> np.ndarray:
    """The speech as a microphone hears it: float32 [samples]."""
    number, later = microphone
    speech = reverberated(speech, synthetic_response(generator.uniform(*ROOM_SECONDS), generator))
    ticks = np.arange(len(speech)) * (1 + generator.uniform(-CLOCKS, CLOCKS))
    speech = np.interp(ticks, np.arange(len(speech)), speech).astype(np.float32)
    speech = speech[later:] if later >= 0 else np.pad(speech, (-later, 0))
    if setting.ratio is not None:
        speech = mix(speech, noise_of(number, len(speech), noises, generator), setting.ratio).audio
    level = 10.0 ** (generator.uniform(QUIETEST, 0.0) / 20.0)
    return (speech * np.float32(level / np.abs(speech).max())).astype(np.float32)


def compared(clips: list[np.ndarray], setting: Setting, noises: NoiseClips, seed: int) -> dict[str, Any]:
    """Shares of the clips, and milliseconds of a comparison."""
    wrong = told = right = 0
    seconds = 0.0
    for index, (clip, other) in enumerate(zip(clips, itertools.islice(itertools.cycle(clips), 1, None), strict=False)):
        generator = np.random.default_rng((seed, index))
        later = round(generator.uniform(-setting.apart, setting.apart) * SAMPLING_RATE)
        first = heard(clip, setting, Microphone(0), noises, generator)
        second, stranger = (heard(one, setting, Microphone(1, later), noises, generator) for one in (clip, other))
        if setting.telephone:
            second, stranger = (band_limited(one, *TELEPHONE) for one in (second, stranger))
        begun = time.perf_counter()
        found = likeness_of(first, second, LONGEST_DELAY)
        seconds += time.perf_counter() - begun
        wrong += not found.is_same
        right += abs(found.delay + later / SAMPLING_RATE) <= RIGHT
        told += not likeness_of(first, stranger, LONGEST_DELAY).is_same
    count = len(clips)
    return {
        "same_told_as_other": wrong / count,
        "other_told": told / count,
        "delay_right": right / count,
        "milliseconds": 1000 * seconds / count,
    }


def read_clips(pattern: str, every: int) -> Iterator[np.ndarray]:
    """One clip in ``every``, of those that are long enough to be compared whatever is cut off: float32 [samples]."""
    import pyarrow.parquet

    for file in sorted(glob.glob(pattern)):
        for row in pyarrow.parquet.read_table(file, columns=["audio"]).to_pylist()[::every]:
            samples = decode_audio(row["audio"])
            if len(samples) >= (SHORTEST_SECONDS + 1.0) * SAMPLING_RATE:
                yield samples


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--data", required=True, help="Parquet files with a column audio; a glob")
    parser.add_argument("--noise", required=True, metavar="FOLDER", help="recordings of noise")
    parser.add_argument("--every", type=number(int, 1, 10_000), default=2, help="take one clip in N (2)")
    parser.add_argument("--seed", type=number(int, 0, 2**31), default=0)
    add_output(parser)
    options = parser.parse_args(arguments)
    noises = NoiseClips(NoiseSourceConfig(folder=options.noise), "--noise")
    clips = list(read_clips(options.data, options.every))
    if not clips:
        raise DataError(f"--data is {options.data!r}, where no clip of two seconds or more is; name Parquet files")
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.input.other_takes", *arguments]),
        "clips": len(clips),
        "seconds": sum(map(len, clips)) / SAMPLING_RATE / len(clips),
        "settings": {},
    }
    print(table_head(("setting", "same, told as other", "other, told", "delay right to 10 ms", "ms")), flush=True)
    for name, setting in SETTINGS.items():
        found = result["settings"][name] = compared(clips, setting, noises, options.seed)
        shares = " | ".join(f"{found[key]:.1%}" for key in ("same_told_as_other", "other_told", "delay_right"))
        print(f"| {name} | {shares} | {found['milliseconds']:.0f} |", flush=True)
        write_result(options.output, result)


if __name__ == "__main__":
    run_command(main)
