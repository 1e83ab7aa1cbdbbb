"""Exporting: whatever a training left becomes one plain folder that is what was trained, or nothing is left behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperForConditionalGeneration

import launch.export
import trainer.export.exporting
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoints import open_model
from tests.end_to_end import Outcome, run
from tests.support.hub_server import HubServer
from trainer.config.reading import load_config
from trainer.config.run import RunConfig
from trainer.export.model_card import Origin, origin_of
from trainer.export.reload_check import check_logits, logits_of
from trainer.export.trained_weights import open_trained
from trainer.record.best import RECORD, read_record
from trainer.record.checkpoints import latest_checkpoint
from trainer.run import train

pytestmark = pytest.mark.usefixtures("exact_attention")

TINY = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json")


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder after two steps of one process; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    columns = {"id": "id"}
    values = {
        "output_dir": str(folder),
        "model": {"architecture": TINY},
        "data": {
            "language": "az",
            "train": {"files": str(corpus / "train-*.parquet"), "columns": columns, "max_utterances": 8},
            "validation": {"files": str(corpus / "validation-*.parquet"), "columns": columns, "max_utterances": 2},
        },
        "training": {"steps": 2, "batch_size": 2},
        "optimizer": {"learning_rate": 1e-2},
        "engine": {"precision": "fp32"},
        "evaluation": {"every_steps": 1, "max_new_tokens": 4},
        "checkpoints": {"every_steps": 1},
    }
    train(RunConfig.model_validate(values))
    return folder


@pytest.fixture
def own_run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def own_step(own_run: Path) -> Path:
    step = latest_checkpoint(own_run)
    assert step is not None
    return step


def export(checkpoint: Path, output: Path, *arguments: object) -> Outcome:
    return run(launch.export.main, "--checkpoint", checkpoint, "--output", output, *arguments)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """The complaint of an export that must leave nothing."""

    def refuse(checkpoint: Path, *arguments: object, code: int = 2) -> str:
        before = set(tmp_path.rglob("*"))
        outcome = export(checkpoint, tmp_path / "new" / "exported", *arguments)
        assert outcome.code == code, outcome
        assert set(tmp_path.rglob("*")) == before
        return outcome.complaint

    return refuse


def edit_weights(file: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {key: tensor for file in folder.glob("*.safetensors") for key, tensor in load_file(file).items()}


# What comes out


def test_a_resumable_checkpoint_becomes_a_plain_folder(own_step: Path, tmp_path: Path) -> None:
    final = own_step.parent.parent / "final"
    expected = load_file(final / "model.safetensors")
    output = tmp_path / "exports" / "az-bf16.v1"
    (tmp_path / "exports").mkdir()
    outcome = export(own_step, output, "--dtype", "bf16", "--max-shard-size", "300KB")
    assert outcome.code == 0, outcome
    assert "reloaded in a fresh process" in outcome.output
    assert [path.name for path in output.parent.iterdir()] == [output.name]

    weights = weights_of(output)
    assert weights.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(weights[key], tensor.to(torch.bfloat16)), key
    shards = sorted(path.name for path in output.glob("*.safetensors"))
    assert len(shards) > 1
    index = json.loads((output / "model.safetensors.index.json").read_text())
    assert sorted(set(index["weight_map"].values())) == shards
    # Like what the run writes itself, but for the dtype.
    config, plain = (json.loads((folder / "config.json").read_text()) for folder in (output, final))
    assert config == plain | {"dtype": "bfloat16"}
    for name in ("generation_config.json", "tokenizer.json", "decoder.py", "preprocessor_config.json"):
        assert (output / name).read_text() == (final / name).read_text(), name
    card = (output / "README.md").read_text()
    rate = yaml.safe_load((own_step.parent.parent / "summary.json").read_text())["word_error_rate"]
    assert yaml.safe_load(card.split("---")[1])["language"] == ["az"]
    for part in ("stored in bf16", "2 steps", f"{rate:.2%}", "trust_remote_code=True", '"az-bf16.v1"'):
        assert part in card


def test_what_a_checkpoint_is_follows_the_run(own_run: Path) -> None:
    """A run may go on with another padding; its checkpoints are then exported with it."""
    model = own_run / "model"
    assert not [path.name for path in model.iterdir() if path.suffix in (".safetensors", ".bin")]
    assert json.loads((model / "config.json").read_text())["encoder_padding"] == "clip"
    options = [f"output_dir={own_run}", "training.steps=3", "model.encoder_padding=window", "data.validation=null"]
    train(load_config(own_run / "config.yaml", options), resume=True)
    step = latest_checkpoint(own_run)
    assert step is not None
    assert step.name == "step_00000003"
    assert open_trained(step)[0].config.encoder_padding == "window"


def test_an_adapter_is_merged(own_run: Path, tmp_path: Path) -> None:
    base = own_run / "final"
    adapted = get_peft_model(
        open_model(str(base)),
        LoraConfig(r=4, target_modules=r".*\.encoder_attn\.(q|v)_proj", modules_to_save=["secondary_attn", "gate"]),
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    adapter = tmp_path / "adapter"
    adapted.save_pretrained(adapter)
    assert "adapter_model.safetensors" in {path.name for path in adapter.iterdir()}
    outcome = export(adapter, tmp_path / "merged")
    assert outcome.code == 0, outcome

    expected, plain = logits_of(adapted.eval()), logits_of(open_model(str(base)).eval())
    assert (expected - plain).abs().max() > 0.1
    torch.testing.assert_close(logits_of(open_model(str(tmp_path / "merged")).eval()), expected, rtol=0, atol=1e-5)
    gate = "model.decoder.layers.1.gate.hidden.weight"  # trained whole, not by a product of two matrices
    assert torch.equal(
        weights_of(tmp_path / "merged")[gate],
        dict(adapted.named_parameters())[
            "base_model.model.model.decoder.layers.1.gate.modules_to_save.default.hidden.weight"
        ],
    )
    assert not list((tmp_path / "merged").glob("adapter*"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that plays the hub; huggingface_hub read its settings when it was imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)  # asks for a list, and caches it
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        yield server


def test_plain_whisper_in_half_precision_is_pushed(own_run: Path, tmp_path: Path, hub: HubServer) -> None:
    torch.manual_seed(0)
    processor = Checkpoint(str(own_run / "final")).processor
    small = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = {"pad_token_id": 256, "bos_token_id": 256, "eos_token_id": 256, "decoder_start_token_id": 257}
    vocabulary = len(processor.tokenizer)
    config = WhisperConfig(**small, **heads, **tokens, vocab_size=vocabulary, begin_suppress_tokens=None)
    model = WhisperForConditionalGeneration(config)
    model.save_pretrained(tmp_path / "plain")
    processor.save_pretrained(tmp_path / "plain")
    outcome = export(
        tmp_path / "plain", tmp_path / "sent", "--dtype", "fp16", "--push-to-hub", "team/small", "--private"
    )
    assert outcome.code == 0, outcome
    assert f"pushed to {hub.address}/team/small" in outcome.output

    for key, tensor in weights_of(tmp_path / "sent").items():
        assert torch.equal(tensor, model.state_dict()[key].half()), key
    files = {path.name: path.read_bytes() for path in (tmp_path / "sent").iterdir()}
    assert not [name for name in files if name.endswith(".py")]  # transformers' own code
    assert "trust_remote_code" not in files["README.md"].decode()
    assert hub.committed == files
    assert hub.created == {"name": "small", "organization": "team", "visibility": "private"}
    assert set(hub.asked) == {
        "POST /api/repos/create",
        "GET /api/models/team/small",
        "POST /api/validate-yaml",
        "POST /api/models/team/small/preupload/main",
        "POST /team/small.git/info/lfs/objects/batch",
        "PUT /upload",
        "POST /api/models/team/small/commit/main",
    }
    assert hub.asked.count("POST /api/models/team/small/commit/main") == 1
    assert hub.tokens == {"Bearer hf_of_the_test"}


@pytest.mark.parametrize(
    ("trouble", "options", "reason"),
    [
        ({"refuse": 401}, (), "HF_TOKEN"),
        ({"refuse": 500}, (), "500"),
        ({"private": False}, ("--private",), "public"),
        (None, (), ""),  # nobody answers
    ],
)
def test_a_push_that_fails_leaves_the_folder(
    trained: Path,
    tmp_path: Path,
    hub: HubServer,
    without_reload: None,
    monkeypatch: pytest.MonkeyPatch,
    trouble: dict[str, Any] | None,
    options: tuple[str, ...],
    reason: str,
) -> None:
    if trouble is None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name, value in (trouble or {}).items():
        setattr(hub, name, value)
    outcome = export(trained / "best", tmp_path / "kept", "--push-to-hub", "team/small", *options)
    assert outcome.code == 1
    assert reason in outcome.complaint
    assert f"the folder is at {tmp_path / 'kept'}" in outcome.complaint
    assert (tmp_path / "kept" / "model.safetensors").exists()
    assert not hub.committed


def test_the_card_knows_which_step_was_best(own_run: Path, own_step: Path) -> None:
    """best/ says it itself; in a run of an older version the lowest of the metric that chose."""
    rows = [{"kind": "validation", "step": n, "word_error_rate": rate} for n, rate in ((1, 0.5), (2, 0.25), (3, 0.25))]
    (own_run / "metrics.jsonl").write_text(
        "".join(json.dumps(row | {"insertions": row["step"]}) + "\n" for row in rows)
    )
    record = read_record(own_run / "best")
    assert record is not None
    assert origin_of(own_run / "best") == Origin(record.step, record.word_error_rate, "az")
    (own_run / "best" / RECORD).unlink()
    assert origin_of(own_run / "best") == Origin(2, 0.25, "az")
    config = own_run / "config.yaml"
    config.write_text(config.read_text().replace("best_metric: word_error_rate", "best_metric: insertions"))
    assert origin_of(own_run / "best") == Origin(1, 0.5, "az")
    assert origin_of(own_run / "final") == Origin(2, 0.25, "az")
    assert origin_of(own_step.with_name("step_00000001")) == Origin(1, 0.5, "az")
    assert origin_of(own_run.parent) == Origin()


def test_the_card_of_weights_whose_average_alone_was_evaluated_names_no_rate(own_run: Path, own_step: Path) -> None:
    row = {"kind": "validation", "step": 1, "word_error_rate": 0.5, "average_word_error_rate": 0.5}
    (own_run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    step = own_step.with_name("step_00000001")
    assert origin_of(step) == Origin(1, 0.5, "az")
    config = own_run / "config.yaml"
    config.write_text(config.read_text().replace("average: both", "average: alone"))
    assert origin_of(step) == Origin(1, None, "az")


# What must not come out


@pytest.fixture
def without_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fresh process takes seconds; here its answer does not matter."""
    import trainer.export.reload_check

    monkeypatch.setattr(
        trainer.export.reload_check, "fresh_logits", lambda folder, config: logits_of(open_model(str(folder)).eval())
    )


def spoil_what_is_written(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object]) -> None:
    """Change the folder once its weights are written, as a faulty disk or library would."""
    original = trainer.export.exporting.write_weights

    def write_and_spoil(model: Any, folder: Path, *arguments: Any) -> None:
        original(model, folder, *arguments)
        spoil(folder)

    monkeypatch.setattr(trainer.export.exporting, "write_weights", write_and_spoil)


def test_code_that_computes_something_else_is_found(
    trained: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(folder: Path) -> None:
        code = (folder / "decoder_layer.py").read_text()
        assert "gate * (primary - secondary)" in code
        (folder / "decoder_layer.py").write_text(code.replace("gate * (primary - secondary)", "gate * primary"))

    spoil_what_is_written(monkeypatch, spoil)
    assert "reloaded, the logits differ by" in refused(trained / "final", code=1)


def test_code_that_does_not_run_is_found(
    trained: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_what_is_written(monkeypatch, lambda folder: (folder / "stack.py").unlink())
    complaint = refused(trained / "final", code=1)
    assert "a fresh process cannot load" in complaint
    assert "stack.py" in complaint


@pytest.mark.parametrize(
    "edit",
    [
        lambda weights: weights["model.encoder.conv1.bias"].mul_(1.001),
        lambda weights: weights.pop("model.encoder.conv1.bias"),
        lambda weights: weights.update({"another": torch.zeros(1)}),
        lambda weights: weights.update({k: t.to(torch.bfloat16) for k, t in weights.items()}),
    ],
    ids=["changed", "missing", "too many", "another dtype"],
)
def test_tensors_that_are_not_the_trained_ones_are_found(
    trained: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    edit: Callable[[dict[str, torch.Tensor]], object],
) -> None:
    spoil_what_is_written(monkeypatch, lambda folder: edit_weights(folder / "model.safetensors", edit))
    refused(trained / "final", code=1)


def test_rounding_that_makes_another_model_is_told() -> None:
    from trainer.errors import ExportError

    logits = torch.linspace(-10, 10, 50)
    assert check_logits(logits, logits + 1, logits + 1, torch.bfloat16) == pytest.approx(1)
    with pytest.raises(ExportError, match="rounding changes this model too much"):
        check_logits(logits, logits + 1, logits + 1, torch.float16)
    with pytest.raises(ExportError, match="reloaded"):
        check_logits(logits, logits, logits + 0.01, torch.bfloat16)
    with pytest.raises(ExportError):
        check_logits(logits, logits, logits * float("nan"), torch.bfloat16)


def test_weights_beyond_half_precision(own_step: Path, refused: Callable[..., str]) -> None:
    def edit(weights: dict[str, torch.Tensor]) -> None:
        weights["model.encoder.conv1.bias"][0] = 1e5

    edit_weights(own_step / "model.safetensors", edit)
    complaint = refused(own_step, "--dtype", "fp16", code=1)
    for part in ("model.encoder.conv1.bias", "1e+05", "float16"):
        assert part in complaint


def test_a_disk_without_room(trained: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=2_000_000, free=1_000_000))
    complaint = refused(trained / "best", code=1)
    assert "exported needs " in complaint
    assert "1.0 MB free" in complaint


# Checkpoints that cannot be exported


def remove(*names: str) -> Callable[[Path], object]:
    return lambda step: [shutil.rmtree(p) if p.is_dir() else p.unlink() for p in (step / name for name in names)]


def edit_step(edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    return lambda step: edit_weights(step / "model.safetensors", edit)


def cut_short(step: Path) -> None:
    file = step / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


POSITIONS = "model.encoder.embed_positions.weight"


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (remove("../../model"), ("what the model is", "run/model is missing", "--resume")),
        (remove("../../model/config.json"), ("run/model is missing",)),
        (remove(*(f"../../model/{name}" for name in TOKENIZER)), ("the tokenizer of", "knows")),
        (remove("model.safetensors"), ("model.safetensors is missing",)),
        (cut_short, ("cannot read", "model.safetensors")),
        (edit_step(lambda w: w.pop(POSITIONS)), ("lacks tensors of the model", POSITIONS)),
        (edit_step(lambda w: w.update(b=w[POSITIONS].clone())), ("tensors that the model lacks: b",)),
        (edit_step(lambda w: w.update({POSITIONS: torch.zeros(3, 32)})), (POSITIONS, "[3, 32]", "[1500, 32]")),
        (edit_step(lambda w: w.update({"proj_out.weight": torch.zeros(1811, 32)})), ("proj_out.weight", "differ")),
        (edit_step(lambda w: w[POSITIONS].fill_(float("nan"))), (POSITIONS, "not finite")),
    ],
)
def test_a_damaged_checkpoint(
    own_step: Path, refused: Callable[..., str], damage: Callable[[Path], object], parts: tuple[str, ...]
) -> None:
    damage(own_step)
    complaint = refused(own_step)
    for part in parts:
        assert part in complaint


def test_folders_that_are_not_checkpoints(
    own_run: Path, own_step: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert f"no such folder: {tmp_path.name}/nothing" in refused(Path(f"{tmp_path.name}/nothing"))
    assert f"there is {own_run}" in refused(tmp_path / "runn")
    told = refused(own_run)
    for folder in (own_run / "best", own_run / "final", own_step):
        assert str(folder) in told
    assert "holds no weights" in refused(own_run / "model")
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refused(tmp_path / "empty")
    cut_short(own_run / "best")
    assert "cannot load the weights" in refused(own_run / "best")


def test_pickles_are_not_read(own_run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    class Opened:
        """Leaves a mark when it is unpickled."""

        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "opened",)

    final = own_run / "final"
    (final / "model.safetensors").unlink()
    torch.save({"weight": Opened()}, final / "pytorch_model.bin")
    complaint = refused(final)
    assert "pytorch_model.bin" in complaint
    assert "safetensors.torch.save_file" in complaint
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    LoraConfig(base_model_name_or_path=str(own_run / "best"), target_modules=["q_proj"]).save_pretrained(adapter)
    torch.save({"weight": Opened()}, adapter / "adapter_model.bin")
    assert "adapter_model.bin is a pickle" in refused(adapter)


def test_code_in_the_checkpoint_is_not_run(own_run: Path, own_step: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for folder in (own_run / "model", own_run / "best"):
        for name in ("configuration.py", "dual_whisper.py"):
            (folder / name).write_text(f"open({str(mark)!r}, 'w')\n")
    for folder in (own_step, own_run / "best"):
        open_trained(folder)
    assert not mark.exists()


@pytest.fixture
def adapter(own_run: Path, tmp_path: Path) -> Path:
    model = get_peft_model(open_model(str(own_run / "best")), LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_whose_base_is_gone(own_run: Path, adapter: Path, refused: Callable[..., str]) -> None:
    (own_run / "best").rename(own_run / "moved")
    complaint = refused(adapter)
    assert "the base model of" in complaint
    assert str(own_run / "best") in complaint


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (lambda weights: weights.pop(min(weights)), "lacks tensors of the adapter"),
        (lambda weights: weights.update(b=torch.zeros(1)), "tensors that the adapted model lacks: b"),
        (lambda weights: weights.update({min(weights): torch.zeros(3, 3)}), "cannot read"),
    ],
)
def test_an_adapter_that_does_not_fit(
    adapter: Path, refused: Callable[..., str], edit: Callable[[dict[str, torch.Tensor]], object], part: str
) -> None:
    edit_weights(adapter / "adapter_model.safetensors", edit)
    complaint = refused(adapter)
    assert part in complaint
    assert "adapter_model.safetensors" in complaint


def test_an_adapter_of_another_kind(adapter: Path, refused: Callable[..., str]) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    assert "IA3" in refused(adapter)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--dtype", "int8"), ("--dtype", "int8", "fp32", "bf16")),
        (("--max-shard-size", "5 gigs"), ("--max-shard-size", "5 gigs", "5GB")),
        (("--max-shard-size", "0GB"), ("--max-shard-size",)),
        (("--private",), ("--push-to-hub",)),
        (("--push-to-hub", "alone"), ("alone", "OWNER/NAME")),
        (("--push-to-hub", "a/b/c"), ("a/b/c", "OWNER/NAME")),
    ],
)
def test_arguments_that_cannot_be_right(
    trained: Path, refused: Callable[..., str], arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    complaint = refused(trained / "best", *arguments)
    for part in parts:
        assert part in complaint


def test_outputs_that_cannot_be_right(own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (own_run / "best" / "empty").mkdir()
    refusals = {
        tmp_path / "full": "not empty",
        tmp_path / "full" / "thesis.txt": "is a file",
        tmp_path / "full" / "thesis.txt" / "below": "is a file",
        own_run / "best" / "exported": "lies in the checkpoint",
        own_run / "best" / "empty": "lies in the checkpoint",
    }
    (own_run / "best" / "config.json").write_text("")  # the argument is told before anything is read
    before = sorted(tmp_path.rglob("*"))
    for output, reason in refusals.items():
        outcome = export(own_run / "best", output)
        assert outcome.code == 2
        assert reason in outcome.complaint
        assert "--output" in outcome.complaint
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_output_is_taken(trained: Path, tmp_path: Path, without_reload: None) -> None:
    (tmp_path / "waiting").mkdir()
    assert export(trained / "best", tmp_path / "waiting").code == 0
    assert (tmp_path / "waiting" / "model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["waiting"]
