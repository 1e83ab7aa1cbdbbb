"""The stream from Parquet to padded batches: speed, resume, memory, padding; and log-mel features on the CPU.

    python -m benchmarks.input.streaming --output benchmarks/results/streaming/streaming.json
    python -m benchmarks.input.streaming --data 'recordings/*.parquet' --quick

Clips are made by :mod:`benchmarks.input.speech_like_clips`, 3.4 s of 16-bit FLAC each, unless ``--data`` brings others
(columns ``id``, ``audio``, ``text``). Speeds are given by the wall clock and by the seconds of processor time that all
threads took: the second says what a core does, also where others share the machine. Peaks of memory are of fresh
processes, most of them the libraries that are imported. What reading ahead leaves to the training is
measured by :mod:`benchmarks.input.beside_training`.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch

from benchmarks.input.beside_training import measure_beside
from benchmarks.input.speech_like_clips import RATE, SCHEMA, SECONDS, clip, encoded, write_alike, write_parquet
from benchmarks.machine import describe_machine
from benchmarks.written import add_output, write_result
from data.batches.features import LogMel, padded_frames, visible_frames
from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching, plan_batches
from data.batches.loader import TrainingBatches
from data.batches.mixture import LanePart, LaneRows
from data.config import DataConfig
from data.sources.source import Source
from modeling.byte_processor import build_byte_processor
from trainer.command_line import CommandLine, run_command
from trainer.engine.running_out import linux_bytes

BATCH, WINDOW = 16, 2048
LENGTHS = {"mean": 3.4, "median": 3.0, "spread": 0.5}  # of children's utterances: log-normal, spread of the logarithm


def open_stream(
    files: str,
    workers: int = 0,
    state: dict[str, Any] | None = None,
    *,
    endless: bool = False,
    in_processes: bool = False,
    **data: Any,
) -> TrainingBatches:
    """The batches of Parquet files.

    Args:
        files: a glob.
        state: of the data, from which to go on.
        endless: pass after pass, as one epoch.
        data: further settings of :class:`data.config.DataConfig`.
    """
    names = pq.read_schema(sorted(Path(files).parent.glob(Path(files).name))[0]).names
    columns = {"id": "id"} | ({"duration": "duration"} if "duration" in names else {})
    train: Any = {"files": files, "columns": columns}
    if endless:
        train = [train, train]  # a mixture
    config = DataConfig.model_validate({"train": train, "shuffle_window": WINDOW, "workers": workers} | data)
    labels = LabelEncoder(build_byte_processor(["en"]).tokenizer, True, "en")
    sources = [Source(one, "files") for one in config.training_sources]
    return TrainingBatches(Batching(sources, config, labels, BATCH), state=state, in_processes=in_processes)


def epoch(batches: TrainingBatches, least: int = 0) -> int:
    """Stream an epoch, or as many as hold ``least`` utterances or the batches with the last of them; their number."""
    count = 0
    while True:
        group = batches.next_group(1)
        count += sum(len(batch.ids) for batch in group.batches if batch is not None)
        if group.exhausted and count < least:
            batches.next_epoch()
        elif group.exhausted or 0 < least <= count:
            batches.close()
            return count


def timed(work: Callable[[], int]) -> dict[str, float]:
    """What ``work`` counts, a second of the clock and a second of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"utterances": count, "a_second": count / wall, "a_core_second": count / cpu}


def decode_all(files: str) -> int:
    """soundfile alone, in a loop."""
    count = 0
    for path in sorted(Path(files).parent.glob(Path(files).name)):
        for batch in pq.ParquetFile(path).iter_batches(100, columns=["audio"]):
            for value in batch.column(0).field("bytes").to_pylist():
                soundfile.read(io.BytesIO(value), dtype="float32")
                count += 1
    return count


def measure_resume(folder: Path, rows: int) -> dict[str, Any]:
    """Going on in the middle of many rows, to the first batch: footers, the window read and planned again."""
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(800), 8000, format="WAV", subtype="PCM_U8")
    path = folder / "tiny.parquet"
    with pq.ParquetWriter(path, schema := pa.schema(list(SCHEMA)[:3])) as writer:
        for begin in range(0, rows, 10_000):
            numbers = range(begin, min(begin + 10_000, rows))
            audio = [{"bytes": silence.getvalue(), "path": None}] * len(numbers)
            arrays = [[str(n) for n in numbers], audio, ["text"] * len(numbers)]
            columns = [pa.array(values, field.type) for values, field in zip(arrays, schema, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    begun = open_stream(str(path))
    lane = LaneRows(begun.batching.sources, WINDOW, (0, 0), LanePart(0, 1), ())
    windows = rows // 2 // WINDOW
    for window in range(windows):
        lane.read_window(window)
    position = {"window": windows, "given": 1, "sources": lane.positions, "used": [0]}
    state = {"lanes": 1, "epoch": 0, "turn": windows * (WINDOW // BATCH) + 1, "positions": {"0": position}}
    stored = json.dumps(state)
    started = time.perf_counter()
    resumed = open_stream(str(path), state=json.loads(stored))
    group = resumed.next_group(1)
    seconds = time.perf_counter() - started
    assert group.batches[0] is not None
    return {"rows": rows, "gone_on_after": windows * WINDOW, "seconds": seconds, "state_bytes": len(stored)}


def measure_memory(folder: Path, rows: tuple[int, ...]) -> list[dict[str, Any]]:
    """Peak resident memory of a fresh process that streams all of so many small clips."""
    clips = [encoded(clip(0.15, seed)) for seed in range(64)]
    found = []
    for count in rows:
        path = folder / f"small-{count}.parquet"
        write_parquet(path, clips, [0.15] * len(clips), count)
        command = [sys.executable, "-m", "benchmarks.input.streaming", "--peak-of", str(path)]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        found.append({"rows": count, "file_bytes": path.stat().st_size, "peak_bytes": peak})
        path.unlink()
    return found


def peak_of_stream(path: str) -> int:
    """Bytes of this process alone; getrusage would begin with what the process that started it had."""
    epoch(open_stream(path, shuffle_window=512))
    return linux_bytes("/proc/self/status", "VmHWM") or 0


def padding_waste(seconds: np.ndarray, batch_size: int, budget: float | None = None) -> float:
    """Share of encoder frames that are padding, the fixed margin not counted."""
    frames = np.ceil(seconds * 100)
    own = padded = 0.0
    for number, begin in enumerate(range(0, len(seconds), WINDOW)):
        window = slice(begin, begin + WINDOW)
        for batch in plan_batches(seconds[window].tolist(), batch_size, np.random.default_rng(number), budget):
            chosen = frames[window][batch]
            own, padded = own + float(chosen.sum()), padded + float(chosen.max()) * len(batch)
    return 1 - own / padded


def measure_waste(files: str | None) -> dict[str, Any]:
    drawn = np.random.default_rng(0).lognormal(np.log(LENGTHS["median"]), LENGTHS["spread"], 8 * WINDOW).clip(0.3, 30)
    lengths = {f"log-normal, mean {drawn.mean():.1f} s": drawn}
    if files:
        values = pa.concat_tables(
            [pq.read_table(p, columns=["audio"]) for p in Path(files).parent.glob(Path(files).name)]
        )
        audio = values.combine_chunks().column(0).to_pylist()
        lengths[files] = np.array([soundfile.info(io.BytesIO(value["bytes"])).duration for value in audio])
    return {
        name: {
            "utterances": len(seconds),
            "batch_size_8": padding_waste(seconds, 8),
            "batch_size_16": padding_waste(seconds, 16),
            "batch_seconds_60": padding_waste(seconds, 10_000, 60.0),
        }
        for name, seconds in lengths.items()
    }


def measure_log_mel(repeats: int) -> dict[str, float]:
    """Clips a second of a batch of 16: at clip length, and as transformers pads them, to 30 s."""
    from transformers import WhisperFeatureExtractor

    clips = [clip(SECONDS, seed) for seed in range(BATCH)]
    audio = torch.from_numpy(np.stack(clips))
    frames = padded_frames([visible_frames(audio.shape[1])])
    ours, theirs = LogMel(80), WhisperFeatureExtractor()
    sides: dict[str, Callable[[], Any]] = {
        "clip_length": lambda: ours(audio, frames),
        "padded_to_30_s": lambda: theirs(clips, sampling_rate=RATE, return_tensors="pt"),
    }
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(repeats + 1):  # in turn; the first warms up and is beaten
        for name, work in sides.items():
            started = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - started)
    rates = {name: BATCH / seconds for name, seconds in best.items()}
    return rates | {"ratio": rates["clip_length"] / rates["padded_to_30_s"]}


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    machine = result["machine"]
    rows = [f"{machine['device']}, {machine['cores']} cores, {machine['date']}", "", "| | | |", "|---|---|---|"]
    for name, figures in result["speed"].items():
        rate = f"{figures['a_second']:,.0f} utterances a second"
        rows.append(f"| {name} | {rate} | {figures['a_core_second']:,.0f} a second of a core |")
    for name, figures in result.get("beside", {}).items():  # files of before it was measured lack it
        rate = f"{figures['utterances_a_second']:,.0f} utterances a second"
        core = f"{figures['a_core_second']:,.0f} a second of a core"
        left = f"{figures['share_of_alone']:.0%} of its operations left to the main thread"
        rows.append(f"| beside training, 2 {name} | {rate}, {core} | {left} |")
    resume = result["resume"]
    rows.append(
        f"| going on after {resume['gone_on_after']:,} of {resume['rows']:,} rows | {resume['seconds']:.2f} s to the "
        f"first batch | state of {resume['state_bytes']} bytes |"
    )
    for one in result["memory"]:
        size = f"{one['file_bytes'] / 2**20:,.0f} MiB of Parquet"
        rows.append(f"| peak memory, {one['rows']:,} rows | {one['peak_bytes'] / 2**20:,.0f} MiB | {size} |")
    for name, waste in result["waste"].items():
        shares = ", ".join(
            f"{key.replace('_', ' ')}: {value:.1%}" for key, value in waste.items() if key != "utterances"
        )
        rows.append(f"| padding, {name} | {shares} | {waste['utterances']:,} utterances |")
    mel = result["log_mel"]
    rows.append(
        f"| log-mel, batch of {BATCH} of {SECONDS} s | {mel['clip_length']:,.0f} clips a second at clip length, "
        f"{mel['padded_to_30_s']:,.0f} padded to 30 s | {mel['ratio']:.1f} times |"
    )
    return "\n".join(rows) + "\n"


def measure(data: str | None, quick: bool, folder: Path) -> dict[str, Any]:
    files = data or str(folder / "clips.parquet")
    if data is None:
        write_alike(Path(files), quick, 100 if quick else 5000)
    decode_all(files)  # so that the file is in memory for all that follow
    speed = {"decoding alone (soundfile)": timed(lambda: decode_all(files))}
    for workers in (0, 2):
        batches = open_stream(files, workers)
        speed[f"stream, workers {workers}"] = timed(lambda batches=batches: epoch(batches))  # type: ignore[misc]
    return {
        "machine": describe_machine(),
        "data": data or f"{SECONDS} s of speech-like noise",
        "speed": speed,
        "beside": measure_beside(
            lambda in_processes: open_stream(files, 2, endless=True, in_processes=in_processes),
            seconds=0.3 if quick else 3.0,
            rounds=1 if quick else 5,
        ),
        "resume": measure_resume(folder, 20_000 if quick else 1_000_000),
        "memory": measure_memory(folder, (200, 400) if quick else (2_000, 20_000, 200_000)),
        "waste": measure_waste(data),
        "log_mel": measure_log_mel(2 if quick else 20),
    }


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--data", help="a glob of Parquet files to stream, instead of clips made here")
    parser.add_argument("--quick", action="store_true", help="small: to see that it runs")
    add_output(parser, with_table=True)
    parser.add_argument("--peak-of", help="stream this file and print the peak of memory, nothing else")
    options = parser.parse_args(arguments)
    if options.peak_of:
        print(peak_of_stream(options.peak_of))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="streaming-") as folder:
        result = measure(options.data, options.quick, Path(folder))
    print(table(result))
    write_result(options.output, result, table(result))


if __name__ == "__main__":
    run_command(main)
