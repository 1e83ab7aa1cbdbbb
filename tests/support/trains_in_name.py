"""Stands in for launch/train.py and launch/eval.py: writes what a run of a config would, with a made-up error rate.

Started in place of Python: ``python trains_in_name.py .../launch/train.py --config FILE --resume``. The rate is lowest
at BEST and lies above that by the distance in powers of ten; it falls from evaluation to evaluation. A folder ``hold``
beside the config lets a training wait after its first evaluation, a file ``fails`` lets it fail.
"""

import json
import math
import signal
import sys
import time
from pathlib import Path

import yaml

BEST = 3e-5
WORDS = 1000


def train(config: Path) -> int:
    values = yaml.safe_load(config.read_text())
    folder, steps, every = Path(values["output_dir"]), values["training"]["steps"], values["evaluation"]["every_steps"]
    if (config.parent / "fails").exists():
        print("error: the disk is full")
        return 1
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    for name in ("checkpoints/step_00000001", "best", "final"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "final").rmdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    metrics = folder / "metrics.jsonl"
    before = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    rate = values["optimizer"]["learning_rate"]
    for number in range(before + 1, -(-steps // every) + 1):
        step = min(number * every, steps)
        wrong = 0.1 + 0.2 * abs(math.log10(rate / BEST)) + 0.2 * (1 - step / steps)
        counts = {"substitutions": round(WORDS * wrong), "deletions": 0, "insertions": 0}
        rates = {"word_error_rate": round(WORDS * wrong) / WORDS, "character_error_rate": wrong / 2}
        with metrics.open("a") as file:
            file.write(json.dumps({"step": step, "kind": "validation", **rates, **counts}) + "\n")
        limit = time.monotonic() + (60 if (config.parent / "hold").exists() else 0.3)
        while time.monotonic() < limit and not stopped and (step < steps):
            time.sleep(0.02)
        if stopped:
            return 0
    figures = {"seconds": 1.0, "utterances_per_second": 1.0, "parameters": 1, "trainable_parameters": 1}
    (folder / "summary.json").write_text(json.dumps({"steps": steps, **figures}))
    (folder / "final").mkdir()
    return 0


def evaluate(checkpoint: str, config: Path, split: str, output: Path) -> int:
    from tests.support.comparison_runs import misheard, sentences, write_evaluation

    rate = yaml.safe_load(config.read_text())["optimizer"]["learning_rate"]
    said = sentences(80)
    heard = misheard(said, min(0.9, 0.02 + 0.3 * abs(math.log10(rate / BEST))), seed=3)
    write_evaluation(output, said, heard, checkpoint, split=split)
    return 0


if __name__ == "__main__":
    script, *words = sys.argv[1:]
    given = {words[at]: words[at + 1] for at in range(len(words) - 1) if words[at].startswith("--")}
    if Path(script).name == "train.py":
        sys.exit(train(Path(given["--config"])))
    sys.exit(evaluate(given["--checkpoint"], Path(given["--config"]), given["--split"], Path(given["--output"])))
