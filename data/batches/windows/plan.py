"""Which clips of a lane's window of rows share a window of the model's, in which order, and with which pauses.

Only lengths and texts are looked at; :mod:`.assembly` decodes the audio.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...augmentation.noise_clips import NoiseClips
from ...augmentation.windows import WindowConfig
from ...errors import DataError
from ..collation import TimedRow, language_of, text_of
from ..drawing import speaker_of
from ..labels import PROMPT_TOKENS, LabelEncoder

SILENCE_SOUNDS = "data.windows.silence_sounds"  # the config's key
STREAM = 101  # as .drawing.SECOND_STREAM: of random numbers that nothing else draws
HEARD_BEGINNING = 0.5  # seconds of a clip that ends beyond the window; of less nobody could tell that it begins
SHORTEST_SILENCE = 1.0  # seconds of a window where nobody speaks
ROWS_BEFORE = 24  # clips whose text may stand in a prompt, which holds 224 tokens
HOTWORDS = (1, 8)  # words in a prompt's list, the fewest and the most


@dataclass(frozen=True)
class Window:
    """A window of the model's.

    Attributes:
        rows: the clips said in it, in their order; none in a window where nobody speaks.
        pauses: seconds before each clip and after the last; of a window where nobody speaks its length.
        begun: a clip that begins after the last pause and ends beyond the window; its beginning is heard.
        seconds: the window's length.
        timestamps: whether its text has timestamps.
        before: rows whose text is the prompt, in their order.
        hotwords: words for the prompt.
        example: a row whose source, language and room a window without clips has; else the first clip.
        seed: of what is drawn for its audio.
    """

    rows: tuple[TimedRow, ...]
    pauses: tuple[float, ...]
    seconds: float
    timestamps: bool
    example: TimedRow
    seed: int
    begun: TimedRow | None = None
    before: tuple[TimedRow, ...] = ()
    hotwords: tuple[str, ...] = ()

    second_seconds = 0.0  # a window has no second recording

    @property
    def has_own_segments(self) -> bool:
        """Whether the one row is a window by itself, with its segments in a column."""
        return len(self.rows) == 1 and has_segments(self.rows[0])


def has_segments(timed: TimedRow) -> bool:
    column = timed.source.columns.segments
    return column is not None and timed.row[column] is not None


class WindowPlanner:
    """Makes windows of rows. Threads may share it.

    Args:
        labels: counts the tokens of texts, which must fit the decoder.

    Attributes:
        sounds: recordings without speech; None without them.

    Raises:
        DataError: if the recordings without speech cannot be used.
    """

    def __init__(self, config: WindowConfig, labels: LabelEncoder) -> None:
        self.config, self.labels = config, labels
        sounds = config.silence_sounds
        self.sounds = None if sounds is None else NoiseClips(sounds, SILENCE_SOUNDS)

    def plan(self, rows: Sequence[TimedRow], *entropy: int) -> list[Window]:
        """Windows that together hold every row once, and those where nobody speaks.

        Args:
            entropy: the seed, the epoch, the lane and the number of its window of rows.
        """
        generator = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(STREAM,)))
        windows: list[Window] = []
        for chain in self.chains(rows, generator):
            windows += self.laid(chain, generator)
        usable = [window.example for window in windows if self.tokens_of(window.example) is not None]
        often = self.config.silence / (1 - self.config.silence)
        silent = math.floor(often * len(usable) + generator.random()) if usable else 0
        return windows + [self.silent(usable[int(generator.integers(len(usable)))], generator) for _ in range(silent)]

    def chains(self, rows: Sequence[TimedRow], generator: np.random.Generator) -> Iterator[list[TimedRow]]:
        """Rows that may follow each other, in the order in which they do; those that stay alone, one by one."""
        alone: list[TimedRow] = []
        groups: dict[Any, list[TimedRow]] = {}
        for place in generator.permutation(len(rows)).tolist():
            timed = rows[place]
            joins = generator.random() < self.config.joined
            if not joins or has_segments(timed) or self.tokens_of(timed) is None:
                alone.append(timed)
                continue
            speaker = speaker_of(timed.row, timed.source) if self.config.one_speaker else None
            groups.setdefault((timed.origin, language_of(timed.row, timed.source), speaker), []).append(timed)
        yield from groups.values()
        yield from ([timed] for timed in alone)

    def tokens_of(self, timed: TimedRow) -> int | None:
        """Tokens of a row's text; None if it or its language cannot be used, which is told when the row is read."""
        try:
            self.labels.prompt(language_of(timed.row, timed.source))
            return len(self.labels.text_tokens(text_of(timed.row[timed.source.columns.text])))
        except DataError:
            return None

    def laid(self, chain: Sequence[TimedRow], generator: np.random.Generator) -> Iterator[Window]:
        """The windows of clips that follow each other."""
        room = self.labels.max_tokens - PROMPT_TOKENS
        begin, told = 0, tuple[TimedRow, ...]()
        pause = self.pause(generator) if len(chain) > 1 else 0.0
        while begin < len(chain):
            limit = generator.uniform(*self.config.seconds)
            timestamps = generator.random() < self.config.timestamps
            first = chain[begin]
            clock = min(pause * generator.random(), max(0.0, limit - first.seconds))  # begins anywhere in the pause
            pauses, tokens, end = [clock], self.cost(first), begin + 1
            clock += first.seconds
            while end < len(chain):
                pause = self.pause(generator)
                tokens += self.cost(chain[end])
                if clock + pause + chain[end].seconds > limit or tokens > room:
                    break
                pauses.append(pause)
                clock += pause + chain[end].seconds
                end += 1
            begun, seconds = None, limit
            follows = end < len(chain) and clock + pause + HEARD_BEGINNING < limit < clock + pause + chain[end].seconds
            if timestamps and follows:
                begun = chain[end]
            else:
                pause_left = pause if end < len(chain) or end - begin > 1 else 0.0
                seconds = min(max(limit, clock), clock + pause_left * generator.random())
            pauses.append(pause if begun is not None else seconds - clock)
            rows = tuple(chain[begin:end])
            before = (first,) if has_segments(first) else told[-ROWS_BEFORE:]
            yield Window(
                rows,
                tuple(pauses),
                seconds,
                timestamps,
                example=first,
                seed=int(generator.integers(2**63)),
                begun=begun,
                before=before if generator.random() < self.config.previous_text else (),
                hotwords=self.hotwords(rows, chain, generator),
            )
            told += rows
            begin = end

    def cost(self, timed: TimedRow) -> int:
        """Tokens of a clip's text with its two timestamps."""
        return (self.tokens_of(timed) or 0) + 2

    def pause(self, generator: np.random.Generator) -> float:
        shortest, longest = (math.log(max(seconds, 0.01)) for seconds in self.config.pauses)
        return math.exp(generator.uniform(shortest, longest))

    def hotwords(
        self, rows: Sequence[TimedRow], chain: Sequence[TimedRow], generator: np.random.Generator
    ) -> tuple[str, ...]:
        """Words for a prompt, about half of them said in the window; mostly none."""
        if generator.random() >= self.config.hotwords or self.tokens_of(chain[0]) is None:
            return ()
        count = int(generator.integers(HOTWORDS[0], HOTWORDS[1] + 1))
        others = [chain[int(generator.integers(len(chain)))] for _ in range(count)]
        said, unsaid = words_of(rows), words_of(others)
        own = generator.permutation(len(said))[: math.ceil(count / 2)].tolist() if said else []
        found = [said[place] for place in own] + unsaid[: count - len(own)]
        return tuple(dict.fromkeys(found[place] for place in generator.permutation(len(found)).tolist()))

    def silent(self, example: TimedRow, generator: np.random.Generator) -> Window:
        """A window where nobody speaks, of the source and the language of a row."""
        seconds = generator.uniform(SHORTEST_SILENCE, max(SHORTEST_SILENCE, self.config.seconds[1]))
        timestamps, seed = generator.random() < self.config.timestamps, int(generator.integers(2**63))
        return Window((), (seconds,), seconds, timestamps, example=example, seed=seed)


def words_of(rows: Sequence[TimedRow]) -> list[str]:
    """Words of four letters or more in the texts, each once; of texts without spaces, none."""
    texts = [text_of(timed.row[timed.source.columns.text]) for timed in rows]
    words = [word.strip(".,;:!?\"'()[]") for text in texts for word in text.split()]
    return list(dict.fromkeys(word for word in words if 4 <= len(word) <= 20))
