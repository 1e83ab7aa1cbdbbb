"""Mistakes that users make: one line that says what is wrong and what would be right, exit code 2, nothing written."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

import launch.eval
import launch.train
from tests.end_to_end import Outcome, run

ROOT = Path(__file__).parent.parent.parent
TINY = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}
# Found and reported; the test holds once it is put right, and then fails for this mark.


@pytest.fixture
def refused(tiny_config: Path, tmp_path: Path) -> Callable[..., str]:
    """The complaint of a training that must not begin."""

    def train(*arguments: object) -> str:
        outcome = run(launch.train.main, "--config", tiny_config, *arguments)
        assert outcome.code == 2, outcome
        assert not (tmp_path / "run").exists()
        return outcome.complaint

    return train


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, cut down to its config and an untrained ``best``; not to be changed."""
    from trainer.config.reading import dump_config
    from trainer.config.run import RunConfig
    from trainer.model.building import build_model

    run = tmp_path_factory.mktemp("runs") / "first"
    config = RunConfig.model_validate(
        {
            "output_dir": str(run),
            "model": {"architecture": TINY},
            "data": {"language": "az", "train": {"folder": "recordings"}},
            "training": {"steps": 1},
        }
    )
    model, processor = build_model(config)
    model.save_pretrained(run / "best")
    processor.save_pretrained(run / "best")
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    return run / "best"


@pytest.fixture
def own_checkpoint(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


def starting_from(checkpoint: object) -> tuple[str, str]:
    return "model.architecture=null", f"model.checkpoint={checkpoint}"


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# The config


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("training.stpes=5", ("unknown key training.stpes", "did you mean 'steps'")),
        ("dta={}", ("unknown key dta", "did you mean 'data'")),
        ("training.steps=many", ("training.steps is 'many'", "integer")),
        ("training.steps=2.5", ("training.steps is 2.5", "integer")),
        ("training.steps=", ("training.steps is None", "integer")),
        ("training.steps=-5", ("training.steps is -5", "greater than 0")),
        ("optimizer.learning_rate=-1e-3", ("optimizer.learning_rate is -0.001", "greater than 0")),
        ("data.max_seconds=-1", ("data.max_seconds is -1", "greater than 0")),
        ("training=5", ("training is 5",)),
        ("model.architecture.d_model=33", ("model.architecture", "d_model (33)", "even")),
        ("training.steps==5", ("training.steps is '=5'", "integer")),
        ("training..steps=5", ("unknown key training.",)),
        ("training.steps.x=5", ("training.steps is {'x': 5}", "integer")),
        ("training.steps", ("override 'training.steps' must look like",)),
        ("training.steps: 5", ("override 'training.steps: 5' must look like",)),
        ("training.steps=2024-13-45", ("training.steps",)),
        ("output_dir=[a]", ("output_dir is ['a']", "string")),
        ("--training.steps=5", ("unrecognized arguments: --training.steps=5", "without dashes")),
        ("--resum=yes", ("--resum",)),
        ("engine.cpu_offload=optimizer", ("cpu_offload is 'optimizer'", "zero_stage 1, 2 or 3")),
        ("engine.precision=fp16", ("engine.precision is 'fp16'", "needs a GPU", "fp32")),
        ("data.train.files=nowhere/*.parquet", ("data.train.files", "'nowhere/*.parquet'", "no file matches")),
        ("data.train.columns.text=txt", ("data.train.columns.text", "'txt'", "mean 'text'", "it has audio, duration")),
        ("data.train.columns.audio=sound", ("data.train.columns.audio", "'sound'", "it has audio, duration")),
        ("data.validation.columns.id=utterance", ("data.validation.columns.id", "it has audio, duration")),
        ("data.train.keep={accent: [a]}", ("data.train.keep.accent", "'accent'", "it has audio, duration")),
    ],
)
def test_a_config_that_cannot_be_right(refused: Callable[..., str], argument: str, parts: tuple[str, ...]) -> None:
    if torch.cuda.is_available() and "fp16" in argument:
        pytest.skip("a GPU has it")
    message = refused(argument)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ("cannot read the config", "No such file")),
        ("folder", ("cannot read the config", "directory")),
        ("", ("must hold keys and values",)),
        ("# nothing but a comment\n", ("must hold keys and values",)),
        ("training: [", ("is not YAML",)),
        ("training:\n\tsteps: 5\n", ("is not YAML", "line 2")),
        (b"\xff\xfe\x00", ("is not UTF-8",)),
        ("training: {steps: 2024-13-45}\n", ("is not YAML",)),
        ("5: x\n", ("5",)),
        ("extends: comon.yaml\n", ("extends 'comon.yaml'",)),
        ("training: {steps: 5}\n", ("output_dir is missing", "model is missing", "data is missing")),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, content: str | bytes | None, parts: tuple[str, ...]) -> None:
    path = tmp_path / "mine.yaml"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    outcome = run(launch.train.main, "--config", path)
    assert outcome.code == 2
    for part in ("mine.yaml", *parts):
        assert part in outcome.complaint


def test_config_is_asked_for() -> None:
    outcome = run(launch.train.main)
    assert outcome.code == 2
    assert "--config" in outcome.complaint


def test_a_command_line_as_the_shell_gives_it(tiny_config: Path, tmp_path: Path) -> None:
    """Nothing but the one line, with all that libraries print at their import."""
    outcome = subprocess.run(
        [sys.executable, "launch/train.py", "--config", str(tiny_config), "data.train.columns.text=txt"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert outcome.stderr.count("\n") == 1
    assert outcome.stderr.startswith("error: data.train.columns.text: ")
    assert not (tmp_path / "run").exists()


# What the machine or the launcher lacks


def test_zero_without_deepspeed(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "deepspeed" else found(name, *rest)
    )
    message = refused("engine.zero_stage=2")
    assert "engine.zero_stage is 2" in message
    assert "pip install deepspeed" in message


def test_bf16_on_a_gpu_that_lacks_it(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    message = refused("engine.precision=bf16")
    assert "engine.precision is 'bf16'" in message
    assert "Tesla V100" in message
    assert "fp16" in message


def test_a_launcher_with_another_engine(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    message = refused("engine.zero_stage=2")
    assert "engine.zero_stage is 2" in message
    assert "--zero_stage 3" in message


# The data


def test_a_dataset_without_rows(refused: Callable[..., str], corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(next(corpus.glob("train-*"))).slice(0, 0), path)
    message = refused(f"data.train.files={path}")
    assert "data.train" in message
    assert "none.parquet has no rows" in message


def test_a_file_that_is_no_parquet(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    assert "broken.parquet" in refused(f"data.train.files={path}")


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_recordings(refused: Callable[..., str], tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    message = refused("data.train.files=null", "data.train.columns.id=null", f"data.train.folder={tmp_path / name}")
    assert "data.train.folder" in message
    assert name in message


def test_a_language_that_whisper_does_not_know(refused: Callable[..., str]) -> None:
    message = refused("data.language=azerbajani")
    assert "data.language is 'azerbajani'" in message
    assert "did you mean 'azerbaijani', 'az'?" in message


def test_a_language_that_the_checkpoint_does_not_know(refused: Callable[..., str], checkpoint: Path) -> None:
    for key in ("data.language", "data.train.language", "data.validation.language"):
        assert f"{key} is 'pl'" in refused(*starting_from(checkpoint), f"{key}=pl")


def test_a_multilingual_model_without_a_language(refused: Callable[..., str], checkpoint: Path) -> None:
    assert "data.language" in refused(*starting_from(checkpoint), "data.language=null")


# The checkpoint


def test_a_run_folder_instead_of_its_checkpoint(refused: Callable[..., str], checkpoint: Path) -> None:
    message = refused(*starting_from(checkpoint.parent))
    assert "no config.json" in message
    assert f"did you mean {checkpoint}?" in message


def test_a_folder_that_is_not_there(refused: Callable[..., str], checkpoint: Path) -> None:
    message = refused(*starting_from(checkpoint.parent / "bset"))
    assert "neither a folder nor a hub name" in message
    assert f"there is {checkpoint}" in message


def test_a_hub_name_with_a_typo(refused: Callable[..., str]) -> None:
    for check in ((), ("--check",)):
        message = refused(*starting_from("openai/whisper-tinny"), *check)
        assert "'openai/whisper-tinny' is none of the Whisper checkpoints that OpenAI published" in message
        assert "did you mean 'openai/whisper-tiny'?" in message


def test_a_hub_name_of_somebody_else_offline(refused: Callable[..., str]) -> None:
    message = refused(*starting_from("opnai/whisper-small"))
    assert "cannot open checkpoint opnai/whisper-small" in message
    assert "did you mean 'openai/whisper-small'?" in message


def test_a_checkpoint_of_another_architecture(refused: Callable[..., str], own_checkpoint: Path) -> None:
    edit_json(own_checkpoint / "config.json", model_type="wav2vec2", architectures=["Wav2Vec2ForCTC"])
    message = refused(*starting_from(own_checkpoint))
    assert str(own_checkpoint) in message
    assert "is a 'wav2vec2' checkpoint; it must be a 'whisper' or 'dual_whisper' one" in message


def test_weights_of_another_shape(refused: Callable[..., str], own_checkpoint: Path) -> None:
    edit_json(own_checkpoint / "config.json", d_model=64)
    assert f"cannot load the weights of {own_checkpoint}" in refused(*starting_from(own_checkpoint))


def test_truncated_weights(refused: Callable[..., str], own_checkpoint: Path) -> None:
    weights = own_checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert f"cannot load the weights of {own_checkpoint}" in refused(*starting_from(own_checkpoint))


@pytest.mark.parametrize(
    "tensor", ["model.decoder.layers.1.gate.projection.weight", "model.encoder.layers.0.fc1.weight"]
)
def test_weights_that_lack_a_tensor_are_not_filled_with_random_numbers(
    refused: Callable[..., str], own_checkpoint: Path, tensor: str
) -> None:
    removed: list[str] = []

    def remove(tensors: dict[str, torch.Tensor]) -> None:
        name = tensor if tensor in tensors else next(name for name in tensors if ".gate." in name)
        del tensors[name]
        removed.append(name)

    edit_weights(own_checkpoint, remove)
    message = refused(*starting_from(own_checkpoint))
    assert str(own_checkpoint) in message
    assert removed[0] in message


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_checkpoint_config(refused: Callable[..., str], own_checkpoint: Path, content: str) -> None:
    (own_checkpoint / "config.json").write_text(content)
    assert str(own_checkpoint) in refused(*starting_from(own_checkpoint))


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_damaged_tokenizer(refused: Callable[..., str], own_checkpoint: Path, content: str | None) -> None:
    for name in ("tokenizer.json", "vocab.json", "processor_config.json", "preprocessor_config.json"):
        path = own_checkpoint / name
        if path.exists() and content is None:
            path.unlink()
        elif path.exists():
            path.write_text(content or "")
    assert f"cannot open the processor of {own_checkpoint}" in refused(*starting_from(own_checkpoint))


def test_a_checkpoint_with_a_weight_that_is_not_a_number(
    tiny_config: Path, own_checkpoint: Path, tmp_path: Path
) -> None:
    edit_weights(own_checkpoint, lambda tensors: tensors["model.encoder.conv1.weight"].fill_(float("nan")))
    outcome = run(launch.train.main, "--config", tiny_config, *starting_from(own_checkpoint), "data.validation=null")
    assert outcome.code == 1
    assert "step 1: the loss is not a finite number" in outcome.complaint
    (row,) = (json.loads(line) for line in (tmp_path / "run" / "non_finite_loss.jsonl").read_text().splitlines())
    assert (row["loss"], len(row["ids"])) == ("nan", 4)


# Evaluating


@pytest.fixture
def evaluate(tiny_config: Path, checkpoint: Path) -> Callable[..., Outcome]:
    return lambda *arguments: run(
        launch.eval.main,
        "--checkpoint",
        checkpoint,
        "--config",
        tiny_config,
        "data.validation.max_utterances=2",
        *arguments,
    )


def test_evaluation_that_is_right(evaluate: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = evaluate("--output", tmp_path / "figures")
    assert outcome.code == 0
    assert "word error rate" in outcome.output
    assert json.loads((tmp_path / "figures" / "evaluation.json").read_text())["utterances"] == 2
    assert len((tmp_path / "figures" / "predictions.jsonl").read_text().splitlines()) == 2


def test_evaluation_without_a_language_detects_it(evaluate: Callable[..., Outcome]) -> None:
    assert evaluate("data.language=null").code == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--split", "test"), ("no data.test", "it has train, validation")),
        (("--split", "dev"), ("--split", "'dev'", "validation")),
        (("--split", "train", "data.train=[{folder: x}, {folder: y}]"), ("data.train is a list", "as data.test")),
        (("data.validation.language=pl",), ("data.validation.language is 'pl'", "az")),
        (("data.validation=null",), ("data.validation",)),
        (("data.language=pl",), ("data.language is 'pl'", "az")),
        (("data.language=xx",), ("language", "'xx'")),
        (("data.validation.columns.text=txt",), ("data.validation.columns.text", "mean 'text'")),
        (("evaluation.batch_size=0",), ("evaluation.batch_size is 0", "greater than 0")),
    ],
)
def test_evaluation_that_cannot_be_right(
    evaluate: Callable[..., Outcome], arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    outcome = evaluate(*arguments)
    assert outcome.code == 2
    for part in parts:
        assert part in outcome.complaint


def test_evaluation_into_a_file_is_refused_before_the_work(evaluate: Callable[..., Outcome], tiny_config: Path) -> None:
    outcome = evaluate("--output", tiny_config)
    assert outcome.code == 2
    assert f"--output is {str(tiny_config)!r}" in outcome.complaint


def test_evaluation_where_no_recording_can_be_read(
    evaluate: Callable[..., Outcome], corpus: Path, tmp_path: Path
) -> None:
    table = pyarrow.parquet.read_table(next(corpus.glob("validation-*")))
    rows = table.to_pylist()
    for row in rows:
        row["audio"]["bytes"] = b"no sound"
    path = tmp_path / "silent.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), path)
    outcome = evaluate(f"data.validation.files={path}")
    assert outcome.code == 2
    assert "data.validation" in outcome.complaint


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("{runs}/first", ("did you mean {runs}/first/best?",)),
        ("{runs}/secnd", ("neither a folder nor a hub name", "there is {runs}/second")),
        ("openai/whisper-tiny", ("give --config FILE", "openai/whisper-tiny")),
    ],
)
def test_evaluation_without_a_config_needs_a_run(checkpoint: Path, name: str, parts: tuple[str, ...]) -> None:
    runs = checkpoint.parent.parent
    (runs / "second").mkdir(exist_ok=True)
    outcome = run(launch.eval.main, "--checkpoint", name.format(runs=runs))
    assert outcome.code == 2
    for part in parts:
        assert part.format(runs=runs) in outcome.complaint
