"""The noise loss and the decoder's variants: what second attentions read, where gates start, and the control."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSpeechSeq2Seq

from modeling import DualWhisperForConditionalGeneration
from modeling.adapters import LoraSettings, add_lora, fingerprint_of, save_adapter
from modeling.checkpoint_files import Base, Checkpoint, CheckpointError
from modeling.checkpoints import as_plain_whisper, open_model
from modeling.network.encoder import EncoderOutput
from modeling.network.losses import (
    LEAST_SHARE,
    NoiseTarget,
    logits_loss_sum,
    noise_loss_sum,
    token_loss_sum,
)
from modeling.parameters import NEW_PARTS, parameters_by_part
from tests.support.plain_whisper import save_plain

LENGTHS = [120, 96]


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_plain(tmp_path_factory.mktemp("plain"), ["en"])


def opened(folder: Path, **values: Any) -> DualWhisperForConditionalGeneration:
    return open_model(str(folder), lift=True, encoder_padding="clip", **values).train()


def scattered(model: DualWhisperForConditionalGeneration) -> DualWhisperForConditionalGeneration:
    """New modules far from where they start."""
    generator, new = torch.Generator().manual_seed(3), set(model.new_modules())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in new:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


@pytest.fixture
def dual(plain_folder: Path) -> DualWhisperForConditionalGeneration:
    return scattered(opened(plain_folder))


def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 200, (2, 7), generator=generator)
    labels[:, :2] = -100
    labels[1, 5:] = -100
    return {
        "input_features": torch.randn(2, 80, 124, generator=generator),
        "feature_lengths": LENGTHS,
        "decoder_input_ids": torch.randint(0, 200, (2, 7), generator=generator),
        "labels": labels,
        "noise_target": torch.rand(2, 60, generator=generator),
        "noise_positions": (labels != -100).flatten().nonzero().squeeze(1),
        "num_items_in_batch": 1.0,
        "loss_only": True,
    }


@torch.no_grad()
def test_the_loss_is_that_of_the_weights_themselves(dual) -> None:
    """Of materialised weights, by the design's formula: masked frames count nothing."""
    values = batch()
    found = dual(**values, noise_weight=1.0)
    without = dual(**values)
    shown = dual(**values, output_attentions=True, use_cache=False)
    surprise = []
    for weights in shown.secondary_attentions:
        share = torch.einsum("bhls,bs->bhl", weights, values["noise_target"])
        surprise.append(-share.clamp(min=LEAST_SHARE).log())
    by_hand = torch.stack(surprise).mean(dim=(0, 2))[values["labels"] != -100].sum()
    assert torch.allclose(found.noise_loss, by_hand, rtol=1e-5)
    assert torch.allclose(found.loss - without.loss, by_hand, rtol=1e-4)
    assert shown.secondary_attentions[0][1, :, :, LENGTHS[1] // 2 :].abs().max() == 0


@pytest.mark.parametrize("is_local", [True, False])
def test_only_what_decides_where_the_second_attention_looks_is_trained_by_it(dual, is_local: bool) -> None:
    """And, where it is to reach everything, what that looks at."""
    values = batch()
    output = dual.model(
        values["input_features"],
        feature_lengths=LENGTHS,
        decoder_input_ids=values["decoder_input_ids"],
        use_cache=False,
        noise_target=NoiseTarget(values["noise_target"], is_local=is_local),
    )
    noise_loss_sum(output.noise_shares[-1:], values["noise_positions"]).backward()
    last = dual.model.decoder.layers[-1]
    for part in ("q_proj", "k_proj"):
        assert getattr(last.secondary_attn, part).weight.grad.abs().max() > 0
    assert last.secondary_attn.v_proj.weight.grad is None
    assert last.encoder_attn.q_proj.weight.grad is None
    reached = {name for name, parameter in dual.named_parameters() if parameter.grad is not None}
    assert ("model.encoder.conv1.weight" in reached) is not is_local
    if is_local:
        assert reached == {
            f"model.decoder.layers.1.secondary_attn{part}"
            for part in (".q_proj.weight", ".q_proj.bias", ".k_proj.weight")
        }


@pytest.mark.parametrize("which", ["decoder", "encoder"])
def test_gradient_checkpointing_changes_nothing(dual, which: str) -> None:
    gradients = []
    for checkpointed in (False, True):
        getattr(dual.model, which).gradient_checkpointing = checkpointed
        dual.zero_grad()
        dual(**batch(), noise_weight=0.3).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in dual.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name


@torch.no_grad()
def test_layers_can_be_chosen_and_a_share_of_nothing_is_finite(dual) -> None:
    values = batch()
    one = dual(**values, noise_weight=1.0, noise_layers=[1])
    both = dual(**values, noise_weight=1.0)
    assert len(one.noise_shares) == 2 and torch.allclose(one.noise_shares[0], both.noise_shares[0])  # told of all
    assert torch.allclose(one.noise_loss, noise_loss_sum(both.noise_shares[1:], values["noise_positions"]))
    values["noise_target"] = torch.zeros(2, 60)
    output = dual(**values, noise_weight=1.0)
    assert float(output.noise_loss) == pytest.approx(8 * -torch.tensor(LEAST_SHARE).log().item(), rel=1e-5)


def test_without_weight_the_share_is_told_and_nothing_is_trained_by_it(dual) -> None:
    values = batch()
    dual(**values).loss.backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in dual.named_parameters() if parameter.grad is not None
    }
    dual.zero_grad()
    told = dual(**values).noise_shares
    del values["noise_target"], values["noise_positions"]
    output = dual(**values)
    output.loss.backward()
    assert told is not None and output.noise_shares is None and output.noise_loss is None
    assert all(torch.equal(gradients[name], p.grad) for name, p in dual.named_parameters() if name in gradients)


@torch.no_grad()
def test_weights_and_gates_are_told(dual, plain_folder: Path) -> None:
    values = batch()
    output = dual(**values, output_attentions=True, use_cache=False)
    layers = len(dual.model.decoder.layers)
    assert len(output.gates) == len(output.secondary_attentions) == len(output.cross_attentions) == layers
    assert output.gates[0].shape == (2, 7)
    assert torch.allclose(output.secondary_attentions[0].sum(-1), torch.ones(()), atol=1e-5)
    assert not torch.allclose(output.secondary_attentions[0], output.cross_attentions[0])
    plain = opened(plain_folder, dual_attention=False)
    output = plain(**values, output_attentions=True, use_cache=False)
    assert output.gates is None and output.secondary_attentions is None and output.noise_loss is None


@torch.no_grad()
def test_a_gate_that_starts_near_the_primary_changes_no_logits(plain_folder: Path) -> None:
    values = batch()
    lifted = opened(plain_folder, gate_bias=2.0)
    assert torch.allclose(dict(lifted.named_parameters())["model.decoder.layers.0.gate.score.bias"], torch.tensor(2.0))
    plain = opened(plain_folder, dual_attention=False)
    assert torch.allclose(lifted(**values).loss, plain(**values).loss, rtol=1e-6)
    lifted.model.decoder.layers[0].gate.score.weight.zero_()
    assert torch.allclose(lifted(**values).gates[0], torch.sigmoid(torch.tensor(2.0)))


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
def test_a_middle_layer_is_read_in_generation_as_in_training(plain_folder: Path, beams: int, tmp_path: Path) -> None:
    model = scattered(opened(plain_folder, secondary_layer=1, gate_bias=1.0)).eval()
    values = batch()
    usual = scattered(opened(plain_folder, gate_bias=1.0)).eval()
    features, ids = values["input_features"], values["decoder_input_ids"]
    uncached = model(features, feature_lengths=LENGTHS, decoder_input_ids=ids, use_cache=False).logits
    assert not torch.allclose(
        uncached, usual(features, feature_lengths=LENGTHS, decoder_input_ids=ids, use_cache=False).logits
    )
    step = model(features, feature_lengths=LENGTHS, decoder_input_ids=ids[:, :4], use_cache=True)
    encoded = model.model.encoder(features, feature_lengths=LENGTHS)
    step = model(encoder_outputs=encoded, decoder_input_ids=ids[:, 4:], past_key_values=step.past_key_values)
    assert torch.allclose(step.logits, uncached[:, 4:], rtol=1e-4, atol=1e-3)
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "saved").eval()
    assert again.config.secondary_layer == 1
    options = {"max_new_tokens": 6, "num_beams": beams, "do_sample": False, "language": "en", "task": "transcribe"}
    ours, theirs = (  # each with its own encoder output, which beams are laid out in
        one.generate(encoder_outputs=one.model.encoder(features, feature_lengths=LENGTHS), **options)
        for one in (model, again)
    )
    assert torch.equal(ours, theirs)


def test_encoder_output_survives_a_tuple() -> None:
    states, lengths = torch.zeros(2, 5, 4), torch.tensor([5, 3])
    for given in (EncoderOutput(states), EncoderOutput(states, frame_lengths=lengths)):
        again = EncoderOutput.from_tuple(given.to_tuple())
        assert (again.frame_lengths is None) == (given.frame_lengths is None)
        assert again.secondary_hidden_state is None
    both = EncoderOutput(states, (states,), None, lengths, states + 1)
    again = EncoderOutput.from_tuple(both.to_tuple())
    assert torch.equal(again.secondary_hidden_state, states + 1) and torch.equal(again.frame_lengths, lengths)
    assert torch.equal(again.last_hidden_state, states) and again.hidden_states is not None


def test_the_control_has_as_many_parameters_and_starts_as_whisper(plain_folder: Path) -> None:
    values = batch()
    control = opened(plain_folder, dual_attention=False, wider_feed_forward=True)
    plain, lifted = opened(plain_folder, dual_attention=False), opened(plain_folder)
    with torch.no_grad():
        assert torch.equal(control(**values).loss, plain(**values).loss)

    def new(model: Any) -> int:
        return sum(part.parameters for part in parameters_by_part(model) if part.name in NEW_PARTS)

    assert new(control) == pytest.approx(new(lifted), rel=0.03)  # 0.1 % at whisper-base's width
    assert new(plain) == 0
    control(**values).loss.backward()
    assert control.model.decoder.layers[0].wider.narrow.weight.grad.abs().max() > 0
    with pytest.raises(CheckpointError, match="wider feed-forward"):
        as_plain_whisper(control, "it")


def test_an_added_second_attention_starts_as_whisper_and_learns(plain_folder: Path, tmp_path: Path) -> None:
    values = batch()
    added, plain = opened(plain_folder, secondary_added=True), opened(plain_folder, dual_attention=False)
    layer = added.model.decoder.layers[0]
    with torch.no_grad():
        assert torch.equal(added(**values, noise_weight=0.0).loss, plain(**values).loss)
        width, heads = added.config.d_model, added.config.decoder_attention_heads
        states, attended = torch.randn(2, 3, width), list(torch.randn(2, 2, heads, 3, width // heads))
        layer.secondary_attn.out_proj.weight.normal_()
        primary, secondary = layer.encoder_attn.output(attended[0]), layer.secondary_attn.output(attended[1])
        mixed, gate = layer.mixed(states, attended)
        torch.testing.assert_close(mixed, primary + (1 - gate[..., None]) * secondary)
        layer.secondary_attn.out_proj.weight.zero_()
    added(**values, noise_weight=0.0).loss.backward()
    assert layer.secondary_attn.out_proj.weight.grad.abs().max() > 0
    scattered(added).save_pretrained(tmp_path)
    again = open_model(str(tmp_path), lift=True)
    assert again.config.secondary_added
    with torch.no_grad():
        assert torch.equal(again.eval()(**values).loss, added.eval()(**values).loss)
    opened(plain_folder).save_pretrained(tmp_path / "usual")
    with pytest.raises(CheckpointError, match="secondary_added"):
        open_model(str(tmp_path / "usual"), lift=True, secondary_added=True)
    with pytest.raises(CheckpointError, match="dual_attention"):
        open_model(str(plain_folder), lift=True, dual_attention=False, secondary_added=True)


def test_what_cannot_be_is_refused(plain_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="secondary_layer is 9"):
        open_model(str(plain_folder), lift=True, secondary_layer=9)
    with pytest.raises(CheckpointError, match="wider_feed_forward"):
        open_model(str(plain_folder), lift=True, wider_feed_forward=True)


def test_another_structure_than_was_trained_is_refused(plain_folder: Path, tmp_path: Path) -> None:
    """Of whole checkpoints and of adapters, which lose what is set on them after they are merged."""
    middle, wider = tmp_path / "middle", tmp_path / "wider"
    opened(plain_folder, secondary_layer=1).save_pretrained(middle)
    opened(plain_folder, dual_attention=False, wider_feed_forward=True).save_pretrained(wider)
    assert open_model(str(middle), lift=True).config.secondary_layer == 1
    with pytest.raises(CheckpointError, match="trained to read encoder layer 1"):
        open_model(str(middle), lift=True, secondary_layer=2)
    with pytest.raises(CheckpointError, match="wider feed-forward"):
        open_model(str(wider), lift=True, dual_attention=True)
    assert open_model(str(wider), lift=True, dual_attention=False).config.wider_feed_forward
    for is_dual in (True, False):
        adapter = tmp_path / f"adapter_{is_dual}"
        model = opened(plain_folder, dual_attention=is_dual)
        base = Base(str(plain_folder), None, is_dual, "clip", fingerprint_of(Checkpoint(str(plain_folder)), model))
        add_lora(model, LoraSettings(2, 4, 0.0, ("q_proj",), ("decoder",)), base)
        save_adapter(model, model.state_dict(), adapter)
        if is_dual:
            with pytest.raises(CheckpointError, match="the encoder's output"):
                open_model(str(adapter), lift=True, secondary_layer=1)
        else:
            control = open_model(str(adapter), lift=True, dual_attention=False, wider_feed_forward=True)
            assert any(".wider." in name for name, _ in control.named_parameters())
            again = open_model(str(adapter), lift=True, dual_attention=True, secondary_layer=1, gate_bias=2.0)
            assert again.model.encoder.secondary_layer == 1
            assert float(again.model.decoder.layers[0].gate.score.bias) == 2.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("chunk", [1024, 3])
def test_label_smoothing_is_torchs_with_its_gradients_in_chunks(smoothing: float, chunk: int) -> None:
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(2, 7, 8, generator=generator, dtype=torch.float64).requires_grad_()
    projection = torch.nn.Linear(8, 50, bias=False, dtype=torch.float64)
    labels = batch()["labels"] % 50
    labels[batch()["labels"] == -100] = -100
    logits = projection(hidden).float()
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum", label_smoothing=smoothing
    )
    wanted = torch.autograd.grad(expected, (hidden, projection.weight))
    found = token_loss_sum(hidden, projection, labels, chunk_tokens=chunk, label_smoothing=smoothing)
    given = torch.autograd.grad(found, (hidden, projection.weight))
    assert torch.allclose(found, expected, rtol=1e-6)
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-7) for one, other in zip(given, wanted, strict=True))
    assert torch.allclose(logits_loss_sum(projection(hidden), labels, smoothing), expected, rtol=1e-6)
    log_shares = logits.log_softmax(-1)[labels != -100]
    of_targets = log_shares.gather(1, labels[labels != -100][:, None]).sum()
    by_hand = -(1 - smoothing) * of_targets - smoothing * log_shares.mean(-1).sum()
    assert torch.allclose(found, by_hand, rtol=1e-5)


@torch.no_grad()
def test_the_model_smooths_with_and_without_its_logits(dual) -> None:
    values = batch() | {"num_items_in_batch": None}
    plain, smooth = dual(**values).loss, dual(**values, label_smoothing=0.2).loss
    assert smooth > plain + 0.01
    assert torch.allclose(dual(**values | {"loss_only": False}, label_smoothing=0.2).loss, smooth, rtol=1e-5)
