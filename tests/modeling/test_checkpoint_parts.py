"""Checkpoints whose parts do not fit each other: every command refuses them before it begins, in the same words."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from transformers import WhisperFeatureExtractor, WhisperProcessor

import launch.compare
import launch.eval
import launch.export
import launch.train
import launch.transcribe
import launch.visualize
from modeling.byte_processor import build_byte_processor
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoint_parts import check_stored_parts
from tests.end_to_end import run
from tests.support.untrained import save_checkpoint
from trainer.checks import collect_all
from trainer.config.run import RunConfig
from trainer.doctor import report
from trainer.doctor.facts import Facts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("whole") / "whisper", ("az", "en"), positions=100)


def more_tokens(folder: Path) -> None:
    """As people do who add their language's letters and forget the embeddings."""
    processor = Checkpoint(str(folder)).processor
    processor.tokenizer.add_tokens(["ə", "ğı"])
    processor.save_pretrained(folder)


def another_tokenizer(folder: Path) -> None:
    """Of a model with fewer languages, so that the tokens after them have other numbers."""
    build_byte_processor(["en"]).save_pretrained(folder)


def no_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()


def recording(folder: Path) -> Path:
    path = folder / "noise.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(8000), 16_000)
    return path


def without(*keys: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "generation_config.json"
        values = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps({key: value for key, value in values.items() if key not in keys}))

    return change


LANGUAGES = (
    r"generation_config\.json of \S+ has no lang_to_id, which says what languages it knows; take the one of the "
)
DAMAGES = {
    "more tokens": (
        more_tokens,
        r"the tokenizer of \S+ has [\d,]+ tokens, but its model has embeddings for [\d,]+: 'ə'",
    ),
    "another tokenizer": (another_tokenizer, r"the tokenizer of \S+ is not its model's: <\|az\|>|<\|transcribe\|> is"),
    "no generation config": (no_generation_config, LANGUAGES),
    "an old generation config": (without("lang_to_id", "task_to_id", "is_multilingual"), LANGUAGES),
    "no tasks": (without("task_to_id"), r"has no task_to_id"),
    "no timestamps": (without("no_timestamps_token_id"), r"has no no_timestamps_token_id"),
}


@pytest.fixture(params=DAMAGES)
def damaged(request: pytest.FixtureRequest, whole: Path, tmp_path: Path) -> tuple[Path, str]:
    """A checkpoint with a vocabulary far below Whisper's, and what must be said of it."""
    folder = shutil.copytree(whole, tmp_path / "whisper")
    change, told = DAMAGES[request.param]
    change(folder)
    return folder, told


def test_every_command_refuses_before_it_begins(
    damaged: tuple[Path, str], tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint, told = damaged
    tiny_values["model"] = {"checkpoint": str(checkpoint)}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"noise": "synthetic", "types": ["noise"], "ratios": [0]}))
    named, arms = ("--checkpoint", checkpoint, "--config", config), tmp_path / "arms"
    outcomes = {
        "train": run(launch.train.main, "--config", config),
        "check": run(launch.train.main, "--config", config, "--check"),
        "eval": run(launch.eval.main, *named, "--split", "validation"),
        "noise suite": run(launch.eval.main, "--noise-suite", suite, *named, "--output", tmp_path / "suite"),
        "compare": run(
            launch.compare.main, "--config", config, "--strategies", "plain", "full", "--output", tmp_path / "c"
        ),
        "transcribe": run(launch.transcribe.main, "--checkpoint", checkpoint, recording(tmp_path)),
        "visualize": run(
            launch.visualize.main, "--checkpoint", checkpoint, recording(tmp_path), "--output", tmp_path / "v"
        ),
    }
    for name, outcome in outcomes.items():
        assert outcome.code == 2, (name, outcome.errors)
        assert re.search(told, outcome.complaint), (name, outcome.complaint)
    assert not (tmp_path / "run").exists(), "nothing was trained"
    assert not list(arms.glob("*.log"))
    facts = Facts(RunConfig.model_validate(tiny_values))
    found = [one for one in collect_all(report.config_checks(facts), facts) if one.name == "model"]
    assert [finding.state for finding in found] == ["lacks"]


def test_an_export_refuses_a_tokenizer_that_does_not_fit(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "whisper")
    more_tokens(folder)
    outcome = run(launch.export.main, "--checkpoint", folder, "--output", tmp_path / "out")
    assert outcome.code == 2 and "tokens, but its model has embeddings for" in outcome.complaint
    assert not (tmp_path / "out").exists()


def test_features_of_another_model_are_refused_before_training(
    whole: Path, tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    """They would be met at the first evaluation, whose features are the processor's."""
    folder = shutil.copytree(whole, tmp_path / "whisper")
    tokenizer = Checkpoint(str(folder)).processor.tokenizer
    WhisperProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer).save_pretrained(folder)
    tiny_values["model"] = {"checkpoint": str(folder)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    for flags in ((), ("--check",)):
        outcome = run(launch.train.main, "--config", tmp_path / "config.yaml", *flags)
        assert outcome.code == 2 and "makes 128 mel bins, but its model takes 80" in outcome.complaint


def test_a_whole_one_passes_and_what_only_the_hub_has_is_not_looked_at(whole: Path) -> None:
    check_stored_parts(Checkpoint(str(whole)))
    check_stored_parts(Checkpoint("team/whisper-nothing"))
    assert Checkpoint("team/whisper-nothing").local is None


def test_timestamps_that_the_model_has_no_embeddings_for_harm_nothing(whole: Path) -> None:
    vocabulary = Checkpoint(str(whole)).processor.tokenizer.get_vocab()
    sizes = json.loads((whole / "config.json").read_text())["vocab_size"]
    assert vocabulary["<|0.00|>"] >= sizes
    check_stored_parts(Checkpoint(str(whole)))


def test_words_that_were_given_embeddings_may_be_learned(whole: Path, tmp_path: Path) -> None:
    from data.batches.labels import LabelEncoder
    from modeling.checkpoints import open_model

    folder = shutil.copytree(whole, tmp_path / "whisper")
    more_tokens(folder)
    model, processor = open_model(str(folder)), Checkpoint(str(folder)).processor
    model.resize_token_embeddings(len(processor.tokenizer))
    model.save_pretrained(folder)
    check_stored_parts(Checkpoint(str(folder)))
    ids, _ = LabelEncoder(processor.tokenizer, True, "az").encode("ə", None)
    assert ids[-1] == processor.tokenizer.get_vocab()["ə"]
