"""The recordings that the old runs were trained on, made again wherever they are resumed: noise, equal to the bit."""

import json
from pathlib import Path

import numpy as np
import soundfile

TEXTS = ("abba", "cede", "fig", "hijk", "lam", "nopq", "rust", "vow")


def write_recordings(folder: Path) -> None:
    """Write eight short recordings and metadata.jsonl, as ``data.train.folder`` reads them."""
    folder.mkdir(parents=True)
    rows = []
    for number, text in enumerate(TEXTS):
        # RandomState is the one of numpy's generators whose numbers no later release may change.
        noise = np.random.RandomState(number).randint(-4000 * (number + 1), 4000 * (number + 1), 4800 + 400 * number)
        soundfile.write(folder / f"{number}.wav", noise.astype(np.int16), 16_000)
        rows.append({"file_name": f"{number}.wav", "text": text, "name": f"row{number}"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
