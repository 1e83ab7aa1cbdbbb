"""What each kind of augmentation costs: processor milliseconds for an utterance, beside reading it as it is.

    python -m benchmarks.input.augmentation --output benchmarks/results/augmentation/augmentation.json
    python -m benchmarks.input.augmentation --data 'recordings/*.parquet' --noise recordings/noise --quick

Clips and noises are made by :mod:`benchmarks.input.speech_like_clips`, 3.4 s of 16-bit FLAC each, unless ``--data`` and
``--noise`` bring others. Time is the processor time of all threads, so that others on the machine count for little.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.input.speech_like_clips import SECONDS, write_alike
from benchmarks.input.streaming import BATCH, epoch, open_stream, timed
from benchmarks.machine import describe_machine
from benchmarks.written import add_output, write_result
from data.augmentation.changes.channel import ENCODINGS
from trainer.command_line import CommandLine, run_command

MASKED_FRAMES = 400  # of 10 ms: the batch that SpecAugment is timed on


def settings(noise: str) -> dict[str, dict[str, Any]]:
    """What is measured, each alone and on every utterance."""
    kinds: dict[str, dict[str, Any]] = {
        "nothing": {},
        "noise": {"noise": {"folder": noise}, "noise_share": 1.0},
        "babble, 3 to 8 voices": {"babble_share": 1.0},
        "competing speaker": {"competing_share": 1.0},
        "silence_is_noise": {"silence_is_noise": True},
        "speed, 0.9 to 1.1": {"speed": (0.9, 1.1)},
        "pitch, -3 to 3 semitones": {"pitch": (-3.0, 3.0)},
        "vocal_tract, 0.85 to 1.15": {"vocal_tract": (0.85, 1.15)},
        "reverberation, 0.2 to 0.8 s": {"reverberation_share": 1.0},
        "band": {"band_share": 1.0},
        "gain": {"gain": (-10.0, 10.0)},
    }
    return kinds | {f"codec {name}": {"codec_share": 1.0, "codecs": (name,)} for name in ENCODINGS}


def milliseconds(files: str, augmentation: dict[str, Any] | None, utterances: int) -> float:
    """Of processor time for an utterance; the first batch, which imports and opens what is needed, is not counted."""
    batches = open_stream(files, shuffle_window=256, augmentation=augmentation)
    batches.next_group(1)
    return 1000 / timed(lambda: epoch(batches, utterances))["a_core_second"]


def spec_augment_milliseconds(repeats: int) -> float:
    """For an utterance of a batch of log-mel features, on the CPU."""
    from data.augmentation.config import SpecAugmentConfig
    from trainer.step.spec_augment import spec_augment

    features, seeds = torch.randn(BATCH, 80, MASKED_FRAMES), torch.arange(BATCH)
    spec_augment(features, None, seeds, SpecAugmentConfig())
    started = time.process_time()
    for _ in range(repeats):
        spec_augment(features, None, seeds, SpecAugmentConfig())
    return 1000 * (time.process_time() - started) / repeats / BATCH


def measure(data: str | None, noise: str | None, quick: bool, folder: Path) -> dict[str, Any]:
    if data is None or noise is None:
        clips = write_alike(folder / "clips.parquet", quick, 64 if quick else 1000)
        (folder / "noise").mkdir()
        for number, content in enumerate(clips[:16]):
            (folder / "noise" / f"{number}.flac").write_bytes(content)
    files = data or str(folder / "clips.parquet")
    count = 16 if quick else 320
    plain = milliseconds(files, None, count)
    kinds = settings(noise or str(folder / "noise"))
    added = {name: milliseconds(files, values, count) - plain for name, values in kinds.items()}
    added["spec_augment, on the CPU"] = spec_augment_milliseconds(2 if quick else 50)
    described = data or f"{SECONDS} s of speech-like noise"
    return {"machine": describe_machine(), "data": described, "reading": plain, "added": added}


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    machine = result["machine"]
    head = f"{machine['device']}, {machine['date']}; {result['data']}; reading alone {result['reading']:.1f} ms"
    rows = [head, "", "| on every utterance | ms more |", "|---|---|"]
    return "\n".join(rows + [f"| {name} | {value:.1f} |" for name, value in result["added"].items()]) + "\n"


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--data", help="a glob of Parquet files to stream, instead of clips made here")
    parser.add_argument("--noise", help="a folder of noises, instead of clips made here")
    parser.add_argument("--quick", action="store_true", help="small: to see that it runs")
    add_output(parser, with_table=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="augmentation-") as folder:
        result = measure(options.data, options.noise, options.quick, Path(folder))
    print(table(result))
    write_result(options.output, result, table(result))


if __name__ == "__main__":
    run_command(main)
