"""Transcribes recordings of any length with a checkpoint, in pieces that are padded as in its training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.utterance import SAMPLING_RATE

from .hearing import Heard, Listener
from .pairing import PairedPiece, UnusableSecond, cut_pair, read_second
from .recordings import Recording
from .transcripts import SecondHeard, Segment, Transcript, join_texts

LOOK_AHEAD_BATCHES = 16  # sorted by length together: more of them need less padding, but delay the first transcript
LOOK_AHEAD_SECONDS = 3600.0  # of audio held at once, not counting the last recording
NO_SOUND = "no sound: all of it is digital silence"


@dataclass
class Work:
    """A recording that is being transcribed: its pieces with sound, and what was heard in each so far."""

    recording: Recording
    language: str | None
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()
    second: SecondHeard | None = None
    pieces: list[PairedPiece] = field(default_factory=list)
    heard: dict[int, Heard] = field(default_factory=dict)
    error: DataError | None = None

    @property
    def done(self) -> bool:
        return len(self.heard) == len(self.pieces)


@dataclass(frozen=True)
class Untranscribed:
    """A recording that could not be transcribed, and why: it or its second one cannot be used."""

    file: str
    error: DataError

    @property
    def is_second(self) -> bool:
        """Whether the second recording is at fault, whose name the error has."""
        return isinstance(self.error, UnusableSecond)


class Transcriber(Listener):
    """A checkpoint ready to transcribe.

    Args:
        batch_size: pieces decoded together.
        options: as of :class:`.hearing.Listener`, with its errors.
    """

    def __init__(
        self,
        checkpoint: str,
        language: str | None = None,
        task: str = "transcribe",
        *,
        batch_size: int = 8,
        **options: Any,
    ) -> None:
        super().__init__(checkpoint, language, task, **options)
        self.batch_size = batch_size

    def transcribe(self, path: str | Path) -> Transcript:
        """One recording. Raises UndecodableAudio if it cannot be decoded."""
        (result,) = self.transcribe_all([Recording(Path(path))])
        if isinstance(result, Untranscribed):
            raise result.error
        return result

    def transcribe_all(
        self, recordings: Iterable[Recording], advance_to: Callable[[float], None] = lambda seconds: None
    ) -> Iterator[Transcript | Untranscribed]:
        """Each recording's transcript in the order given, as soon as it and those before are done.

        Recordings are read a bounded way ahead (:meth:`look_ahead`), and their pieces decoded in batches of similar
        length; what is heard in a piece does not depend on what it is batched with.

        Args:
            advance_to: called after each batch with the seconds of audio that are done.
        """
        finished = 0.0
        for works in self.look_ahead(recordings):
            given, done = 0, finished
            for batch in self.batches(works):
                known = [work.language for work, _ in batch]
                pieces = [work.pieces[number] for work, number in batch]
                heard = self.hear([piece.audio for piece in pieces], known, [piece.second for piece in pieces])
                for (work, number), piece in zip(batch, heard, strict=True):
                    work.heard[number] = piece
                    work.language = work.language or piece.language
                done += sum(work.pieces[number].seconds for work, number in batch)
                advance_to(done)
                while given < len(works) and works[given].done:
                    yield self.result(works[given])
                    given += 1
            finished += sum(work.seconds for work in works)  # silence too
            advance_to(finished)
            yield from map(self.result, works[given:])  # without sound or undecodable, and no batch came after

    def look_ahead(self, recordings: Iterable[Recording]) -> Iterator[list[Work]]:
        """Recordings read together: pieces for 16 batches or an hour, and the recording that goes beyond."""
        works: list[Work] = []
        pieces, seconds = 0, 0.0
        for recording in recordings:
            works.append(self.read(recording))
            pieces += len(works[-1].pieces)
            seconds += works[-1].seconds * (1 + (works[-1].second is not None))
            if pieces >= LOOK_AHEAD_BATCHES * self.batch_size or seconds >= LOOK_AHEAD_SECONDS:
                yield works
                works, pieces, seconds = [], 0, 0.0
        if works:
            yield works

    def read(self, recording: Recording) -> Work:
        """Decode a recording and cut it into pieces; what cannot be decoded carries its error."""
        work = Work(recording, self.language)
        second, remarks = None, tuple[str, ...]()
        try:
            decoded = recording.decode()
            if recording.second is not None and self.second is not None:
                pair = read_second(recording, decoded.samples, self.second)
                second, remarks = pair.samples, pair.remarks
                how = "fused" if self.second.fuse else "model"
                work.second = SecondHeard(recording.second.label, how, pair.delay)
        except DataError as error:
            work.error = error
            return work
        work.seconds = len(decoded.samples) / SAMPLING_RATE
        # On silence a model invents text.
        work.pieces = cut_pair(decoded.samples, second, self.second, self.piece_seconds)
        work.remarks = (*decoded.remarks, *decoded.said, *remarks, *(() if work.pieces else (NO_SOUND,)))
        return work

    def batches(self, works: Sequence[Work]) -> Iterator[list[tuple[Work, int]]]:
        """Pieces by recording and number; first those from which a language is detected, then those that need it."""
        pieces = [(work, number) for work in works for number in range(len(work.pieces))]
        telling = [work.language is None and number == 0 for work, number in pieces]
        for wanted in (True, False):
            group = [piece for piece, tells in zip(pieces, telling, strict=True) if tells == wanted]
            for rows in similar_lengths([len(work.pieces[n].audio) for work, n in group], self.batch_size):
                yield [group[row] for row in rows]

    def result(self, work: Work) -> Transcript | Untranscribed:
        """The result of a recording; frees its audio."""
        if work.error is not None:
            return Untranscribed(work.recording.name, work.error)
        segments = []
        for number, piece in enumerate(work.pieces):
            offset = piece.begin / SAMPLING_RATE
            for part in work.heard[number].segments:
                share = part.share
                if share is None and work.second is not None and work.second.use == "fused":
                    share = 0.0 if piece.of_second else 1.0
                segments.append(Segment(round(offset + part.start, 3), round(offset + part.end, 3), part.text, share))
        written_in = "en" if self.task == "translate" else work.language
        work.pieces = []
        return Transcript(
            file=work.recording.name,
            language=work.language,
            language_detected=self.language is None and work.language is not None,
            duration=round(work.seconds, 3),
            text=join_texts([segment.text for segment in segments], written_in),
            segments=tuple(segments),
            repeats=any(heard.repeats for heard in work.heard.values()),
            remarks=work.remarks,
            second=work.second,
        )


def similar_lengths(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Rows in batches of similar length, those with the earliest rows first."""
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    return sorted((by_length[at : at + batch_size] for at in range(0, len(lengths), batch_size)), key=min)
