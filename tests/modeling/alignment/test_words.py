"""Tokens of a text as words, in scripts with and without spaces."""

import pytest

from modeling.alignment.words import words_of
from modeling.byte_processor import build_byte_processor

TOKENIZER = build_byte_processor(["az", "zh"]).tokenizer


def spelled(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" səkkiz doqquz üç", ["səkkiz", "doqquz", "üç"]),
        (" Hello, world! It's (well-known).", ["Hello,", "world!", "It's", "(well-known)."]),
        (' he said "now" – or never', ["he", "said", '"now" –', "or", "never"]),
        (" ¿Qué tal? « Bonjour ! »", ["¿Qué", "tal?", "« Bonjour ! »"]),
        (" - no", ["- no"]),
        (" Привет, мир", ["Привет,", "мир"]),
        (" नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        (" two  spaces ", ["two", "spaces"]),
        (" ...", ["..."]),
        (" 100 % sure 😀", ["100 %", "sure", "😀"]),
        ("", []),
    ],
)
def test_words_with_spaces(text: str, words: list[str]) -> None:
    found = words_of(TOKENIZER, spelled(text))
    assert [word.text for word in found] == words
    assert [token for word in found for token in word.tokens] == spelled(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" 你好，世界。", ["你", "好，", "世", "界。"]),
        (" 我用Python 3.5写「好」", ["我", "用", "Python", "3.5", "写", "「好」"]),
        ("กินข้าว", ["กิ", "น", "ข้", "า", "ว"]),  # marks stay with their letters
    ],
)
def test_words_without_spaces(text: str, words: list[str]) -> None:
    found = words_of(TOKENIZER, spelled(text), has_spaces=False)
    assert [word.text for word in found] == words
    assert [token for word in found for token in word.tokens] == spelled(text)


def test_bytes_that_are_no_text_lose_no_token() -> None:
    tokens = [*spelled(" a"), 0xC9, 0x20, 0x99, *spelled("b")]
    found = words_of(TOKENIZER, tokens)
    assert [token for word in found for token in word.tokens] == tokens


def test_tokens_of_whispers_own_are_no_words() -> None:
    special = TOKENIZER.convert_tokens_to_ids("<|az|>")
    tokens = [special, *spelled(" bir"), special, *spelled(" iki")]
    found = words_of(TOKENIZER, tokens)
    assert [word.text for word in found] == ["bir", "iki"]
    assert [token for word in found for token in word.tokens] == tokens
