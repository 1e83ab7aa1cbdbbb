"""The README's way from recordings to subtitles, run as it stands there on a small corpus.

In place of openai/whisper-small lies a small local checkpoint: a folder of that name goes before the hub.
"""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from data.digit_speech import TRAINING_VOICES, synthesize_digit_corpus
from tests import ROOT
from tests.support.plain_whisper import save_plain

WALK = re.search(r"\n## From recordings to subtitles\n(.*?)\n## ", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def write_recordings(folder: Path) -> None:
    """200 clips of 20 speakers, with the README's table, and a longer recording beside the folder."""
    recordings = folder / "recordings"
    recordings.mkdir()
    shard = synthesize_digit_corpus(folder, utterances=200, voices=TRAINING_VOICES, seed=0, shards=1, split="clips")[0]
    rows = pq.read_table(shard).to_pylist()
    shard.unlink()
    speakers = {voice: f"s{number}" for number, voice in enumerate(TRAINING_VOICES)}  # some in each split
    with (recordings / "clips.csv").open("w", encoding="utf-8", newline="") as table:
        lines = csv.writer(table)
        lines.writerow(["file", "text", "speaker"])
        for row in rows:
            (recordings / f"{row['id']}.flac").write_bytes(row["audio"]["bytes"])
            lines.writerow([f"{row['id']}.flac", row["text"], speakers[row["speaker"]]])
    clips = [soundfile.read(recordings / f"{row['id']}.flac")[0] for row in rows[:15]]
    soundfile.write(folder / "interview.mp3", np.concatenate(clips), 16_000)


def as_pattern(line: str) -> str:
    """A line of output in the README, where ... stands for what differs from run to run."""
    return ".*".join(map(re.escape, line.split("...")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_way_from_recordings_to_subtitles(tmp_path: Path) -> None:
    assert WALK
    write_recordings(tmp_path)
    save_plain(tmp_path / "openai" / "whisper-small", ["az"])
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment = os.environ | paths | {"HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    printed = ""
    for match in BLOCK.finditer(WALK[1]):
        kind, text = match.groups()
        if kind == "yaml":
            named = re.findall(r"`(\w+\.yaml)`", WALK[1][: match.start()])
            (tmp_path / named[-1]).write_text(text, encoding="utf-8")
        elif kind == "bash":
            ended = subprocess.run(
                ["bash", "-euc", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            printed = ended.stdout + ended.stderr
            assert ended.returncode == 0, printed
        else:
            assert kind == "output"
            for line in text.splitlines():
                assert re.search(as_pattern(line), printed), f"{line!r} is not in\n{printed}"
    assert {path.name for path in (tmp_path / "prepared").glob("*.parquet")} == {
        f"{split}-00000.parquet" for split in ("train", "validation", "test")
    }
    assert re.match(r"1\n00:00:00,\d{3} --> 00:00:", (tmp_path / "subtitles" / "interview.srt").read_text("utf-8"))
