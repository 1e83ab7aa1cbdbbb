"""Two recordings of the same speech, whose log-probabilities any model averages at each token."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from data.batches.features import LogMel
from modeling.checkpoints import open_model
from modeling.decoding import detect_languages, encode, first_timestamp_token, generate_tokens
from modeling.fusion import OF_SURENESS, FusedScores, Fusion, SameDraw, Sureness, certainty_share
from tests.support.untrained import save_checkpoint

LANGUAGES = ("az", "de", "en", "tr")
CLIPS, ROWS = 3, (0, 2)  # the second of three clips has one recording


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    opened: dict[Any, Any] = {}

    def build(padding: str | None, **options: Any) -> Any:
        key = (padding, *options.items())
        if key not in opened:
            folder = save_checkpoint(tmp_path_factory.mktemp("model"), LANGUAGES, padding=padding, **options)
            opened[key] = open_model(str(folder)).eval()
        return opened[key]

    return build


def encoded(model: Any, rows: int = CLIPS + len(ROWS), first: int = 0) -> Any:
    """The encoder's output for tones, each another."""
    frames = 204 if model.config.model_type != "whisper" else 3000
    times = torch.arange(frames * 160) / 16_000
    audio = torch.stack([0.3 * torch.sin(6.28 * 150 * 1.6**number * times) for number in range(first, first + rows)])
    lengths = None if frames == 3000 else [200 - 10 * number for number in range(first, first + rows)]
    return encode(model, LogMel(80)(audio, frames), lengths)


def prompts(model: Any, rows: int) -> torch.Tensor:
    generation = model.generation_config
    start = [generation.decoder_start_token_id, generation.lang_to_id["<|az|>"]]
    return torch.tensor([[*start, generation.task_to_id["transcribe"], generation.no_timestamps_token_id]] * rows)


def both_rows(model: Any, fused: Fusion, monkeypatch: pytest.MonkeyPatch, **options: Any) -> torch.Tensor:
    """What generate() gives for all rows, int64 [B + R, L]."""
    kept: list[torch.Tensor] = []
    monkeypatch.setattr(Fusion, "firsts", lambda self, tokens, prompt: kept.append(tokens) or tokens)
    generate_tokens(model, encoded(model), ["az"] * CLIPS, "transcribe", 4, fused=fused, **options)
    monkeypatch.undo()
    return kept[0]


@pytest.mark.parametrize(
    ("padding", "options"),
    [
        ("clip", {}),
        ("clip", {"beams": 3}),
        (None, {"beams": 3}),
        ("clip", {"temperature": 1.0}),
        (None, {"timestamps": True}),
    ],
)
def test_both_rows_of_a_pair_take_the_same_tokens(
    model_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, padding: str | None, options: dict[str, Any]
) -> None:
    model = model_of(padding, timestamp_tokens=True)
    tokens = both_rows(model, Fusion(CLIPS, ROWS), monkeypatch, **options)
    assert len(tokens) == 5
    assert torch.equal(tokens[list(ROWS)], tokens[CLIPS:])
    alone = generate_tokens(model, encoded(model), ["az"] * 5, "transcribe", 4, **options)
    assert "temperature" in options or not torch.equal(alone[list(ROWS)], alone[CLIPS:])


@pytest.mark.parametrize(("padding", "beams"), [("clip", 1), ("clip", 3), (None, 1)])
def test_a_share_of_one_hears_the_first_recording_and_of_zero_the_second(
    model_of: Callable[..., Any], padding: str | None, beams: int
) -> None:
    model = model_of(padding)

    def tokens(rows: int, first: int = 0, fused: Fusion | None = None) -> torch.Tensor:
        languages = ["az"] * (rows if fused is None else CLIPS)
        return generate_tokens(model, encoded(model, rows, first), languages, "transcribe", 3, beams=beams, fused=fused)

    alone = tokens(5)
    assert torch.equal(tokens(5, fused=Fusion(CLIPS, ROWS, 1.0)), alone[:3])
    assert torch.equal(tokens(5, fused=Fusion(CLIPS, ROWS, 0.0)), alone[[3, 1, 4]])
    assert torch.equal(tokens(3, fused=Fusion(CLIPS, ())), alone[:3])


def test_the_shares_are_those_of_the_tokens_that_were_taken(model_of: Callable[..., Any]) -> None:
    model = model_of("clip")
    for beams in (1, 3):
        fused = Fusion(CLIPS, ROWS)
        found = generate_tokens(model, encoded(model), ["az"] * CLIPS, "transcribe", 5, beams=beams, fused=fused)
        taken = fused.beside(list(torch.cat((prompts(model, CLIPS), found), 1)))
        with torch.no_grad():
            logits = model(encoder_outputs=encoded(model), decoder_input_ids=torch.stack(taken)[:, :-1]).logits
        log = logits[:, 3:].log_softmax(-1)
        assert set(fused.token_shares) == set(ROWS)
        for place, row in enumerate(ROWS):
            expected = certainty_share(log[row], log[CLIPS + place], fused.odds[place])[:, 0]
            assert fused.token_shares[row] == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_scores_are_the_weighted_mean_of_the_log_probabilities() -> None:
    scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    fused = FusedScores(Fusion(CLIPS, ROWS, 0.75))(torch.zeros(5, 1), scores)
    log = scores.log_softmax(-1)
    for first, second in ((0, 3), (2, 4)):
        assert torch.allclose(fused[first], 0.75 * log[first] + 0.25 * log[second])
        assert torch.equal(fused[first], fused[second])
    assert torch.equal(fused[1], scores[1])


def test_the_surer_recording_counts_more() -> None:
    sure, unsure = torch.tensor([9.0, 0, 0, 0]).log_softmax(-1), torch.zeros(4).log_softmax(-1)
    assert certainty_share(sure, unsure) > 0.95
    assert certainty_share(sure, unsure) + certainty_share(unsure, sure) == pytest.approx(1)
    assert certainty_share(unsure, unsure) == pytest.approx(0.5)


def test_the_recording_that_the_model_is_surer_of_counts_more(model_of: Callable[..., Any]) -> None:
    """The odds follow the mean log-probability of what is heard in either recording alone."""
    model, fused = model_of("clip"), Fusion(CLIPS, ROWS)
    generate_tokens(model, encoded(model), ["az"] * CLIPS, "transcribe", 6, fused=fused)
    alone = generate_tokens(model, encoded(model), ["az"] * 5, "transcribe", 6)
    logits = model(encoder_outputs=encoded(model), decoder_input_ids=torch.cat((prompts(model, 5), alone), 1)).logits
    logits = logits[:, 3:-1].detach()
    logits[..., model.generation_config.suppress_tokens] = -torch.inf
    means = logits.log_softmax(-1).gather(2, alone[..., None]).mean(1)[:, 0]
    assert fused.odds is not None
    assert torch.allclose(fused.odds, OF_SURENESS * (means[[0, 2]] - means[3:]), atol=1e-3)
    equal = torch.zeros(4).log_softmax(-1)
    assert certainty_share(equal, equal, fused.odds[0]) == pytest.approx(torch.sigmoid(fused.odds[0]).item())


def test_what_comes_after_the_end_does_not_count() -> None:
    sureness, end = Sureness(9), torch.tensor([[1, 1], [1, 9]])
    scores = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    assert sureness(torch.tensor([[1], [1]]), scores) is scores
    sureness(end, scores.flip(0))
    assert torch.allclose(sureness.means, torch.stack([torch.tensor(0.5 * 0.75).log() / 2, torch.tensor(0.75).log()]))


def test_a_draw_follows_the_temperature_and_never_takes_what_is_impossible() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0, -torch.inf]] * 4000)
    torch.manual_seed(0)
    drawn = SameDraw(Fusion(2000, tuple(range(2000))), 0.5)(torch.zeros(1), scores)
    assert torch.equal(drawn[:2000], drawn[2000:])
    shares = (drawn[:2000] == 0).float().mean(0)
    assert torch.allclose(shares, (scores[0] / 0.5).softmax(-1), atol=0.03)


def test_text_or_timestamp_is_decided_by_both_recordings(
    model_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one recording alone would ask for a timestamp and both together do not, there is none."""
    model = model_of(None, timestamp_tokens=True)
    first = first_timestamp_token(model)
    text = first - 1 - 5
    letter = next(token for token in range(first) if token not in model.generation_config.suppress_tokens)

    def logits(module: Any, given: Any, out: torch.Tensor) -> torch.Tensor:
        out = torch.full_like(out, -20.0)
        out[..., letter] = 5.0
        out[0, ..., first:] = 0.0  # 1501 of them outweigh the letter in the first recording alone
        return out

    assert text
    hook = model.proj_out.register_forward_hook(logits)
    try:
        tokens = generate_tokens(
            model, encoded(model, 2), ["az"], "transcribe", 6, timestamps=True, fused=Fusion(1, (0,), 0.3)
        )
    finally:
        hook.remove()
    assert (tokens[0, 2:] == letter).all()


def test_the_language_is_that_of_both(model_of: Callable[..., Any]) -> None:
    model = model_of("clip")
    ids = model.generation_config.lang_to_id
    scores = {
        0: (1.0, 0.9, 0.0, 0.0),
        1: (0.0, 0.0, 2.0, 0.0),
        2: (0.0, 1.0, 0.0, 0.0),
        3: (0.0, 0.9, 0.0, 1.0),
        4: (0.0, 0.0, 0.0, 3.0),
    }

    def logits(module: Any, given: Any, out: torch.Tensor) -> torch.Tensor:
        out = torch.full_like(out, -20.0)
        for row, values in scores.items():
            for language, value in zip(LANGUAGES, values, strict=True):
                out[row, :, ids[f"<|{language}|>"]] = value
        return out

    hook = model.proj_out.register_forward_hook(logits)
    try:
        assert detect_languages(model, encoded(model), Fusion(CLIPS, ROWS)) == ["de", "en", "tr"]
    finally:
        hook.remove()


def test_beams_are_not_sampled(model_of: Callable[..., Any]) -> None:
    model = model_of("clip")
    with pytest.raises(ValueError, match="sampled with one beam"):
        generate_tokens(model, None, ["az"], "transcribe", 4, beams=2, temperature=1.0, fused=Fusion(1, (0,)))
