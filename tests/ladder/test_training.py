"""Training: lifting, losses and gradients, with gradient checkpointing, PEFT and transformers' own trainer."""

import contextlib
import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from modeling import DualWhisperForConditionalGeneration


def labels() -> torch.Tensor:
    ids = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(7))
    ids[1, 6:] = -100
    return ids


def gradients(model: Any, features: torch.Tensor) -> dict[str, torch.Tensor]:
    model.train().zero_grad()
    model(input_features=features, labels=labels()).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.promise("model, loss, gradients")
@torch.no_grad()
def test_lifting_leaves_logits_and_loss_unchanged(plain: Any, lifted: Any, features: torch.Tensor) -> None:
    ours, theirs = (model(input_features=features, labels=labels()) for model in (lifted, plain))
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(ours.loss, theirs.loss)


@pytest.mark.promise("model, loss, gradients")
def test_new_gates_are_initialised(lifted: Any) -> None:
    """Releases differ in how they fill what a checkpoint lacks; memory left as it was would show as wild numbers."""
    for layer in lifted.model.decoder.layers:
        assert layer.gate.hidden.weight.std().item() == pytest.approx(lifted.config.init_std, rel=0.1)
        assert not layer.gate.hidden.bias.any() and not layer.gate.score.bias.any()
        assert 0 < layer.gate.score.weight.std().item() < 2 * lifted.config.init_std


@pytest.mark.promise("model, loss, gradients")
def test_every_parameter_gets_a_gradient(trained: Any, features: torch.Tensor) -> None:
    found = gradients(trained, features)
    fixed = {name for name, p in trained.named_parameters() if not p.requires_grad}
    assert fixed == {"model.encoder.embed_positions.weight"}
    assert {name for name, gradient in found.items() if gradient.any()} == {
        name for name, _ in trained.named_parameters() if name not in fixed
    }


def forwards_of_layers(model: Any, features: torch.Tensor) -> tuple[list[int], dict[str, torch.Tensor]]:
    """How often each layer of encoder and decoder is computed in a training step; and the gradients."""
    layers = [*model.model.encoder.layers, *model.model.decoder.layers]
    counts = [0] * len(layers)

    def counted(index: int) -> Any:
        def note(*_: Any) -> None:
            counts[index] += 1

        return note

    handles = [layer.final_layer_norm.register_forward_hook(counted(i)) for i, layer in enumerate(layers)]
    found = gradients(model, features)
    for handle in handles:
        handle.remove()
    return counts, found


def assert_equal_gradients(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.promise("gradient checkpointing")
def test_gradient_checkpointing_gives_the_same_gradients(trained: Any, features: torch.Tensor) -> None:
    expected = gradients(trained, features)
    trained.gradient_checkpointing_enable()
    assert trained.is_gradient_checkpointing
    counts, found = forwards_of_layers(trained, features)
    assert counts == [2] * 4
    assert_equal_gradients(found, expected)
    trained.gradient_checkpointing_disable()
    assert not trained.is_gradient_checkpointing
    assert forwards_of_layers(trained, features)[0] == [1] * 4


@pytest.mark.promise("gradient checkpointing")
def test_checkpointing_one_stack(trained: Any, features: torch.Tensor) -> None:
    expected = gradients(trained, features)
    trained.model.decoder.checkpoint_layers(True)
    counts, found = forwards_of_layers(trained, features)
    assert counts == [1, 1, 2, 2]
    assert_equal_gradients(found, expected)
    trained.model.decoder.checkpoint_layers(False)
    assert forwards_of_layers(trained, features)[0] == [1] * 4


@pytest.mark.promise("gradient checkpointing")
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_options_of_gradient_checkpointing(trained: Any, features: torch.Tensor, use_reentrant: bool) -> None:
    """transformers' own function is what computes the layers again, with whatever options it was given."""
    if "gradient_checkpointing_kwargs" not in inspect.signature(trained.gradient_checkpointing_enable).parameters:
        return  # before 4.35 there are none
    expected, contexts = gradients(trained, features), []

    def two_contexts() -> tuple[Any, Any]:
        contexts.append(1)
        return contextlib.nullcontext(), contextlib.nullcontext()

    options: dict[str, Any] = {"use_reentrant": use_reentrant}
    if not use_reentrant:
        options["context_fn"] = two_contexts
    trained.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    counts, found = forwards_of_layers(trained, features)
    assert counts == [2] * 4 and len(contexts) == (0 if use_reentrant else 4)
    assert_equal_gradients(found, expected)


@pytest.mark.promise("gradient checkpointing")
def test_every_second_layer_is_computed_again(trained: Any, features: torch.Tensor) -> None:
    if "every_n_layers" not in inspect.signature(trained._set_gradient_checkpointing).parameters:
        return  # only the newest releases choose layers
    expected = gradients(trained, features)
    trained.gradient_checkpointing_enable(every_n_layers=2)
    counts, found = forwards_of_layers(trained, features)
    assert counts == [2, 1, 2, 1]
    assert_equal_gradients(found, expected)


@pytest.mark.promise("gradient checkpointing")
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_the_noise_loss_under_checkpointing(trained: Any, features: torch.Tensor, use_reentrant: bool) -> None:
    """Its shares come out of the layers beside their states, and carry gradients too."""
    frames = torch.rand(2, 100, generator=torch.Generator().manual_seed(3))
    noise = {"noise_target": frames, "noise_positions": torch.arange(6), "noise_weight": 0.5}

    def found() -> dict[str, torch.Tensor]:
        trained.train().zero_grad()
        trained(input_features=features, labels=labels(), **noise).loss.backward()
        return {name: p.grad.clone() for name, p in trained.named_parameters() if p.grad is not None}

    expected = found()
    for stack in (trained.model.encoder, trained.model.decoder):
        stack.checkpoint_layers(True)
        for layer in stack.layers:
            layer._gradient_checkpointing_func = partial(torch.utils.checkpoint.checkpoint, use_reentrant=use_reentrant)
    assert_equal_gradients(found(), expected)


@pytest.mark.promise("peft")
def test_lora(trained: Any, features: torch.Tensor, tmp_path: Path) -> None:
    """Adapters on the old attentions, the new modules in full; equal gradients with checkpointing; merged as it was."""
    import peft

    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=4,
        target_modules=r".*\.(self_attn|encoder_attn)\.(q_proj|v_proj)",
        modules_to_save=["secondary_attn", "secondary_attn_layer_norm", "gate"],
        init_lora_weights=False,
    )
    adapted = peft.get_peft_model(trained, config)
    found = gradients(adapted, features)
    assert all(".lora_" in name or ".modules_to_save." in name for name in found)
    assert {part for name in found for part in ("lora_A", "secondary_attn.", "gate.") if part in name} == {
        "lora_A",
        "secondary_attn.",
        "gate.",
    }
    adapted.gradient_checkpointing_enable()
    again = gradients(adapted, features)
    assert found.keys() == again.keys()
    for name, gradient in again.items():
        torch.testing.assert_close(gradient, found[name], atol=1e-5, rtol=1e-4)
    adapted.eval()
    tokens = adapted.generate(input_features=features, language="en", max_new_tokens=8)
    adapted.save_pretrained(tmp_path)
    merged = adapted.merge_and_unload()
    assert torch.equal(merged.generate(features, language="en", max_new_tokens=8), tokens)


@pytest.mark.promise("Seq2SeqTrainer")
def test_transformers_own_trainer(trained: Any, plain_folder: Path, features: torch.Tensor, tmp_path: Path) -> None:
    """One step of SGD moves the weights by the gradients; evaluation with ``generate()`` and reloading work."""
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    expected = gradients(trained, features)
    before = {name: p.detach().clone() for name, p in trained.named_parameters()}
    rows = [{"input_features": features[i], "labels": labels()[i]} for i in range(2)]
    options = {
        "output_dir": str(tmp_path),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "predict_with_generate": True,
        "generation_max_length": 12,
        "report_to": [],
        "save_strategy": "no",
        "remove_unused_columns": False,
    }
    known = inspect.signature(Seq2SeqTrainingArguments).parameters
    options |= {name: True for name in ("use_cpu", "save_safetensors") if name in known}
    trained.generation_config.language, trained.generation_config.task = "en", "transcribe"
    trainer = Seq2SeqTrainer(
        model=trained, args=Seq2SeqTrainingArguments(**options), train_dataset=rows, eval_dataset=rows
    )
    trainer.train()
    for name, parameter in trained.named_parameters():
        if name in expected:
            moved = (before[name] - parameter.detach().cpu()) / 0.1
            torch.testing.assert_close(moved, expected[name], atol=1e-3, rtol=1e-2)
    prediction = trainer.predict(rows)
    assert prediction.predictions.shape[0] == 2
    trainer.save_model(str(tmp_path / "saved"))
    again = DualWhisperForConditionalGeneration.from_pretrained(tmp_path / "saved")
    for name, value in trained.state_dict().items():
        assert torch.equal(value.cpu(), again.state_dict()[name]), name
