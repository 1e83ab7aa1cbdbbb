"""A row of a source becomes an utterance, and utterances become a batch; rows that cannot be used are named."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from ..audio.cutting import WINDOW_SECONDS
from ..audio.decoding import digest_id
from ..config import DataConfig
from ..errors import DataError
from ..preparation.special_tokens import complaint, special_token_in
from ..sources.class_labels import UnnamedLabel
from ..sources.languages import whisper_code
from ..sources.source import Source
from ..utterance import SAMPLING_RATE, AudioBatch, SecondRecordings, Skipped, Utterance
from .labels import LabelEncoder
from .second_recordings import Drawn, header_seconds, read_audio, read_second, second_seconds

__all__ = ["TimedRow", "collate", "read_audio", "read_batch", "read_utterance", "row_id", "timed_rows"]
# How far the duration column may be from the decoded audio. Batches were planned by the column.
TOLERATED_SHARE, TOLERATED_SECONDS = 0.05, 0.1


class TimedRow(NamedTuple):
    """A row of a window with its length.

    Attributes:
        row, source, origin: the row, its source, and the index of that source among the lane's sources.
        seconds: as its header or the duration column says.
        claimed: whether ``seconds`` is from the duration column.
        second_seconds: of its second recording, as its header says; 0 without one.
        drawn: where its second recording is another row's, what was drawn for it.
    """

    row: dict[str, Any]
    source: Source
    origin: int
    seconds: float
    claimed: bool
    second_seconds: float = 0.0
    drawn: Drawn | None = None

    @property
    def rows(self) -> tuple["TimedRow", ...]:
        """Itself, as a window has the rows that are said in it."""
        return (self,)


def read_utterance(
    row: dict[str, Any], source: Source, drawn: Drawn | None = None, max_seconds: float = WINDOW_SECONDS
) -> Utterance:
    """A row with its audio decoded, and its second recording, if it has one.

    Args:
        drawn: see :class:`TimedRow`.
        max_seconds: where a longer second recording is cut off.

    Raises:
        UndecodableAudio: as :func:`data.audio.decoding.decode_audio`.
        DataError: as :func:`text_of`, and of a second recording that cannot be used.
    """
    text = text_of(row[source.columns.text])
    utterance = Utterance(row_id(row, source), read_audio(row, source), text, language_of(row, source))
    second = read_second(row, source, utterance.audio, max_seconds, drawn)
    return utterance if second is None else replace(utterance, second=second, second_kind=source.config.second_kind)


def language_of(row: dict[str, Any], source: Source) -> str | None:
    """The language of a row as Whisper's code (``az_az`` is ``az``), or, where it has none, of its source.

    Raises:
        DataError: for a number that is none of the column's languages.
    """
    given = row[source.columns.language] if source.columns.language else None
    if isinstance(given, UnnamedLabel):
        raise DataError(f"the language is {given}")
    if given is None:
        return source.config.language
    return whisper_code(str(given))


def text_of(value: Any) -> str:
    """A transcript as a row holds it; a number is read as its digits, and the empty text is silence.

    Raises:
        DataError: for a missing value, anything that is no text, and text that spells out Whisper's own tokens.
    """
    if value is None:
        raise DataError("the text is null, a missing value")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DataError("the text holds half a character, a lone surrogate") from None
        if token := special_token_in(value):
            raise DataError(f"the text holds {complaint(token)}")
        return value
    if isinstance(value, float) and math.isnan(value):
        raise DataError("the text is NaN, a missing value")
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, UnnamedLabel):
        raise DataError(f"the text is {value}")
    if isinstance(value, bytes):
        raise DataError("the text is bytes that are not UTF-8")
    raise DataError(f"the text is no text but a {type(value).__name__}")


def row_id(row: dict[str, Any], source: Source) -> str:
    columns = source.columns
    given = row[columns.id] if columns.id else None
    return digest_id(row[columns.audio], str(row[columns.text])) if given is None else str(given)


def collate(
    utterances: Sequence[Utterance],
    tokens: tuple[torch.Tensor, torch.Tensor] | tuple[None, None] = (None, None),
    seeds: Sequence[int] = (),
) -> AudioBatch:
    """Pad utterances into a batch, with noise, second recordings, decoder input ids, labels and seeds where given."""
    audio, lengths, noise = padded([(utterance.audio, utterance.noise) for utterance in utterances])
    clean = None
    if any(one.clean is not None for one in utterances):
        clean = padded([(one.audio if one.clean is None else one.clean, None) for one in utterances])[0]
    return AudioBatch(
        audio=audio,
        audio_lengths=lengths,
        noise=noise,
        decoder_input_ids=tokens[0],
        labels=tokens[1],
        ids=[utterance.id for utterance in utterances],
        texts=[utterance.text for utterance in utterances],
        languages=[utterance.language for utterance in utterances],
        seeds=torch.tensor(seeds, dtype=torch.int64) if seeds else None,
        second=collated_seconds(utterances),
        clean=clean,
    )


def collated_seconds(utterances: Sequence[Utterance]) -> SecondRecordings | None:
    """The second recordings of utterances; None if none has one."""
    rows = [row for row, utterance in enumerate(utterances) if utterance.second is not None]
    pairs = [(one.second, one.second_noise) for one in utterances if one.second is not None]
    return SecondRecordings(rows, *padded(pairs)) if rows else None


def padded(
    recordings: Sequence[tuple[np.ndarray, np.ndarray | None]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Recordings and the noise in them as batches: audio [B, N], lengths [B], and noise [B, N] if any is known."""
    lengths = torch.tensor([len(audio) for audio, _ in recordings])
    batch = torch.zeros(len(recordings), int(lengths.max()))
    noises = torch.zeros_like(batch) if any(noise is not None for _, noise in recordings) else None
    for row, (audio, noise) in enumerate(recordings):
        batch[row, : len(audio)] = torch.from_numpy(audio)
        if noises is not None and noise is not None:
            noises[row, : len(noise)] = torch.from_numpy(noise)
    return batch, lengths, noises


def read_batch(
    rows: Sequence[Any],
    labels: LabelEncoder,
    max_seconds: float,
    augment: Callable[[Utterance, TimedRow], tuple[Utterance, int | None]] | None = None,
    without_speech: Callable[[Any], tuple[Utterance, tuple[list[int], list[int]]]] | None = None,
) -> tuple[AudioBatch | None, list[Skipped], set[int]]:
    """Decode rows into a batch; rows that cannot be used are left out and named.

    Args:
        rows: :class:`TimedRow`, and what :class:`.non_speech.NonSpeech` has planned.
        max_seconds: longer rows are left out, longer second recordings cut.
        augment: gives an utterance, which was read from a row, as it is trained on, and its seed if it has one.
        without_speech: reads what has no row.

    Returns:
        The batch, or None where no row could be used; what was left out; the origins of what is in the batch.
    """
    utterances, encoded, skipped, origins, seeds = [], [], [], set(), []
    for timed in rows:
        try:
            if not timed.rows and without_speech is not None:
                utterance, tokens = without_speech(timed)
                seeds += [] if augment is None else [timed.seed]
                encoded.append(tokens)
                utterances.append(utterance)
                continue
            utterance = read_utterance(timed.row, timed.source, timed.drawn, max_seconds)
            seconds = len(utterance.audio) / SAMPLING_RATE
            refuse_other_length(timed, seconds)
            if seconds > max_seconds + 0.01:  # beyond what resampling adds: its header said less
                reason = f"{seconds:.2f} s long; up to {max_seconds:g} s are kept"
                skipped.append(Skipped(utterance.id, reason, broken=False))
                continue
            tokens = labels.encode(utterance.text, utterance.language)
            if augment is not None:
                utterance, seed = augment(utterance, timed)
                seeds += [] if seed is None else [seed]
            encoded.append(tokens)
            utterances.append(utterance)
            origins.add(timed.origin)
        except DataError as error:
            row = timed if timed.rows else timed.example
            skipped.append(Skipped(row_id(row.row, row.source), str(error)))
    return (collate(utterances, labels.pad(encoded), seeds) if utterances else None), skipped, origins


def refuse_other_length(timed: TimedRow, seconds: float) -> None:
    """Raises: DataError: if the duration column is so far off that the plan made from it is wrong."""
    off = abs(timed.seconds - seconds)
    if timed.claimed and off > TOLERATED_SECONDS and off > TOLERATED_SHARE * seconds:
        raise DataError(f"the duration column says {timed.seconds:.2f} s, but the audio has {seconds:.2f} s")


def timed_rows(
    rows: Sequence[tuple[dict[str, Any], int]], sources: Sequence[Source], config: DataConfig
) -> tuple[list[TimedRow], list[Skipped]]:
    """Rows with their seconds; those without a readable header or outside the length limits are left out and named."""
    usable, skipped = [], []
    for row, origin in rows:
        source = sources[origin]
        columns = source.columns
        try:
            seconds = row[columns.duration] if columns.duration else None
            claimed = isinstance(seconds, (int, float)) and seconds > 0
            if not claimed:
                seconds = header_seconds(row[columns.audio], source)
            assert seconds is not None
            second = second_seconds(row, source, seconds, config.max_seconds)
        except DataError as error:
            skipped.append(Skipped(row_id(row, source), str(error)))
            continue
        if config.min_seconds <= seconds <= config.max_seconds:
            timed = TimedRow(row, source, origin, float(seconds), claimed)
            usable.append(timed._replace(second_seconds=second))
        else:
            reason = f"{seconds:.2f} s long; {config.min_seconds:g} to {config.max_seconds:g} s are kept"
            skipped.append(Skipped(row_id(row, source), reason, broken=False))
    return usable, skipped
