"""A second recording in the network: what each attention reads, masks, caches, beams, long form, saving."""

from pathlib import Path

import pytest
import torch

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.checkpoints import open_model
from modeling.decoding import encode
from modeling.network.encoder import EncoderOutput
from tests.support.plain_whisper import save_plain

HEARING = {"attention": {"dual_attention": True}, "joined": {"dual_attention": False}}
LENGTHS = [120, 180, 150]  # mel frames of three clips
SECOND = [90, 200]  # of the second recordings of the first and the third
ROWS = [0, 2]


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_plain(tmp_path_factory.mktemp("plain"), ["az", "en"])


def model_of(folder: Path, heard: str, layers: int = 0, padding: str = "clip"):
    """A lifted model whose new parameters are far from copies."""
    values = {"second_recording": heard, "second_recording_layers": layers, "encoder_padding": padding}
    model = open_model(str(folder), lift=True, **values, **HEARING[heard]).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in set(model.new_modules()):
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def recordings(clips: int = 5, frames: int = 204) -> torch.Tensor:
    """Log-mel features of three clips and two second recordings."""
    return torch.randn(clips, 80, frames, generator=torch.Generator().manual_seed(2))


def prompts(clips: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (clips, 7), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("heard", HEARING)
@torch.no_grad()
def test_a_clip_s_logits_do_not_depend_on_its_mates_nor_on_the_cache(plain_folder, heard, layers) -> None:
    model = model_of(plain_folder, heard, layers).double()
    features, ids = recordings().double(), prompts()
    encoded = encode(model, features, LENGTHS + SECOND, ROWS)
    together = model(encoder_outputs=encoded, decoder_input_ids=ids, use_cache=False).logits
    for clip in range(3):
        own = [clip] + ([3 + ROWS.index(clip)] if clip in ROWS else [])
        lengths = [(LENGTHS + SECOND)[row] for row in own]
        alone = encode(model, features[own], lengths, [0] if len(own) == 2 else [])
        logits = model(encoder_outputs=alone, decoder_input_ids=ids[clip : clip + 1], use_cache=False).logits
        assert (logits[0] - together[clip]).abs().max() < 1e-9
    past, steps = None, []
    for step in range(ids.shape[1]):
        out = model(
            encoder_outputs=encoded, decoder_input_ids=ids[:, step : step + 1], past_key_values=past, use_cache=True
        )
        past = out.past_key_values
        steps.append(out.logits)
    assert (torch.cat(steps, dim=1) - together).abs().max() < 2e-4


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("heard", HEARING)
@torch.no_grad()
def test_the_second_recording_is_heard_by_the_clips_that_have_one(plain_folder, heard, layers) -> None:
    model = model_of(plain_folder, heard, layers)
    features, ids = recordings(), prompts()
    with_second = model(features, None, ids, feature_lengths=LENGTHS + SECOND, second_rows=ROWS).logits
    without = model(features[:3], None, ids, feature_lengths=LENGTHS).logits
    changed = (with_second - without).abs().amax(dim=(1, 2))
    assert changed[1] < 1e-4
    assert changed[0] > 1e-2 < changed[2]


@torch.no_grad()
def test_without_a_second_recording_a_lifted_model_is_plain_whisper(plain_folder) -> None:
    plain = open_model(str(plain_folder)).eval()
    features, ids = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(4)), prompts(2)
    expected = plain(features, decoder_input_ids=ids).logits
    for heard, more in HEARING.items():
        values = {"second_recording": heard, "second_recording_layers": 2, "encoder_padding": "window"}
        lifted = open_model(str(plain_folder), lift=True, **values, **more).eval()
        assert torch.equal(lifted(features, decoder_input_ids=ids).logits, expected)


@torch.no_grad()
def test_second_attentions_read_the_second_and_the_joined_one_reads_both(plain_folder) -> None:
    features = recordings()
    attention = encode(model_of(plain_folder, "attention"), features, LENGTHS + SECOND, ROWS)
    assert attention.frame_lengths.tolist() == [60, 90, 75]
    assert attention.secondary_frame_lengths.tolist() == [45, 90, 100]
    assert torch.equal(attention.secondary_hidden_state[1], attention.last_hidden_state[1])
    both = encode(model_of(plain_folder, "joined"), features, LENGTHS + SECOND, ROWS)
    assert both.frame_lengths.tolist() == [105, 90, 175]
    assert both.secondary_hidden_state is None
    assert torch.equal(both.last_hidden_state[0, 60:105], attention.secondary_hidden_state[0, :45])
    again = EncoderOutput.from_tuple(attention.to_tuple())
    assert torch.equal(again.secondary_frame_lengths, attention.secondary_frame_lengths)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
@pytest.mark.parametrize("heard", HEARING)
def test_generating_with_second_recordings_does_not_depend_on_mates(plain_folder, heard, options) -> None:
    model = model_of(plain_folder, heard)
    features, lengths = recordings(), LENGTHS + SECOND

    def heard_in(own: list[int], rows: list[int]) -> torch.Tensor:
        encoded = encode(model, features[own], [lengths[row] for row in own], rows)
        return model.generate(
            encoder_outputs=encoded, max_new_tokens=6, language="az", force_unique_generate_call=True, **options
        )

    together = heard_in([0, 1, 2, 3, 4], ROWS)
    alone = heard_in([2, 4], [0])
    assert torch.equal(together[2, : alone.shape[1]], alone[0])


@pytest.mark.parametrize("heard", HEARING)
def test_stacked_features_pass_through_generate(plain_folder, heard) -> None:
    model = model_of(plain_folder, heard, padding="window")
    generator = torch.Generator().manual_seed(6)
    first, second = torch.randn(2, 80, 3000, generator=generator), torch.randn(2, 80, 3000, generator=generator)
    second[1] = -0.5  # none
    options = {"language": ["az", "az"], "task": "transcribe", "max_new_tokens": 6, "force_unique_generate_call": True}
    encoded = encode(model, torch.cat((first, second[:1])), None, [0])
    tokens = model.generate(torch.cat((first, second), dim=1), **options)
    assert torch.equal(tokens, model.generate(encoder_outputs=encoded, **options))
    alone = model.generate(first, **options)
    assert torch.equal(alone[1], tokens[1])
    assert not torch.equal(alone[0], tokens[0])


@pytest.mark.parametrize("heard", HEARING)
def test_long_recordings_are_cut_into_windows_of_both(plain_folder, heard) -> None:
    model = model_of(plain_folder, heard, padding="window")
    generator = torch.Generator().manual_seed(6)
    first, second = torch.randn(1, 80, 3600, generator=generator), torch.randn(1, 80, 3600, generator=generator)
    options = {"language": "az", "max_new_tokens": 4, "return_timestamps": True, "num_beams": 1}
    heard_of_two = model.generate(torch.cat((first, second), dim=1), **options)
    silence = torch.full_like(second, -0.5)
    heard_of_one = model.generate(torch.cat((first, silence), dim=1), **options)
    assert torch.equal(heard_of_one, model.generate(first, **options))
    assert not torch.equal(heard_of_two, heard_of_one)


@pytest.mark.parametrize("heard", HEARING)
def test_the_ability_is_saved_and_gradients_reach_everything(plain_folder, heard, tmp_path: Path) -> None:
    model = model_of(plain_folder, heard, layers=1).train()
    model.gradient_checkpointing_enable()
    ids = prompts()
    loss = model(
        recordings(), feature_lengths=LENGTHS + SECOND, second_rows=ROWS, decoder_input_ids=ids, labels=ids
    ).loss
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    model.save_pretrained(tmp_path)
    again = DualWhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert (again.config.second_recording, again.config.second_recording_layers) == (heard, 1)
    assert (tmp_path / "second_recording.py").exists()


def test_what_cannot_be_is_refused(plain_folder) -> None:
    deaf = open_model(str(plain_folder), lift=True).eval()
    with pytest.raises(ValueError, match="hears one"):
        deaf(recordings(), decoder_input_ids=prompts(), feature_lengths=LENGTHS + SECOND, second_rows=ROWS)
    for values, told in (
        ({"second_recording": "both"}, "must be one of"),
        ({"second_recording": "joined"}, "dual_attention to false"),
        ({"second_recording": "attention", "dual_attention": False}, "dual_attention to true"),
        ({"second_recording_layers": 1}, "is none"),
        ({"second_recording": "attention", "second_recording_layers": 9}, "has 6 layers"),
        ({"second_recording": "attention", "secondary_layer": 2}, "not both"),
    ):
        with pytest.raises(ValueError, match=told):
            DualWhisperConfig(**{"encoder_layers": 6} | values)
