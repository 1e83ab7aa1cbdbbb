"""A second recording of a clip: what each attention reads, whatever its mates are, through all of ``generate()``."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.network.encoder import EncoderOutput
from modeling.network.second_recording import as_rows, put_behind
from tests.ladder import ask_stranger, stranger
from tests.ladder.test_generation import LONG_FORM, assert_equal
from tests.ladder.test_generation import generate as generate_so_many
from tests.ladder.test_training import assert_equal_gradients, labels
from tests.ladder.tiny_whisper import move_apart

HEARING = ["attention", "joined"]
WAYS = [*HEARING, "before"]
LENGTHS = [120, 180, 150]  # mel frames of three clips
SECOND = [90, 200]  # of the second recordings of the first and the third
ROWS = [0, 2]
NONE = -0.5  # what a second recording that is none is filled with
IDS = torch.randint(0, 256, (3, 7), generator=torch.Generator().manual_seed(3))


def generate(model: Any, features: torch.Tensor | None, **options: Any) -> dict[str, torch.Tensor]:
    return generate_so_many(model, features, 8, **options)


def hearing(folder: Path, heard: str, **values: Any) -> Any:
    """A lifted model whose new parameters are far from copies."""
    values = {"second_recording": heard, "dual_attention": heard == "attention", "encoder_padding": "clip"} | values
    return move_apart(DualWhisperForConditionalGeneration.from_pretrained(folder, **values).eval())


def recordings(frames: int = 200) -> torch.Tensor:
    """Log-mel features of three clips and two second recordings."""
    return torch.randn(5, 80, frames, generator=torch.Generator().manual_seed(2))


def encoded(model: Any, features: torch.Tensor, lengths: list[int], rows: list[int], **more: Any) -> Any:
    return model.get_encoder()(features, feature_lengths=lengths, second_rows=rows, **more)


def stacked(frames: int = 200) -> torch.Tensor:
    """The same recordings for ``generate()``, [3, 160, frames], each padded with its own silence; the second clip has
    no second one."""
    rows = recordings(frames)
    for row, length in zip(rows, LENGTHS + SECOND, strict=True):
        end = length + frames - 200
        row[:, end:] = row[:, :end].max() - 2
    second = torch.full_like(rows[:3], NONE)
    second[ROWS] = rows[3:]
    return torch.cat((rows[:3], second), dim=1)


@pytest.mark.promise("cached steps")
@pytest.mark.parametrize(("heard", "layers"), [*itertools.product(HEARING, (0, 1)), ("before", 0)])
@torch.no_grad()
def test_a_clip_s_logits_depend_neither_on_its_mates_nor_on_the_cache(heard: str, layers: int, plain_folder) -> None:
    model = hearing(plain_folder, heard, second_recording_layers=layers).double()
    features = recordings().double()
    both = encoded(model, features, LENGTHS + SECOND, ROWS)
    together = model(encoder_outputs=both, decoder_input_ids=IDS, use_cache=False).logits
    for clip in range(3):
        own = [clip] + ([3 + ROWS.index(clip)] if clip in ROWS else [])
        alone = encoded(model, features[own], [(LENGTHS + SECOND)[row] for row in own], [0] * (len(own) - 1))
        logits = model(encoder_outputs=alone, decoder_input_ids=IDS[clip : clip + 1], use_cache=False).logits
        assert (logits[0] - together[clip]).abs().max() < 1e-9
    past, steps = None, []
    for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
        output = model(encoder_outputs=both, decoder_input_ids=IDS[:, part], past_key_values=past, use_cache=True)
        past = output.past_key_values
        steps.append(output.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), together, atol=1e-4, rtol=1e-4)  # weights are rounded
    alone = model(features[:3], decoder_input_ids=IDS, feature_lengths=LENGTHS).logits
    changed = (alone - together).abs().amax(dim=(1, 2))
    assert changed[1] < 1e-9 and changed[0] > 1e-2 < changed[2]


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize("heard", HEARING)
@torch.no_grad()
def test_without_a_second_recording_a_lifted_model_is_plain_whisper(
    heard: str, plain: Any, plain_folder: Path, features: torch.Tensor
) -> None:
    values = {"second_recording": heard, "dual_attention": heard == "attention", "second_recording_layers": 2}
    lifted = DualWhisperForConditionalGeneration.from_pretrained(plain_folder, **values).eval()
    expected = plain(features, decoder_input_ids=IDS[:2]).logits
    found = lifted(features, decoder_input_ids=IDS[:2]).logits
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
    silent = torch.cat((features, torch.full_like(features, NONE)), dim=1)
    assert torch.equal(lifted(silent, decoder_input_ids=IDS[:2]).logits, found)
    options = {"language": "en", "num_beams": 2}
    assert_equal(generate(lifted, silent, **options), generate(plain, features, **options))


@pytest.mark.promise("model, loss, gradients")
@torch.no_grad()
def test_second_attentions_read_the_second_and_the_one_attention_reads_both(plain_folder: Path) -> None:
    models = [hearing(plain_folder, heard) for heard in HEARING]
    apart, joined = (encoded(model, recordings(), LENGTHS + SECOND, ROWS) for model in models)
    assert apart.frame_lengths.tolist() == [60, 90, 75]
    assert apart.secondary_frame_lengths.tolist() == [45, 90, 100]
    assert torch.equal(apart.secondary_hidden_state[1], apart.last_hidden_state[1])
    assert joined.frame_lengths.tolist() == [105, 90, 175]
    assert joined.joined_frames.tolist() == [[60, 45], [90, 0], [75, 100]]
    assert joined.secondary_hidden_state is None
    assert torch.equal(joined.last_hidden_state[0, 60:105], apart.secondary_hidden_state[0, :45])


@pytest.mark.promise("model, loss, gradients")
@torch.no_grad()
def test_the_encoder_hears_the_second_before_the_clip_as_one_recording(plain_folder: Path) -> None:
    """The decoder reads the clip's frames alone. What does not fit into the window is cut off the second one's end."""
    model = hearing(plain_folder, "before").double()
    features = recordings().double()
    found = encoded(model, features, LENGTHS + SECOND, ROWS)
    assert found.frame_lengths.tolist() == [60, 90, 75]
    assert found.secondary_hidden_state is None and found.joined_frames is None
    whole = torch.cat((features[4, :, :50], features[2, :, :150]), dim=1)[None]  # the tiny window is 2 s
    expected = encoded(model, whole, [200], [])
    torch.testing.assert_close(found.last_hidden_state[2, :75], expected.last_hidden_state[0, 25:])
    alone = encoded(model, features[1:2], [180], [])
    torch.testing.assert_close(found.last_hidden_state[1], alone.last_hidden_state[0])
    window = 2 * model.config.max_source_positions
    long = torch.randn(2, 80, window, generator=torch.Generator().manual_seed(4)).double()
    short = put_behind(long, [window - 30, 100], [0], window)
    assert (short.lengths, short.begins, short.frames) == ([window], [15], [window // 2 - 15])
    full = put_behind(long, [window, 100], [0], window)
    assert (full.lengths, full.begins) == ([window], [0]) and torch.equal(full.features, long[:1])


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize("lengths", [LENGTHS + SECOND, [200] * 5])
@pytest.mark.parametrize("heard", WAYS)
@torch.no_grad()
def test_nothing_is_lost_in_a_tuple(heard: str, lengths: list[int], plain_folder: Path) -> None:
    model = hearing(plain_folder, heard)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    whole = encoded(model, recordings(), lengths, ROWS, **wanted)
    values = encoded(model, recordings(), lengths, ROWS, return_dict=False, **wanted)
    assert isinstance(values, tuple)
    again = EncoderOutput.from_tuple(values)
    for name in ("frame_lengths", "secondary_frame_lengths", "joined_frames", "secondary_hidden_state"):
        expected = getattr(whole, name)
        assert getattr(again, name) is None if expected is None else torch.equal(getattr(again, name), expected)
    expected = model(encoder_outputs=whole, decoder_input_ids=IDS).logits
    torch.testing.assert_close(model(encoder_outputs=values, decoder_input_ids=IDS).logits, expected)


@pytest.mark.promise("cached steps")
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("heard", HEARING)
@torch.no_grad()
def test_weights_are_told_for_each_recording(heard: str, use_cache: bool, plain_folder: Path) -> None:
    """From its first frame on. Without a second recording, second attentions look at the first."""
    model = hearing(plain_folder, heard)
    both = encoded(model, recordings(), LENGTHS + SECOND, ROWS)
    output = model(encoder_outputs=both, decoder_input_ids=IDS, use_cache=use_cache, output_attentions=True)
    assert len(output.cross_attentions) == len(output.secondary_attentions) == model.config.decoder_layers
    first, second = output.cross_attentions[0], output.secondary_attentions[0]
    assert first.shape == second.shape == (3, 4, 7, both.last_hidden_state.shape[1])
    in_first, in_second = torch.tensor([60, 90, 75]), torch.tensor([45, 90 if heard == "attention" else 0, 100])
    for weights, frames in ((first, in_first), (second, in_second)):
        ends = ((weights > 0) * torch.arange(1, weights.shape[3] + 1)).amax(dim=(1, 2, 3))
        assert (ends <= frames).all() and (ends >= 0.8 * frames).all()
    total = first.sum(dim=-1) + second.sum(dim=-1)
    torch.testing.assert_close(total, torch.full_like(total, 2.0 if heard == "attention" else 1.0))


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize("heard", HEARING)
@torch.no_grad()
def test_open_attention_gives_the_same(heard: str, plain_folder: Path) -> None:
    model = hearing(plain_folder, heard, second_recording_layers=1)
    if not hasattr(model.config, "_attn_implementation"):
        return  # before 4.36 there is one
    eager = hearing(plain_folder, heard, second_recording_layers=1, attn_implementation="eager")
    asked = {"feature_lengths": LENGTHS + SECOND, "second_rows": ROWS, "decoder_input_ids": IDS}
    expected = model(recordings(), **asked).logits
    torch.testing.assert_close(eager(recordings(), **asked).logits, expected, atol=1e-3, rtol=1e-3)
    weights = eager(recordings(), output_attentions=True, **asked).encoder_attentions
    assert [one.shape for one in weights] == [(5, 4, 100, 100), (5, 4, 100, 200)]


@pytest.mark.promise("clips as long as they are")
@pytest.mark.parametrize("options", [{}, {"num_beams": 3, "return_timestamps": True}], ids=str)
@pytest.mark.parametrize("heard", WAYS)
def test_a_clip_decodes_as_it_does_alone(heard: str, options: dict[str, Any], plain_folder: Path) -> None:
    """Stacked features, with any padding; as with the lengths told, and without the cache."""
    model = hearing(plain_folder, heard).double()
    options = {"language": "en", **options}
    features = stacked().double()
    together = generate(model, features, **options)
    assert_equal(generate(model, features, use_cache=False, **options), together)
    for clip in range(3):
        alone = generate(model, features[clip : clip + 1], **options)["sequences"][0].tolist()
        assert together["sequences"][clip].tolist()[: len(alone)] == alone
    rows, _ = as_rows(features, [], model.config)
    told = encoded(model, rows, [min(n - 1 + 51, 200) for n in LENGTHS + SECOND], ROWS)
    assert_equal(generate(model, None, encoder_outputs=told, **options), together)
    deaf = generate(model, features[:, :80], **options)["sequences"].tolist()
    assert together["sequences"].tolist()[1][: len(deaf[1])] == deaf[1]
    assert deaf[0] != together["sequences"].tolist()[0]


@pytest.mark.promise("generation")
@pytest.mark.parametrize("heard", HEARING)
def test_whole_windows(heard: str, plain_folder: Path) -> None:
    """Where nothing is masked, first and second still do not mix."""
    model = hearing(plain_folder, heard, encoder_padding="window").double()
    features = torch.cat((recordings()[:3], recordings().roll(2, dims=0)[:3]), dim=1).double()
    options = {"language": "en", "num_beams": 2}
    together = generate(model, features, **options)["sequences"].tolist()
    deaf = generate(model, features[:, :80], **options)["sequences"].tolist()
    for clip in range(3):
        alone = generate(model, features[clip : clip + 1], **options)["sequences"][0].tolist()
        assert together[clip][: len(alone)] == alone
        assert deaf[clip] != together[clip]


@pytest.mark.promise("language detection")
@pytest.mark.parametrize("heard", WAYS)
@torch.no_grad()
def test_detected_languages(heard: str, plain_folder: Path) -> None:
    """From both recordings: as the logits after the start token have it, for which few models differ."""
    model = hearing(plain_folder, heard).double()
    features, languages = (
        stacked().double(),
        {token: name for name, token in model.generation_config.lang_to_id.items()},
    )
    ids = torch.tensor(list(languages))
    start = torch.full((3, 1), model.generation_config.decoder_start_token_id)
    expected = ids[model(features, decoder_input_ids=start).logits[:, -1, ids].argmax(dim=-1)]
    assert model.detect_language(features).tolist() == expected.tolist()
    for clip, token in enumerate(expected.tolist()):
        one, language = features[clip : clip + 1], languages[token][2:-2]
        assert_equal(
            generate(model, one, task="transcribe"), generate(model, one, language=language, task="transcribe")
        )


@pytest.mark.promise("long recordings, window after window")
@pytest.mark.parametrize(
    ("heard", "padding", "way"),
    [
        ("attention", "clip", "sequential with beams"),
        ("joined", "clip", "conditioned on what came before"),
        ("joined", "window", "sequential"),
    ],
)
def test_long_recordings(heard: str, padding: str, way: str, plain_folder: Path) -> None:
    """Windows of both are cut at the same times; the second recording may end sooner."""
    model = hearing(plain_folder, heard, encoder_padding=padding)
    features = stacked(frames=470)
    mask = torch.ones(3, 470, dtype=torch.long)
    mask[1, 330:] = 0
    features[1, :, 330:] = 0
    options = {"language": "en", "return_timestamps": True, "attention_mask": mask, **LONG_FORM[way]}
    found = generate(model, features, **options)
    assert_equal(generate(model, features, use_cache=False, **options), found)
    features[:, 80:] = NONE
    deaf = generate(model, features, **options)
    assert_equal(deaf, generate(model, features[:, :80], **options))
    assert deaf["sequences"].shape != found["sequences"].shape or (deaf["sequences"] != found["sequences"]).any()


@pytest.mark.promise("token timestamps")
@pytest.mark.parametrize(
    ("heard", "beams"), [("none", 1), ("attention", 2), ("joined", 1), ("joined", 2), ("before", 1)]
)
def test_token_timestamps_are_of_the_first_recording(heard: str, beams: int, plain_folder: Path) -> None:
    """Within the clip, as it has them alone."""
    model = hearing(plain_folder, heard, dual_attention=heard != "joined").double()
    features = stacked().double() if heard != "none" else stacked()[:, :80].double()
    options = {"language": "en", "return_token_timestamps": True, "num_beams": beams}
    together = generate(model, features, **options)
    for clip, length in enumerate(LENGTHS):
        alone = generate(model, features[clip : clip + 1], **options)
        times, tokens = alone["token_timestamps"][0], alone["sequences"].shape[1]
        assert times.isfinite().all() and 0 < times.max() <= (length + 50) / 100
        torch.testing.assert_close(together["token_timestamps"][clip, :tokens], times[:tokens])


@pytest.mark.promise("static cache")
def test_the_same_tokens_with_a_static_cache(plain_folder: Path) -> None:
    for heard in WAYS:
        model = hearing(plain_folder, heard)
        expected = generate(model, stacked(), language="en", num_beams=3)
        assert_equal(generate(model, stacked(), language="en", num_beams=3, cache_implementation="static"), expected)


@pytest.mark.promise("compiled decoding")
@pytest.mark.parametrize(("heard", "padding"), [("attention", "clip"), ("joined", "window")])
def test_decoding_compiles_in_one_graph(heard: str, padding: str, plain_folder: Path) -> None:
    from transformers import CompileConfig

    torch._dynamo.reset()
    graphs: list[Any] = []

    def keep(graph: Any, example: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = hearing(plain_folder, heard, encoder_padding=padding)
    expected = generate(model, stacked(), language="en")
    compiling = CompileConfig(backend=keep, mode=None, fullgraph=True, dynamic=False)
    compiling._compile_all_devices = True  # by itself generate() compiles on GPUs alone
    options = {"language": "en", "cache_implementation": "static", "compile_config": compiling}
    assert_equal(generate(model, stacked(), **options), expected)
    assert 1 <= len(graphs) <= 2, "a graph for every step would be no use"


@pytest.mark.promise("gradient checkpointing")
@pytest.mark.parametrize("heard", WAYS)
def test_gradients_reach_everything_with_and_without_checkpointing(heard: str, plain_folder: Path) -> None:
    model = hearing(plain_folder, heard, second_recording_layers=int(heard != "before")).train()

    def found() -> dict[str, torch.Tensor]:
        model.zero_grad()
        more = {"feature_lengths": [120, 180, 150], "second_rows": [1]}
        model(recordings()[:3], labels=labels(), **more).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    expected = found()
    assert expected.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(gradient.any() for gradient in expected.values())
    model.gradient_checkpointing_enable()
    assert_equal_gradients(found(), expected)


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize("padding", ["window", "clip"])
def test_spec_augment_masks_both_recordings_within_their_lengths(padding: str, plain_folder: Path) -> None:
    model = hearing(plain_folder, "attention", encoder_padding=padding, apply_spec_augment=True).train()
    model.config.mask_time_prob, model.config.mask_time_length = 0.9, 8
    features, seen = stacked(), []
    model.model.encoder.register_forward_pre_hook(
        lambda module, given, named: seen.append((given[0], named)), with_kwargs=True
    )
    np.random.seed(0)
    ids = torch.cat((labels(), labels()[:1]))
    model(features, labels=ids, attention_mask=torch.ones(3, 200, dtype=torch.long)).loss.backward()
    ((masked, told),) = seen
    assert masked.shape[:2] == (5, 80) and told["second_rows"] == ROWS
    silent = (masked == 0).all(dim=1)
    assert silent.any(dim=1).all()
    assert not torch.equal(silent[0], silent[3])
    if padding == "clip":
        assert list(told["feature_lengths"]) == [min(n - 1 + 51, 200) for n in LENGTHS + SECOND]
        assert not any(row[n:].any() for row, n in zip(silent, told["feature_lengths"], strict=True))


@pytest.mark.promise("opens with its own code")
def test_a_checkpoint_hears_both_where_this_project_is_not(plain_folder: Path, tmp_path: Path) -> None:
    model = hearing(plain_folder, "attention", second_recording_layers=1)
    model.save_pretrained(tmp_path / "saved")
    for file in plain_folder.iterdir():
        if not (tmp_path / "saved" / file.name).exists() and file.suffix in (".json", ".txt"):
            shutil.copy(file, tmp_path / "saved")
    again = DualWhisperForConditionalGeneration.from_pretrained(tmp_path / "saved")
    assert (again.config.second_recording, again.config.second_recording_layers) == ("attention", 1)
    found = ask_stranger(tmp_path, tmp_path / "saved", "second")
    assert found["module"].startswith("transformers_modules.")
    expected = stranger.heard_with_second(model)
    assert found["tokens"] == expected["tokens"] and expected["tokens"][0] != expected["tokens"][1]
    torch.testing.assert_close(torch.tensor(found["logits"]), torch.tensor(expected["logits"]), atol=1e-3, rtol=1e-4)


@pytest.mark.promise("model, loss, gradients")
def test_what_cannot_be_is_refused(lifted: Any, plain_folder: Path) -> None:
    asked: dict[str, Any] = {"decoder_input_ids": IDS, "feature_lengths": LENGTHS + SECOND}
    for features, rows in ((recordings(), ROWS), (stacked(), [])):
        with pytest.raises(ValueError, match="hears one"):
            lifted(features, decoder_input_ids=IDS, second_rows=rows)
    model = hearing(plain_folder, "joined")
    for rows in ([2, 0], [1, 1], [0, 3], [-1, 0], [0, 1, 2]):
        with pytest.raises(ValueError, match=r"must name some of the \d clips, each once and ascending"):
            model(recordings(), second_rows=rows, **asked)
    with pytest.raises(ValueError, match="give one or the other"):
        model(stacked(), second_rows=ROWS, **asked)
    with pytest.raises(ValueError, match="3 feature lengths for 5 rows"):
        model(stacked(), decoder_input_ids=IDS, feature_lengths=LENGTHS)
    for values, told in (
        ({"second_recording": "both"}, "must be one of"),
        ({"second_recording": "joined"}, "dual_attention to false"),
        ({"second_recording": "attention", "dual_attention": False}, "dual_attention to true"),
        ({"second_recording_layers": 1}, "is none"),
        ({"second_recording": "attention", "second_recording_layers": 9}, "has 6 layers"),
        ({"second_recording": "attention", "secondary_layer": 2}, "not both"),
        ({"second_recording": "before"}, "excludes encoder_padding: window"),
        (
            {"second_recording": "before", "encoder_padding": "clip", "second_recording_layers": 1},
            "excludes second_recording_layers",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            DualWhisperConfig(**{"encoder_layers": 6} | values)
