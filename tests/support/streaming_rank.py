"""One rank that only streams: `python -m tests.support.streaming_rank FILES FOLDER RANK RANKS WINDOW SAVE_EVERY`.

It goes on from the last state that all ranks have written, as from a trainer's checkpoint, writes each group's ids
down, and ends with its epoch.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching
from data.batches.loader import TrainingBatches, join_states
from data.config import DataConfig
from data.sources.source import Source
from modeling.byte_processor import build_byte_processor

MICROBATCHES = 2


def saved_states(folder: Path, ranks: int) -> tuple[int, dict[str, Any] | None]:
    """The last group after which every rank saved its state, and the states joined."""
    numbers = [{int(path.stem) for path in (folder / f"states{rank}").glob("*.json")} for rank in range(ranks)]
    common = set.intersection(*numbers)
    if not common:
        return 0, None
    last = max(common)
    return last, join_states(
        [json.loads((folder / f"states{rank}" / f"{last}.json").read_text()) for rank in range(ranks)]
    )


def keep_step(folder: Path, rank: int, ranks: int, number: int) -> None:
    """Wait until no rank is more than two groups behind, as a trainer's all-reduce would."""
    place = folder / f"at{rank}"
    place.with_suffix(".part").write_text(str(number))
    os.replace(place.with_suffix(".part"), place)
    for other in range(ranks):
        place = folder / f"at{other}"
        while not place.exists() or int(place.read_text()) < number - 2:
            time.sleep(0.002)


def stream(files: str, folder: Path, rank: int, ranks: int, window: int, save_every: int) -> None:
    config = DataConfig(train={"files": files, "columns": {"id": "id"}}, shuffle_window=window, workers=2)
    labels = LabelEncoder(build_byte_processor(["az"]).tokenizer, True, "az")
    number, state = saved_states(folder, ranks)
    sources = [Source(config.training_sources[0], "data.train")]
    batches = TrainingBatches(Batching(sources, config, labels, 3), rank, ranks, state)
    with (folder / f"ids{rank}.jsonl").open("a") as file:
        while True:
            keep_step(folder, rank, ranks, number)
            group = batches.next_group(MICROBATCHES)
            number += 1
            ids = [batch.ids if batch is not None else None for batch in group.batches]
            print(json.dumps({"group": number, "ids": ids}), file=file, flush=True)
            if number % save_every == 0:
                path = folder / f"states{rank}" / f"{number}.json"
                partial = path.with_suffix(".part")
                partial.write_text(json.dumps(group.state))
                os.replace(partial, path)
            if group.exhausted:
                break
            time.sleep(0.01)
    keep_step(folder, rank, ranks, number + 2)  # nobody waits for a rank that has ended
    batches.close()


if __name__ == "__main__":
    stream(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
