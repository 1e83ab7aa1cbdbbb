"""What a language model adds to tokens: over a text the scores of its words, however its tokens cut it."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

from data.ngram.beside import Weights
from data.ngram.estimation import estimate
from data.ngram.scores import NgramScores
from trainer.evaluation.language_model.guide import Guide, GuidedBeams
from trainer.evaluation.language_model.opening import LanguageModel
from trainer.evaluation.language_model.words import WordScorer, whole_part
from trainer.evaluation.normalizers import basic_normalize

END = 256
TEXTS = ["bir iki üç", "iki üç dörd", "bir üç", "Üç, dörd beş!", "e-poçt don't", "sıfır bir iki"]
WEIGHTS = Weights(weight=0.7, word_bonus=0.3, unknown=4.0)


def model(texts: Sequence[str] = TEXTS, language: str = "az", weights: Weights = WEIGHTS) -> LanguageModel:
    sentences = [basic_normalize(text, language).split() for text in texts]
    return LanguageModel("lm.arpa", NgramScores(estimate(sentences, 3).ngrams), weights, language)


def scorer(beside: LanguageModel, longer: Sequence[bytes] = ()) -> WordScorer:
    """Of tokens that are bytes; ``longer`` ones are below the end, which they move up."""
    return WordScorer(
        beside.scores,
        beside.weights,
        [*(bytes([byte]) for byte in range(256)), *longer],
        END + len(longer),
        normalize=lambda text: basic_normalize(text, beside.language),
        by_characters=beside.language in ("zh", "th"),
    )


def added(words: WordScorer, tokens: Sequence[int]) -> float:
    total, state = 0.0, words.begin
    for token in (*tokens, words.end):
        more, state = words.step(state, token)
        total += more
    assert state.is_over and words.step(state, 5) == (0.0, state)
    return total


def expected(beside: LanguageModel, text: str) -> float:
    said, weights = beside.of_text(text), beside.weights
    return weights.weight * (said.likely - weights.unknown * said.unknown) + weights.word_bonus * said.words


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        "",
        " ",
        "...",
        "bir",
        "BİR iki",
        "  bir   iki ",
        "bir, iki. Üç?",
        "naməlum bir söz",
        "do not don’t 'iki'",
        "e-poçt, e-poçt",
        "bi",
        "«bir» [üç",
        "bir\ufffdiki 😀 üç",
    ],
)
def test_over_a_text_it_adds_the_scores_of_its_words(text: str) -> None:
    beside = model()
    assert added(scorer(beside), text.encode()) == pytest.approx(expected(beside, text), abs=1e-6)
    assert added(scorer(beside), f" {text}".encode()) == pytest.approx(expected(beside, text), abs=1e-6)


def test_tokens_may_cut_a_text_anywhere() -> None:
    beside, draw = model(), random.Random(0)
    data = " bir iki, üç naməlum dörd".encode()
    for _ in range(20):
        cuts = sorted({0, len(data), *(draw.randrange(len(data)) for _ in range(6))})
        parts = [data[begin:end] for begin, end in pairwise(cuts)]
        words = scorer(beside, parts)
        total = added(words, [256 + place for place in range(len(parts))])
        assert total == pytest.approx(expected(beside, data.decode()), abs=1e-6)


@pytest.mark.parametrize("text", ["你好吗", "你好，吗。", "我iPhone好", ""])
def test_characters_are_words_where_there_are_no_spaces(text: str) -> None:
    beside = model(["你好", "你好吗", "我好"], "zh")
    assert beside.words("你好") == ["你", "好"]
    assert added(scorer(beside), text.encode()) == pytest.approx(expected(beside, text), abs=1e-6)


def test_a_likely_word_is_preferred_from_its_first_letter_on() -> None:
    beside = model(["bir iki"] * 9 + ["bir dörd"])
    words, state = scorer(beside), scorer(beside).begin
    state = words.begin
    for token in b"bir ":
        _, state = words.step(state, token)
    after = {letter: words.step(state, ord(letter))[0] for letter in "idx"}
    assert after["i"] > after["d"] > after["x"]
    whole = words.step(state, ord("i"))[1]
    assert words.step(whole, ord("k"))[0] == pytest.approx(0)  # it is the word that was counted with already


def test_timestamps_end_a_word_and_are_none() -> None:
    beside = model()
    plain = added(scorer(beside), b"bir iki")
    assert added(scorer(beside), [END + 9, *b"bir", END + 30, END + 31, *b"iki", END + 50]) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("data", "text", "rest"),
    [(b"ab", "ab", b""), (b"a\xc3", "a", b"\xc3"), (b"\xe4\xbd", "", b"\xe4\xbd"), (b"\xff\xc3\xbc", "\ufffdü", b"")],
)
def test_characters_that_are_not_whole_wait(data: bytes, text: str, rest: bytes) -> None:
    assert whole_part(data) == (text, rest)


def test_what_is_kept_of_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.language_model.words.MOST_STATES", 50)
    beside, draw = model(), random.Random(0)
    words = scorer(beside)
    for _ in range(30):
        text = " ".join(draw.choices(["bir", "iki", "üç", "abc"], k=4))
        assert added(words, text.encode()) == pytest.approx(expected(beside, text), abs=1e-6)
        assert len(words.states) <= 50


def scores(rows: int = 2, seed: int = 0) -> torch.Tensor:
    """Of 256 bytes, the end, and ten tokens after it."""
    return torch.randn(rows, 267, generator=torch.Generator().manual_seed(seed)).log_softmax(dim=-1)


def test_a_guide_adds_to_the_likeliest_tokens_and_no_more_to_others() -> None:
    words = scorer(model())
    given = scores()
    guided = Guide(words, 24)([list(b" b"), list(b" bir")], given)
    for row, text in enumerate((b" b", b" bir")):
        state = words.begin
        for token in text:
            state = words.step(state, token)[1]
        likeliest = given[row].topk(24).indices.tolist()
        own = {token: words.step(state, token)[0] for token in likeliest}
        least = min(own.values())
        for token in range(267):
            more = own.get(token, least) if token <= END else words.step(state, END + 5)[0]
            assert float(guided[row, token]) == pytest.approx(float(given[row, token]) + more, abs=1e-5)


def test_without_weight_nothing_changes() -> None:
    words = scorer(model(weights=Weights(weight=0, word_bonus=0)))
    assert torch.equal(Guide(words, 24)([list(b" b"), list(b" bir")], scores()), scores())


def test_what_a_model_forbids_stays_forbidden() -> None:
    given = scores()
    given[:, :200] = -torch.inf
    guided = Guide(scorer(model()), 24)([[], []], given)
    assert torch.equal(guided.isinf(), given.isinf())
    assert not guided.isnan().any()


def test_the_prompt_of_generate_is_no_text() -> None:
    prompt = torch.tensor([[260, 261], [260, 261]])
    one, other = GuidedBeams(Guide(scorer(model()), 24)), Guide(scorer(model()), 24)
    assert torch.equal(one(prompt, scores()), other([[], []], scores()))
    longer = torch.cat((prompt, torch.tensor([list(b"b"), list(b"i")])), dim=1)
    assert torch.equal(one(longer, scores(seed=1)), other([list(b"b"), list(b"i")], scores(seed=1)))
    # Beams change places: a text may go on from any of those before.
    swapped = torch.cat((prompt, torch.tensor([list(b"ib"), list(b"bi")])), dim=1)
    fresh = Guide(scorer(model()), 24)
    assert torch.equal(one(swapped, scores(seed=2)), fresh([list(b"ib"), list(b"bi")], scores(seed=2)))
