"""Preparing beside the usual way, in one run: clips a second on the same files with as many workers, and peak memory.

    python -m benchmarks.input.preparation --output results.json

Both sides list clips with their durations, leave out what is too short or too long, split and write manifests; the
audio stays where it is. The peer decodes every clip with librosa (``benchmarks/peers/decoded_manifest.py``); we read
headers (``--check headers``) or, beside it, decode every clip too (``--check decode``). The files lie in the page cache
for all. Starting the workers counts. The peer gets fewer rows, as it is slower; sides take turns, and medians are told.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import soundfile

from benchmarks.input.speech_like_clips import SECONDS, clip, encoded
from benchmarks.machine import describe_machine
from benchmarks.peers import decoded_manifest
from benchmarks.written import add_output, table_head, write_result
from trainer.command_line import CommandLine, number, run_command

PLANNED_CLIPS = 351_000


def make_corpus(folder: Path, files: int, data: str | None) -> list[Path]:
    """Clips as files: synthetic ones, or those of Parquet files."""
    folder.mkdir(parents=True)
    if data:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(data, columns=["audio"]).column("audio").to_pylist()
        contents = [row["bytes"] for row in rows[:files]]
    else:
        contents = [encoded(clip(SECONDS, seed)) for seed in range(files)]
    paths = [folder / f"clip{i:05d}.flac" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def write_listing(path: Path, clips: list[Path], rows: int) -> Path:
    """JSON lines of so many rows, each with an id of its own; files come again where there are fewer."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(rows):
            row = {"audio_filepath": str(clips[i % len(clips)]), "text": "one two three four"}
            file.write(json.dumps(row | {"id": f"utterance-{i:07d}", "speaker": f"speaker{i % 977}"}) + "\n")
    return path


def ours(listing: Path, workers: int, output: Path, check: str) -> int:
    from data.corpora.settings import CorpusSettings
    from data.preparation.prepare import prepare
    from data.preparation.settings import ClipSettings, PrepareSettings

    settings = PrepareSettings(
        corpus=CorpusSettings(input=str(listing)),
        clips=ClipSettings.model_validate({"check": check}),
        output=str(output),
        embed_audio=False,
        shares={"train": 0.9, "validation": 0.1},
    )
    return prepare(settings, workers=workers).clips


def clips_a_second(side: str, listing: Path, workers: int) -> float:
    """How fast a side prepares a listing: ours with ``headers`` or ``decode`` as its check, or the ``peer``."""
    output = listing.with_name("output")
    started = time.perf_counter()
    kept = (
        decoded_manifest.prepare(listing, output, workers) if side == "peer" else ours(listing, workers, output, side)
    )
    seconds = time.perf_counter() - started
    shutil.rmtree(output)
    return kept / seconds


def header_rates(clips: list[Path]) -> dict[str, float]:
    """Headers a second on one core, read by us and by libsndfile, and clips that it decodes: where the limit lies."""
    from data.audio.headers import read_header

    rates = {}
    for name, read, times in (
        ("headers", lambda path: read_header(str(path)), 20),
        ("soundfile_headers", soundfile.info, 4),
        ("soundfile_decoding", soundfile.read, 1),
    ):
        started = time.perf_counter()
        for _ in range(times):
            for path in clips:
                read(path)
        rates[name] = len(clips) * times / (time.perf_counter() - started)
    return rates


def peak_bytes(listing: Path, folder: Path, embed: bool) -> int:
    """Peak resident memory of a process that prepares a listing alone."""
    output = folder / "output"
    arguments = ["launch/prepare.py", str(listing), "--output", str(output), "--workers", "0", "--split", "train=1"]
    arguments += [] if embed else ["--paths-only", "--check", "headers"]
    script = (
        "import sys\nsys.argv = sys.argv[1:]\n"
        "sys.path.insert(0, '.')\n"
        "from launch.prepare import main\nfrom trainer.engine.running_out import linux_bytes\n"
        "assert main(sys.argv[1:]) == 0\nprint(linux_bytes('/proc/self/status', 'VmHWM'))"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3600)
    shutil.rmtree(output)
    return int(done.stdout.split()[-1])


def measure_memory(clips: list[Path], folder: Path, rows: int, embed: bool) -> list[dict[str, Any]]:
    """Peaks at 1, 10 and 100 times so many rows."""
    cells = []
    for times in (1, 10, 100):
        listing = write_listing(folder / "memory.jsonl", clips, rows * times)
        cells.append({"rows": rows * times, "peak_bytes": peak_bytes(listing, folder, embed)})
    return cells


def measure(folder: Path, options: Any) -> dict[str, Any]:
    clips = make_corpus(folder / "clips", options.files, options.data)
    listings = {
        side: write_listing(folder / f"{side}.jsonl", clips, rows)
        for side, rows in (("headers", options.rows), ("decode", options.decoded_rows), ("peer", options.decoded_rows))
    }
    result: dict[str, Any] = {"files": len(clips), "single_core": header_rates(clips), "workers": {}}
    for workers in options.workers:
        rates: dict[str, list[float]] = {"headers": [], "decode": [], "peer": []}
        for _ in range(options.repeats):
            for side, listing in listings.items():
                rates[side].append(clips_a_second(side, listing, workers))
        cell: dict[str, Any] = {name: median(values) for name, values in rates.items()}
        ratios = [ours / peers for ours, peers in zip(rates["headers"], rates["peer"], strict=True)]
        cell["ratio"], cell["ratio_range"] = median(ratios), [min(ratios), max(ratios)]
        cell["decode_ratio"] = median(h / p for h, p in zip(rates["decode"], rates["peer"], strict=True))
        cell["planned_seconds"] = {name: PLANNED_CLIPS / cell[name] for name in rates}
        result["workers"][str(workers)] = cell
        print(f"{workers} workers: {cell['ratio']:.1f} times", flush=True)
    small = [folder / "clips" / f"small{i}.flac" for i in range(200)]
    for seed, path in enumerate(small):
        path.write_bytes(encoded(clip(0.2, seed)))
    result["memory"] = {
        "headers read, paths written": measure_memory(clips, folder, options.memory_rows, embed=False),
        "decoded and embedded, clips of 0.2 s": measure_memory(small, folder, options.memory_rows // 10, embed=True),
    }
    return result


COLUMNS = ("workers", "headers, clips/s", "decoding, clips/s", "peer, clips/s", "ratio", f"{PLANNED_CLIPS:,} clips")


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [table_head(COLUMNS)]
    for workers, cell in result["workers"].items():
        low, high = cell["ratio_range"]
        planned = cell["planned_seconds"]
        lines.append(
            f"| {workers} | {cell['headers']:,.0f} | {cell['decode']:,.0f} | {cell['peer']:,.0f} | {cell['ratio']:.1f} "
            f"({low:.1f} to {high:.1f}) | {planned['headers']:.0f} s; decoding {planned['decode'] / 60:.1f} min; "
            f"peer {planned['peer'] / 60:.1f} min |"
        )
    single = result["single_core"]
    lines += [
        "",
        f"One core reads {single['headers']:,.0f} headers a second; libsndfile opens "
        f"{single['soundfile_headers']:,.0f} files and decodes {single['soundfile_decoding']:,.0f}.",
        "",
        table_head(("peak memory of a process that prepares alone", "rows", "MiB")),
    ]
    for name, cells in result["memory"].items():
        lines += [f"| {name} | {cell['rows']:,} | {cell['peak_bytes'] / 2**20:.0f} |" for cell in cells]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--data", help="Parquet files whose clips are taken; else synthetic ones of 3.4 s")
    parser.add_argument("--files", type=number(int, 1, 10**6), default=1000, help="clips on disk")
    parser.add_argument("--rows", type=number(int, 1, 10**8), default=200_000, help="listed for us, headers only")
    parser.add_argument("--decoded-rows", type=number(int, 1, 10**8), default=10_000, help="listed for decoding")
    parser.add_argument("--memory-rows", type=number(int, 10, 10**7), default=3000, help="of the smallest listing")
    parser.add_argument("--workers", type=number(int, 0, 1024), nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=number(int, 1, 100), default=3)
    add_output(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = {"machine": describe_machine()} | measure(Path(folder), options)
    print(table(result))
    write_result(options.output, result)


if __name__ == "__main__":
    run_command(main)
