"""Which attention heads of a checkpoint time words best, measured on joined clips whose times are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import DataError
from modeling.alignment.attention import Head
from modeling.alignment.heads import all_heads
from modeling.alignment.word_times import FRAME_SECONDS, SpelledWords, bounds, spell_all, token_gains
from modeling.alignment.words import SpelledWord, words_of

from ..hearing import Listener
from ..transcripts import WRITTEN_WITHOUT_SPACES
from .joining import Joined
from .words import silence_of

FEWEST_RECORDINGS = 8
MOST_HEADS = 24  # OpenAI's large-v2 has 23
WORST_SECONDS = 1.0  # a boundary that is lost counts as much, however far it is
CLOSE_SECONDS = 0.1
CLEARLY = 0.95  # of the error of the heads that were there: less of a gain is none
HEADS_AT_ONCE = 64  # in one warping, which bounds its memory
# How much of what silence tells counts while heads are compared, so that they are by what they find themselves. Heads
# that are ranked with all of it were measured to be worse where words follow each other without pauses.
SILENCE_SHARE = 0.25
RANKING, CHOOSING, TELLING = (0, 1), (2, 3), (4,)  # which of five recordings in turn serve for what


@dataclass(frozen=True)
class BoundaryErrors:
    """How far the starts and ends of what was said are from the known ones: seconds, and a share of them."""

    boundaries: int
    median: float
    percentile_95: float
    within_0_1: float

    @classmethod
    def of(cls, errors: np.ndarray) -> "BoundaryErrors":
        """Of absolute errors in seconds."""
        found = [float(value) for value in np.percentile(errors, (50, 95))]
        return cls(
            errors.size, round(found[0], 4), round(found[1], 4), round(float((errors <= CLOSE_SECONDS).mean()), 4)
        )

    def __str__(self) -> str:
        close = f"{self.within_0_1:.0%} within 0.1 s"
        return f"median {self.median:.3f} s, 95th percentile {self.percentile_95:.3f} s, {close}"


@dataclass(frozen=True)
class FoundHeads:
    """The heads that time words best, by recordings that did not choose them.

    Attributes:
        heads: best first; those that were there if none are better.
        is_better: whether they are others than were there.
        before, after: errors with the heads that were there, and with these.
        recordings: in all.
    """

    heads: tuple[Head, ...]
    is_better: bool
    before: BoundaryErrors
    after: BoundaryErrors
    recordings: int


@dataclass(frozen=True)
class HeardClips:
    """Joined clips as a model hears them.

    Attributes:
        states: the encoder's output.
        text: the words of all clips.
        places: of each clip the numbers of its first word and of the first after it.
        silence: float32 [S], of :func:`.words.silence_of`.
    """

    joined: Joined
    states: Any
    text: SpelledWords
    places: tuple[tuple[int, int], ...]
    silence: np.ndarray

    @classmethod
    def of(cls, listener: Listener, joined: Joined) -> "HeardClips | None":
        """None if the text does not fit the decoder."""
        text, places = spelled_clips(listener, joined)
        if len(text.tokens) > listener.labels.max_tokens:
            return None
        return cls(joined, listener.encode([joined.audio]).states, text, tuple(places), silence_of(joined.audio))


def find_heads(listener: Listener, recordings: Sequence[Joined]) -> FoundHeads:
    """The heads that time a checkpoint's words best.

    Two of five recordings rank the heads, each by its own times. Two decide how many of the best are averaged, and
    whether they are better than those that were there. The last tells the errors.

    Args:
        listener: of the checkpoint, with words.

    Raises:
        DataError: for fewer than 8 recordings.
    """
    heard = list(filter(None, (HeardClips.of(listener, joined) for joined in recordings)))
    if len(heard) < FEWEST_RECORDINGS:
        raise DataError(
            f"the clips make {len(heard)} recordings whose texts fit the decoder; {FEWEST_RECORDINGS} are needed"
        )
    ranking, choosing, telling = (
        [one for place, one in enumerate(heard) if place % 5 in part] for part in (RANKING, CHOOSING, TELLING)
    )
    model, there = listener.model, finder_of(listener).heads
    every = all_heads(model.config)
    alone = np.concatenate([errors_of(model, one, every, SILENCE_SHARE, together=False) for one in ranking], axis=1)
    ranked = tuple(every[place] for place in np.argsort(mean_error(alone), kind="stable")[:MOST_HEADS])
    by_count = mean_error(np.concatenate([errors_of(model, one, ranked, SILENCE_SHARE) for one in choosing], axis=1))
    chosen = ranked[: int(by_count.argmin()) + 1]

    def error(heads: Sequence[Head], share: float) -> float:
        return float(mean_error(all_errors(model, choosing, heads, share)))

    is_better = by_count.min() < CLEARLY * error(there, SILENCE_SHARE) and CLEARLY * error(chosen, 1.0) <= error(
        there, 1.0
    )
    heads = chosen if is_better else there
    before, after = (BoundaryErrors.of(all_errors(model, telling, which)) for which in (there, heads))
    return FoundHeads(heads, bool(is_better), before, after, len(heard))


def all_errors(model: Any, heard: Sequence[HeardClips], heads: Sequence[Head], share: float = 1.0) -> np.ndarray:
    """Absolute errors of all boundaries of recordings, in seconds, by all of the heads together."""
    return np.concatenate([errors_of(model, one, heads, share)[-1] for one in heard])


def mean_error(errors: np.ndarray) -> np.ndarray:
    """Over the last axis; an error counts as a second at most."""
    return np.minimum(errors, WORST_SECONDS).mean(axis=-1)


def errors_of(
    model: Any, heard: HeardClips, heads: Sequence[Head], share: float = 1.0, *, together: bool = True
) -> np.ndarray:
    """Absolute errors of the starts and ends of a recording's clips, float64 [heads, 2 · clips], in seconds.

    Args:
        share: of what silence says.
        together: the first row is of the first head, the next of the first two averaged, and so on; else each row is
            of one head alone.
    """
    text, known, silence = heard.text, np.array(heard.joined.bounds), share * heard.silence
    firsts, lasts = [first for first, _ in heard.places], [after - 1 for _, after in heard.places]
    scores = spell_all(model, heard.states, [text.tokens], heads).scores[0]
    found = []
    total = np.zeros(1, np.float32)
    for at in range(0, len(heads), HEADS_AT_ONCE):
        gains = token_gains(scores[at : at + HEADS_AT_ONCE], text, len(silence))
        if together:
            sums = total + gains.cumsum(axis=0)
            total = sums[-1]
            gains = sums / np.arange(at + 1, at + len(gains) + 1, dtype=np.float32)[:, None, None]
        starts, ends = bounds(gains, text, silence)
        both = (starts[:, firsts] * FRAME_SECONDS - known[:, 0], ends[:, lasts] * FRAME_SECONDS - known[:, 1])
        found.append(np.abs(np.concatenate(both, axis=1)))
    return np.concatenate(found)


def spelled_clips(listener: Listener, joined: Joined) -> tuple[SpelledWords, list[tuple[int, int]]]:
    """The words of joined clips, and of each clip the numbers of its first word and of the first after it."""
    tokenizer = listener.processor.tokenizer
    words: list[SpelledWord] = []
    places: list[tuple[int, int]] = []
    for text in joined.texts:
        own = words_of(
            tokenizer,
            listener.labels.text_tokens(text),
            joined.language not in WRITTEN_WITHOUT_SPACES,
        )
        places.append((len(words), len(words) + len(own)))
        words += own
    prompt = listener.labels.prompt(joined.language or listener.language)
    return SpelledWords(prompt, [word.tokens for word in words]), places


def finder_of(listener: Listener) -> Any:
    assert listener.word_finder is not None  # it was opened with words
    return listener.word_finder
