"""Trains the runs of ``runs.tar.xz``: ``python -m tests.end_to_end.old_checkpoints.make [ARCHIVE]``, three minutes.

Do not run it to make a failing test pass: the archive has its worth from the older code that wrote it. Each run in it
is left after half of its steps. Beside the runs lies what they gave when they were made: the losses and weights of the
same runs without a pause, and what the half-way checkpoints say. The archive is to be unpacked into the working folder,
for the configs in it have relative paths.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
import yaml
from transformers import WhisperConfig, WhisperForConditionalGeneration

from modeling.byte_processor import build_byte_processor, generation_config_for

from .recordings import write_recordings

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
STEPS, HALF = 4, 2
PLAIN = {"dual_attention": False}
LORA = {"strategy": "lora", "lora": {"rank": 2, "alpha": 8, "dropout": 0.0}}
# What is trained, and the processes and keys that differ.
RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "dual": (1, {}),
    "plain": (1, {"model": PLAIN}),
    "lora": (1, {"model": PLAIN | LORA}),
    "dual_lora": (1, {"model": LORA}),
    "dual_zero2": (2, {"engine": {"zero_stage": 2}}),
}


def main(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_base(folder / "base")
        write_recordings(folder / "recordings")
        expected = {}
        for run, (processes, changed) in RUNS.items():
            (folder / f"{run}.yaml").write_text(yaml.safe_dump(config_of(run, changed)), encoding="utf-8")
            train = ["launch/train.py", "--config", f"{run}.yaml"]
            command(folder, processes, *train, f"training.steps={HALF}")
            command(folder, processes, *train, f"output_dir=whole/{run}")
            expected[run] = what_it_gives(folder, run)
        keep_weights(folder)
        (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
        pack(folder, archive)
    print(f"{archive}: {archive.stat().st_size / 1000:.0f} kB")


def save_base(folder: Path) -> None:
    """The plain Whisper, smaller than any, that all runs begin from: it hears letters and nothing else."""
    torch.manual_seed(0)
    processor = build_byte_processor(["az"])
    generation = generation_config_for(processor.tokenizer, ["az"], max_length=24)
    vocabulary = generation.no_timestamps_token_id + 1
    letters = processor.tokenizer.convert_tokens_to_ids(list(ascii_lowercase))
    generation.suppress_tokens = [token for token in range(vocabulary) if token not in letters]
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            d_model=8,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=8,
            decoder_ffn_dim=8,
            max_target_positions=24,
            init_std=0.8,
            vocab_size=vocabulary,
            pad_token_id=generation.pad_token_id,
            bos_token_id=generation.bos_token_id,
            eos_token_id=generation.eos_token_id,
            decoder_start_token_id=generation.decoder_start_token_id,
            begin_suppress_tokens=None,
        )
    )
    model.generation_config = generation
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def config_of(run: str, changed: dict[str, Any]) -> dict[str, Any]:
    source = {"folder": "recordings", "columns": {"id": "name"}}
    return {
        "output_dir": f"runs/{run}",
        "model": {"checkpoint": "base"} | changed.get("model", {}),
        "data": {"language": "az", "train": source, "validation": source | {"max_utterances": 2}, "lanes": 2},
        "training": {"steps": STEPS, "batch_size": 1, "accumulation": 2},
        # The large epsilon keeps rounding errors small: with a small one, Adam takes a whole step on a gradient near 0.
        "optimizer": {"learning_rate": 3e-3, "epsilon": 1e-2, "schedule": "constant", "warmup_steps": 1},
        "engine": {"precision": "fp32"} | changed.get("engine", {}),
        "evaluation": {"every_steps": HALF, "max_new_tokens": 8},
        "checkpoints": {"every_steps": HALF},
        "logging": {"every_steps": 1},
    }


def command(folder: Path, processes: int, *arguments: str) -> str:
    """Run a file of this repository in ``folder``; returns what it prints."""
    launcher = (
        [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    )
    script, *options = arguments
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": str(folder / "modules"),
    }
    done = subprocess.run(
        [sys.executable, *launcher, ROOT / script, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


def what_it_gives(folder: Path, run: str) -> dict[str, Any]:
    """The losses of the whole run, and what the half-way checkpoint says."""
    step, exported = f"runs/{run}/checkpoints/step_{HALF:08d}", f"exported/{run}"
    command(folder, 1, "launch/export.py", "--checkpoint", step, "--output", exported)
    seen = command(folder, 1, str(HERE / "stranger.py"), exported)
    rows = map(json.loads, (folder / "whole" / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {
        "losses": {row["step"]: row["loss"] for row in rows if row["kind"] == "train"},
        "logits": json.loads(seen)[0]["logits"],
        "transcript": command(
            folder, 1, "launch/transcribe.py", "--checkpoint", f"runs/{run}/best", "recordings/0.wav"
        ),
    }


def keep_weights(folder: Path) -> None:
    """Keep the weights that the whole runs end with."""
    for run in RUNS:
        (weights,) = (folder / "whole" / run / "final").glob("*.safetensors")
        (folder / "expected").mkdir(exist_ok=True)
        shutil.copy(weights, folder / "expected" / f"{run}.safetensors")


def pack(folder: Path, archive: Path) -> None:
    """Pack what names no machine. Files of one name lie side by side, for most of them are equal."""
    files = [path for name in ("base", "runs", "expected") for path in (folder / name).rglob("*") if path.is_file()]
    files += [*folder.glob("*.yaml"), folder / "expected.json"]
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for path in sorted(files, key=lambda path: (path.name, path)):
            if path.suffix == ".log" or path.name == ".lock" or "tfevents" in path.name:
                continue
            content = path.read_bytes()
            if path.suffix == ".json":  # an adapter names its base by its whole path
                content = content.replace(str(folder).encode(), b"/made/elsewhere")
            member = tarfile.TarInfo(str(path.relative_to(folder)))
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else HERE / "runs.tar.xz")
