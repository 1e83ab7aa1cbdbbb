"""What is counted in one recording beside its error rates: bursts, times, and words where nobody speaks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ...evaluation.error_rates import Alignment, ScoredUtterance
from .known import KnownRecording, Unit
from .placing import Span, begins, ends, placed_words

BURST_WORDS = 5  # deleted or inserted one after the other
LONGEST_PHRASE = 20  # words that are repeated together
REPEATED_SHARE = 0.5  # of a burst's words that stand one phrase earlier, too
MARGIN = 0.5  # seconds around a segment within which no word is taken for invented


@dataclass(frozen=True)
class Written:
    """What was written for a recording.

    Attributes:
        words: each word with its time, in order; empty where times of words were not asked for.
    """

    segments: tuple[Unit, ...]
    words: tuple[Unit, ...] = ()
    language: str | None = None


@dataclass
class Boundaries:
    """Seconds by which the hypothesis is later than the reference, of each boundary that can be compared."""

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Measures:
    """One recording's counts.

    Attributes:
        deletions, insertions: words of each run of five or more.
        repetitions: those of these insertions that repeat a phrase.
        segments: of the reference that have words.
        matched: of these, those of which a word was recognised.
        by_segments: boundaries of segments beside those of the hypothesis's segments.
        by_words: likewise beside the times of the hypothesis's words; None where it has none.
        words: boundaries of the words that were recognised; None where either side has no times of words.
        silent_words: words written more than half a second away from every segment.
        silent_seconds: of the recording that are so far away.
    """

    deletions: list[int]
    insertions: list[int]
    repetitions: list[int]
    segments: int
    matched: int
    by_segments: Boundaries
    by_words: Boundaries | None
    words: Boundaries | None
    silent_words: int
    silent_seconds: float


@dataclass(frozen=True)
class Pairing:
    """Which words of reference and hypothesis stand for each other; numbers of words.

    Attributes:
        heard_as: of each word of the reference that was recognised or replaced, the hypothesis's.
        recognised: words of the reference that are right.
    """

    heard_as: dict[int, int]
    recognised: frozenset[int]

    @classmethod
    def of(cls, alignment: Alignment) -> "Pairing":
        """What an alignment says."""
        pairs, right, said, heard = dict[int, int](), set[int](), 0, 0
        for kind, _, _ in alignment:
            if kind in ("equal", "substitute"):
                pairs[said] = heard
            if kind == "equal":
                right.add(said)
            said += kind != "insert"
            heard += kind != "delete"
        return cls(pairs, frozenset(right))


@dataclass(frozen=True)
class Timed:
    """Units with times, and the units that each normalised word is of."""

    units: Sequence[Unit]
    spans: Sequence[Span]

    def words_of_units(self) -> Iterator[tuple[Unit, range]]:
        """Each unit that has words, with their numbers; a word of several units belongs to the first."""
        for unit, group in groupby(range(len(self.spans)), lambda word: self.spans[word].first):
            words = list(group)
            yield self.units[unit], range(words[0], words[-1] + 1)


def measured(known: KnownRecording, written: Written, scored: ScoredUtterance) -> Measures:
    """The counts of a recording.

    Args:
        scored: all of what is said in it, and all of what was written.
    """
    said, heard = scored.normalized_reference.split(), scored.normalized_hypothesis.split()
    normalize, pairing = scored.normalizer, Pairing.of(scored.alignment)
    reference = Timed(known.segments, placed_words(known.segments, said, normalize))
    segments = Timed(written.segments, placed_words(written.segments, heard, normalize))
    by_words, words = None, None
    if written.words:
        timed = Timed(written.words, placed_words(written.words, heard, normalize))
        by_words = boundaries(reference, timed, pairing, segments.spans)
        if known.words:
            words = word_boundaries(Timed(known.words, placed_words(known.words, said, normalize)), timed, pairing)
    inserted = list(bursts(scored.alignment, "insert"))
    parts = list(reference.words_of_units())
    return Measures(
        deletions=[len(burst) for burst in bursts(scored.alignment, "delete")],
        insertions=[len(burst) for burst in inserted],
        repetitions=[len(burst) for burst in inserted if repeats(heard, burst)],
        segments=len(parts),
        matched=sum(not pairing.recognised.isdisjoint(part) for _, part in parts),
        by_segments=boundaries(reference, segments, pairing, segments.spans),
        by_words=by_words,
        words=words,
        silent_words=sum(
            len(normalize(unit.text).split())
            for unit in written.words or written.segments
            if is_away(unit, known.segments)
        ),
        silent_seconds=silent_seconds(known),
    )


def bursts(alignment: Alignment, kind: str) -> Iterator[range]:
    """Runs of five or more words that were deleted (``delete``) or inserted; their numbers in the text they are of."""
    place = 0
    for own, group in groupby(alignment, lambda step: step[0]):
        length = len(list(group))
        if own == kind and length >= BURST_WORDS:
            yield range(place, place + length)
        in_text = own != ("insert" if kind == "delete" else "delete")
        place += length if in_text else 0


def repeats(heard: Sequence[str], burst: range) -> bool:
    """Whether half of a burst's words or more stand one phrase earlier, too, for some length of phrase."""
    for phrase in range(1, LONGEST_PHRASE + 1):
        again = sum(word >= phrase and heard[word] == heard[word - phrase] for word in burst)
        if again >= REPEATED_SHARE * len(burst):
            return True
    return False


def boundaries(reference: Timed, heard: Timed, pairing: Pairing, segments: Sequence[Span]) -> Boundaries:
    """Errors of the boundaries that can be compared.

    The start of a segment can if its first word was recognised or replaced by one that begins a unit of the hypothesis.
    One of the segment's words must be recognised in the same segment of the hypothesis, so that chance words do not
    count. Ends likewise. A segment of the hypothesis that joins several of the reference so is compared at its outer
    ends, and one that is split as well.

    Args:
        heard: the hypothesis's segments, or its words.
        segments: the hypothesis's segment of each of its words.
    """
    found = Boundaries()
    for unit, words in reference.words_of_units():
        sure = {segments[pairing.heard_as[word]].first for word in words if word in pairing.recognised}
        first, last = pairing.heard_as.get(words[0]), pairing.heard_as.get(words[-1])
        if first is not None and segments[first].first in sure and begins(heard.spans, first):
            found.starts.append(heard.units[heard.spans[first].first].start - unit.start)
        if last is not None and segments[last].first in sure and ends(heard.spans, last):
            found.ends.append(heard.units[heard.spans[last].last].end - unit.end)
    return found


def word_boundaries(known: Timed, heard: Timed, pairing: Pairing) -> Boundaries:
    """Errors of the words that were recognised, where one timed word stands for one."""
    found = Boundaries()
    for word in sorted(pairing.recognised):
        other = pairing.heard_as[word]
        if all(begins(side, at) for side, at in ((known.spans, word), (heard.spans, other))):
            found.starts.append(
                heard.units[heard.spans[other].first].start - known.units[known.spans[word].first].start
            )
        if all(ends(side, at) for side, at in ((known.spans, word), (heard.spans, other))):
            found.ends.append(heard.units[heard.spans[other].last].end - known.units[known.spans[word].last].end)
    return found


def is_away(unit: Unit, segments: Sequence[Unit]) -> bool:
    """Whether a unit lies more than half a second before or after every segment."""
    return all(unit.end < segment.start - MARGIN or unit.start > segment.end + MARGIN for segment in segments)


def silent_seconds(known: KnownRecording) -> float:
    """Seconds of a recording that are more than half a second away from every segment."""
    at, silent = 0.0, 0.0
    for segment in known.segments:
        silent += max(0.0, segment.start - MARGIN - at)
        at = max(at, segment.end + MARGIN)
    return silent + max(0.0, known.seconds - at)
