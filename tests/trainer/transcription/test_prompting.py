"""What a decoder is told before it writes: which tokens, how many, and when it does harm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling.byte_processor import build_byte_processor
from modeling.decoding import generate_tokens
from tests.support.untrained import save_checkpoint
from trainer.config.reading import ConfigError
from trainer.transcription.heard import Silence, until
from trainer.transcription.prompting import Prompter, Told, Trial, read_hotwords
from trainer.transcription.recordings import Recording
from trainer.transcription.transcriber import Transcriber

from .test_transcriber import noise, saved, tone

__all__ = ["saved"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_byte_processor(["en"]).tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    return save_checkpoint(folder, ("az", "en"), padding=None, positions=64, timestamp_tokens=True)


def test_hotwords_then_the_prompt_then_the_end_of_the_text_so_far(tokenizer: Any) -> None:
    told = Told("It was late.", ("Anna", "Ben"), previous_text=True)
    prompter = Prompter(tokenizer, 80, told)
    fixed = tokenizer(" Anna, Ben. It was late.", add_special_tokens=False).input_ids
    start = tokenizer.get_vocab()["<|startofprev|>"]
    assert prompter.tokens() == [start, *fixed]
    room = 39 - len(fixed)
    assert prompter.tokens(range(200, 300)) == [start, *fixed, *range(300 - room, 300)]
    assert prompter.longest == 40
    assert Prompter(tokenizer, 80, Told()).tokens([5]) == []
    assert Prompter(tokenizer, 80, Told("A b")).tokens([5])[-1] != 5


def test_a_prompt_that_is_too_long(tokenizer: Any) -> None:
    assert len(Prompter(tokenizer, 80, Told("x" * 38)).fixed) == 39
    with pytest.raises(ConfigError, match="--prompt and --hotwords take 43 tokens; at most 39 fit"):
        Prompter(tokenizer, 80, Told("x" * 38, ("ab",)))


def test_words_of_the_prompt_in_its_order_are_told(tokenizer: Any) -> None:
    prompter = Prompter(tokenizer, 400, Told("Names are Anna, Ben and Carl."))
    assert prompter.echoes("so anna ben AND carl, again")
    assert not prompter.echoes("Carl and Ben, Anna")
    assert not prompter.echoes("Anna Ben and")
    assert not Prompter(tokenizer, 400, Told("Anna Ben")).echoes("Anna Ben Anna Ben")


def test_hotwords_are_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("Anna\n\n  New   York \nAnna\n", encoding="utf-8")
    assert read_hotwords(str(file)) == ("Anna", "New York")
    file.write_text(" \n")
    with pytest.raises(ConfigError, match=r"words\.txt', which holds no words"):
        read_hotwords(str(file))
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"words\.txt', which is no UTF-8 text"):
        read_hotwords(str(file))


def test_a_prompt_that_makes_the_model_less_sure_is_told_once() -> None:
    for differences, is_told in (((-0.5, -0.1, -0.1), True), ((-0.3, -0.1, -0.1), False), ((-0.9, -0.9), False)):
        trial = Trial()
        for difference in differences:
            trial.note(-1.0 + difference, -1.0)
        assert bool(trial.remark()) == is_told
        assert trial.remark() is None


def test_the_first_windows_are_decoded_without_the_prompt_too(
    checkpoint: Path, saved: Callable[..., Recording]
) -> None:
    for windows in ("pieces", "sequential"):
        path = saved(tone(100, 300), "a.wav").path
        transcriber = Transcriber(str(checkpoint), "en", windows=windows, told=Told("abc"), batch_size=1)
        transcriber.silence = Silence(1.0, -100.0)
        transcriber.transcribe(path)
        assert len(transcriber.trial.differences) == 3
        transcriber.trial.is_told, transcriber.trial.differences = False, [-1.0] * 3
        remarks = transcriber.transcribe(path).remarks
        assert any("the prompt seems to do harm: with it" in remark for remark in remarks)


@pytest.mark.parametrize("timestamps", ["pauses", "tokens"])
def test_pieces_hear_the_prompt_as_transformers_gives_it(checkpoint: Path, timestamps: str) -> None:
    transcriber = Transcriber(str(checkpoint), "en", told=Told("abc"), timestamps=timestamps)
    without = Transcriber(str(checkpoint), "en", timestamps=timestamps)
    pieces = [noise(3), tone(5, 300).astype("float32")]
    encoded = transcriber.encode(pieces)
    found = [heard.tokens for heard in transcriber.understand(encoded, ["en", "en"])]
    assert found != [heard.tokens for heard in without.understand(encoded, ["en", "en"])]
    expected = generate_tokens(
        transcriber.model,
        encoded.states,
        ["en", "en"],
        "transcribe",
        transcriber.max_new_tokens,
        timestamps=timestamps == "tokens",
        before=transcriber.prompter.tokens(),
    )
    assert found == [until(transcriber.labels.end_of_text, ids) for ids in expected.tolist()]
    (silent, _), (plain, _) = (one.hear(pieces, ["en", "en"]) for one in (transcriber, without))
    assert silent.no_speech is not None and plain.no_speech is not None
    assert silent.no_speech != pytest.approx(plain.no_speech, rel=1e-6), "it is that after the prompt"
