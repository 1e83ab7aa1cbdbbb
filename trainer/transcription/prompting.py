"""What a decoder is told before it writes: a prompt, hotwords, and the text so far."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.preparation.special_tokens import special_token_in

from ..config.reading import ConfigError

PREVIOUS = "<|startofprev|>"
ECHOED_WORDS = 4  # so many of the prompt's words one after the other are taken for its repetition
TRIED_WINDOWS = 3  # the first ones are decoded without the prompt, too ...
HARM = 0.2  # ... and the mean log-probability with it is not to be lower by more than this


@dataclass(frozen=True)
class Told:
    """What a user tells the decoder.

    Attributes:
        prompt: before every window, as if it had been said before.
        hotwords: words that are likely to be said, before every window too.
        previous_text: the text so far follows them.
    """

    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    previous_text: bool = False


NOTHING = Told()


class Prompter:
    """Makes the tokens that stand before the start of transcript.

    Args:
        positions: of the decoder; half of them, less one, are for what stands before.

    Raises:
        ConfigError: if the prompt and the hotwords do not fit, or hold special tokens, or the tokenizer has no token
            for what was said before.
    """

    def __init__(self, tokenizer: Any, positions: int, told: Told) -> None:
        self.told, self.most = told, positions // 2 - 1
        self.text = ". ".join(filter(None, (", ".join(told.hotwords), (told.prompt or "").strip())))
        self.fixed: list[int] = []
        self.start: int | None = tokenizer.get_vocab().get(PREVIOUS)
        names = [name for name, given in (("--prompt", told.prompt), ("--hotwords", told.hotwords)) if given]
        if (names or told.previous_text) and self.start is None:
            raise ConfigError(f"{(*names, '--previous-text')[0]} is given, but the tokenizer has no {PREVIOUS}")
        if self.text:
            mark = special_token_in(self.text)
            if mark is not None:
                raise ConfigError(f"{' and '.join(names)} holds {mark!r}, a token of Whisper's own: give words alone")
            self.fixed = tokenizer(f" {self.text}", add_special_tokens=False).input_ids
        if len(self.fixed) > self.most:
            raise ConfigError(
                f"{' and '.join(names)} take {len(self.fixed)} tokens; at most {self.most} fit the decoder beside what "
                "is said"
            )
        self.words = words_of(self.text)

    @property
    def longest(self) -> int:
        """Tokens that may stand before the start of transcript."""
        if self.told.previous_text:
            return 1 + self.most
        return 1 + len(self.fixed) if self.fixed else 0

    def tokens(self, so_far: Sequence[int] = ()) -> list[int]:
        """What stands before the start of transcript; of the text so far as much of its end as fits."""
        room = self.most - len(self.fixed)
        before = [*self.fixed, *(so_far[-room:] if room and self.told.previous_text else ())]
        return [self.start, *before] if before and self.start is not None else []

    def echoes(self, text: str) -> bool:
        """Whether a text repeats the prompt: four of its words or more in its order."""
        if len(self.words) < ECHOED_WORDS:
            return False
        runs = {tuple(self.words[at : at + ECHOED_WORDS]) for at in range(len(self.words) - ECHOED_WORDS + 1)}
        said = words_of(text)
        return any(tuple(said[at : at + ECHOED_WORDS]) in runs for at in range(len(said) - ECHOED_WORDS + 1))


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def read_hotwords(file: str) -> tuple[str, ...]:
    """Words or names, one a line. Raises ConfigError if the file cannot be read or holds none."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"--hotwords is {file!r}, which cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--hotwords is {file!r}, which is no UTF-8 text") from None
    found = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not found:
        raise ConfigError(f"--hotwords is {file!r}, which holds no words; one a line is right")
    return found


class Trial:
    """Whether prompts make the model less sure of what it hears: the first windows are heard without them, too."""

    def __init__(self) -> None:
        self.differences: list[float] = []
        self.is_told = False

    @property
    def goes_on(self) -> bool:
        return len(self.differences) < TRIED_WINDOWS

    def note(self, with_prompt: float, without: float) -> None:
        """Mean log-probabilities of a window's tokens."""
        self.differences.append(with_prompt - without)

    def remark(self) -> str | None:
        """What is to be told, once."""
        if self.goes_on or self.is_told or (mean := sum(self.differences) / len(self.differences)) >= -HARM:
            return None
        self.is_told = True
        return (
            f"the prompt seems to do harm: with it the mean log-probability of the first {TRIED_WINDOWS} windows is "
            f"lower by {-mean:.2f} than without"
        )
