"""What a generation config forbids a model to write, and which of that the texts of a data set need.

Whisper's own configs suppress quotes, brackets and other signs. A model that is trained on transcripts with them learns
to write them, but decoding never does, so each counts as an error. Knows token ids alone; no torch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Needs = dict[str, set[int]]  # forbidden tokens by the generation config's key; {0} for a key without tokens

SUPPRESS, SUPPRESS_FIRST = "suppress_tokens", "begin_suppress_tokens"
NUMBERS = ("no_repeat_ngram_size", "max_length", "min_length", "min_new_tokens")
# Settings that change decoding whatever the texts are, with the value at which they have no effect.
UNLIKE_TRAINING: dict[str, Any] = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "length_penalty": 1.0,
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "max_time": None,
    "stop_strings": None,
    "compression_ratio_threshold": None,
    "logprob_threshold": None,
    "no_speech_threshold": None,
}


class GenerationLimits:
    """The limits of one generation config.

    Args:
        values: the generation config's, by their names.
        end_of_text: the token that a label ends with.
    """

    def __init__(self, values: Mapping[str, Any], end_of_text: int) -> None:
        self.end_of_text = end_of_text
        self.suppressed = frozenset(values.get(SUPPRESS) or ())
        self.first = frozenset(values.get(SUPPRESS_FIRST) or ())
        self.words = [tuple(word) for word in values.get("bad_words_ids") or ()]
        self.numbers: dict[str, Any] = {key: values.get(key) for key in NUMBERS}

    def needs(self, text: Sequence[int], prompt: int) -> Needs:
        """The limits that must be lifted before a label can be decoded; empty where none must.

        Args:
            text: tokens between prompt and end-of-text.
            prompt: tokens of the prompt.
        """
        whole = (*text, self.end_of_text)
        repeated, longest, shortest, fewest = self.numbers.values()
        found = {
            SUPPRESS: self.suppressed.intersection(whole),
            SUPPRESS_FIRST: self.first.intersection(whole[:1]),
            "bad_words_ids": {place for place, word in enumerate(self.words) if holds(text, word)},
        }
        unmet = (
            (repeated or 0) > 0 and repeats(text, repeated),
            longest is not None and prompt + len(text) > longest,
            prompt + len(text) < (shortest or 0),
            len(text) < (fewest or 0),
        )
        found |= {key: {0} for key, is_unmet in zip(NUMBERS, unmet, strict=True) if is_unmet}
        return {key: set(needed) for key, needed in found.items() if needed}

    def lifted(self, values: Mapping[str, Any], needs: Needs, most_positions: int) -> dict[str, Any]:
        """The generation config's values that change when the needed limits are lifted.

        Args:
            values: the present ones; their lists may differ from those that the limits were made from.
            most_positions: of the decoder.
        """
        changed: dict[str, Any] = {}
        for key, needed in needs.items():
            if key == "max_length":
                changed[key] = most_positions
            elif key == "bad_words_ids":
                gone = {self.words[place] for place in needed}
                changed[key] = [word for word in values.get(key) or () if tuple(word) not in gone] or None
            elif key in (SUPPRESS, SUPPRESS_FIRST):
                changed[key] = [token for token in values.get(key) or () if token not in needed] or None
            else:
                changed[key] = None
        return {key: value for key, value in changed.items() if values.get(key) != value}

    def described(self, needs: Needs, written: Callable[[Sequence[int]], str], most: int = 8) -> str:
        """``suppress_tokens '"', ' ('; max_length 20``.

        Args:
            written: the text of tokens.
            most: tokens of a key that are named.
        """
        parts = []
        for key, needed in sorted(needs.items()):
            if key in self.numbers:
                parts.append(f"{key} {self.numbers[key]}")
                continue
            names = [repr(written(self.words[one] if key == "bad_words_ids" else [one])) for one in sorted(needed)]
            more = f" and {len(names) - most} more" if len(names) > most else ""
            parts.append(f"{key} {', '.join(names[:most])}{more}")
        return "; ".join(parts)


def joined(several: Iterable[Needs]) -> Needs:
    """The union of several needs, keys sorted."""
    found: Needs = {}
    for needs in several:
        for key, needed in needs.items():
            found.setdefault(key, set()).update(needed)
    return {key: found[key] for key in sorted(found)}


def without(needs: Needs, others: Needs) -> Needs:
    """The needs that are not among ``others``."""
    left = {key: needed - others.get(key, set()) for key, needed in needs.items()}
    return {key: needed for key, needed in left.items() if needed}


def unlike_training(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a generation config that change decoding whatever was trained on, by their keys."""
    found = {
        key: values[key]
        for key, usual in UNLIKE_TRAINING.items()
        if values.get(key) is not None and values[key] != usual
    }
    forced = values.get("forced_decoder_ids")
    usual_prompt = [[1, values.get("no_timestamps_token_id")]]
    if values.get("is_multilingual") is False and forced and [list(one) for one in forced] != usual_prompt:
        found["forced_decoder_ids"] = forced  # models of several languages are asked for language and task instead
    return found


def holds(text: Sequence[int], word: Sequence[int]) -> bool:
    """Whether the word's tokens stand next to each other in the text."""
    size = len(word)
    return any(tuple(text[start : start + size]) == tuple(word) for start in range(len(text) - size + 1))


def repeats(text: Sequence[int], size: int) -> bool:
    """Whether any ``size`` tokens in a row occur twice in a text."""
    parts = [tuple(text[start : start + size]) for start in range(len(text) - size + 1)]
    return len(set(parts)) < len(parts)
