"""Words that two hearings agree on are final; tokens become words in any script."""

from collections.abc import Callable

from trainer.transcription.live.agreement import Agreement, Spoken, words_of


def words(text: str) -> list[Spoken]:
    return [Spoken(word, (len(word),)) for word in text.split()]


def texts(found: list[Spoken]) -> str:
    return " ".join(word.text for word in found)


def test_what_two_hearings_agree_on_is_final() -> None:
    agreement = Agreement()
    assert agreement.heard(words("the cat")) == []
    assert texts(agreement.heard(words("the cab sat"))) == "the"
    assert texts(agreement.tentative) == "cab sat"
    assert texts(agreement.heard(words("cab sat on"))) == "cab sat"
    assert agreement.heard(words("in the")) == [], "what follows a difference is not final"
    assert texts(agreement.final) == "the cab sat" and agreement.tokens == [3, 3, 3]
    assert texts(agreement.end()) == "in the"
    assert (agreement.final, agreement.tentative) == ([], [])


def test_capitals_and_punctuation_make_no_difference() -> None:
    agreement = Agreement()
    agreement.heard(words("well, it is."))
    assert texts(agreement.heard(words("Well it is so"))) == "Well it is"
    agreement.end()
    agreement.heard(words("..."))
    assert agreement.heard(words("?")) == [], "nothing but punctuation is compared as it is"


def pieces(*parts: bytes) -> Callable[[list[int]], str]:
    return lambda ids: b"".join(parts[one] for one in ids).decode("utf-8", "replace")


def test_tokens_become_words_at_spaces() -> None:
    decode = pieces(b" Wh", b"o", b" was", b",", b" th", b"at")
    found = words_of(range(6), decode, True)
    assert [word.text for word in found] == ["Who", "was,", "that"]
    assert [word.tokens for word in found] == [(0, 1), (2, 3), (4, 5)]
    assert all(word.spaced for word in found)
    assert words_of([], decode, True) == []


def test_characters_of_several_tokens_stay_whole() -> None:
    letter = "ə".encode()
    decode = pieces(b" b", letter[:1], letter[1:], b"li", b" x")
    assert [word.text for word in words_of(range(5), decode, True)] == ["bəli", "x"]


def test_languages_without_spaces_are_split_at_characters() -> None:
    first, second = "你", "好"
    decode = pieces(first.encode(), second.encode()[:1], second.encode()[1:], "。".encode())
    found = words_of(range(4), decode, False)
    assert [word.text for word in found] == [first, f"{second}。"]
    assert [word.tokens for word in found] == [(0,), (1, 2, 3)] and not found[1].spaced
