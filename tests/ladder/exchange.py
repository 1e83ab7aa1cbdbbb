"""Checkpoints between releases of transformers: one environment writes, another reads.

python -m tests.ladder.exchange {write,read} FOLDER
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer

from modeling import DualWhisperForConditionalGeneration
from tests.ladder import ask_stranger, stranger
from tests.ladder.tiny_whisper import move_apart, save_plain_whisper

NOTE = "written.json"


def write(folder: Path) -> None:
    """A plain Whisper in ``plain``, the dual model made of it in ``dual`` with the outputs that it has here."""
    plain = save_plain_whisper(folder / "plain")
    model = move_apart(DualWhisperForConditionalGeneration.from_pretrained(plain).eval())
    model.config.encoder_padding = "clip"
    model.save_pretrained(folder / "dual")
    note = {**stranger.outputs(model), **processed(plain)}
    (folder / NOTE).write_text(json.dumps(note), encoding="utf-8")


def read(folder: Path) -> None:
    """What was written elsewhere opens here with the project's code, and with its own, to the same outputs."""
    written = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    dual = str(folder / "dual")
    compare(stranger.outputs(DualWhisperForConditionalGeneration.from_pretrained(dual).eval()), written)
    compare(with_its_own_code(dual), written)
    lifted = move_apart(DualWhisperForConditionalGeneration.from_pretrained(folder / "plain").eval())
    lifted.config.encoder_padding = "clip"
    compare(stranger.outputs(lifted), written)

    assert processed(folder / "plain").items() <= written.items()


def with_its_own_code(folder: str) -> dict:
    """What a process finds that has not imported this project; where it is imported, its classes go first."""
    with tempfile.TemporaryDirectory() as scratch:
        found = ask_stranger(Path(scratch), folder, "model")
    assert found["module"].startswith("transformers_modules.")
    return found


def processed(folder: Path) -> dict:
    """What the tokenizer and the feature extractor in a folder make of a text and of a tone."""
    tone = np.sin(np.arange(8000, dtype=np.float32) / 10)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.set_prefix_tokens(language="az", task="transcribe")
    features = extractor(tone, sampling_rate=16_000, return_tensors="np").input_features
    return {"features": [round(float(x), 3) for x in features[0, :, 10]], "ids": tokenizer("Bir, iki; uç ə!").input_ids}


def compare(found: dict, written: dict) -> None:
    torch.testing.assert_close(torch.tensor(found["logits"]), torch.tensor(written["logits"]), atol=1e-3, rtol=1e-4)
    assert found["encoder_padding"] == written["encoder_padding"] == "clip"


if __name__ == "__main__":
    torch.manual_seed(0)
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
