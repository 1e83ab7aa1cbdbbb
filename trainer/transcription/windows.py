"""Long recordings by windows of 30 s, each of which begins at the last timestamp of the one before.

The order of Whisper's authors (arXiv 2212.04356, 4.5). A window's place is known only when the one before it has been
decoded, so the windows of several recordings are decoded together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch.nn.functional import pad

from data.audio.cutting import has_sound, sound_bounds
from data.batches.features import SAMPLES_PER_FRAME, WINDOW_FRAMES
from data.utterance import SAMPLING_RATE
from modeling.decoding import TIMESTAMP_SECONDS, encode, first_timestamp_token
from modeling.greedy import Said

from .heard import REPEATING, Encoded, Heard, compression_ratio, within_sound
from .hearing import Listener
from .second.pairing import PairedPiece
from .transcripts import Segment, TimedText
from .work import Work

FRAMES_PER_SECOND = SAMPLING_RATE // SAMPLES_PER_FRAME
FRAMES_PER_TIMESTAMP = round(TIMESTAMP_SECONDS * FRAMES_PER_SECOND)
FORGETTING = 0.5  # after a window decoded above this temperature the text so far is left out

Result = TypeVar("Result")


class Parts(NamedTuple):
    """What a window's tokens say.

    Attributes:
        timed: start and end in seconds of the window, and tokens.
        advance: mel frames until the next window begins.
        kept: the tokens that count; what follows the last complete timestamp is heard again in the next window.
    """

    timed: list[TimedText]
    advance: int
    kept: list[int]


def parts_of(tokens: Sequence[int], first: int, frames: int) -> Parts:
    """Cut a window's tokens where two timestamps follow each other, as Whisper's authors and transformers do.

    A single timestamp at the end means that nothing is said after it.

    Args:
        first: the token of 0.00 s.
        frames: mel frames of the window that belong to the recording.
    """
    is_time = [token >= first for token in tokens]
    ends_alone = is_time[-2:] == [False, True]
    cuts = [at for at in range(1, len(tokens)) if is_time[at - 1] and is_time[at]]
    if not cuts:
        times = [token for token in tokens if token > first]
        end = (times[-1] - first) * TIMESTAMP_SECONDS if times else frames / FRAMES_PER_SECOND
        text = [token for token in tokens if token < first]
        return Parts([(0.0, end, text)] if text else [], frames, list(tokens))
    advance = (tokens[cuts[-1] - 1] - first) * FRAMES_PER_TIMESTAMP
    if ends_alone or not advance:
        advance = frames
    if ends_alone:
        cuts.append(len(tokens))
    timed, begin = list[TimedText](), 0
    for cut in cuts:
        start, end = ((tokens[at] - first) * TIMESTAMP_SECONDS for at in (begin, cut - 1))
        timed.append((start, end, [token for token in tokens[begin:cut] if token < first]))
        begin = cut
    return Parts(timed, advance, list(tokens[:begin]))


class Opened(NamedTuple):
    """A recording that is to be heard: samples float32 [N], 16 kHz, and where somebody speaks, in samples, if known."""

    work: Work
    audio: np.ndarray
    spans: Sequence[tuple[int, int]] | None = None


@dataclass
class Course:
    """A recording on its way: where its next window begins, and what is to be remembered of those before.

    Attributes:
        number: of the recording, from 0.
        audio: float32 [N], 16 kHz.
        features: float32 [mel bins, T] of the whole recording; None for models that hear each window by itself.
        speech: where somebody speaks, in mel frames: only there a window begins, and it ends with the last of it; None
            where that is not known.
        place: mel frame at which the next window begins.
        texts: of each window so far the tokens that count.
        forgets: whether the text so far is left out after that window.
    """

    number: int
    work: Work
    audio: np.ndarray
    features: torch.Tensor | None
    speech: list[tuple[int, int]] | None = None
    place: int = 0
    texts: list[list[int]] = field(default_factory=list)
    forgets: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frames = -(-len(self.audio) // SAMPLES_PER_FRAME)

    @property
    def left(self) -> int:
        """Mel frames of the next window."""
        end = min(self.frames, self.place + WINDOW_FRAMES)
        if self.speech is not None:
            end = max((min(stop, end) for begin, stop in self.speech if begin < end and stop > self.place), default=end)
        return end - self.place

    @property
    def is_over(self) -> bool:
        return self.place >= self.frames

    def window(self, frames: int | None = None) -> np.ndarray:
        begin, count = self.place, self.left if frames is None else frames
        return self.audio[begin * SAMPLES_PER_FRAME : (begin + count) * SAMPLES_PER_FRAME]

    def skip_silence(self) -> None:
        """Pass over what nobody says, or windows of digital silence."""
        if self.speech is not None:
            begins = [max(begin, self.place) for begin, stop in self.speech if stop > self.place]
            self.place = min(begins, default=self.frames)
        while not self.is_over and not has_sound(self.window()):
            self.place += self.left

    def so_far(self) -> list[int]:
        """The tokens of the text so far, back to where it was forgotten."""
        begin = max((number for number, forgets in enumerate(self.forgets, 1) if forgets), default=0)
        return [token for text in self.texts[begin:] for token in text]

    def pass_on(self, heard: Heard, parts: Parts) -> None:
        """Note what was heard in the window, and go to the next one."""
        work, begin = self.work, self.place * SAMPLES_PER_FRAME
        work.heard[len(work.pieces)] = heard
        work.pieces.append(PairedPiece(begin, self.window(parts.advance)))
        self.texts.append(parts.kept if heard.is_speech else [])
        self.forgets.append(heard.is_speech and (heard.temperature or 0.0) > FORGETTING)
        self.place += parts.advance
        self.skip_silence()

    def tell_language(self, codes: Sequence[str]) -> None:
        """As :meth:`.work.Work.tell_language`; from the first window that was heard in another language on, the
        recording is heard again."""
        work = self.work
        again = work.tell_language(codes, self.is_over)
        if again:
            first = min(again)
            self.place = work.pieces[first].begin // SAMPLES_PER_FRAME
            for number in range(first, len(work.pieces)):
                work.heard.pop(number, None)
            del work.pieces[first:], self.texts[first:], self.forgets[first:]


class Sequential:
    """Transcribes by windows that follow each other.

    Args:
        listener: a checkpoint that knows timestamps.
        batch_size: recordings that are on their way at once, a window of each decoded together.
    """

    def __init__(self, listener: Listener, batch_size: int) -> None:
        self.listener, self.batch_size = listener, batch_size
        first = first_timestamp_token(listener.model)
        assert first is not None  # the listener was checked
        self.first = first

    def transcribe_all(
        self,
        opened: Iterable[Opened],
        result_of: Callable[[Work], Result],
        advance_to: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[Result]:
        """The results in the order given, each as soon as it and those before are done.

        A recording that is done makes place for the next one.

        Args:
            opened: recordings whose works have no pieces; read when there is a place.
            result_of: what is made of a work that is done.
            advance_to: called with the seconds of audio that are done.
        """
        waiting, courses = enumerate(opened), list[Course]()
        results, given = dict[int, Result](), 0
        finished = reached = 0.0
        is_read = False
        while courses or not is_read:
            while len(courses) < self.batch_size and not is_read:
                following = next(waiting, None)
                if following is None:
                    is_read = True
                else:
                    courses.append(self.begin(*following))
            under_way = [course for course in courses if not course.is_over]
            if under_way:
                self.hear(under_way)
            for course in [course for course in courses if course.is_over]:
                courses.remove(course)
                finished += course.work.seconds
                results[course.number] = result_of(course.work)
            reached = max(reached, finished + sum(course.place for course in courses) / FRAMES_PER_SECOND)
            advance_to(reached)
            while given in results:
                yield results.pop(given)
                given += 1

    def begin(self, number: int, opened: Opened) -> Course:
        work, audio, spans = opened
        features = None
        if self.listener.is_plain and work.error is None and has_sound(audio):
            samples = torch.from_numpy(np.ascontiguousarray(audio)).to(self.listener.device)
            features = self.listener.log_mel.of_recording(samples)
        speech = None
        if spans is not None:
            speech = [(begin // SAMPLES_PER_FRAME, -(-end // SAMPLES_PER_FRAME)) for begin, end in spans]
        course = Course(number, work, audio, features, speech)
        course.skip_silence()
        return course

    def encode(self, courses: Sequence[Course]) -> Encoded:
        """The encoder's output for the next window of each.

        Plain Whisper hears it as transformers gives it: features of the whole recording, with zeros after its end.
        """
        pieces = [course.window() for course in courses]
        if not self.listener.is_plain:
            return self.listener.encode(pieces)
        windows = []
        for course in courses:
            assert course.features is not None  # it has sound
            part = course.features[:, course.place : course.place + WINDOW_FRAMES]
            windows.append(pad(part, (0, WINDOW_FRAMES - part.shape[1])))
        return Encoded(encode(self.listener.model, torch.stack(windows), None), pieces, None)

    def hear(self, courses: Sequence[Course]) -> None:
        """Decode the next window of each, and pass on."""
        listener = self.listener
        encoded = self.encode(courses)
        likelihoods, known = listener.spoken(encoded, [course.work.language for course in courses])
        so_far = [course.so_far() for course in courses]
        found = [(said, 0.0) for said in listener.said(encoded.states, known, so_far)]
        for temperature in listener.silence.temperatures:
            again = [row for row, (said, _) in enumerate(found) if self.fails(said)]
            if not again:
                break
            languages, texts = [known[row] for row in again], [so_far[row] for row in again]
            better = listener.said(rows_of(encoded.states, again), languages, texts, temperature)
            for row, said in zip(again, better, strict=True):
                found[row] = said, temperature
        results = []
        for row, (course, (said, temperature)) in enumerate(zip(courses, found, strict=True)):
            likely = None if likelihoods is None else likelihoods[row]
            results.append(self.heard(course, said, known[row], likely, temperature=temperature))
        every = listener.with_words(encoded, [heard for heard, _ in results])
        for course, heard, (_, parts) in zip(courses, every, results, strict=True):
            course.pass_on(heard, parts)
            if course.work.language is None:
                course.tell_language(listener.codes)

    def is_silent(self, said: Said) -> bool:
        """Whether nobody speaks, by the probability of no speech and that of the text."""
        limits = self.listener.silence
        return said.no_speech > limits.no_speech and said.log_probability < limits.log_probability

    def fails(self, said: Said) -> bool:
        """Whether a window is to be decoded again at a higher temperature."""
        is_unlikely = said.log_probability < self.listener.silence.log_probability
        return not self.is_silent(said) and (is_unlikely or self.repeats(said.tokens))

    def repeats(self, tokens: Sequence[int]) -> bool:
        return compression_ratio(self.text_of(tokens)) > REPEATING

    def text_of(self, tokens: Sequence[int]) -> str:
        words = [token for token in tokens if token < self.first]
        return " ".join(self.listener.processor.decode(words, skip_special_tokens=True).split())

    def heard(
        self, course: Course, said: Said, language: str, likelihoods: np.ndarray | None, *, temperature: float
    ) -> tuple[Heard, Parts]:
        """What was heard in the next window of a recording, and where the one after it begins."""
        limits, audio = self.listener.silence, course.window()
        parts, repeats = parts_of(said.tokens, self.first, course.left), self.repeats(said.tokens)
        is_silent = self.is_silent(said) or (repeats and said.no_speech > limits.no_speech)
        if is_silent:
            parts = parts._replace(advance=course.left)
        duration = len(audio) / SAMPLING_RATE
        bounds = (samples / SAMPLING_RATE for samples in sound_bounds(audio))
        timed = within_sound([(min(a, duration), min(b, duration), ids) for a, b, ids in parts.timed], *bounds)
        segments = [Segment(begin, end, text) for begin, end, ids in timed if (text := self.text_of(ids))]
        heard = Heard(
            language,
            segments,
            repeats,
            parts.kept,
            likelihoods=likelihoods,
            no_speech=None if np.isnan(said.no_speech) else said.no_speech,
            is_speech=not is_silent,
            log_probability=said.log_probability,
            temperature=temperature,
            echoes=self.listener.prompter.echoes(self.text_of(said.tokens)),
        )
        return heard, parts


def rows_of(states: Any, rows: Sequence[int]) -> Any:
    """Some rows of an encoder's output."""
    return type(states)(**{name: value[list(rows)] for name, value in states.items() if value is not None})
