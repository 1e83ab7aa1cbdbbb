"""Adapter folders: what is in them, that peft opens them, what they refuse; merging; resuming; plain Whisper again."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration

import launch.eval
import launch.export
import launch.train
import launch.transcribe
from modeling import DualWhisperForConditionalGeneration
from modeling.adapters import LoraKind, LoraSettings, add_lora, fingerprint, merged, save_adapter
from modeling.checkpoint_files import Base, Checkpoint, CheckpointError
from modeling.checkpoints import open_adapter, open_model
from tests.end_to_end import run as run_command
from tests.support.untrained import save_checkpoint
from trainer.config.reading import ConfigError, dump_config
from trainer.config.run import RunConfig
from trainer.export.reload_check import logits_of
from trainer.export.trained_weights import open_trained
from trainer.loop import Trainer
from trainer.model.building import planned_model
from trainer.record.checkpoints import latest_checkpoint
from trainer.run import train


@pytest.fixture
def values(tiny_values: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Six steps of LoRA on a dual-attention model, a checkpoint after every second."""
    base = save_checkpoint(tmp_path / "base", padding="clip", positions=100)
    return tiny_values | {
        "model": {"checkpoint": str(base), "strategy": "lora"},
        "training": tiny_values["training"] | {"steps": 6},
        "optimizer": {"learning_rate": 1e-2, "warmup_steps": 2},
        "checkpoints": {"every_steps": 2},
    }


@pytest.fixture
def adapter(values: dict[str, Any], tmp_path: Path) -> Path:
    train(RunConfig.model_validate(values))
    return tmp_path / "run" / "final"


def test_the_folder_holds_the_adapter_and_the_new_modules_alone(adapter: Path, tmp_path: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    assert all(".lora_" in key or ".secondary_attn" in key or ".gate." in key for key in weights)
    assert {key.rpartition(".lora_")[2] for key in weights if ".lora_" in key} == {"A.weight", "B.weight"}
    assert not list(adapter.glob("model*.safetensors"))
    step = latest_checkpoint(tmp_path / "run")
    assert step is not None
    assert len(load_file(step / "model.safetensors")) == len(weights)
    assert not list((tmp_path / "run" / "model").glob("*.safetensors"))


def test_without_dual_attention_an_adapter_is_a_tenth_of_its_model(values: dict[str, Any], tmp_path: Path) -> None:
    """In the demo's shape."""
    shape = {"d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 4}
    whole = tmp_path / "whole"
    first = {"model": {"architecture": shape, "dual_attention": False}, "training": {"steps": 1, "batch_size": 2}}
    train(RunConfig.model_validate(values | first | {"output_dir": str(whole), "optimizer": {}}))
    settings = {"model": {"checkpoint": str(whole / "final"), "strategy": "lora", "dual_attention": False}}
    train(RunConfig.model_validate(values | settings))

    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    assert 0 < size(tmp_path / "run" / "final") < 0.1 * size(whole / "final")


def test_peft_opens_it_on_the_same_base(adapter: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    base = DualWhisperForConditionalGeneration.from_pretrained(tmp_path / "base")
    theirs = PeftModel.from_pretrained(base, adapter).eval()
    ours = open_adapter(Checkpoint(str(adapter)))
    assert torch.equal(logits_of(theirs), logits_of(ours))
    assert not torch.allclose(logits_of(ours), logits_of(open_model(str(tmp_path / "base"))), atol=1e-2)


def test_merged_it_says_the_same(adapter: Path) -> None:
    model = open_adapter(Checkpoint(str(adapter)))
    before = logits_of(model)
    after = logits_of(merged(model, str(adapter)))
    assert float((before - after).abs().max()) < 1e-5 * float(before.abs().max())
    assert type(open_model(str(adapter))) is DualWhisperForConditionalGeneration


def test_the_commands_take_it(adapter: Path, tmp_path: Path, corpus: Path) -> None:
    best = adapter.with_name("best")
    outcome = run_command(launch.eval.main, "--checkpoint", best, "--split", "validation")
    assert outcome.code == 0, outcome.errors
    assert "word error rate" in outcome.output
    outcome = run_command(launch.export.main, "--checkpoint", best, "--output", tmp_path / "exported")
    assert outcome.code == 0, outcome.errors
    assert torch.equal(logits_of(open_model(str(tmp_path / "exported"))), logits_of(open_model(str(best))))


@pytest.mark.parametrize("strategy", ["lora", "qlora"])
def test_a_step_is_exported_like_the_folder(values: dict[str, Any], tmp_path: Path, strategy: str) -> None:
    values["model"]["strategy"] = strategy
    train(RunConfig.model_validate(values))
    step = latest_checkpoint(tmp_path / "run")
    assert step is not None
    of_step, _ = open_trained(step)
    of_folder, _ = open_trained(tmp_path / "run" / "final")
    assert torch.equal(logits_of(of_step), logits_of(of_folder))


def test_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    """Of the same shape, so that nothing but the weights tells."""
    file = tmp_path / "base" / "model.safetensors"
    weights = load_file(file)
    weights["model.encoder.layers.0.fc1.weight"] += 0.01
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="was trained on another base"):
        open_model(str(adapter))
    outcome = run_command(launch.transcribe.main, "--checkpoint", adapter, "nothing.flac")
    assert outcome.code == 2


def test_a_resume_on_another_base_is_refused(values: dict[str, Any], adapter: Path, tmp_path: Path) -> None:
    file = tmp_path / "base" / "model.safetensors"
    weights = load_file(file)
    weights["model.decoder.layer_norm.weight"] += 0.5
    save_file(weights, file, metadata={"format": "pt"})
    values["training"]["steps"] = 8
    with pytest.raises(ConfigError, match=r"model\.checkpoint.*not those that the run was begun with"):
        train(RunConfig.model_validate(values), resume=True)


def test_a_resume_from_a_checkpoint_that_lacks_a_trained_tensor_is_refused(
    values: dict[str, Any], adapter: Path, tmp_path: Path
) -> None:
    """The base is not in it, so it is not loaded strictly."""
    step = latest_checkpoint(tmp_path / "run")
    assert step is not None
    weights = load_file(step / "model.safetensors")
    lost = max(weights)
    del weights[lost]
    save_file(weights, step / "model.safetensors", metadata={"format": "pt"})
    (step / "manifest.json").unlink()  # as of an older version, whose files cannot be checked
    values["training"]["steps"] = 8
    with pytest.raises(CheckpointError, match="lacks tensors that were trained") as refusal:
        train(RunConfig.model_validate(values), resume=True)
    assert lost in str(refusal.value)


def test_other_options_are_refused_on_a_resume(values: dict[str, Any], adapter: Path) -> None:
    for change, told in (
        ({"strategy": "full"}, r"model\.strategy is 'full'"),
        ({"lora": {"rank": 4}}, r"model\.lora is given, but the run in .* was made without it"),
        ({"dual_attention": False}, r"model\.dual_attention is False"),
    ):
        changed = values | {"model": values["model"] | change}
        with pytest.raises(ConfigError, match=told):
            train(RunConfig.model_validate(changed), resume=True)


def test_a_resume_that_has_nothing_to_do_leaves_the_config_as_it_was(values: dict[str, Any], adapter: Path) -> None:
    before = (adapter.parent / "config.yaml").read_text()
    train(RunConfig.model_validate(values | {"training": values["training"] | {"steps": 4}}), resume=True)
    assert (adapter.parent / "config.yaml").read_text() == before


def test_a_base_that_is_gone_or_damaged(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"the base model of .*final"):
        open_model(str(adapter))
    (adapter / "base.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"base\.json"):
        open_model(str(adapter))


def test_a_fingerprint_tells_weights_apart_but_not_new_modules(tmp_path: Path) -> None:
    model = open_model(str(save_checkpoint(tmp_path / "base", padding=None)), lift=True)
    before = fingerprint(model)
    with torch.no_grad():
        model.model.decoder.layers[0].gate.score.weight += 1
    assert fingerprint(model) == before
    with torch.no_grad():
        model.model.encoder.conv1.bias[0] += 1e-3
    assert fingerprint(model) != before


def test_adapters_leave_the_second_attention_alone_and_train_it_in_full(tmp_path: Path) -> None:
    model = open_model(str(save_checkpoint(tmp_path / "base", padding=None)), lift=True)
    model.requires_grad_(False)
    settings = LoraSettings(4, 8, 0.0, ("q_proj", "v_proj"), ("encoder", "decoder"))
    add_lora(model, settings, Base("base", None, True, "clip", fingerprint(model)))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trained if ".lora_" not in name} == set(model.new_modules())
    assert len(trained) - len(model.new_modules()) == 2 * 2 * (2 + 2 * 2)


class Killed(Exception):
    """The process ended here."""


@pytest.mark.parametrize(
    "model",
    [
        {"strategy": "lora"},
        {"strategy": "selective"},
        {"strategy": "lora", "lora": {"kind": "pissa", "rank": 4}},
        pytest.param({"strategy": "lora", "lora": {"kind": "dora"}}, marks=pytest.mark.slow),
        pytest.param({"strategy": "lora", "lora": {"kind": "rslora"}}, marks=pytest.mark.slow),
        pytest.param({"strategy": "lora", "dual_attention": False}, marks=pytest.mark.slow),
        pytest.param({"strategy": "qlora"}, marks=pytest.mark.slow),
        pytest.param({"strategy": "qlora", "lora": {"bits": 8}}, marks=pytest.mark.slow),
        pytest.param({"strategy": "frozen_encoder"}, marks=pytest.mark.slow),
        pytest.param({"strategy": "frozen_primary"}, marks=pytest.mark.slow),
        pytest.param({"strategy": "full"}, marks=pytest.mark.slow),
    ],
    ids=lambda model: "_".join(map(str, model.values())),
)
def test_a_run_cut_off_twice_ends_with_the_same_weights(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    if model.get("dual_attention") is False:
        save_checkpoint(tmp_path / "base", padding=None, positions=100)
    values["model"] = {"checkpoint": values["model"]["checkpoint"], **model}
    train(RunConfig.model_validate(values | {"output_dir": str(tmp_path / "whole")}))
    original = Trainer.log_step
    cuts = [3, 5]

    def log_step(self: Trainer) -> None:
        original(self)
        if cuts and self.state.step == cuts[0]:
            cuts.pop(0)
            raise Killed

    monkeypatch.setattr(Trainer, "log_step", log_step)
    config = RunConfig.model_validate(values)
    for resume in (False, True):
        with pytest.raises(Killed):
            train(config, resume)
    train(config, resume=True)
    whole, resumed = (open_model(str(tmp_path / name / "final")).state_dict() for name in ("whole", "run"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    rows = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "run")]
    losses = [[row["loss"] for row in map(json.loads, lines) if row["kind"] == "train"] for lines in rows]
    assert losses[0] == losses[1]
    assert dump_config(config)


def adapted(folder: Path, kind: Any, alpha: float = 8) -> Any:
    """A base with adapters of a kind, as training holds it."""
    model = open_model(str(folder))
    base = Base(str(folder), None, True, "clip", fingerprint(model))
    model.requires_grad_(False)
    add_lora(model, LoraSettings(4, alpha, 0.0, ("q_proj", "fc1"), ("encoder", "decoder"), kind), base)
    return model.eval()


@pytest.mark.parametrize("kind", get_args(LoraKind))
@torch.no_grad()
def test_each_kind_begins_as_its_base_and_is_saved_for_it(kind: str, tmp_path: Path) -> None:
    from peft import PeftModel

    folder = save_checkpoint(tmp_path / "base", padding="clip", positions=100)
    before = logits_of(open_model(str(folder)))
    model = adapted(folder, kind)
    assert torch.allclose(logits_of(model), before, atol=1e-5)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            assert parameter.requires_grad
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    trained = logits_of(model)
    assert not torch.allclose(trained, before, atol=1e-2)
    save_adapter(model, model.state_dict(), tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(
        DualWhisperForConditionalGeneration.from_pretrained(folder), tmp_path / "adapter"
    )
    ours = open_adapter(Checkpoint(str(tmp_path / "adapter")))
    for opened in (theirs.eval(), ours, merged(ours, "adapter")):
        assert torch.allclose(logits_of(opened), trained, atol=1e-5 * float(trained.abs().max()))


@torch.no_grad()
def test_the_kinds_are_what_their_papers_say(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "base", padding="clip", positions=100)
    name = "encoder.layers.0.fc1"
    weight = open_model(str(folder)).model.get_submodule(name).weight
    layers = {kind: adapted(folder, kind).model.get_submodule(name) for kind in get_args(LoraKind)}
    scales = {kind: layer.scaling["default"] for kind, layer in layers.items()}
    assert scales == {"lora": 2.0, "rslora": 4.0, "dora": 2.0, "pissa": 2.0}
    assert torch.allclose(layers["dora"].lora_magnitude_vector["default"].weight, weight.norm(dim=1))
    layer, sizes = layers["pissa"], torch.linalg.svdvals(weight)
    product = 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert torch.linalg.svdvals(product)[:4] == pytest.approx(sizes[:4], rel=0.02)
    assert torch.linalg.svdvals(layer.base_layer.weight)[0] == pytest.approx(float(sizes[4]), rel=0.02)
    assert torch.allclose(layer.base_layer.weight + product, weight, atol=1e-6)
    with pytest.raises(ValueError, match=r"rank is 99; kind pissa takes 32 at most"):
        base = Base(str(folder), None, True, "clip", "")
        add_lora(open_model(str(folder)), LoraSettings(99, 8, 0.0, ("fc1",), ("encoder",), "pissa"), base)


def test_pissa_goes_on_only_where_it_finds_the_same_vectors(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values["model"] |= {"lora": {"kind": "pissa", "rank": 4}}
    train(RunConfig.model_validate(values))
    original = torch.svd_lowrank

    def turned(*arguments: Any, **more: Any) -> Any:
        left, sizes, right = original(*arguments, **more)
        return -left, sizes, -right

    monkeypatch.setattr(torch, "svd_lowrank", turned)
    longer = values | {"training": values["training"] | {"steps": 8}}
    with pytest.raises(CheckpointError, match="the singular vectors that the run began with are not those found here"):
        train(RunConfig.model_validate(longer), resume=True)


@pytest.mark.parametrize(
    ("model", "engine", "said"),
    [
        (
            {"strategy": "qlora", "lora": {"kind": "dora"}},
            {},
            "'dora', which needs whole weights, and strategy 'qlora'",
        ),
        ({"strategy": "qlora", "lora": {"kind": "pissa"}}, {}, "'pissa', which needs whole weights"),
        ({"strategy": "lora", "lora": {"kind": "dora"}}, {"zero_stage": 3}, "'dora', which reads whole weights"),
        ({"strategy": "lora", "lora": {"kind": "pissa"}}, {"zero_stage": 3}, "'pissa', which reads whole weights"),
        ({"strategy": "lora", "lora": {"kind": "adalora"}}, {}, "kind"),
    ],
)
def test_kinds_that_cannot_be_are_refused(
    values: dict[str, Any], model: dict[str, Any], engine: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        RunConfig.model_validate(values | {"model": values["model"] | model, "engine": engine})


def test_plain_whisper_comes_out_as_such(values: dict[str, Any], tmp_path: Path) -> None:
    """Trained without second attentions, adapter or not: a folder that stock transformers opens, without code."""
    save_checkpoint(tmp_path / "base", padding=None, positions=100)
    values["model"] |= {"dual_attention": False, "encoder_padding": "window"}
    values["training"] |= {"steps": 1, "batch_size": 1}
    values["data"] = values["data"] | {"validation": None}
    train(RunConfig.model_validate(values | {"optimizer": {}}))
    final = tmp_path / "run" / "final"
    outcome = run_command(launch.export.main, "--checkpoint", final, "--output", tmp_path / "out", "--as-whisper")
    assert outcome.code == 0, outcome.errors
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "whisper"
    assert not list((tmp_path / "out").glob("*.py"))
    stock = WhisperForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    assert torch.allclose(logits_of(stock), logits_of(open_model(str(final))), atol=1e-5)


def test_a_dual_model_is_not_written_as_plain_whisper(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base", padding="clip")
    outcome = run_command(launch.export.main, "--checkpoint", base, "--output", tmp_path / "out", "--as-whisper")
    assert (outcome.code, "has second attentions" in outcome.complaint) == (2, True)
    assert not (tmp_path / "out").exists()


def test_run_and_base_may_move_together(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = logits_of(open_model(str(adapter)))
    (tmp_path / "elsewhere").mkdir()
    for name in ("run", "base"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    monkeypatch.chdir("/")
    assert torch.equal(logits_of(open_model(str(tmp_path / "elsewhere" / "run" / "final"))), expected)


def test_a_base_named_by_a_relative_path_is_found_from_anywhere(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values["model"]["checkpoint"] = "base"
    train(RunConfig.model_validate(values | {"training": {"steps": 1}, "optimizer": {}}))
    monkeypatch.chdir("/")
    open_model(str(tmp_path / "run" / "final"))


def test_an_adapter_of_peft_alone_has_its_bases_processor_and_shape(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = save_checkpoint(tmp_path / "base", padding=None, positions=100)
    model = get_peft_model(open_model(str(base)), LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(tmp_path / "foreign")
    own, bases = (Checkpoint(str(folder)).processor for folder in (tmp_path / "foreign", base))
    assert len(own.tokenizer) == len(bases.tokenizer)
    config = {"output_dir": "unused", "data": {"train": {"folder": "unused"}}, "training": {"steps": 1}}
    settings = {"checkpoint": str(tmp_path / "foreign"), "dual_attention": False}
    planned = planned_model(RunConfig.model_validate(config | {"model": settings}))
    assert sum(p.numel() for p in planned.parameters()) == sum(p.numel() for p in open_model(str(base)).parameters())
