"""What a generation config forbids and texts hold: told before training, taken out in it, the same on all ranks."""

import html
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from transformers import GenerationConfig

import launch.eval
import launch.export
import launch.prepare
import launch.train
from data.batches.generation_limits import GenerationLimits, joined, unlike_training
from modeling.checkpoints import open_model
from tests import ROOT
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.checks import collect_all
from trainer.config.run import RunConfig
from trainer.doctor import report
from trainer.doctor.facts import Facts
from trainer.export.trained_weights import open_trained

END = 9
SPACE, LETTER_B, SIGN = 32, ord("b"), ord("@")  # of the byte tokenizer


@pytest.mark.parametrize(
    ("values", "text", "needed"),
    [
        ({"suppress_tokens": [1, 2, 3]}, [2, 5, 3, 2], {"suppress_tokens": {2, 3}}),
        ({"suppress_tokens": [END]}, [5], {"suppress_tokens": {END}}),
        ({"begin_suppress_tokens": [5, 6, END]}, [6, 5], {"begin_suppress_tokens": {6}}),
        ({"begin_suppress_tokens": [5, END]}, [], {"begin_suppress_tokens": {END}}),
        ({"no_repeat_ngram_size": 2}, [1, 2, 3, 1, 2], {"no_repeat_ngram_size": {0}}),
        ({"no_repeat_ngram_size": 2}, [1, 2, 1, 3], {}),
        ({"bad_words_ids": [[7], [1, 2], [2, 1]]}, [5, 2, 1], {"bad_words_ids": {2}}),
        ({"max_length": 6}, [1, 1, 1], {"max_length": {0}}),
        ({"max_length": 6}, [1, 1], {}),
        ({"min_length": 6}, [1], {"min_length": {0}}),
        ({"min_new_tokens": 2}, [1], {"min_new_tokens": {0}}),
        ({"suppress_tokens": None, "begin_suppress_tokens": []}, [1, 2], {}),
    ],
)
def test_what_a_label_needs(values: dict[str, Any], text: list[int], needed: dict[str, set[int]]) -> None:
    limits = GenerationLimits(values, END)
    needs = limits.needs(text, prompt=4)
    assert needs == needed
    after = values | limits.lifted(values, needs, most_positions=448)
    assert GenerationLimits(after, END).needs(text, prompt=4) == {}


def test_only_what_is_needed_is_lifted() -> None:
    values = {"suppress_tokens": [1, 2, 3], "begin_suppress_tokens": [1], "bad_words_ids": [[1], [2]], "max_length": 5}
    limits = GenerationLimits(values, END)
    needs = joined([limits.needs([2], prompt=4), limits.needs([5, 5], prompt=4)])
    changed = limits.lifted(values, needs, most_positions=448)
    assert changed == {"suppress_tokens": [1, 3], "bad_words_ids": [[1]], "max_length": 448}


def test_values_that_change_decoding_whatever_is_said_are_named() -> None:
    usual = GenerationConfig(num_beams=5, suppress_tokens=[1], max_length=448).to_dict()
    assert unlike_training(usual) == {}
    assert unlike_training(usual | {"repetition_penalty": 1.3}) == {"repetition_penalty": 1.3}
    english = {"is_multilingual": False, "no_timestamps_token_id": 7}
    assert unlike_training(english | {"forced_decoder_ids": [[1, 7]]}) == {}
    assert unlike_training(english | {"forced_decoder_ids": [[1, 5]]}) == {"forced_decoder_ids": [[1, 5]]}


def forbid(folder: Path, **values: Any) -> Path:
    path = folder / "generation_config.json"
    stored = json.loads(path.read_text("utf-8")) | values
    path.write_text(json.dumps({key: value for key, value in stored.items() if value is not None}))
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A plain Whisper that, as OpenAI's, forbids signs that transcripts have, also in its config, for older readers."""
    folder = save_checkpoint(tmp_path / "whisper", padding=None, positions=64)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    lists = {"suppress_tokens": [LETTER_B, SIGN], "begin_suppress_tokens": [SPACE, 256]}
    (folder / "config.json").write_text(json.dumps(config | lists))
    return forbid(folder, **lists)


@pytest.fixture
def values(tiny_values: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    sections = {name: tiny_values[name] for name in ("training", "evaluation", "optimizer")}
    short = {"training": {"steps": 4}, "evaluation": {"every_steps": 2}, "optimizer": {"warmup_steps": 1}}
    changed = {name: sections[name] | short[name] for name in sections}
    return tiny_values | changed | {"model": {"checkpoint": str(checkpoint)}, "checkpoints": {"every_steps": 2}}


def train(values: dict[str, Any], folder: Path, *arguments: object) -> Outcome:
    (folder / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return run(launch.train.main, "--config", folder / "config.yaml", *arguments)


def lists_of(folder: Path) -> list[Any]:
    """Of the generation config and, where there is one, the config."""
    files = [folder / name for name in ("generation_config.json", "config.json") if (folder / name).exists()]
    read = [json.loads(file.read_text("utf-8")) for file in files]
    return [[one.get("suppress_tokens"), one.get("begin_suppress_tokens")] for one in read]


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_what_is_trained_on_can_be_decoded_afterwards(
    values: dict[str, Any], strategy: str, checkpoint: Path, tmp_path: Path
) -> None:
    values["model"]["strategy"] = strategy
    values["optimizer"] = {"learning_rate": 1e-3, "warmup_steps": 1}
    outcome = train(values, tmp_path)
    assert outcome.code == 0, outcome.errors
    told = [line for line in outcome.output.splitlines() if "forbids" in line and "training data" in line]
    assert len(told) == 1
    assert "begin_suppress_tokens ' '; suppress_tokens 'b'" in told[0]
    for name in ("best", "final", "model"):
        assert all(lists == [[SIGN], [256]] for lists in lists_of(tmp_path / "run" / name)), name
    generation = open_model(str(tmp_path / "run" / "best")).generation_config
    assert (generation.suppress_tokens, generation.begin_suppress_tokens) == ([SIGN], [256])
    assert lists_of(checkpoint)[0] == [[LETTER_B, SIGN], [SPACE, 256]], "the checkpoint itself is left alone"
    step = sorted((tmp_path / "run" / "checkpoints").glob("step_*"))[-1]
    generation = open_trained(step)[0].generation_config  # what an export writes
    assert (generation.suppress_tokens, generation.begin_suppress_tokens) == ([SIGN], [256])


def test_a_resumed_run_knows_what_was_trained_on_before(values: dict[str, Any], tmp_path: Path) -> None:
    assert train(values, tmp_path, "training.steps=2").code == 0
    step = tmp_path / "run" / "checkpoints" / "step_00000002" / "run_state.json"
    lifted = {"begin_suppress_tokens": [SPACE], "suppress_tokens": [LETTER_B]}
    assert json.loads(step.read_text("utf-8"))["lifted_limits"] == lifted
    outcome = train(values, tmp_path, "--resume")
    assert outcome.code == 0, outcome.errors
    assert "training data hold" not in outcome.output, "told once"
    assert all(
        lists == [[SIGN], [256]] for name in ("best", "final", "model") for lists in lists_of(tmp_path / "run" / name)
    )


def test_values_that_transformers_refuses_to_save_once_one_is_changed(
    values: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    forbid(checkpoint, temperature=0.2, early_stopping=True)
    outcome = train(values, tmp_path)
    assert outcome.code == 0, outcome.errors
    assert "has temperature 0.2, early_stopping true: ignored in decoding" in outcome.output
    saved = json.loads((tmp_path / "run" / "best" / "generation_config.json").read_text("utf-8"))
    assert (saved["suppress_tokens"], saved.get("temperature")) == ([SIGN], None)


def test_a_checkpoint_with_such_values_is_exported(checkpoint: Path, tmp_path: Path) -> None:
    forbid(checkpoint, temperature=0.2)
    outcome = run(launch.export.main, "--checkpoint", checkpoint, "--output", tmp_path / "exported")
    assert outcome.code == 0, outcome.errors
    assert "has temperature 0.2: ignored in decoding" in outcome.output
    assert "temperature" not in json.loads((tmp_path / "exported" / "generation_config.json").read_text("utf-8"))


@pytest.mark.slow
def test_two_ranks_come_to_the_same(checkpoint: Path, tmp_path: Path) -> None:
    """One rank alone has seen the letter, the other alone the sign."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*launcher, "-m", "tests.support.generation_limits_rank", str(checkpoint), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, timeout=120, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text("utf-8")) for rank in (0, 1)]
    assert found[0] == found[1]
    lifted = {"begin_suppress_tokens": [SPACE], "suppress_tokens": [SIGN, LETTER_B]}
    assert found[0] == {"suppress_tokens": None, "begin_suppress_tokens": [256], "lifted": lifted}
    assert ended.stdout.count("the training data hold") == 1


def test_values_that_no_text_can_lift_are_told_at_the_start(
    values: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    forbid(checkpoint, repetition_penalty=1.5, suppress_tokens=None, begin_suppress_tokens=None)
    for flags in (("training.steps=2", "data.validation=null"), ("--check",)):
        outcome = train(values, tmp_path, *flags)
        assert outcome.code == 0, outcome.errors
        assert outcome.output.count("generation_config.json has repetition_penalty 1.5: decoding chooses other") == 1


def test_check_tells_of_the_first_texts(values: dict[str, Any], tmp_path: Path) -> None:
    values["data"]["train"]["max_utterances"] = 50
    outcome = train(values, tmp_path, "--check")
    assert outcome.code == 0, outcome.errors
    (told,) = [line for line in outcome.output.splitlines() if line.startswith("note: ")]
    assert told.startswith(
        "note: data.train: 50 of the first 50 texts cannot be decoded as they are: generation_config.json"
    )
    assert "suppress_tokens 'b'" in told and told.endswith("training takes it out")
    facts = Facts(RunConfig.model_validate(values))
    (finding,) = [one for one in collect_all(report.config_checks(facts), facts) if one.name == "decoding"]
    assert (finding.state, f"note: {finding.found}") == ("note", told)


def test_check_tells_of_references_that_training_teaches_nothing_of(
    values: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()
    signs = [row | {"text": text} for row, text in zip(rows, ["a @ b", "", None], strict=False)]
    pq.write_table(pa.Table.from_pylist([*signs, *rows[3:]]), tmp_path / "signs.parquet")
    values["data"]["validation"]["files"] = str(tmp_path / "signs.parquet")
    outcome = train(values, tmp_path, "--check")
    (_, told) = [line for line in outcome.output.splitlines() if line.startswith("note: ")]
    assert told.startswith("note: data.validation: 2 of the first 10 texts cannot be decoded")
    assert "forbids begin_suppress_tokens '<|endoftext|>'; suppress_tokens '@'; it counts" in told
    outcome = train(values, tmp_path)
    assert outcome.code == 0, outcome.errors
    (told,) = [line for line in outcome.output.splitlines() if line.startswith("note: data.validation: ")]
    assert "2 of 10 references cannot be decoded as they are: generation_config.json forbids" in told


def test_evaluation_tells_of_the_references(values: dict[str, Any], checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    named = ("--checkpoint", checkpoint, "--config", tmp_path / "config.yaml", "--split", "validation")
    outcome = run(launch.eval.main, *named)
    assert outcome.code == 0, outcome.errors
    assert f"note: {checkpoint}: 11 of 11 references cannot be decoded as they are" in outcome.errors


def test_inspection_tells_of_the_transcripts(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    source, page = str(corpus / "validation-*.parquet"), tmp_path / "page.html"
    options = ("--inspect", "--report", page, "--workers", "0")
    told = "the checkpoint's decoding forbids"
    assert told not in " ".join(run(launch.prepare.main, source, *options).output.split())
    outcome = run(launch.prepare.main, source, *options, "--checkpoint", checkpoint)
    assert outcome.code == 0, "it fails nothing"
    text = html.unescape(page.read_text("utf-8"))
    assert told in text and "suppress_tokens" in text
