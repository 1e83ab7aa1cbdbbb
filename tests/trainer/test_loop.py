"""The loop's own promises on one process: the loss it reports, dropout where it is asked for, learning rates."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from data.batches.lanes import Batching
from data.batches.loader import TrainingBatches
from data.sources.source import Source
from trainer.config.reading import load_config
from trainer.model.building import build_model
from trainer.model.languages import label_encoder
from trainer.run import train
from trainer.step.loss import TrainingLoss

from ..support.corpora_on_disk import transcripts_beside

pytestmark = pytest.mark.usefixtures("exact_attention")

ONE_STEP = ("training.steps=2", "optimizer.warmup_steps=1", "data.validation=null", "checkpoints.every_steps=99")


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_all_tokens_of_all_microbatches(
    smoothing: float, tiny_config: Path, tmp_path: Path
) -> None:
    """Computed here in the plainest way from logits, for two microbatches with different numbers of tokens."""
    options = ("training.accumulation=2", "training.batch_size=3", f"training.label_smoothing={smoothing}")
    config = load_config(tiny_config, [*ONE_STEP, *options])
    train(config)
    model, processor = build_model(config)
    source = Source(config.data.training_sources[0], "data.train")
    labels = label_encoder(config, model, processor)
    group = TrainingBatches(Batching([source], config.data, labels, 3, config.training.seed)).next_group(2)
    from data.batches.features import LogMel
    from trainer.step.batch import to_batch

    losses, tokens = 0.0, []
    for audio in group.batches:
        assert audio is not None
        batch = to_batch(audio, LogMel(80), "clip", torch.device("cpu"))
        with torch.no_grad():
            logits = model(
                batch.features, feature_lengths=batch.length_list, decoder_input_ids=batch.decoder_input_ids
            ).logits
        losses += torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), batch.labels, reduction="sum", label_smoothing=smoothing
        ).item()
        tokens.append(audio.target_tokens)
    assert tokens[0] != tokens[1]
    assert metrics(tmp_path / "run")[0]["loss"] == pytest.approx(losses / sum(tokens), rel=1e-5)


def test_a_checkpoint_is_trained_with_dropout_and_gradient_checkpointing(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint opens in evaluation mode, where both would be off without a word."""
    train(load_config(tiny_config, ONE_STEP))
    seen = []
    original = TrainingLoss.__call__

    def loss(self: TrainingLoss, *arguments: Any) -> torch.Tensor:
        seen.append((self.model.training, self.model.model.decoder.gradient_checkpointing, self.model.config.dropout))
        return original(self, *arguments)

    monkeypatch.setattr(TrainingLoss, "__call__", loss)
    start = ("model.architecture=null", f"model.checkpoint={tmp_path / 'run' / 'final'}")
    options = ("model.dropout=0.1", "model.gradient_checkpointing=true", f"output_dir={tmp_path / 'second'}")
    train(load_config(tiny_config, [*ONE_STEP, *start, *options]))
    assert seen == [(True, True, 0.1)] * 2


def test_a_temperature_s_shares_are_told_and_kept_when_a_source_grows(
    tiny_values: dict[str, Any], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    folder = transcripts_beside(tmp_path / "more")
    columns = {"id": "id", "duration": "duration"}
    tiny_values["data"] |= {
        "train": [
            {"files": str(corpus / "train-*.parquet"), "columns": columns},
            {"folder": str(folder), "weight": 2},
        ],
        "mixing_temperature": 2,
    }
    tiny_values["data"].pop("validation")
    tiny_values["checkpoints"] = {"every_steps": 1, "keep": 9}
    path = tmp_path / "mixture.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    options = ["optimizer.schedule=constant", "optimizer.warmup_steps=0"]
    train(load_config(path, ["training.steps=1", *options]))
    told = capsys.readouterr().out
    for number, share, rows in ((0, "69.1%", "120"), (1, "30.9%", "weight 2 x 6")):
        assert re.search(rf"data.train.{number}: .*: {share} of the utterances \({rows} rows to the power 1/2\)", told)
    written = tmp_path / "run" / "config.yaml"
    assert yaml.safe_load(written.read_text())["data"]["mixing_rows"] == [120, 6]
    for suffix in (".flac", ".txt"):
        shutil.copy(folder / "sub" / f"clip0{suffix}", folder / "sub" / f"more{suffix}")
    train(load_config(path, ["training.steps=2", *options]), resume=True)
    told = capsys.readouterr().out
    assert re.search(r"data.train.1: .*: 30.9% of the utterances \(weight 2 x 6 rows", told)
    assert "data.train.1 has 7 rows and is drawn as if it had 6" in told and "mixing_rows:" not in told
    assert yaml.safe_load(written.read_text())["data"]["mixing_rows"] == [120, 6]


def test_a_mixture_trains_with_a_budget_and_goes_on_exactly(
    tiny_values: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    """Two sources in two languages; stopped after a checkpoint and gone on with twice."""
    import yaml

    columns = {"id": "id", "duration": "duration"}
    tiny_values["data"]["train"] = [
        {"files": str(corpus / "train-00000*"), "columns": columns, "weight": 2},
        {"files": str(corpus / "train-00001*"), "columns": columns, "language": "tr", "max_utterances": 20},
    ]
    tiny_values["data"] |= {"max_seconds": 12}
    tiny_values["training"] |= {"steps": 9, "batch_size": 20, "batch_seconds": 12}
    tiny_values["checkpoints"] = {"every_steps": 3, "keep": 9}
    tiny_values["data"].pop("validation")
    path = tmp_path / "mixture.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    train(load_config(path))
    for steps in (4, 7, 9):
        overrides = [f"output_dir={tmp_path / 'parts'}", f"training.steps={steps}", "optimizer.schedule=constant"]
        train(load_config(path, overrides), resume=steps > 4)
    whole, parts = ((tmp_path / name / "batches_rank0.jsonl").read_text() for name in ("run", "parts"))
    assert whole == parts and whole.count("\n") == 9
    sizes = [len(json.loads(line)["ids"][0]) for line in whole.splitlines()]
    assert len(set(sizes)) > 1 and max(sizes) < 15, "the window of 30 would make batches of 20"
    state = json.loads((tmp_path / "run" / "checkpoints" / "step_00000009" / "run_state.json").read_text())
    assert len(state["data"]["positions"]["0"]["sources"]) == 2
