"""Detecting languages and generating tokens from an encoder's output of any length."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from data.batches.features import LogMel
from modeling.checkpoints import open_model
from modeling.decoding import (
    NoSpeech,
    complete_languages,
    detect_languages,
    encode,
    first_timestamp_token,
    generate_tokens,
    log_probabilities,
    no_speech_token,
    trained_on_timestamps,
)
from modeling.fusion import Fusion
from tests.support.untrained import save_checkpoint

LANGUAGES = ("az", "de", "en", "tr")


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    def build(**options: Any) -> Any:
        return open_model(str(save_checkpoint(tmp_path_factory.mktemp("model"), LANGUAGES, **options))).eval()

    return build


def tones(frames: int) -> torch.Tensor:
    """Features of eight clips, each another tone."""
    times = torch.arange(frames * 160) / 16_000
    audio = torch.stack([0.3 * torch.sin(6.28 * 150 * 1.6**number * times) for number in range(8)])
    return LogMel(80)(audio, frames)


@pytest.mark.parametrize("padding", [None, "window"])
def test_the_language_detected_is_transformers(model_of: Callable[..., Any], padding: str | None) -> None:
    model, features = model_of(padding=padding), tones(3000)
    codes = {token: name[2:-2] for name, token in model.generation_config.lang_to_id.items()}
    expected = [codes[token] for token in model.detect_language(features).tolist()]
    assert len(set(expected)) > 1
    assert detect_languages(model, encode(model, features, None)) == expected


def test_the_language_of_a_short_clip_does_not_depend_on_batch_mates(model_of: Callable[..., Any]) -> None:
    model, features, lengths = model_of(padding="clip"), tones(304), [300, 250, 200, 150, 100, 80, 60, 50]
    together = detect_languages(model, encode(model, features, lengths))
    assert len(set(together)) > 1
    for row, length in enumerate(lengths):
        alone = encode(model, features[row : row + 1, :, : length + 4], [length])
        assert detect_languages(model, alone) == together[row : row + 1]


def test_languages_that_are_missing_are_detected(model_of: Callable[..., Any]) -> None:
    model, features = model_of(padding="window"), tones(3000)
    model.generation_config.suppress_tokens = None  # letters alone hardly tell languages apart
    encoded = encode(model, features, None)
    detected = detect_languages(model, encoded)
    mixed: list[str | None] = ["de", None, "tr", None, None, None, None, None]
    filled = [given or heard for given, heard in zip(mixed, detected, strict=True)]
    assert filled != detected
    assert complete_languages(model, encoded, mixed) == filled
    assert complete_languages(model, encoded, filled, detect=True) == filled
    model.generation_config.is_multilingual = False
    assert complete_languages(model, encoded, [None, "de"]) == ["en", "de"]


@pytest.mark.parametrize("multilingual", [True, False])
@pytest.mark.parametrize("timestamps", [True, False])
def test_tokens_come_without_the_prompt(model_of: Callable[..., Any], multilingual: bool, timestamps: bool) -> None:
    model = model_of(padding=None, timestamp_tokens=True)
    if not multilingual:  # as OpenAI's English-only checkpoints say it
        model.generation_config.is_multilingual = False
        del model.generation_config.lang_to_id, model.generation_config.task_to_id
    encoded = encode(model, tones(3000), None)
    tokens = generate_tokens(model, encoded, ["az"] * 8, "transcribe", 12, timestamps=timestamps)
    first = first_timestamp_token(model)
    assert tokens.shape == (8, 12)
    if timestamps:
        assert ((tokens[:, 0] >= first) & (tokens[:, 0] <= first + 50)).all()  # the first says when speech begins
    else:
        prompt = {model.generation_config.decoder_start_token_id, model.generation_config.no_timestamps_token_id}
        assert not prompt & set(tokens[:, 0].tolist())


def test_the_decoder_can_be_filled_to_its_last_position(model_of: Callable[..., Any]) -> None:
    model = model_of(padding="clip", positions=24, timestamp_tokens=True)
    encoded = encode(model, tones(304), [300] * 8)
    for timestamps in (True, False):
        assert generate_tokens(model, encoded, ["az"] * 8, "transcribe", 20, timestamps=timestamps).shape == (8, 20)


def test_beams_find_what_is_likelier(model_of: Callable[..., Any]) -> None:
    model, lengths = model_of(padding="clip"), [300] * 8
    encoded = encode(model, tones(304), lengths)

    def log_likelihood(tokens: torch.Tensor) -> float:
        config = model.generation_config
        prompt = [config.decoder_start_token_id, config.lang_to_id["<|az|>"], config.task_to_id["transcribe"]]
        start = torch.tensor([[*prompt, config.no_timestamps_token_id]] * 8)
        with torch.no_grad():
            logits = model(encoder_outputs=encoded, decoder_input_ids=torch.cat((start, tokens[:, :-1]), 1)).logits
        return logits[:, 3:].log_softmax(-1).gather(-1, tokens[..., None]).sum().item()

    greedy, beams = (
        generate_tokens(model, encode(model, tones(304), lengths), ["az"] * 8, "transcribe", 6, beams=beams)
        for beams in (1, 5)
    )
    assert log_likelihood(beams) > log_likelihood(greedy)


def test_sampling_follows_the_random_state(model_of: Callable[..., Any]) -> None:
    model = model_of(padding="window")
    encoded = encode(model, tones(3000), None)

    def sample(seed: int, temperature: float) -> torch.Tensor:
        torch.manual_seed(seed)
        return generate_tokens(model, encoded, ["az"] * 8, "transcribe", 12, temperature=temperature)

    assert torch.equal(sample(0, 1.0), sample(0, 1.0))
    assert not torch.equal(sample(0, 1.0), sample(1, 1.0))
    assert torch.equal(sample(0, 0.0), sample(1, 0.0))


def test_who_may_be_asked_for_timestamps(model_of: Callable[..., Any]) -> None:
    plain, dual = (model_of(padding=padding, timestamp_tokens=True) for padding in (None, "clip"))
    without = model_of(padding=None)
    assert trained_on_timestamps(plain)
    assert not trained_on_timestamps(dual)
    assert first_timestamp_token(dual) == first_timestamp_token(plain) == plain.config.vocab_size - 1501
    assert first_timestamp_token(without) is None
    assert not trained_on_timestamps(without)


def test_a_pair_of_timestamps_does_not_start_another_round(model_of: Callable[..., Any]) -> None:
    """Whisper's generate goes on from the last timestamp, for ever if that is 0.00."""
    model = model_of(padding=None, timestamp_tokens=True)
    first = first_timestamp_token(model)
    hook = model.proj_out.register_forward_hook(
        lambda module, given, logits: logits.index_fill(-1, torch.tensor([first]), 1e4)
    )
    try:
        tokens = generate_tokens(model, encode(model, tones(3000), None), ["az"] * 8, "transcribe", 5)
    finally:
        hook.remove()
    assert (tokens == first).all()


@pytest.mark.parametrize("padding", [None, "clip"])
def test_how_likely_a_text_is_is_the_loss_that_transformers_finds(
    model_of: Callable[..., Any], padding: str | None
) -> None:
    model, features = model_of(padding=padding), tones(3000 if padding is None else 300)[:2]
    encoded = encode(model, features, None if padding is None else [296, 200])
    tokens = torch.tensor([[257, 258, 10, 11], [257, 258, 12, 256]])
    labels = torch.tensor([[-100, 10, 11, 256], [-100, 12, 256, -100]])
    likelihoods, silence = log_probabilities(model, encoded, tokens, labels)
    logits = model(encoder_outputs=encoded, decoder_input_ids=tokens).logits
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    torch.testing.assert_close(likelihoods, -expected)
    torch.testing.assert_close(silence, logits[:, 0].softmax(dim=-1)[:, no_speech_token(model)])


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("padding", [None, "clip"])
def test_no_speech_is_told_by_the_decoding_itself(
    model_of: Callable[..., Any], padding: str | None, beams: int
) -> None:
    model, lengths = model_of(padding=padding), [300] * 7 + [200]
    features = tones(3000 if padding is None else 304)
    encoded = encode(model, features, None if padding is None else lengths)
    start = torch.full((8, 1), model.generation_config.decoder_start_token_id)
    _, expected = log_probabilities(model, encoded, start, torch.full((8, 1), -100))
    with NoSpeech(model) as silent:
        generate_tokens(model, encoded, ["de"] * 8, "transcribe", 4, beams=beams)
    assert silent.probabilities(8) == pytest.approx(expected.tolist(), rel=1e-4)
    pairs = Fusion(6, (1, 4))
    with NoSpeech(model) as silent:
        generate_tokens(model, encoded, ["de"] * 6, "transcribe", 4, beams=beams, fused=pairs)
    found = silent.probabilities(6, pairs)
    assert found[0] == pytest.approx(expected[0].item(), rel=1e-4)
    assert found[4] == pytest.approx((expected[4] * expected[7]).sqrt().item(), rel=1e-3)
    model.generation_config.no_timestamps_token_id = None
    assert all(value != value for value in silent.probabilities(6, pairs))


def test_the_token_for_no_speech_is_whispers(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, LANGUAGES)
    model, tokenizer = open_model(str(folder)), AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(no_speech_token(model)) == "<|nospeech|>"
    model.generation_config.no_timestamps_token_id = None
    assert no_speech_token(model) is None
    silence = log_probabilities(
        model, encode(model, tones(300), [300] * 8), torch.ones(8, 2).long(), torch.ones(8, 2).long()
    )[1]
    assert silence.isnan().all()
