"""launch/ngram.py, and launch/eval.py with what it makes: what they write, say and refuse."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import launch.ngram
from data.digit_speech import DIGIT_WORDS
from data.ngram.beside import Weights, read_card
from tests.end_to_end import Outcome, run

pytestmark = pytest.mark.usefixtures("exact_attention")

Evaluate = Callable[..., Outcome]
Make = Callable[..., Path]

LONG = [" ".join(DIGIT_WORDS[place % 10] for place in range(first, first + 6)) for first in range(10)]


def test_what_is_made_and_said(tmp_path: Path) -> None:
    pairs = [f"{one} {other}" for one in DIGIT_WORDS for other in DIGIT_WORDS]
    sentences = [*pairs, *(f"{pair}, {pair}." for pair in pairs)]
    with gzip.open(tmp_path / "more.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(sentences) + "\n\n...\n")
    output = tmp_path / "new" / "az.arpa.gz"
    outcome = run(launch.ngram.main, tmp_path / "more.txt.gz", "--language", "Azerbaijani", "--output", output)
    assert outcome.code == 0 and outcome.errors == ""
    assert "sentences: 200, words: 600, vocabulary: 10" in outcome.output
    assert "discounts of length 3: " in outcome.output and "held-out sentences, by a model without" in outcome.output
    card = read_card(output)
    assert card is not None and (card.language, card.order, card.vocabulary, card.weights) == ("az", 3, 10, None)
    assert card.perplexity is not None and 1 < card.perplexity < 30


def test_sentences_of_another_text_are_left_out(made: Make, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("BİR, iki!\n", "utf-8")
    arpa = made(["bir iki", "bir iki", "bir üç"], "--not-in", tmp_path / "test.txt")
    card = read_card(arpa)
    assert card is not None and card.sentences == 1


def test_transcripts_of_a_corpus_are_text(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "lm.arpa"
    given = (corpus / "train-*.parquet", "--not-in", corpus / "validation-*.parquet", "--output", output)
    outcome = run(launch.ngram.main, *given, "--language", "az")
    assert outcome.code == 0, outcome.errors
    assert "left out: " in outcome.output and "vocabulary: 10" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("none.txt",), r"none\.txt is not there: give a text file, one sentence a line, or a corpus"),
        (("empty.txt",), r"empty\.txt: the text has no words"),
        (("signs.txt",), r"signs\.txt: the text has no words"),
        (("binary.txt",), r"binary\.txt is no UTF-8 text"),
        (("good.txt", "--order", 6), "argument --order: '6' is not a whole number from 1 to 5"),
        (("good.txt", "--order", 0), "argument --order: '0'"),
        (("good.txt", "--language", "xx"), "--language is 'xx', which Whisper does not know"),
        (("good.txt", "--output", "."), r"--output is '\.', which is a folder"),
        (("good.txt", "--not-in", "good.txt"), "the text has no words"),
        (("good.txt", "--output", "good.txt"), r"--output is 'good\.txt', which is a text to read"),
    ],
)
def test_what_no_model_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    Path("signs.txt").write_text("...\n\n", "utf-8")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    Path("good.txt").write_text("bir iki\n", "utf-8")
    outcome = run(launch.ngram.main, "--language", "az", "--output", "lm.arpa", *arguments)
    assert outcome.code == 2
    assert re.search(why, outcome.complaint)
    assert not Path("lm.arpa").exists()


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_heard_follows_the_language_model(evaluate: Evaluate, made: Make, tmp_path: Path, beams: int) -> None:
    arpa = made(LONG)
    texts = []
    for weight in (0, 2):
        given = ("--language-model", arpa, "--lm-weight", weight, "--lm-word-bonus", weight, "--beams", beams)
        outcome = evaluate(*given, "--output", tmp_path / str(weight))
        assert outcome.code == 0, outcome.errors
        rows = (tmp_path / str(weight) / "predictions.jsonl").read_text("utf-8").splitlines()
        texts.append([json.loads(row)["hypothesis"] for row in rows])
        figures = json.loads((tmp_path / str(weight) / "evaluation.json").read_text("utf-8"))
        noted = figures["language_model"]
        assert (noted["weight"], noted["seen"], noted["sentences"], figures["beams"]) == (weight, 0, 11, beams)
        assert "0 of the sentences are in its text" in outcome.output
    assert evaluate("--output", tmp_path / "without", "--beams", beams).code == 0
    rows = (tmp_path / "without" / "predictions.jsonl").read_text("utf-8").splitlines()
    without = [json.loads(row)["hypothesis"] for row in rows]
    assert "language_model" not in json.loads((tmp_path / "without" / "evaluation.json").read_text("utf-8"))
    assert texts[0] == without != texts[1]


def test_sentences_of_the_test_are_not_in_the_language_models_text(
    evaluate: Evaluate, made: Make, corpus: Path, tmp_path: Path
) -> None:
    texts = pq.read_table(next(corpus.glob("validation-*.parquet"))).column("text").to_pylist()
    arpa = made([*LONG, f"«{texts[0]}»!"])
    refused = evaluate("--language-model", arpa)
    copies = sum(text == texts[0] for text in texts)
    assert refused.code == 2
    assert f"{copies} of 11 sentences to evaluate on are in the text of {arpa}" in refused.complaint
    allowed = evaluate("--language-model", arpa, "--allow-seen")
    assert allowed.code == 0 and f"{copies} of the sentences are in its text" in allowed.output


def test_n_best_lists_add_up(evaluate: Evaluate, made: Make, tmp_path: Path) -> None:
    given = ("--language-model", made(LONG), "--beams", 4, "--output", tmp_path)
    assert evaluate(*given).code == 0
    best = [json.loads(row)["hypothesis"] for row in (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert evaluate(*given, "--n-best", 3).code == 0
    lines = [json.loads(line) for line in (tmp_path / "n_best.jsonl").read_text("utf-8").splitlines()]
    assert [line["hypotheses"][0]["text"] for line in lines] == best
    for line in lines:
        found = line["hypotheses"]
        assert len(found) == 3 and line["reference"]
        means = [one["score"] / one["tokens"] for one in found]
        assert means == sorted(means, reverse=True)
        for one in found:
            assert one["score"] == pytest.approx(one["acoustic"] + one["language_model"], abs=1e-3)
            assert one["acoustic"] < 0


def test_weights_are_found_on_held_out_speech_and_used(evaluate: Evaluate, made: Make) -> None:
    pytest.importorskip("optuna")
    arpa = made(LONG)
    outcome = evaluate("--language-model", arpa, "--tune-language-model")
    assert outcome.code == 0, outcome.errors
    assert outcome.output.count("word error rate") >= 3 and "with weight 0.00, word bonus 0.00" in outcome.output
    card = read_card(arpa)
    assert card is not None and card.weights is not None and "data.validation" in str(card.tuned_on)
    again = evaluate("--language-model", arpa)
    assert f"weight {card.weights.weight:.3g}, word bonus {card.weights.word_bonus:.3g}" in again.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--lm-weight", 1), "--lm-weight is of a language model: --language-model says which"),
        (("--lm-word-bonus", 1), "--lm-word-bonus is of a language model"),
        (("--language-model", "none.arpa"), "--language-model: none.arpa cannot be read: No such file"),
        (("--language-model", "empty.arpa"), "--language-model: empty.arpa is empty"),
        (("--language-model", "cut.arpa"), "--language-model: cut.arpa is damaged"),
        (("--language-model", "en.arpa"), "a model of the language 'en', and 'az' is spoken"),
        (("--language-model", "other.arpa"), "knows 0% of the words that were said: it seems to be of another"),
        (("--language-model", "card.arpa"), "card.arpa.json is damaged: order"),
        (("--language-model", "hashes.arpa"), "hashes.arpa.sentences.npy is damaged"),
        (("--n-best", 2), "--n-best is 2, and beams are 1: a list is of beam search, so give --beams 2"),
        (("--n-best", 1), "--n-best is 1, and beams are 1"),
        (("--n-best", 5, "--beams", 4), "so give --beams 5"),
        (("--tune-language-model",), "--tune-language-model finds weights: --language-model says of what"),
        (("--tune-language-model", "--language-model", "good.arpa", "--lm-weight", 1), "leave them out"),
        (("--tune-language-model", "--language-model", "good.arpa", "--output", "x"), "leave --output out"),
        (("--noise-suite", "s.yaml", "--language-model", "good.arpa"), "--language-model goes without --noise-suite"),
        (("--noise-suite", "s.yaml", "--beams", 2), "--beams goes without --noise-suite"),
    ],
)
def test_language_models_that_are_of_no_use(
    evaluate: Evaluate, made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    good = made(LONG)
    text, card = good.read_text("utf-8"), json.loads(Path(f"{good}.json").read_text("utf-8"))
    Path("empty.arpa").touch()
    Path("cut.arpa").write_text(text[: len(text) // 2], "utf-8")
    for name in ("good", "card", "hashes", "en", "other"):
        Path(f"{name}.arpa").write_text(text, "utf-8")
    Path("card.arpa.json").write_text(json.dumps(card | {"order": "x"}), "utf-8")
    Path("hashes.arpa.sentences.npy").write_bytes(b"none")
    Path("en.arpa.json").write_text(json.dumps(card | {"language": "en"}), "utf-8")
    for word in DIGIT_WORDS:
        text = text.replace(word, word[::-1] + "x")
    Path("other.arpa").write_text(text, "utf-8")
    outcome = evaluate(*arguments)
    assert outcome.code == 2, outcome.output
    assert why in outcome.complaint


def test_usual_weights_are_in_their_ranges() -> None:
    from trainer.evaluation.language_model.tuning import RANGES

    for name, value in Weights().model_dump().items():
        assert RANGES[name][0] <= value <= RANGES[name][1]
