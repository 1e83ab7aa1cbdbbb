"""Lanes: the training data split once into independent streams, each of which can stop and go on exactly.

A lane reads a window of rows, shuffles it, sorts it into batches of similar length and gives them in random order. Its
position is the place of the window in the stream and the number of batches given of it, a few numbers; on resume the
window is read again and planned again from the same seed. Batches depend on the seed and the number of lanes alone, not
on how many processes or workers share the lanes out.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from .audio import UndecodableAudio, decode_audio, digest_id, seconds_of
from .config import DataConfig
from .errors import DataError
from .labels import LabelEncoder
from .sources import Source
from .utterance import AudioBatch, LaneItem, Skipped, Utterance


def plan_batches(seconds: Sequence[float], batch_size: int, generator: np.random.Generator) -> list[list[int]]:
    """Rows of a window as batches of similar length, in random order; rows of equal length fall together at random.

    Returns:
        Lists of row numbers, each at most ``batch_size`` long, that together hold every row once.
    """
    shuffled = generator.permutation(len(seconds))
    by_length = shuffled[np.argsort(np.asarray(seconds)[shuffled], kind="stable")]
    batches = [by_length[i : i + batch_size].tolist() for i in range(0, len(by_length), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def read_utterance(row: dict[str, Any], source: Source) -> Utterance:
    """A row with its audio decoded.

    Raises:
        UndecodableAudio: as :func:`data.audio.decode_audio`.
    """
    columns = source.columns
    text = "" if row[columns.text] is None else str(row[columns.text])
    language = row[columns.language] if columns.language else None
    language = None if language is None else str(language)  # some datasets number their languages
    return Utterance(row_id(row, source), decode_audio(row[columns.audio], source.audio_root), text, language)


def row_id(row: dict[str, Any], source: Source) -> str:
    columns = source.columns
    return str(row[columns.id]) if columns.id else digest_id(row[columns.audio], str(row[columns.text]))


def collate(
    utterances: Sequence[Utterance], tokens: tuple[torch.Tensor, torch.Tensor] | tuple[None, None] = (None, None)
) -> AudioBatch:
    """Pad utterances into one batch, with their decoder input ids and labels if there are any."""
    lengths = torch.tensor([len(utterance.audio) for utterance in utterances])
    audio = torch.zeros(len(utterances), int(lengths.max()))
    for row, utterance in enumerate(utterances):
        audio[row, : len(utterance.audio)] = torch.from_numpy(utterance.audio)
    return AudioBatch(
        audio=audio,
        audio_lengths=lengths,
        noise=None,
        decoder_input_ids=tokens[0],
        labels=tokens[1],
        ids=[utterance.id for utterance in utterances],
        texts=[utterance.text for utterance in utterances],
        languages=[utterance.language for utterance in utterances],
    )


def read_batch(
    rows: Sequence[dict[str, Any]], source: Source, labels: LabelEncoder
) -> tuple[AudioBatch | None, list[Skipped]]:
    """Decode rows into a batch; rows that cannot be used are left out and named. None where none could be used."""
    utterances, encoded, skipped = [], [], []
    for row in rows:
        try:
            utterance = read_utterance(row, source)
            encoded.append(labels.encode(utterance.text, utterance.language))
            utterances.append(utterance)
        except DataError as error:
            skipped.append(Skipped(row_id(row, source), str(error)))
    return (collate(utterances, labels.pad(encoded)) if utterances else None), skipped


class Lane:
    """One stream of batches of one epoch.

    Args:
        position: where to go on, as an item of this lane carried it; empty for the beginning.
    """

    def __init__(
        self,
        source: Source,
        config: DataConfig,
        labels: LabelEncoder,
        batch_size: int,
        seed: int,
        epoch: int,
        lane: int,
        lanes: int,
        position: dict[str, Any],
    ) -> None:
        self.source, self.config, self.labels = source, config, labels
        self.batch_size, self.lane = batch_size, lane
        self.seeds = (seed, epoch, lane)
        limit = source.config.max_utterances
        # With a limit, shards in another order would be other utterances every epoch.
        shard_seed = None if limit else int(np.random.default_rng((seed, epoch)).integers(2**31))
        self.stream = source.lane(lane, lanes, shard_seed)
        self.share = None if limit is None else limit // lanes + (lane < limit % lanes)
        self.window = position.get("window", 0)
        self.given = position.get("given", 0)
        self.used = position.get("used", 0)
        self.stream_state = position.get("stream")  # before the window; None at the very start
        if self.stream_state:
            self.stream.load_state_dict(self.stream_state)

    def __iter__(self) -> Iterator[LaneItem]:
        """Items with a batch, and a last one without when the lane has run out."""
        rows = self.source.read(self.stream)
        read = 0
        skipped: list[Skipped] = []
        while True:
            stream_state = self.stream_state
            window = list(self.read_window(rows))
            self.stream_state = self.stream.state_dict()
            usable, unusable = self.usable_rows(window)
            if self.given == 0:
                read, skipped = read + len(window), skipped + unusable
            if not window:
                yield LaneItem(self.lane, None, {}, read, tuple(skipped))
                return
            generator = np.random.default_rng((*self.seeds, self.window))
            plan = plan_batches([seconds for _, seconds in usable], self.batch_size, generator)
            for given in range(self.given, len(plan)):
                batch, broken = read_batch([usable[i][0] for i in plan[given]], self.source, self.labels)
                skipped += broken
                if batch is not None:
                    position = {"stream": stream_state, "window": self.window, "given": given + 1, "used": self.used}
                    yield LaneItem(self.lane, batch, position, read, tuple(skipped))
                    read, skipped = 0, []
            self.window, self.given = self.window + 1, 0
            self.used += len(window)

    def read_window(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The next rows, at most a window of them, within the lane's share."""
        size = self.config.shuffle_window
        if self.share is not None:
            size = min(size, self.share - self.used)
        return itertools.islice(rows, size)

    def usable_rows(self, window: list[dict[str, Any]]) -> tuple[list[tuple[dict[str, Any], float]], list[Skipped]]:
        """Rows with their seconds; those without a readable header or outside the length limits are left out."""
        columns, config = self.source.columns, self.config
        usable, skipped = [], []
        for row in window:
            try:
                seconds = row[columns.duration] if columns.duration else None
                if not isinstance(seconds, (int, float)):
                    seconds = seconds_of(row[columns.audio], self.source.audio_root)
            except UndecodableAudio as error:
                skipped.append(Skipped(row_id(row, self.source), str(error)))
                continue
            if config.min_seconds <= seconds <= config.max_seconds:
                usable.append((row, float(seconds)))
            else:
                reason = f"{seconds:.2f} s long; {config.min_seconds:g} to {config.max_seconds:g} s are kept"
                skipped.append(Skipped(row_id(row, self.source), reason, broken=False))
        return usable, skipped
