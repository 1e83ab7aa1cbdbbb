"""The demo: its commands on a short run, how soon it starts, and in full among the slow tests."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

import launch.demo
from tests.ladder import ask_stranger
from trainer.transcription.transcriber import Transcriber

from . import run

ROOT = Path(__file__).resolve().parents[2]
FIRST_STEP_SECONDS = 15
DEMO_SECONDS = 300
WORD_ERROR_RATE = 0.10


def small_demo(folder: Path) -> list[str]:
    """The demo's config with everything small."""
    speech = [
        f"data.{split}.digits={{folder: {folder / 'speech'}, split: {split}, utterances: {count}, voices: {voices}}}"
        for split, count, voices in (("train", 64, "training"), ("validation", 8, "training"), ("test", 8, "unseen"))
    ]
    steps = ["training.steps=6", "optimizer.warmup_steps=2", "evaluation.every_steps=3", "evaluation.max_new_tokens=4"]
    adapted = [
        f"data.train.digits={{folder: {folder / 'speech'}, split: throats, utterances: 16, warp: 0.45}}",
        f"data.test.digits={{folder: {folder / 'speech'}, split: throats_test, utterances: 8, warp: 0.45}}",
    ]
    adapt = ["--adapt", "training.steps=2", "optimizer.warmup_steps=1", "evaluation.max_new_tokens=4", *adapted]
    return [f"output_dir={folder / 'run'}", "training.batch_size=8", *speech, *steps, *adapt]


def test_the_demo_goes_all_the_way(tmp_path: Path) -> None:
    outcome = run(launch.demo.main, *small_demo(tmp_path))
    assert outcome.code == 0, outcome.errors
    best = str(tmp_path / "run" / "best")
    for text in ("word error rate, unseen voices", "a new clip says", "the model hears", best):
        assert text in outcome.output
    figures = json.loads((tmp_path / "run" / "evaluations" / "best_test" / "evaluation.json").read_text())
    assert figures["utterances"] == 8
    assert (tmp_path / "run" / "new_clip.flac").exists()
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"best", "final", "summary.json", "tensorboard"}
    page = (tmp_path / "run" / "comparison" / "comparison.html").read_text()
    assert all(f">{strategy}<" in page for strategy in ("before", "full", "lora"))
    weights = sum(path.stat().st_size for path in (tmp_path / "run" / "best").glob("*.safetensors"))
    adapter = (tmp_path / "run" / "adapted" / "lora" / "final" / "adapter_model.safetensors").stat().st_size
    assert adapter < weights / 2  # the second attentions are in it
    # A second demo leaves the first alone.
    assert run(launch.demo.main, *small_demo(tmp_path)).code == 0
    assert (tmp_path / "run_2" / "summary.json").exists()


def start(command: list[str]) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.alone
def test_from_command_to_first_step(tmp_path: Path) -> None:
    """The demo's model, batch and data, made before the clock starts. A slow machine is given twice what it needs to
    import the libraries."""
    from data.opening import synthesize
    from data.sources.config import DigitSpeech

    speech = tmp_path / "speech"
    for split, count in (("train", 640), ("validation", 8)):
        synthesize(DigitSpeech(folder=str(speech), split=split, utterances=count))
    overrides = [
        f"output_dir={tmp_path / 'run'}",
        f"data.train.digits={{folder: {speech}, split: train, utterances: 640}}",
        f"data.validation.digits={{folder: {speech}, split: validation, utterances: 8}}",
    ]
    began = time.monotonic()
    start(["-c", "import accelerate, transformers.models.whisper.modeling_whisper"]).communicate()
    libraries = time.monotonic() - began
    began = time.monotonic()
    process = start(["launch/train.py", "--config", "configs/demo.yaml", *overrides])
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not metrics.exists() or not metrics.read_text():
            assert process.poll() is None
            assert time.monotonic() - began < 60
            time.sleep(0.05)
        seconds = time.monotonic() - began
    finally:
        process.kill()
        process.communicate()
    print(f"first step after {seconds:.1f} s, of which libraries alone need {libraries:.1f} s")
    assert seconds <= max(FIRST_STEP_SECONDS, 2 * libraries)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_learns_in_five_minutes(tmp_path: Path) -> None:
    began = time.monotonic()
    process = start(["launch/demo.py", f"output_dir={tmp_path / 'run'}"])
    process.communicate(timeout=500)
    seconds = time.monotonic() - began
    figures = json.loads((tmp_path / "run" / "evaluations" / "best_test" / "evaluation.json").read_text())
    print(f"{seconds:.0f} s, word error rate {figures['word_error_rate']:.2%}")
    assert figures["utterances"] == 200
    assert figures["word_error_rate"] <= WORD_ERROR_RATE
    assert seconds <= DEMO_SECONDS
    # And somebody who has torch and transformers alone hears what is said.
    audio, rate = soundfile.read(tmp_path / "run" / "new_clip.flac", dtype="int16")
    soundfile.write(tmp_path / "clip.wav", audio, rate)
    found = ask_stranger(tmp_path, tmp_path / "run" / "best", "pipeline", tmp_path / "clip.wav")
    assert found["module"].startswith("transformers_modules.")
    heard = Transcriber(str(tmp_path / "run" / "best"), "az").transcribe(tmp_path / "run" / "new_clip.flac").text
    assert found["text"].strip() == heard != ""
