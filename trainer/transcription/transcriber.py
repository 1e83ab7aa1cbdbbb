"""Transcribes recordings of any length with a checkpoint, in pieces that are padded as in its training."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.audio.cutting import WINDOW_SECONDS, Piece, cut_at_quiet, has_sound, sound_bounds
from data.audio.undecodable import UndecodableAudio
from data.batches.collation import collate
from data.batches.features import LogMel
from data.errors import nearest
from data.utterance import SAMPLING_RATE, Utterance
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoint_parts import check_parts
from modeling.checkpoints import open_model
from modeling.decoding import (
    TIMESTAMP_SECONDS,
    complete_languages,
    encode,
    encoder_padding,
    first_timestamp_token,
    generate_tokens,
    is_multilingual,
    trained_on_timestamps,
)

from ..config.reading import ConfigError
from ..engine.device import find_device, find_dtype, settle_device
from ..model.languages import known_languages
from ..step.batch import to_batch
from .recordings import Recording
from .transcripts import Segment, Transcript, join_texts, timed_texts

SUBTITLE_SECONDS = 10.0  # the longest piece where its bounds are the only times there are
PROMPT_TOKENS = 4
LOOK_AHEAD_BATCHES = 16  # sorted by length together: more of them need less padding, but delay the first transcript
LOOK_AHEAD_SECONDS = 3600.0  # of audio held at once, not counting the last recording
REPEATING = 2.4  # compression ratio of text beyond which Whisper's authors take it for a loop (arXiv 2212.04356, 4.5)
NO_SOUND = "no sound: all of it is digital silence"
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn on a loop, as Whisper's authors do


@dataclass(frozen=True)
class Heard:
    """What the model heard in a piece: segments in seconds of the piece."""

    language: str
    segments: list[Segment]
    repeats: bool


@dataclass
class Work:
    """A recording that is being transcribed: its pieces with sound, and what was heard in each so far."""

    recording: Recording
    language: str | None
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()
    pieces: list[Piece] = field(default_factory=list)
    heard: dict[int, Heard] = field(default_factory=dict)
    error: UndecodableAudio | None = None

    @property
    def done(self) -> bool:
        return len(self.heard) == len(self.pieces)


@dataclass(frozen=True)
class Untranscribed:
    """A recording that could not be decoded, and why."""

    file: str
    error: UndecodableAudio


class Transcriber:
    """A checkpoint ready to transcribe.

    Args:
        language: ISO 639-1; heard in each recording's first piece with sound if None and the model knows several.
        batch_size: pieces decoded together.
        timestamps: None where nobody asks for times; ``tokens`` to let the model say them; ``pauses`` to cut pieces
            of 10 s at pauses and take their bounds; ``auto``: ``tokens`` from plain Whisper, whose training had them,
            and ``pauses`` from dual-attention checkpoints, whose training here had none.
        piece_seconds: the longest piece; 30 if None, or 10 with ``pauses``.

    Raises:
        CheckpointError: if the checkpoint cannot be opened, or its parts do not fit each other.
        ConfigError: if there is no such device, or it lacks the precision, or the checkpoint does not know the
            language, the task or timestamps.
    """

    def __init__(
        self,
        checkpoint: str,
        language: str | None = None,
        task: str = "transcribe",
        *,
        batch_size: int = 8,
        beams: int = 1,
        device: str = "auto",
        dtype: str = "auto",
        timestamps: str | None = None,
        piece_seconds: float | None = None,
    ) -> None:
        self.device = find_device(device)
        precision = find_dtype(dtype, self.device)
        settle_device(self.device)
        files = Checkpoint(checkpoint)
        self.model: Any = open_model(files).to(self.device, precision).eval()
        self.processor: Any = files.processor
        self.task, self.batch_size, self.beams = task, batch_size, beams
        self.language = self.check(checkpoint, language, task)
        self.log_mel = LogMel(self.model.config.num_mel_bins, self.device)
        self.max_new_tokens = self.model.config.max_target_positions - PROMPT_TOKENS
        if timestamps == "tokens" and first_timestamp_token(self.model) is None:
            raise ConfigError(f"--segments is 'tokens', but {checkpoint} has no timestamp tokens; 'pauses' is right")
        self.asks_tokens = timestamps == "tokens" or (timestamps == "auto" and trained_on_timestamps(self.model))
        pauses = timestamps is not None and not self.asks_tokens
        self.piece_seconds = piece_seconds or (SUBTITLE_SECONDS if pauses else WINDOW_SECONDS)

    def check(self, checkpoint: str, language: str | None, task: str) -> str | None:
        """The language, filled in where there is only one; what does not fit the checkpoint is refused."""
        model = self.model
        check_parts(checkpoint, model, self.processor)
        known = known_languages(model)
        if language is None and len(known) == 1:
            language = known[0]
        if language is not None and language not in known:
            right = f": it knows {known[0]} only" if len(known) == 1 else nearest(language, known)
            raise ConfigError(f"--language is {language!r}, which {checkpoint} does not know{right}")
        if task == "translate" and not is_multilingual(model):
            raise ConfigError(f"--task is 'translate', but {checkpoint} knows English only")
        return language

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
                heard = self.hear([work.pieces[number].audio for work, number in batch], known)
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
            seconds += works[-1].seconds
            if pieces >= LOOK_AHEAD_BATCHES * self.batch_size or seconds >= LOOK_AHEAD_SECONDS:
                yield works
                works, pieces, seconds = [], 0, 0.0
        if works:
            yield works

    def read(self, recording: Recording) -> Work:
        """Decode a recording and cut it into pieces; what cannot be decoded carries its error."""
        work = Work(recording, self.language)
        try:
            decoded = recording.decode()
        except UndecodableAudio as error:
            work.error = error
            return work
        audio = decoded.samples
        work.seconds = len(audio) / SAMPLING_RATE
        # On silence a model invents text.
        work.pieces = [piece for piece in cut_at_quiet(audio, self.piece_seconds) if has_sound(piece.audio)]
        work.remarks = (*decoded.remarks, *decoded.said, *(() if work.pieces else (NO_SOUND,)))
        return work

    def batches(self, works: Sequence[Work]) -> Iterator[list[tuple[Work, int]]]:
        """Pieces by recording and number; first those from which a language is detected, then those that need it."""
        pieces = [(work, number) for work in works for number in range(len(work.pieces))]
        telling = [work.language is None and number == 0 for work, number in pieces]
        for wanted in (True, False):
            group = [piece for piece, tells in zip(pieces, telling, strict=True) if tells == wanted]
            for rows in similar_lengths([len(work.pieces[n].audio) for work, n in group], self.batch_size):
                yield [group[row] for row in rows]

    def hear(self, pieces: Sequence[np.ndarray], languages: Sequence[str | None]) -> list[Heard]:
        """What is said in pieces of at most 30 s; their language where it is None.

        A piece whose text is a loop is decoded again, with rising temperatures.
        """
        encoded = self.encode(pieces)
        heard = self.understand(encoded, pieces, complete_languages(self.model, encoded, languages))
        for row, piece in enumerate(heard):
            if piece.repeats:
                heard[row] = self.hear_again(pieces[row], piece)
        return heard

    def hear_again(self, piece: np.ndarray, loop: Heard) -> Heard:
        """Decode a piece by sampling, with rising temperature until it is no loop; by itself, so it is repeatable."""
        encoded = self.encode([piece])
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            for temperature in TEMPERATURES:
                (heard,) = self.understand(encoded, [piece], [loop.language], temperature)
                if not heard.repeats:
                    return heard
        return loop

    def encode(self, pieces: Sequence[np.ndarray]) -> Any:
        """The encoder's output for pieces of at most 30 s."""
        audio = collate([Utterance(str(number), piece, "") for number, piece in enumerate(pieces)])
        batch = to_batch(audio, self.log_mel, encoder_padding(self.model), self.device)
        return encode(self.model, batch.features, batch.length_list)

    def understand(
        self, encoded: Any, pieces: Sequence[np.ndarray], languages: Sequence[str], temperature: float = 0.0
    ) -> list[Heard]:
        """What the model says of encoded pieces; above temperature 0 it samples, with one beam."""
        tokens = generate_tokens(
            self.model,
            encoded,
            languages,
            self.task,
            self.max_new_tokens,
            beams=1 if temperature else self.beams,
            timestamps=self.asks_tokens,
            temperature=temperature,
        )
        heard = []
        for row, piece, language in zip(tokens.tolist(), pieces, languages, strict=True):
            segments = self.segments(row, piece)
            repeats = compression_ratio(" ".join(segment.text for segment in segments)) > REPEATING
            heard.append(Heard(language, segments, repeats))
        return heard

    def segments(self, tokens: list[int], piece: np.ndarray) -> list[Segment]:
        """What the tokens say, in seconds of the piece: the model's own times, or where the piece has sound."""
        begin, end = (samples / SAMPLING_RATE for samples in sound_bounds(piece))
        ended = self.model.generation_config.eos_token_id
        said = tokens[: tokens.index(ended)] if ended in tokens else tokens
        timed = [(begin, end, said)]
        if self.asks_tokens:
            first = first_timestamp_token(self.model)
            assert first is not None  # checked when asked for
            timed = timed_texts(said, first, TIMESTAMP_SECONDS, len(piece) / SAMPLING_RATE)
        texts = self.processor.batch_decode([ids for _, _, ids in timed], skip_special_tokens=True)
        lines = [" ".join(text.split()) for text in texts]
        return [Segment(start, stop, line) for (start, stop, _), line in zip(timed, lines, strict=True) if line]

    def result(self, work: Work) -> Transcript | Untranscribed:
        """The result of a recording; frees its audio."""
        if work.error is not None:
            return Untranscribed(work.recording.name, work.error)
        segments = []
        for number, piece in enumerate(work.pieces):
            offset = piece.begin / SAMPLING_RATE
            for part in work.heard[number].segments:
                segments.append(Segment(round(offset + part.start, 3), round(offset + part.end, 3), part.text))
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
        )


def similar_lengths(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Rows in batches of similar length, those with the earliest rows first."""
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    return sorted((by_length[at : at + batch_size] for at in range(0, len(lengths), batch_size)), key=min)


def compression_ratio(text: str) -> float:
    """Bytes of the text over those of its zlib compression: about 1 for a sentence, far more for a loop."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))
