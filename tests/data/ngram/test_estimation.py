"""Kneser-Ney estimation, ARPA files and look-up: probabilities that add up, and that KenLM finds in the same file."""

import gzip
import importlib
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import DataError
from data.ngram.arpa import read_arpa, write_arpa
from data.ngram.estimation import USUAL, count, discounts_of, estimate
from data.ngram.levels import END, UNKNOWN
from data.ngram.scores import NgramScores, kenlm_scores, open_scores
from data.ngram.texts import sentences_of


def sentences(number: int = 400, seed: int = 0, vocabulary: int = 60) -> list[list[str]]:
    """Of words that follow each other with preferences, as in a language, some of them rare."""
    draw = random.Random(seed)
    words = [f"w{place:03d}" for place in range(vocabulary)]
    found = []
    for _ in range(number):
        at, said = draw.randrange(vocabulary), []
        for _ in range(draw.randint(1, 9)):
            at = (at * 7 + min(int(draw.expovariate(0.6)), 30)) % vocabulary
            said.append(words[at])
        found.append(said)
    return found


def probabilities(scores: NgramScores, context: Any) -> dict[str, float]:
    words = [*scores.ngrams.words, UNKNOWN]
    found = {word: math.exp(scores.score(context, word)[0]) for word in words}
    return found | {END: 10 ** scores.log10(context, scores.last)}


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("prune", [0, 1])
def test_probabilities_add_up_to_one_after_any_words(order: int, prune: int) -> None:
    scores = NgramScores(estimate(sentences(), order, prune).ngrams)
    draw = random.Random(1)
    for number in range(25):
        context = scores.begin() if number % 2 else ()
        for _ in range(number % 7):
            word = draw.choice([*scores.ngrams.words, "never heard"])
            _, context = scores.score(context, word)
        assert sum(probabilities(scores, context).values()) == pytest.approx(1, abs=2e-5)


def test_a_model_of_two_words_by_hand() -> None:
    """a a b / a b: the words are counted by what is before them, and discounted as usual for so small a text."""
    made = estimate([["a", "a", "b"], ["a", "b"]], 2)
    assert made.usual == (1, 2) and made.discounts == (USUAL, USUAL)
    assert (made.sentences, made.tokens) == (2, 5)
    scores = NgramScores(made.ngrams)
    # Different words before: a 2 (<s>, a), b 1 (a), </s> 1 (b); of 4. Discounts 1, 0.5, 0.5; the rest over 4 words.
    left = 2 / 4 / 4
    unigrams = {"a": (2 - 1) / 4 + left, "b": (1 - 0.5) / 4 + left, END: (1 - 0.5) / 4 + left, UNKNOWN: left}
    assert probabilities(scores, ()) == pytest.approx(unigrams)
    # After a: a once, b twice, so 0.5 and 1 are taken off, and 1.5 of 3 goes to the unigrams.
    _, after_a = scores.score(scores.begin(), "a")
    expected = {word: 0.5 * value for word, value in unigrams.items()}
    expected["a"] += 0.5 / 3
    expected["b"] += 1 / 3
    assert probabilities(scores, after_a) == pytest.approx(expected)


def test_counts_at_the_beginning_of_sentences_stay_as_they_are() -> None:
    """Nothing can be before them."""
    words = ["a", "b"]
    bigrams = count([["a", "b"]] * 4 + [["b", "a", "b"]], words, 3)[1]
    named = {
        (int(key) // 5, int(key) % 5): int(counted) for key, counted in zip(bigrams.keys, bigrams.counts, strict=True)
    }
    begin = 3
    assert named[begin, 0] == 4 and named[begin, 1] == 1
    assert named[0, 1] == 2  # <s> a b and b a b


def test_discounts_follow_from_counts_of_counts() -> None:
    counts = np.array([1] * 8 + [2] * 4 + [3] * 2 + [4] + [9], np.int64)
    y = 8 / 16
    assert discounts_of(counts) == pytest.approx((1 - 2 * y * 4 / 8, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2))
    assert discounts_of(counts[counts != 3]) is None
    nothing_off_twos = np.array([1] * 6 + [2] * 3 + [3] * 4 + [4], np.int64)
    assert discounts_of(nothing_off_twos) is None


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    made = estimate(sentences(), 4).ngrams
    write_arpa(tmp_path / name, made)
    read = read_arpa(tmp_path / name)
    assert read.words == made.words
    for one, other in zip(read.levels, made.levels, strict=True):
        assert np.array_equal(one.keys, other.keys)
        np.testing.assert_allclose(one.log10, other.log10, atol=1e-5)
        np.testing.assert_allclose(one.backoff, other.backoff, atol=1e-5)


def test_a_file_in_any_order_is_read(tmp_path: Path) -> None:
    write_arpa(tmp_path / "lm.arpa", estimate(sentences(50), 3).ngrams)
    lines = (tmp_path / "lm.arpa").read_text("utf-8").split("\n")
    at = lines.index("\\3-grams:") + 1
    end = lines.index("\\end\\") - 1
    lines[at:end] = reversed(lines[at:end])
    (tmp_path / "other.arpa").write_text("\n".join(lines).replace("\t", " "), "utf-8")
    one, other = (read_arpa(tmp_path / name) for name in ("lm.arpa", "other.arpa"))
    assert np.array_equal(one.levels[2].log10, other.levels[2].log10)


@pytest.mark.parametrize(("order", "prune"), [(2, 0), (3, 0), (5, 0), (3, 1)])
def test_kenlm_finds_the_same_probabilities(tmp_path: Path, order: int, prune: int) -> None:
    pytest.importorskip("kenlm")
    write_arpa(tmp_path / "lm.arpa", estimate(sentences(), order, prune).ngrams)
    ours, theirs = open_scores(tmp_path / "lm.arpa"), kenlm_scores(tmp_path / "lm.arpa")
    for sentence in [*sentences(30, seed=2, vocabulary=70), ["w001", "not there", "w002"], []]:
        contexts = [ours.begin(), theirs.begin()]
        for word in sentence:
            (one, contexts[0]), (other, contexts[1]) = ours.score(contexts[0], word), theirs.score(contexts[1], word)
            assert one == pytest.approx(other, abs=1e-5)
            assert ours.knows(word) == theirs.knows(word)
        assert ours.end(contexts[0]) == pytest.approx(theirs.end(contexts[1]), abs=1e-5)
        assert ours.ahead((), "w00") == pytest.approx(theirs.ahead(None, "w00"))


def test_kenlm_is_taken_for_large_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kenlm")
    module: Any = importlib.import_module("data.ngram.scores")
    write_arpa(tmp_path / "lm.arpa", estimate(sentences(), 2).ngrams)
    assert type(open_scores(tmp_path / "lm.arpa")).__name__ == "NgramScores"
    monkeypatch.setattr(module, "LARGE", 10)
    assert type(open_scores(tmp_path / "lm.arpa")).__name__ == "KenlmScores"


def test_looking_ahead_finds_the_likeliest_word_with_a_prefix() -> None:
    scores = NgramScores(estimate(sentences(), 3).ngrams)
    context = scores.begin()
    for word in ["w005", "w035", "w007"]:
        for prefix in ("w", "w0", "w03", "w035"):
            found = {own: scores.score(context, own)[0] for own in scores.ngrams.words if own.startswith(prefix)}
            assert scores.ahead(context, prefix) == pytest.approx(max(found.values()), abs=1e-5)
        assert scores.ahead(context, "x") is None
        _, context = scores.score(context, word)


def test_an_empty_sentence_ends_as_any_does() -> None:
    scores = NgramScores(estimate(sentences(), 3).ngrams)
    assert scores.end(scores.begin()) == pytest.approx(scores.end(()))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty; launch/ngram.py writes an ARPA file"),
        ("a sentence\nand another\n", "is no ARPA file: it has no line"),
        ("\\data\\\n\n\\end\\\n", "n-grams of 0 lengths"),
        ("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\ta\n\n\\end\\\n", "it has 1 of 2 n-grams of length 1"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\nx\ta\n\n\\end\\\n", "line 5 has no number where one should be"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\ta\tb c\n\n\\end\\\n", "line 5 has 4 fields"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\nnan\ta\n\n\\end\\\n", "line 5 has nan, no logarithm of a probability"),
        (
            "\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n-1\ta\n\n\\2-grams:\n-1\ta b\n\n\\end\\\n",
            "'b' is in n-grams",
        ),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\ta\n", "should follow"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\ta\n\n\\end\\\n", "gives </s>, the end of a sentence, no probability"),
        ("\\data\\\nngram 1=2\n\n\\1-grams:\n-99\ta\n-99\t</s>\n\n\\end\\\n", "no probability"),
        ("\\data\\\nngram 1=1\n\n\\2-grams:\n-1\ta\n\n\\end\\\n", r"\\1-grams: should follow"),
    ],
)
def test_what_is_no_arpa_file_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "lm.arpa").write_text(text, "utf-8")
    with pytest.raises(DataError, match=why):
        read_arpa(tmp_path / "lm.arpa")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_arpa(tmp_path / "none.arpa")
    (tmp_path / "lm.arpa").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(DataError, match=r"no UTF-8 text.*of a binary of KenLM's give the ARPA"):
        read_arpa(tmp_path / "lm.arpa")
    whole = gzip.compress(b"\\data\\\nngram 1=1\n")
    (tmp_path / "cut.gz").write_bytes(whole[:-5])
    with pytest.raises(DataError, match="is damaged"):
        read_arpa(tmp_path / "cut.gz")
    packed = bytearray(gzip.compress(" ".join(str(n * n) for n in range(999)).encode(), mtime=0))
    packed[30] ^= 255
    (tmp_path / "spoiled.txt.gz").write_bytes(packed)
    with pytest.raises(DataError, match="is damaged"):
        read_arpa(tmp_path / "spoiled.txt.gz")
    with pytest.raises(DataError, match="is damaged"):
        list(sentences_of(str(tmp_path / "spoiled.txt.gz")))
    (tmp_path / "plain.gz").write_text("\\data\\\n")
    with pytest.raises(DataError, match="is damaged"):
        read_arpa(tmp_path / "plain.gz")


@pytest.mark.parametrize(
    ("order", "text", "why"), [(0, [["a"]], "order is 0"), (6, [["a"]], "1 to 5"), (3, [[]], "no words")]
)
def test_what_cannot_be_estimated(order: int, text: list[list[str]], why: str) -> None:
    with pytest.raises(DataError, match=why):
        estimate(text, order)
