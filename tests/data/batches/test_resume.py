"""Two ranks of two workers each, killed and gone on with, twice: the same order, and every utterance once."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests import ROOT

from ...support.streaming_rank import saved_states

ROWS, WINDOW, SAVE_EVERY, RANKS = 500, 64, 4, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three files, fewer than lanes."""
    folder = tmp_path_factory.mktemp("rows")
    clips = []
    for number in range(ROWS):
        file = io.BytesIO()
        soundfile.write(file, np.full(1600 + 16 * (number * 17 % 501), 0.1), 16_000, format="FLAC")
        clips.append({"bytes": file.getvalue(), "path": None})
    table = pa.table(
        {"id": [f"row{i}" for i in range(ROWS)], "audio": clips, "text": [f"text {i}" for i in range(ROWS)]}
    )
    for name, begin, end in (("a", 0, 300), ("b", 300, 310), ("c", 310, ROWS)):
        pq.write_table(table.slice(begin, end - begin), folder / f"{name}.parquet", row_group_size=60)
    return str(folder / "*.parquet")


def start(files: str, folder: Path) -> list[subprocess.Popen[bytes]]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ranks = []
    for rank in range(RANKS):
        (folder / f"states{rank}").mkdir(parents=True, exist_ok=True)
        (folder / f"at{rank}").unlink(missing_ok=True)
    for rank in range(RANKS):
        arguments = [files, str(folder), *map(str, (rank, RANKS, WINDOW, SAVE_EVERY))]
        command = [sys.executable, "-m", "tests.support.streaming_rank", *arguments]
        ranks.append(subprocess.Popen(command, cwd=ROOT, env=environment))
    return ranks


def groups(folder: Path, rank: int) -> dict[int, list[list[str] | None]]:
    """The ids of each group; where it came twice, what came last, since what was not saved counts for nothing."""
    path = folder / f"ids{rank}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]  # the last may be cut
    return {row["group"]: row["ids"] for row in rows}


def kill_after(
    ranks: list[subprocess.Popen[bytes]], folder: Path, group: int, first: int, generator: random.Random
) -> None:
    """Kill both ranks, one after the other, once rank ``first`` has had so many groups."""
    deadline = time.monotonic() + 120
    while max(groups(folder, first), default=0) < group and time.monotonic() < deadline:
        time.sleep(0.005)
    for rank in (first, 1 - first):
        assert ranks[rank].poll() is None, "it ended before it could be killed"
        os.kill(ranks[rank].pid, signal.SIGKILL)
        time.sleep(generator.uniform(0, 0.05))
    assert [rank.wait() for rank in ranks] == [-signal.SIGKILL] * RANKS


@pytest.mark.slow
def test_killed_and_gone_on_with_twice_is_as_never_killed(files: str, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert [rank.wait(timeout=120) for rank in start(files, whole)] == [0, 0]
    expected = [groups(whole, rank) for rank in range(RANKS)]
    length = min(map(max, expected))
    generator = random.Random(time.time_ns())  # any point must do
    points = sorted(generator.sample(range(SAVE_EVERY + 1, length - 6), 2))
    print("killed after groups", points)
    for turn, point in enumerate(points):
        kill_after(start(files, killed), killed, point, turn, generator)
        number, state = saved_states(killed, RANKS)
        assert number > 0 and len(json.dumps(state)) < 2000
    assert [rank.wait(timeout=120) for rank in start(files, killed)] == [0, 0]
    for rank in range(RANKS):
        assert groups(killed, rank) == expected[rank]
    seen = Counter(
        name
        for rank in range(RANKS)
        for batches in groups(killed, rank).values()
        for ids in batches
        for name in ids or ()
    )
    assert seen == Counter(f"row{i}" for i in range(ROWS))
