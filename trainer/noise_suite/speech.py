"""What the suite mixes from: speech with transcripts, other people's speech, noises, and clips of noise alone."""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data.audio.cutting import speech_region
from data.augmentation.noise_mixing import SHORTEST_NOISE, SILENT_POWER, power
from data.batches.collation import read_audio, row_id, text_of
from data.batches.evaluation_rows import Row, check_reported_columns, hash_of, text_of_value
from data.config import ColumnNames, SourceConfig
from data.errors import DataError
from data.sources.source import Source
from data.utterance import SAMPLING_RATE

from ..config.reading import ConfigError
from .conditions import MEANT_SPEAKER, NON_SPEECH, OTHER_PARTY
from .config import NoiseSuiteConfig, NonSpeechConfig

TALKERS = 64  # utterances that babble and competing speech are made of
KEPT_CLIPS = 6  # utterances of each speaker, among which a clip of the speaker is drawn


class Noises(Protocol):
    """Recordings or synthetic noises, :class:`data.augmentation.noise_clips.NoiseClips` or :class:`SyntheticNoises`."""

    names: list[str]

    def excerpt(self, samples: int, generator: np.random.Generator) -> np.ndarray: ...


@dataclass(frozen=True)
class Talker:
    """Somebody else's utterance, to be heard beside another: float32 [samples], quiet ends cut off; and its text."""

    id: str
    speaker: str
    speech: np.ndarray
    text: str = ""


@dataclass(frozen=True)
class Clips:
    """Utterances of each speaker, that may be a clip of the speaker beside another one.

    Attributes:
        rows: of each speaker those few with the lowest hashes of their ids; sound is decoded when it is wanted.
    """

    source: Source
    rows: dict[str, list[Row]]

    def drawn(self, speaker: str, name: str, generator: np.random.Generator) -> tuple[np.ndarray | None, str]:
        """Another utterance than ``name`` of the speaker, at most 30 s of it, and what is said in it.

        Returns:
            None and no text where there is no other that can be read and holds sound.
        """
        others = [row for row in self.rows.get(speaker, []) if row_id(row, self.source) != name] if speaker else []
        for index in generator.permutation(len(others)).tolist():
            row = others[index]
            try:
                audio = read_audio(row, self.source)[: 30 * SAMPLING_RATE]
            except DataError:
                continue  # reported when it is measured itself
            if power(audio) >= SILENT_POWER:
                return audio, transcript_of(row, self.source)
        return None, ""

    def lacks(self, speaker: str, name: str) -> bool:
        """Whether there is no other utterance of the speaker."""
        return not speaker or all(row_id(row, self.source) == name for row in self.rows.get(speaker, []))


def transcript_of(row: Row, source: Source) -> str:
    """A row's transcript; empty where it has none that can be read."""
    try:
        return text_of(row[source.columns.text])
    except DataError:
        return ""


class HeldSource(Source):
    """A source whose rows are in memory, instead of those that its config names."""

    def __init__(self, config: SourceConfig, name: str, held: list[Row], audio_root: str = ".") -> None:
        super().__init__(config, name)
        self.held = held
        self.audio_root = audio_root

    @property
    def held_rows(self) -> list[Row]:
        return self.held

    def rows(self) -> Iterator[Row]:
        return iter(self.held)


@dataclass(frozen=True)
class Speech:
    """The suite's speech.

    Attributes:
        source: of all utterances that are measured.
        talkers: other speakers' utterances, drawn by the hashes of their ids; empty if no type needs them.
        speakers: of each utterance by its id, where the suite has a cluster column.
        ids: a digest of the ids that are measured, if they are known beforehand.
        clips: other utterances of each speaker, where a condition needs them.
    """

    source: Source
    talkers: list[Talker]
    speakers: dict[str, str]
    ids: str | None
    clips: Clips | None = None


def gather_speech(source: Source, suite: NoiseSuiteConfig, cluster: str | None) -> Speech:
    """Read a source once, to choose the subset that is measured and the talkers.

    Raises:
        ConfigError: if there are too few utterances for babble or competing speech, or speakers are wanted and unknown.
        DataError: if the source cannot be read.
    """
    if suite.meant_speaker and not cluster:
        raise ConfigError("meant_speaker needs cluster: say which column tells who speaks")
    wanted = {"babble": suite.babble_speakers, "competing": 1, OTHER_PARTY: 1, MEANT_SPEAKER: 1}
    needed = max([wanted[kind] for kind in suite.voice_kinds], default=0)
    if not needed and suite.utterances is None:
        return Speech(source, [], {}, None)
    speakers: dict[str, str] = {}
    of_speakers: dict[str, list[tuple[bytes, int, Row]]] = {}

    def hashed() -> Iterator[tuple[bytes, int, Row]]:
        seen: set[str] = set()
        for number, row in enumerate(source.rows()):
            name = row_id(row, source)
            if name in seen:
                continue
            seen.add(name)
            if cluster and needed:
                speakers[name] = text_of_value(row.get(cluster))
            one = hash_of(name), number, row  # the number decides between equal hashes: rows have no order
            if suite.meant_speaker and speakers[name]:
                own = [*of_speakers.get(speakers[name], ()), one]
                of_speakers[speakers[name]] = heapq.nsmallest(KEPT_CLIPS, own, key=lambda one: one[:2])
            yield one

    first = heapq.nsmallest(max(suite.utterances or 0, 2 * TALKERS if needed else 0), hashed(), key=lambda one: one[:2])
    rows = [row for _, _, row in first]
    talkers = list(itertools.islice(talkers_among(rows, source, speakers), TALKERS)) if needed else []
    if needed and len(talkers) <= needed:
        raise ConfigError(
            f"{source.name} has {len(talkers)} utterances that can be heard beside others; "
            f"{' and '.join(suite.voice_kinds)} need at least {needed + 1}"
        )
    clips = Clips(source, {who: [row for _, _, row in own] for who, own in of_speakers.items()})
    if suite.utterances is None:
        return Speech(source, talkers, speakers, None, clips)
    rows = rows[: suite.utterances]
    held = HeldSource(source.config, source.name, rows, source.audio_root)
    names = "\0".join(row_id(row, source) for row in rows)
    return Speech(held, talkers, speakers, hash_of(names).hex(), clips)


def measured_ids(speech: Speech) -> list[str]:
    """The ids of the utterances that are measured, as far as their speakers are known."""
    if isinstance(speech.source, HeldSource):
        return [row_id(row, speech.source) for row in speech.source.rows()]
    return list(speech.speakers)


def talkers_among(rows: list[Row], source: Source, speakers: dict[str, str]) -> Iterator[Talker]:
    """The rows that can be read and hold sound."""
    for row in rows:
        try:
            audio = read_audio(row, source)
        except DataError:
            continue  # reported when it is measured
        if len(audio) < SHORTEST_NOISE:
            continue
        begin, end = speech_region(audio)
        speech, name = audio[begin:end], row_id(row, source)
        if power(speech) >= SILENT_POWER and len(speech) >= SHORTEST_NOISE:
            yield Talker(name, speakers.get(name, ""), speech, transcript_of(row, source))


def check_columns(source: Source, columns: tuple[str, ...], cluster: str | None) -> None:
    """Raises: DataError: if the source lacks a column that the suite names."""
    named = [("columns", column) for column in columns]
    check_reported_columns(source, [*named, ("cluster", cluster)] if cluster else named)


def non_speech_source(noises: Noises, config: NonSpeechConfig, seed: int) -> HeldSource:
    """Clips of noise with an empty transcript, the same for every checkpoint."""
    rows: list[dict[str, Any]] = []
    for number in range(config.clips):
        generator = np.random.default_rng((seed, int.from_bytes(hash_of(NON_SPEECH)), number))
        samples = noises.excerpt(int(config.seconds * SAMPLING_RATE), generator)
        audio = {"array": samples, "sampling_rate": SAMPLING_RATE}
        rows.append({"audio": audio, "text": "", "id": f"{NON_SPEECH}-{number:05d}"})
    return HeldSource(SourceConfig(folder=NON_SPEECH, columns=ColumnNames(id="id")), NON_SPEECH, rows)
