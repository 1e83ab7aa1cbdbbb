"""One process that reads sources: `python -m tests.support.hub_reader SETTINGS...`; it prints a line on each, as JSON.

A process of its own, since the libraries look at the hub's address and at HF_HUB_OFFLINE as they are imported.
"""

import json
from typing import Any

from data.config import SourceConfig
from data.sources.source import Source
from trainer.command_line import run_command

SEED = 3  # which puts three shards in another order


def main(arguments: list[str]) -> int:
    for settings in map(json.loads, arguments):
        lanes = settings.pop("lanes", 1)
        source = Source(SourceConfig(**settings), "data.train")
        source.check_columns()
        read = [[row["text"] for row in source.read(source.lane(lane, lanes, SEED))] for lane in range(lanes)]
        gone_on = [
            [begun_again(source, lane, lanes, stop) for stop in range(1, len(rows))] for lane, rows in enumerate(read)
        ]
        print(json.dumps({"rows": [row["text"] for row in source.rows()], "lanes": read, "gone_on": gone_on}))
    return 0


def begun_again(source: Source, lane: int, lanes: int, stop: int) -> list[str]:
    """The texts of a lane that is left after ``stop`` rows and gone on with where its state says."""
    stream = source.lane(lane, lanes, SEED)
    rows: Any = iter(source.read(stream))
    texts = [next(rows)["text"] for _ in range(stop)]
    state = json.loads(json.dumps(stream.state_dict()))
    again = source.lane(lane, lanes, SEED)
    again.load_state_dict(state)
    return texts + [row["text"] for row in source.read(again)]


if __name__ == "__main__":
    run_command(main)
