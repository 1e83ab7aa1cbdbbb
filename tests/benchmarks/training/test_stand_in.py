"""A stand-in for a checkpoint and recordings: it can be trained, and is what it stands for."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import benchmarks.training.stand_in
from data.batches.labels import IGNORED
from modeling.checkpoint_files import Checkpoint
from modeling.published import published_shape
from tests.end_to_end import run
from tests.support.untrained import save_checkpoint
from trainer.checks import Inputs
from trainer.config.reading import load_config
from trainer.model.building import build_model
from trainer.model.languages import label_encoder
from trainer.run import training_batches


class OneProcess:
    """An accelerator, as far as data asks for one."""

    process_index, num_processes, device = 0, 1, torch.device("cpu")


def test_it_trains_as_the_checkpoint_would(tmp_path: Path) -> None:
    processor = save_checkpoint(tmp_path / "tokenizer", languages=("en",), positions=448)
    made = ("--checkpoint", "openai/whisper-tiny", "--processor", processor, "--clips", 30)
    outcome = run(benchmarks.training.stand_in.main, *made, "--output", tmp_path / "stand_in")
    assert outcome.code == 0, outcome.errors
    config = load_config(tmp_path / "stand_in" / "config.yaml", ["data.workers=0"])
    assert Checkpoint(str(config.model.checkpoint)).kind == "whisper"
    model, opened = build_model(config)
    shape = published_shape("openai/whisper-tiny") or {}
    assert {name: getattr(model.config, name) for name in shape} == shape
    labels = label_encoder(config, model, opened)
    batches = training_batches(config, OneProcess(), labels, Inputs(config, build_model).training_sources, {})
    batch = batches.next_group(1).batches[0]
    batches.close()
    assert batch is not None and batch.labels is not None and len(batch.ids) == 16
    assert (batch.labels != IGNORED).sum() > 16 * 10
    durations = pq.read_table(tmp_path / "stand_in" / "clips.parquet")["duration"].to_pylist()
    assert len(durations) == 30 and 2 < sum(durations) / 30 < 5


def test_an_unknown_shape_is_refused(tmp_path: Path) -> None:
    outcome = run(benchmarks.training.stand_in.main, "--checkpoint", "someone/whisper", "--output", tmp_path)
    assert outcome.code == 2 and "someone/whisper" in outcome.complaint


def test_clips_are_as_long_as_children_speak(tmp_path: Path) -> None:
    assert benchmarks.training.stand_in.save_clips(tmp_path / "clips.parquet", 300) == pytest.approx(3.4, abs=0.2)
