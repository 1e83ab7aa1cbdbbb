"""From a model, what it hears and the words of a text to the seconds at which each word begins and ends.

It knows how loud the recording is at each moment, and no audio.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from .attention import Head, Spelled, spell
from .warping import closeness, first_frames

FRAME_SECONDS = 0.02  # an encoder frame's
# How much a frame of silence speaks against a word and for a pause, in standard deviations of attention. Measured on
# words with pauses between them, where less leaves pauses to the next word, and on sentences, where more moves words
# to stops within words.
PAUSE_GAIN = 4.0


class TimedWords(NamedTuple):
    """When each word of a text is said, and how likely the model finds it.

    Attributes:
        starts, ends: float64 [words], seconds of the clip: in order, ``start < end``, no end beyond the next start.
        probabilities: float32 [words], the mean of those of its tokens, 0 to 1.
    """

    starts: np.ndarray
    ends: np.ndarray
    probabilities: np.ndarray


class SpelledWords(NamedTuple):
    """A clip's text for a decoder: a prompt's tokens, as training puts it before a text without timestamps, and those
    of each word, at least one."""

    prompt: Sequence[int]
    words: Sequence[Sequence[int]]

    @property
    def tokens(self) -> list[int]:
        return [*self.prompt, *(token for word in self.words for token in word)]


def word_times(
    model: Any,
    encoded: Any,
    texts: Sequence[SpelledWords],
    silences: Sequence[np.ndarray],
    heads: Sequence[Head],
) -> list[TimedWords]:
    """The times of the words of B texts, by where the given heads of the primary attention look.

    What is found for a text does not depend on its batch.

    Args:
        model: plain Whisper or a dual-attention one; of a second recording nothing counts.
        encoded: what ``modeling.decoding.encode`` gave for B clips.
        silences: float32 [S] of each clip: how silent each encoder frame that holds it is, from -1, surely not, to 1,
            surely; 0 where that is not known.
        heads: layer and head of each; see :mod:`modeling.alignment.heads`.
    """
    spelled = spell_all(model, encoded, [text.tokens for text in texts], heads)
    likely = spelled.log_probabilities.exp().cpu().numpy()
    found = []
    for place, (text, silence) in enumerate(zip(texts, silences, strict=True)):
        if not text.words:
            found.append(TimedWords(np.zeros(0), np.zeros(0), np.zeros(0, np.float32)))
            continue
        gains = token_gains(spelled.scores[place], text, len(silence)).mean(axis=0)
        (starts,), (ends,) = bounds(gains[None], text, silence)
        of_words = np.split(likely[place, len(text.prompt) : len(text.tokens)], edges(text)[1:-1])
        means = np.array([word.mean() for word in of_words], np.float32)
        found.append(TimedWords(starts * FRAME_SECONDS, ends * FRAME_SECONDS, means))
    return found


def spell_all(model: Any, encoded: Any, rows: Sequence[Sequence[int]], heads: Sequence[Head]) -> Spelled:
    """As :func:`.attention.spell`, of texts of any lengths."""
    tokens = torch.full((len(rows), max(map(len, rows))), model.generation_config.eos_token_id)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.tensor(row)
    return spell(model, encoded, tokens.to(encoded.last_hidden_state.device), heads)


def token_gains(scores: torch.Tensor, text: SpelledWords, frames: int) -> np.ndarray:
    """How closely each of the text's tokens is tied to each frame, float32 [heads, tokens, frames].

    A position's attention is on the token that it predicts, so a token's row is that of the position before it.

    Args:
        scores: float32 [heads, L, S] of :class:`.attention.Spelled`, of one text.
    """
    length, first = len(text.tokens), len(text.prompt)
    return closeness(scores[:, :length, :frames].cpu().numpy())[:, first - 1 : length - 1]


def edges(text: SpelledWords) -> np.ndarray:
    """int64 [words + 1]: the number of each word's first token, and of all tokens."""
    return np.cumsum([0, *map(len, text.words)])


def bounds(gains: np.ndarray, text: SpelledWords, silence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First frame of each word and the first after it, twice int64 [K, words], ``first < after``.

    The warped path passes a pause before, between and after words: a row without attention, which only silence draws.

    Args:
        gains: float32 [K, tokens, S].
        silence: float32 [S].
    """
    count, _, frames = gains.shape
    pause = np.broadcast_to(PAUSE_GAIN * silence.astype(np.float32), (count, 1, frames))
    parts, places, at = [pause], [], 1
    for first, after in zip(edges(text)[:-1], edges(text)[1:], strict=True):
        parts += [gains[:, first:after] - pause, pause]
        places.append((at, at + after - first))
        at += after - first + 1
    rows = first_frames(np.concatenate(parts, axis=1))
    starts, pauses = rows[:, [first for first, _ in places]], rows[:, [after for _, after in places]]
    following = np.concatenate((starts[:, 1:], np.full((count, 1), frames)), axis=1)
    ends = np.where(following - pauses <= 1, following, pauses)  # a frame that a word shares with a pause is its own
    return in_order(starts, ends, frames)


def in_order(starts: np.ndarray, ends: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The same, each word a frame long at least and none before the end of the one before it.

    More words than frames become longer than the recording, a frame for each.
    """
    starts, ends = starts.copy(), ends.copy()
    count = starts.shape[1]
    for word in range(count):
        least = ends[:, word - 1] if word else 0
        starts[:, word] = np.maximum(starts[:, word], least)
        ends[:, word] = np.maximum(ends[:, word], starts[:, word] + 1)
    for word in reversed(range(count)):  # those that were pushed beyond the end move back
        most = starts[:, word + 1] if word + 1 < count else max(frames, count)
        ends[:, word] = np.minimum(ends[:, word], most)
        starts[:, word] = np.minimum(starts[:, word], ends[:, word] - 1)
    return starts, ends
