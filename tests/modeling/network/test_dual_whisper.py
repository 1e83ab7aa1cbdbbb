"""The model beyond tests/ladder/: 30 s windows, independence of batch mates, losses, saving, published sizes."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSpeechSeq2Seq, WhisperForConditionalGeneration

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.checkpoint_files import Checkpoint, CheckpointError
from modeling.checkpoints import open_model
from modeling.decoding import encode, encoder_padding, generate_tokens
from modeling.published import model_without_weights, published_shape
from tests.support.plain_whisper import SHAPE, save_plain


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small plain Whisper, saved with transformers' own class and everything generate() needs."""
    folder = tmp_path_factory.mktemp("plain")
    return save_plain(folder, ["az", "en"])


@pytest.fixture
def plain(plain_folder: Path) -> WhisperForConditionalGeneration:
    return WhisperForConditionalGeneration.from_pretrained(plain_folder).eval()


@pytest.fixture
def lifted(plain_folder: Path) -> DualWhisperForConditionalGeneration:
    return open_model(str(plain_folder), lift=True).eval()


@pytest.fixture
def trained(lifted: DualWhisperForConditionalGeneration) -> DualWhisperForConditionalGeneration:
    """A dual model whose second attention and gate are far from a copy."""
    torch.manual_seed(1)
    new = set(lifted.new_modules())
    with torch.no_grad():
        for name, parameter in lifted.named_parameters():
            if name in new:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return lifted


def inputs(frames: int = 3000, clips: int = 2, tokens: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(clips, 80, frames, generator=generator)
    return features, torch.randint(0, 256, (clips, tokens), generator=generator)


@torch.no_grad()
def test_lifting_leaves_the_logits_unchanged(plain, lifted) -> None:
    features, ids = inputs()
    ours, theirs = lifted(features, decoder_input_ids=ids).logits, plain(features, decoder_input_ids=ids).logits
    assert torch.equal(ours, theirs) or (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_a_dual_checkpoint_loads_what_was_trained_and_copies_nothing(trained, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    again = DualWhisperForConditionalGeneration.from_pretrained(tmp_path)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "dual_whisper"
    assert isinstance(AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path), DualWhisperForConditionalGeneration)


def test_a_saved_checkpoint_carries_its_code(trained, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    for reference in auto_map.values():
        assert (tmp_path / f"{reference.split('.')[0]}.py").exists()
    assert {"attention.py", "cache.py", "decoder.py", "encoder.py"} <= {path.name for path in tmp_path.iterdir()}


def test_the_checkpoint_remembers_its_padding(trained, tmp_path: Path) -> None:
    assert encoder_padding(trained) == "window"  # as Whisper was trained
    trained.config.encoder_padding = "clip"
    trained.save_pretrained(tmp_path)
    assert encoder_padding(open_model(str(tmp_path))) == "clip"


def test_a_model_from_nothing_has_whispers_fixed_positions(plain) -> None:
    model = DualWhisperForConditionalGeneration(DualWhisperConfig(**SHAPE, vocab_size=300, pad_token_id=0))
    positions = model.model.encoder.embed_positions.weight
    assert torch.equal(positions, plain.model.encoder.embed_positions.weight)
    assert not positions.requires_grad


def test_a_checkpoints_own_positions_are_left_alone(trained, tmp_path: Path) -> None:
    with torch.no_grad():
        trained.model.encoder.embed_positions.weight.mul_(0.5)
    trained.save_pretrained(tmp_path)
    again = open_model(str(tmp_path))
    assert torch.equal(again.model.encoder.embed_positions.weight, trained.model.encoder.embed_positions.weight)


def test_half_a_second_attention_is_refused(trained, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.decoder.layers.1.secondary_attn.q_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"layers\.1\.secondary_attn\.q_proj"):
        open_model(str(tmp_path))


def worst_difference_to_alone(model: DualWhisperForConditionalGeneration, dtype: torch.dtype) -> float:
    """The largest difference between a clip's logits in a batch of two lengths and on its own."""
    features, ids = inputs(frames=404)
    features, lengths, worst = features.to(dtype), [400, 204], 0.0
    features[1, :, 300:] = -0.7  # beyond the clip and its margin; what the two batches hold there may differ
    together = model.to(dtype)(features, feature_lengths=lengths, decoder_input_ids=ids).logits
    for row, length in enumerate(lengths):
        alone = features[row : row + 1, :, : length + 4]
        logits = model(alone, feature_lengths=[length], decoder_input_ids=ids[row : row + 1]).logits
        worst = max(worst, (together[row] - logits[0]).abs().max().item())
    return worst


@torch.no_grad()
def test_logits_do_not_depend_on_batch_mates(trained) -> None:
    # Weights this large amplify float32's rounding; in float64 nothing but a real dependence would show.
    assert worst_difference_to_alone(trained, torch.float64) < 1e-9


@torch.no_grad()
def test_logits_do_not_depend_on_batch_mates_in_float32() -> None:
    torch.manual_seed(3)
    shape = SHAPE | {"init_std": 0.02, "vocab_size": 300, "pad_token_id": 0}
    model = DualWhisperForConditionalGeneration(DualWhisperConfig(**shape))
    assert worst_difference_to_alone(model.eval(), torch.float32) < 1e-5


@torch.no_grad()
def test_what_lies_beyond_a_clip_is_masked(trained) -> None:
    features, ids = inputs(frames=404)
    once = trained(features, feature_lengths=[400, 204], decoder_input_ids=ids).logits
    features[1, :, 210:] += 3.0
    again = trained(features, feature_lengths=[400, 204], decoder_input_ids=ids).logits
    assert torch.equal(once[0], again[0])
    assert (once[1] - again[1]).abs().max() < 1e-5 * once.abs().max()
    assert (once[1] - trained(features, decoder_input_ids=ids).logits[1]).abs().max() > 0.01


def test_the_second_attention_changes_the_logits(trained, plain) -> None:
    features, ids = inputs()
    with torch.no_grad():
        difference = trained(features, decoder_input_ids=ids).logits - plain(features, decoder_input_ids=ids).logits
    assert difference.abs().max() > 0.1


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}])
@torch.no_grad()
def test_generating_at_clip_length_does_not_depend_on_batch_mates(trained, options) -> None:
    features, _ = inputs(frames=404)
    lengths = [400, 204]
    encoded = trained.get_encoder()(features, feature_lengths=lengths)
    # One round: from a timestamp that a random model says, generate() would go on into features it was not given.
    once = {"force_unique_generate_call": True}
    keywords = {"language": "az", "task": "transcribe", "max_new_tokens": 12, **once, **options}
    together = trained.generate(encoder_outputs=encoded, **keywords)
    for row, length in enumerate(lengths):
        alone = trained.get_encoder()(features[row : row + 1, :, : length + 4], feature_lengths=[length])
        tokens = trained.generate(encoder_outputs=alone, **keywords)[0]
        assert together[row, : len(tokens)].tolist() == tokens.tolist()


@torch.no_grad()
def test_greedy_decoding_equals_plain_whispers_at_lifting(plain, lifted) -> None:
    features, _ = inputs()
    texts = [
        generate_tokens(model, encode(model, features, None), ["az", "en"], "transcribe", 12)
        for model in (lifted, plain)
    ]
    assert torch.equal(*texts)


def test_training_states_never_reach_a_cache(trained) -> None:
    features, ids = inputs()
    assert trained.train()(features, labels=ids, use_cache=True).past_key_values is None


def test_loss_without_logits_equals_transformers(plain, lifted) -> None:
    features, ids = inputs()
    labels = ids.clone()
    labels[0, 5:] = -100
    expected = plain(features, labels=labels).loss
    output = lifted(features, labels=labels, loss_only=True)
    assert output.logits is None
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    halved = lifted(features, labels=labels, num_items_in_batch=2 * (labels != -100).sum(), loss_only=True).loss
    assert halved.item() == pytest.approx(expected.item() / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "millions", "new_per_layer", "bins", "decoder_layers"),
    [
        ("tiny", 41.9, 4 * 7 * 384**2, 80, 4),
        ("base", 83.6, 6 * 7 * 512**2, 80, 6),
        ("small", 291.3, 12 * 7 * 768**2, 80, 12),
        ("medium", 940.2, 24 * 7 * 1024**2, 80, 24),
        ("large-v3", 1910.8, 32 * 7 * 1280**2, 128, 32),
        ("large-v3-turbo", 854.8, 4 * 7 * 1280**2, 128, 4),
    ],
)
def test_published_sizes(name: str, millions: float, new_per_layer: int, bins: int, decoder_layers: int) -> None:
    shape = published_shape(f"openai/whisper-{name}")
    assert shape is not None
    model = model_without_weights(shape)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    new = set(model.new_modules())
    matrices = sum(p.numel() for n, p in model.named_parameters() if n in new and p.ndim == 2 and p.shape[0] > 1)
    assert matrices == new_per_layer
    assert model.config.num_mel_bins == bins
    assert len(model.model.decoder.layers) == decoder_layers


def test_wrong_padding_and_lengths_are_refused(lifted) -> None:
    with pytest.raises(ValueError, match="encoder_padding is 'clips'"):
        DualWhisperConfig(encoder_padding="clips")
    with pytest.raises(ValueError, match="must be even"):
        lifted.get_encoder()(torch.zeros(1, 80, 404), feature_lengths=[401])


def test_another_architecture_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(CheckpointError, match="'wav2vec2' checkpoint; it must be"):
        Checkpoint(str(tmp_path)).kind  # noqa: B018


def test_second_attentions_are_not_left_out_without_a_word(trained, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="dual_attention=False would leave out"):
        open_model(str(tmp_path), lift=True, dual_attention=False)
