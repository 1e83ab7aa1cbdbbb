"""Transcribes recordings of any length with a checkpoint, in pieces that are padded as in its training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.audio.cutting import has_sound
from data.audio.mixing import without_leak
from data.errors import DataError
from data.utterance import SAMPLING_RATE

from .hearing import Listener
from .recordings import Recording
from .second.pairing import cut_pair, read_second
from .transcripts import PieceHypotheses, SecondHeard, Segment, Transcript, join_texts
from .voice.detector import SpeechDetector
from .voice.regions import NOBODY, cut_spoken, spans_of
from .windows import Opened, Sequential
from .word_times.words import moved as moved_words
from .work import Untranscribed, Work, remarks_on

LOOK_AHEAD_BATCHES = 16  # sorted by length together: more of them need less padding, but delay the first transcript
LOOK_AHEAD_SECONDS = 3600.0  # of audio held at once, not counting the last recording
NO_SOUND = "no sound: all of it is digital silence"


class Transcriber(Listener):
    """A checkpoint ready to transcribe.

    Args:
        batch_size: pieces decoded together.
        voice: finds where somebody speaks, and nothing else is decoded; None to decode all that has sound.
        options: as of :class:`.hearing.Listener`, with its errors.
    """

    def __init__(
        self,
        checkpoint: str,
        language: str | None = None,
        task: str = "transcribe",
        *,
        batch_size: int = 8,
        voice: SpeechDetector | None = None,
        **options: Any,
    ) -> None:
        super().__init__(checkpoint, language, task, **options)
        self.batch_size, self.voice = batch_size, voice

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
        if self.is_sequential:
            windows = Sequential(self, self.batch_size)
            yield from windows.transcribe_all(map(self.open_recording, recordings), self.result, advance_to)
            return
        finished = 0.0
        for works in self.look_ahead(recordings):
            given, done = 0, finished
            for batch in self.batches(works):
                known = [work.language for work, _ in batch]
                pieces = [work.pieces[number] for work, number in batch]
                heard = self.hear([piece.audio for piece in pieces], known, [piece.second for piece in pieces])
                for (work, number), piece in zip(batch, heard, strict=True):
                    work.heard[number] = piece
                    done += work.pieces[number].seconds
                    if work.language is None:
                        done -= sum(work.pieces[again].seconds for again in work.tell_language(self.codes))
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
        work, samples, second = self.opened(recording)
        if work.error is None:
            if self.voice is None:
                work.pieces = cut_pair(samples, second, self.second, self.piece_seconds)
            else:
                work.pieces = cut_spoken(self.voice, samples, second, self.second, self.piece_seconds)
            self.tell_empty(work, samples, not work.pieces)
        return work

    def open_recording(self, recording: Recording) -> Opened:
        """Decode a recording that is not cut before it is heard; as :meth:`read` else."""
        work, samples, _ = self.opened(recording)
        spans = None if self.voice is None or work.error is not None else spans_of(self.voice, samples)
        if work.error is None:
            self.tell_empty(work, samples, not has_sound(samples) if spans is None else not spans)
        return Opened(work, samples, spans)

    def tell_empty(self, work: Work, samples: np.ndarray, is_empty: bool) -> None:
        """Say where nothing is decoded; on silence a model invents text."""
        if is_empty:
            work.remarks = (*work.remarks, NOBODY if self.voice is not None and has_sound(samples) else NO_SOUND)

    def opened(self, recording: Recording) -> tuple[Work, np.ndarray, np.ndarray | None]:
        """The samples that are heard, and those that are heard beside them."""
        work = Work(recording, self.language)
        second, remarks = None, tuple[str, ...]()
        try:
            decoded = recording.decode()
            if recording.second is not None and self.second is not None:
                pair = read_second(recording, decoded.samples, self.second)
                second, remarks = pair.samples, pair.remarks
                work.second = SecondHeard(recording.second.label, self.second.name, pair.delay)
        except DataError as error:
            work.error = error
            return work, np.zeros(0, np.float32), None
        work.seconds, samples = len(decoded.samples) / SAMPLING_RATE, decoded.samples
        if second is not None and self.second is not None and self.second.subtract:
            samples, second = without_leak(samples, second), None
        work.remarks = (*decoded.remarks, *decoded.said, *remarks)
        return work, samples, second

    def batches(self, works: Sequence[Work]) -> Iterator[list[tuple[Work, int]]]:
        """Pieces by recording and number; first those that tell a language, one of each recording at a time.

        What is heard in one batch decides what is in the next.
        """
        while telling := [(work, len(work.heard)) for work in works if work.pieces and work.language is None]:
            yield from self.of_similar_length(telling)
        pieces = [(work, number) for work in works for number in range(len(work.pieces)) if number not in work.heard]
        yield from self.of_similar_length(pieces)

    def of_similar_length(self, pieces: Sequence[tuple[Work, int]]) -> Iterator[list[tuple[Work, int]]]:
        lengths = [len(work.pieces[number].audio) for work, number in pieces]
        for rows in similar_lengths(lengths, self.batch_size):
            yield [pieces[row] for row in rows]

    def result(self, work: Work) -> Transcript | Untranscribed:
        """The result of a recording; frees its audio."""
        if work.error is not None:
            return Untranscribed(work.recording.name, work.error)
        segments: list[Segment] = []
        left_out: list[Segment] = []
        silent, n_best = 0.0, list[PieceHypotheses]()
        for number, piece in enumerate(work.pieces):
            heard, offset = work.heard[number], piece.begin / SAMPLING_RATE
            if heard.n_best:
                times = round(offset, 3), round(offset + piece.seconds, 3)
                n_best.append(PieceHypotheses(*times, tuple(one.row() for one in heard.n_best)))
            silent += piece.seconds if heard.segments and not heard.is_speech else 0.0
            for part in heard.segments:
                share = part.share
                if share is None and work.second is not None and work.second.use == "fused":
                    share = 0.0 if piece.of_second else 1.0
                if piece.spoken is not None and part.words is None:
                    part = within(part, *piece.spoken)
                times = (round(offset + part.start, 3), round(offset + part.end, 3))
                no_speech = None if heard.no_speech is None else round(heard.no_speech, 3)
                likely = None if heard.log_probability is None else round(heard.log_probability, 3)
                (segments if heard.is_speech else left_out).append(
                    Segment(
                        *times,
                        part.text,
                        share,
                        no_speech,
                        avg_logprob=likely,
                        temperature=heard.temperature,
                        words=moved_words(part.words, offset),
                    )
                )
        written_in = "en" if self.task == "translate" else work.language
        work.pieces = []
        return Transcript(
            file=work.recording.name,
            language=work.language,
            language_detected=self.language is None and work.language is not None,
            language_probability=None if work.sure is None else round(work.sure, 3),
            duration=round(work.seconds, 3),
            text=join_texts([segment.text for segment in segments], written_in),
            segments=tuple(segments),
            left_out=tuple(left_out),
            repeats=any(heard.repeats and heard.is_speech for heard in work.heard.values()),
            remarks=(*work.remarks, *remarks_on(work, silent), *filter(None, [self.trial.remark()])),
            second=work.second,
            n_best=tuple(n_best),
        )


def similar_lengths(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Rows in batches of similar length, those with the earliest rows first."""
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    return sorted((by_length[at : at + batch_size] for at in range(0, len(lengths), batch_size)), key=min)


def within(segment: Segment, begin: float, end: float) -> Segment:
    """The segment from ``begin`` to ``end`` at most, seconds; as it is where it lies outside."""
    start, stop = max(segment.start, begin), min(segment.end, end)
    return replace(segment, start=start, end=stop) if start < stop else segment
