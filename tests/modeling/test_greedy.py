"""The decoding loop: the tokens of ``generate()``, prompts of any length, and what is found on the way."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor, WhisperForConditionalGeneration

from data.batches.features import LogMel
from modeling import greedy
from modeling.checkpoints import in_own_modules, open_model
from modeling.decoding import encode, first_timestamp_token, generate_tokens
from modeling.greedy import decode, unknown_to_the_loop
from modeling.network.dual_whisper import DualWhisperForConditionalGeneration
from tests.support.untrained import save_checkpoint


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    def build(**options: Any) -> Any:
        options = {"timestamp_tokens": True, "positions": 40} | options
        return open_model(str(save_checkpoint(tmp_path_factory.mktemp("model"), ("az", "en"), **options))).eval()

    return build


def sounds(frames: int) -> torch.Tensor:
    """Features of six clips."""
    draw = torch.Generator().manual_seed(0)
    times = torch.arange(frames * 160) / 16_000
    tones = [0.3 * torch.sin(6.28 * 150 * 1.6**number * times) for number in range(3)]
    return LogMel(80)(torch.stack([*tones, *(torch.rand(3, frames * 160, generator=draw) - 0.5)]), frames)


def start(model: Any, timestamps: bool) -> list[int]:
    config = model.generation_config
    ids = [config.decoder_start_token_id, config.lang_to_id["<|en|>"], config.task_to_id["transcribe"]]
    return ids if timestamps else [*ids, config.no_timestamps_token_id]


def lets_rows_end(model: Any) -> None:
    """Rows of different lengths: the end of text, which tests suppress, becomes as likely as letters."""
    config = model.generation_config
    config.suppress_tokens = [token for token in config.suppress_tokens if token != config.eos_token_id]


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("padding", [None, "window", "clip"])
def test_the_tokens_are_those_of_generate(model_of: Callable[..., Any], padding: str | None, timestamps: bool) -> None:
    model = model_of(padding=padding)
    lets_rows_end(model)
    features, lengths = sounds(404), [400, 380, 300, 250, 200, 120] if padding == "clip" else None
    if padding != "clip":
        features = sounds(3000)
    encoded = encode(model, features, lengths)
    expected = generate_tokens(model, encoded, ["en"] * 6, "transcribe", 36, timestamps=timestamps).tolist()
    end = model.generation_config.eos_token_id
    expected = [ids[: ids.index(end)] if end in ids else ids for ids in expected]
    own = in_own_modules(model)
    found = decode(own, encode(own, features, lengths), [start(own, timestamps)] * 6, 36, timestamps=timestamps)
    assert [said.tokens for said in found] == expected
    assert all(said.log_probability < 0 and 0 < said.no_speech < 1 for said in found)


def test_rows_that_end_leave_the_batch(model_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = in_own_modules(model_of(padding=None))
    ends = iter([0, 3, 5])
    sizes: list[int] = []

    def chosen(module: Any, given: Any, output: Any) -> None:
        sizes.append(len(output[0]))

    model.get_decoder().register_forward_hook(chosen)
    end = model.generation_config.eos_token_id
    lets_rows_end(model)
    usual = greedy.Rules.apply

    def apply(self: Any, scores: torch.Tensor, states: Any, is_first: bool) -> None:
        usual(self, scores, states, is_first)
        scores[:, end] = -torch.inf
        place = next(ends, None)
        if place is not None and place < len(scores):
            scores[place, end] = 1e9

    monkeypatch.setattr(greedy.Rules, "apply", apply)
    encoded = encode(model, sounds(3000), None)
    found = decode(model, encoded, [start(model, False)] * 6, 5)
    assert sizes == [6, 5, 4, 4, 4]
    assert sorted(len(said.tokens) for said in found) == [0, 1, 5, 5, 5, 5]


def test_prompts_of_different_lengths_do_not_disturb_each_other(model_of: Callable[..., Any]) -> None:
    model = in_own_modules(model_of(padding=None))
    encoded = encode(model, sounds(3000), None)
    begin = start(model, True)
    prompts = [[*range(97, 97 + 3 * row), *begin] for row in range(6)]
    together = decode(model, encoded, prompts, 12, timestamps=True)
    for row, prompt in enumerate(prompts):
        alone = type(encoded)(last_hidden_state=encoded.last_hidden_state[row : row + 1])
        (said,) = decode(model, alone, [prompt], 12, timestamps=True)
        assert said.tokens == together[row].tokens
        assert said.log_probability == pytest.approx(together[row].log_probability, abs=1e-4)
        assert said.no_speech == pytest.approx(together[row].no_speech, abs=1e-5)
    assert len({tuple(said.tokens) for said in together}) > 1


def test_how_likely_the_tokens_are(model_of: Callable[..., Any]) -> None:
    """Among those that the rules allow."""
    model = model_of(padding="window")
    encoded = encode(model, sounds(3000), None)
    made = model.generate(
        encoder_outputs=type(encoded)(**encoded),
        language=["en"] * 6,
        task="transcribe",
        max_new_tokens=20,
        output_scores=True,
        return_dict_in_generate=True,
        force_unique_generate_call=True,
    )
    expected = torch.stack([step.log_softmax(dim=-1).amax(dim=-1) for step in made.scores]).mean(dim=0)
    found = decode(model, encoded, [start(model, False)] * 6, 20)
    assert [said.log_probability for said in found] == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_row_is_drawn_alike_whoever_is_beside_it(model_of: Callable[..., Any]) -> None:
    model = in_own_modules(model_of(padding=None))
    encoded = encode(model, sounds(3000), None)
    likeliest = decode(model, encoded, [start(model, True)] * 6, 20, timestamps=True)
    drawn = [decode(model, encoded, [start(model, True)] * 6, 20, timestamps=True, temperature=1.0) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert [said.tokens for said in drawn[0]] != [said.tokens for said in likeliest]
    alone = type(encoded)(last_hidden_state=encoded.last_hidden_state[3:4])
    assert decode(model, alone, [start(model, True)], 20, timestamps=True, temperature=1.0)[0].tokens == (
        drawn[0][3].tokens
    )


def test_a_plain_whisper_shares_its_weights(model_of: Callable[..., Any]) -> None:
    model = model_of(padding=None)
    own = in_own_modules(model)
    assert type(model) is WhisperForConditionalGeneration and type(own) is DualWhisperForConditionalGeneration
    theirs = dict(model.named_parameters())
    assert all(parameter.data_ptr() == theirs[name].data_ptr() for name, parameter in own.named_parameters())
    assert in_own_modules(own) is own
    features = sounds(3000)
    torch.testing.assert_close(
        encode(own, features, None).last_hidden_state, encode(model, features, None).last_hidden_state
    )


def test_what_only_generate_does(model_of: Callable[..., Any]) -> None:
    model = model_of(padding=None)
    assert unknown_to_the_loop(model) == "WhisperForConditionalGeneration"
    own = in_own_modules(model)
    assert unknown_to_the_loop(own) is None
    own.generation_config.no_repeat_ngram_size = 3
    assert unknown_to_the_loop(own) == "no_repeat_ngram_size"


def test_what_does_not_fit_the_decoder(model_of: Callable[..., Any]) -> None:
    model = in_own_modules(model_of(padding=None))
    encoded = encode(model, sounds(3000), None)
    assert first_timestamp_token(model)
    with pytest.raises(ValueError, match="4 prompt tokens and 37 new ones; the decoder holds 40"):
        decode(model, encoded, [start(model, False)] * 6, 37)


class Favour(LogitsProcessor):
    """Adds to one letter after another, by how many tokens were written: as ``generate()`` and the loop call it."""

    def __init__(self, letters: list[int], prompt: int) -> None:
        self.letters, self.prompt = letters, prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return self.guide(input_ids[:, self.prompt :].tolist(), scores)

    def guide(self, tokens: Sequence[Sequence[int]], scores: torch.Tensor) -> torch.Tensor:
        guided = scores.clone()
        for row, text in enumerate(tokens):
            guided[row, self.letters[(len(text) + (text[-1] if text else 0)) % len(self.letters)]] += 3
        return guided


def test_a_guide_changes_what_is_chosen_as_in_generate(model_of: Callable[..., Any]) -> None:
    model = model_of(padding="clip")
    lets_rows_end(model)
    encoded = encode(model, sounds(404), [400, 380, 300, 250, 200, 120])
    allowed = set(range(256)) - set(model.generation_config.suppress_tokens)
    favour = Favour(sorted(allowed), 4)
    expected = generate_tokens(model, encoded, ["en"] * 6, "transcribe", 36, guides=[favour]).tolist()
    end = model.generation_config.eos_token_id
    own = in_own_modules(model)
    prompts = [start(model, False)] * 6
    said = decode(own, encoded, prompts, 36, guide=favour.guide)
    assert [one.tokens for one in said] == [ids[: ids.index(end)] if end in ids else ids for ids in expected]
    plain = decode(own, encoded, prompts, 36)
    assert [one.tokens for one in said] != [one.tokens for one in plain]
    assert all(one.log_probability < 0 for one in said)  # the model's own, not the guide's
