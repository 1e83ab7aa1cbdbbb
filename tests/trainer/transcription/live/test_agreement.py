"""Words that two hearings agree on are final."""

from trainer.transcription.live.agreement import Agreement, Spoken


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
