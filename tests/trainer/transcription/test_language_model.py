"""launch/transcribe.py with a language model: greedily, with beams, window after window, and lists of hypotheses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

import launch.ngram
import launch.transcribe
from tests.end_to_end import Outcome, run
from tests.support.films import noise
from tests.support.untrained import save_checkpoint

pytestmark = pytest.mark.usefixtures("exact_attention")

WORDS = ("qwe", "rty", "uio")  # an untrained checkpoint writes letters alone, without end


@pytest.fixture
def arpa(recordings: Path) -> str:
    text = "\n".join(" ".join([one, other]) for one in WORDS for other in WORDS)
    Path("text.txt").write_text(text, "utf-8")
    assert run(launch.ngram.main, "text.txt", "--language", "az", "--output", "lm.arpa").code == 0
    return "lm.arpa"


def text_of(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.errors
    return outcome.output.strip()


@pytest.mark.parametrize("beams", [1, 3])
def test_it_is_heard_beside_the_checkpoint(transcribe: Callable[..., Outcome], arpa: str, beams: int) -> None:
    given = ("good.wav", "--beams", beams, "--language-model", arpa)
    without = text_of(transcribe("good.wav", "--beams", beams))
    assert text_of(transcribe(*given, "--lm-weight", 0, "--lm-word-bonus", 0)) == without
    assert text_of(transcribe(*given, "--lm-weight", 10)).startswith(WORDS) and not without.startswith(WORDS)


def test_window_after_window_with_timestamps(arpa: str, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "timed", padding=None, positions=60, timestamp_tokens=True)
    soundfile.write("long.wav", noise(40), 16_000)
    how = ("--checkpoint", checkpoint, "long.wav", "--windows", "sequential", "--no-fallback", "--format", "json")
    found = [
        json.loads(text_of(run(launch.transcribe.main, *how, *more)))
        for more in ((), ("--language-model", arpa, "--lm-weight", 0, "--lm-word-bonus", 0))
    ]
    assert found[0]["segments"] == found[1]["segments"] != []


def test_hypotheses_of_each_piece(transcribe: Callable[..., Outcome], arpa: str) -> None:
    given = ("good.wav", "--language-model", arpa, "--beams", 4, "--format", "json")
    usual = json.loads(text_of(transcribe(*given)))
    listed = json.loads(text_of(transcribe(*given, "--n-best", 2)))
    assert "n_best" not in usual and listed["text"] == usual["text"]
    (piece,) = listed["n_best"]
    assert (piece["start"], piece["end"], len(piece["hypotheses"])) == (0, 0.5, 2)
    assert piece["hypotheses"][0]["text"] == usual["text"] != piece["hypotheses"][1]["text"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--language-model", "none.arpa"), "--language-model: none.arpa cannot be read"),
        (("--language-model", "lm.arpa", "--language", "en"), "a model of the language 'az', and 'en' is spoken"),
        (("--language-model", "lm.arpa", "--task", "translate"), "a model of the language 'az', and 'en' is spoken"),
        (("--language-model", "alone.arpa"), "nothing says of which language: give the language that is spoken"),
        (("--lm-weight", 1), "--lm-weight is of a language model"),
        (("--n-best", 2), "--n-best goes with --format json, not txt"),
        (("--n-best", 2, "--format", "json"), "--n-best is 2, and beams are 1"),
        (("--n-best", 1, "--format", "json"), "--n-best is 1, and beams are 1"),
    ],
)
def test_what_cannot_be(transcribe: Callable[..., Outcome], arpa: str, arguments: tuple[object, ...], why: str) -> None:
    Path("alone.arpa").write_bytes(Path(arpa).read_bytes())
    outcome = transcribe("good.wav", *arguments)
    assert outcome.code == 2 and why in outcome.complaint


def test_a_model_that_knows_none_of_the_words_is_told(transcribe: Callable[..., Outcome], arpa: str) -> None:
    for number in range(25):
        soundfile.write(f"{number}.wav", noise(0.3 + number / 100), 16_000)
    outcome = transcribe(*(f"{n}.wav" for n in range(25)), "--language-model", arpa, "--lm-weight", 0)
    assert "knows 0% of the words that were heard: it seems to be of another language" in outcome.errors
