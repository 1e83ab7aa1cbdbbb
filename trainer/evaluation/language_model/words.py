"""The words of a text that is being written, token by token, and what a language model adds to each token's score.

A word's score is spread over its tokens. As soon as it begins, it counts as the likeliest word of the model that begins
so; when it is whole, the rest of its own score is added. So a beam is not lost before its word ends, and the sum over a
text is that of its words' scores.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import regex

from data.ngram.beside import Weights
from data.ngram.scores import Scores

MOST_STATES = 200_000  # that are kept


@dataclass(eq=False)
class State:
    """A text so far.

    Attributes:
        context: of the language model, after the whole words.
        text: of the word that is being written, with what is before it.
        rest: bytes after it that are no whole character yet.
        ahead: what was added for the word that is being written.
        is_over: the text has ended.
        after: by token, what it adds and the state after it.
    """

    context: Any
    text: str = ""
    rest: bytes = b""
    ahead: float = 0.0
    is_over: bool = False
    after: dict[int, tuple[float, "State"]] = field(default_factory=dict)


class WordScorer:
    """What each token adds to a text's score, found once for each text so far and token.

    Args:
        token_bytes: of the tokens of text; a token beyond them is the end, or no text and ends a word.
        end: the token of the end of text.
        normalize: a text as the model's sentences were normalised.
        by_characters: words are characters, in languages without spaces.
    """

    def __init__(
        self,
        scores: Scores,
        weights: Weights,
        token_bytes: Sequence[bytes],
        end: int,
        *,
        normalize: Callable[[str], str],
        by_characters: bool = False,
    ) -> None:
        self.scores, self.weights, self.bytes, self.end = scores, weights, token_bytes, end
        self.normalize, self.by_characters = lru_cache(100_000)(normalize), by_characters
        self.splits = lru_cache(None)(lambda character: len(normalize(f"a{character}a").split()) > 1)
        self.states: dict[tuple[Any, str, bytes], State] = {}
        self.over = State(None, is_over=True)
        self.begin = State(scores.begin())

    def step(self, state: State, token: int) -> tuple[float, State]:
        """What a token adds after a text, and the text with it."""
        found = state.after.get(token)
        if found is None:
            found = state.after[token] = self.add(state, token)
        return found

    def add(self, state: State, token: int) -> tuple[float, State]:
        if state.is_over:
            return 0.0, state
        if token >= len(self.bytes):
            return self.closed(state, token == self.end)
        text, rest = whole_part(state.rest + self.bytes[token])
        words, open_text = self.parted(state.text + text)
        gained, context = 0.0, state.context
        for word in words:
            score, context = self.scores.score(context, word)
            gained += self.word_score(word, score)
        after = self.state(context, open_text, rest)
        return gained + after.ahead - state.ahead, after

    def closed(self, state: State, ends: bool) -> tuple[float, State]:
        """As :meth:`add`, for the end, and for a token that is no text."""
        gained, context = 0.0, state.context
        for word in self.normalize(state.text).split():
            score, context = self.scores.score(context, word)
            gained += self.word_score(word, score)
        if ends:
            return gained - state.ahead + self.weights.weight * self.scores.end(context), self.over
        return gained - state.ahead, self.state(context, "", b"")

    def word_score(self, word: str, score: float) -> float:
        weights = self.weights
        lacked = 0.0 if self.scores.knows(word) else weights.unknown
        return weights.weight * (score - lacked) + weights.word_bonus

    def state(self, context: Any, text: str, rest: bytes) -> State:
        """The state of a text so far, the same object each time."""
        key = (context, text, rest)
        found = self.states.get(key)
        if found is None:
            if len(self.states) >= MOST_STATES:
                self.states.clear()
                self.begin = State(self.begin.context)
            found = self.states[key] = State(context, text, rest, self.look_ahead(context, text))
        return found

    def look_ahead(self, context: Any, text: str) -> float:
        """The score of the likeliest word that begins as the open one, 0 if nothing of it is written."""
        begun = "".join(self.normalize(text).split())
        if not begun:
            return 0.0
        best = self.scores.ahead(context, begun)
        if best is None:
            return self.word_score(begun, self.scores.score(context, begun)[0])
        return self.weights.weight * best + self.weights.word_bonus

    def parted(self, text: str) -> tuple[list[str], str]:
        """The whole words of a text, and the text of the one that may go on."""
        if self.by_characters:
            last = regex.findall(r"\X", text)[-1] if text else ""
            if not self.normalize(last).strip():
                return self.normalize(text).split(), ""
            return self.normalize(text.removesuffix(last)).split(), last
        at = next((place for place in range(len(text), 0, -1) if self.splits(text[place - 1])), 0)
        return self.normalize(text[:at]).split(), text[at:]


INCOMPLETE = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")


def whole_part(data: bytes) -> tuple[str, bytes]:
    """The text of bytes, but for a character at its end that is not whole, and the bytes of that."""
    cut = INCOMPLETE.search(data)
    whole = data if cut is None else data[: cut.start()]
    return whole.decode("utf-8", "replace"), data[len(whole) :]
