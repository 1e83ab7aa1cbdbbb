"""Noises from a folder or a dataset, indexed once and decoded when needed: for training and for the noise suite."""

import fnmatch
import hashlib
import itertools
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.cutting import DIGITAL_SILENCE, has_sound
from ..audio.decoding import decode_audio, resampled, samples_of, seconds_of
from ..audio.mixing import mixed
from ..audio.opening import open_audio
from ..audio.sounds import SequentialSound, foreign_container, understood, unwrapped
from ..audio.suffixes import is_recording, readable_suffixes, unreadable
from ..audio.undecodable import UndecodableAudio
from ..errors import DataError
from ..opening import open_source
from ..utterance import SAMPLING_RATE, Skipped
from .fields import NoiseSourceConfig
from .noise_mixing import SHORTEST_NOISE, SILENT_POWER, fitted, power
from .warning import warn_once

KEPT_SAMPLES = 32 * 2**20  # of decoded clips, 128 MiB; those used longest ago go first
LONG_SECONDS = 60.0  # of a longer local file only what is wanted is decoded, where its format lets one begin anywhere
ENCODED_BYTES = 512 * 2**20  # of a dataset's clips, kept in memory as they are encoded
TRIES = 8  # excerpts drawn at random before all clips are gone through
PASSED_OVER = "cannot be decoded and will be passed over where drawn"
MOST_NAMED = 5  # clips that turn out undecodable while they are drawn, a line each


class NoiseClips:
    """The clips of a source of noises. Threads may share it.

    Args:
        key: what messages call the source.

    Attributes:
        names: sorted paths below the folder, or ids of a dataset's rows.
        skipped: clips that cannot be used, and why. First those whose headers say so; they are never drawn. Then those
            that turned out so when decoded; they can still be drawn and are then passed over, so that no draw depends
            on earlier ones.

    Raises:
        DataError: if no clip with sound is left.
    """

    def __init__(self, config: NoiseSourceConfig, key: str = "data.augmentation.noise") -> None:
        self.config, self.key = config, key
        self.skipped: list[Skipped] = []
        self.root: str | None = None
        self.confined = False
        self.kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self.undecodable: set[int] = set()
        self.is_open, self.named = False, 0
        self.lock = threading.Lock()
        values = self.folder_clips() if config.dataset is None else self.dataset_clips(config.dataset)
        self.values: list[Any] = []  # what decode_audio takes
        self.names: list[str] = []
        self.seconds: list[float] = []
        for name, value in sorted(self.chosen(values).items()):
            try:
                seconds = seconds_of(value, self.root, self.confined)
                if seconds * SAMPLING_RATE < SHORTEST_NOISE:
                    raise UndecodableAudio(f"{1000 * seconds:.2f} ms long, shorter than a millisecond")
            except DataError as error:
                self.skipped.append(Skipped(name, str(error)))
                continue
            self.values.append(value)
            self.names.append(name)
            self.seconds.append(seconds)
        if not self.names:
            raise DataError(f"{self.place}: no recording can be used{self.first_fault}")
        if self.skipped:
            number = f"{len(self.skipped)} recording{'s' if len(self.skipped) > 1 else ''}"
            warn_once(f"{self.place}: {number} left out{self.first_fault}", known_to_all=True)
        left_out = len(self.skipped)
        if not any(self.sounds(index) for index in range(len(self))):
            raise DataError(f"{self.place}: all {len(self)} recordings are silent or unreadable{self.first_fault}")
        if found := self.skipped[left_out:]:
            which = found[0].id if len(found) == 1 else f"{len(found)} recordings"
            more = found[0].reason if len(found) == 1 else f"the first: {found[0].id}: {found[0].reason}"
            warn_once(f"{self.place}: {which} {PASSED_OVER}: {more}", known_to_all=True)
        self.is_open = True

    def __getstate__(self) -> dict[str, Any]:
        """For another process: without the lock, and without decoded clips."""
        return vars(self) | {"lock": None, "kept": OrderedDict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.lock = threading.Lock()

    @property
    def place(self) -> str:
        """The config's key and what it says, for messages."""
        return f"{self.key}: {self.config.described}"

    @property
    def first_fault(self) -> str:
        return f"; the first: {self.skipped[0].id}: {self.skipped[0].reason}" if self.skipped else ""

    def __len__(self) -> int:
        return len(self.names)

    def folder_clips(self) -> dict[str, Any]:
        """Paths of the folder's recordings, by their names."""
        folder = Path(self.config.folder or "")
        if not folder.is_dir():
            what = "not a folder" if folder.exists() else f"missing (working folder {os.getcwd()})"
            raise DataError(f"{self.key}.folder: {folder} is {what}")
        files = [path for path in folder.rglob("*") if path.is_file()]
        paths, left = [path for path in files if is_recording(path.name)], unreadable(map(str, files))
        if not paths:
            known = f"{folder} has no recordings ({', '.join(sorted(readable_suffixes()))})"
            raise DataError(f"{self.key}.folder: {'; '.join(filter(None, (known, left)))}")
        if left:
            warn_once(f"{self.place}: {left}", known_to_all=True)
        return {path.relative_to(folder).as_posix(): str(path) for path in paths}

    def dataset_clips(self, config: Any) -> dict[str, Any]:
        """Encoded audio of the rows, by their ids."""
        # The text's column stands for none: Source checks that it is there.
        unread = dict.fromkeys(("language", "duration", "speaker"))
        columns = config.columns.model_copy(update={"text": config.columns.audio} | unread)
        source = open_source(config.model_copy(update={"columns": columns}), f"{self.key}.dataset")
        source.check_columns()
        self.root, self.confined = source.audio_root, config.audio_root is not None
        clips: dict[str, Any] = {}
        taken = 0
        for row in itertools.islice(source.read(source.lane(0, 1, None)), config.max_utterances):
            value = row[columns.audio]
            content = content_of(value)
            taken += len(content)
            if taken > ENCODED_BYTES:
                raise DataError(
                    f"{source.name}: {config.described} has more than {ENCODED_BYTES >> 20} MiB of audio, which is "
                    "kept in memory: set max_utterances, or write the recordings into a folder"
                )
            given = row[columns.id] if columns.id else None
            clips[digest_of(content) if given is None else str(given)] = value
        return clips

    def chosen(self, clips: dict[str, Any]) -> dict[str, Any]:
        """Those that ``keep`` and ``drop`` let through; a glob that fits nothing is a mistake."""

        def fitting(pattern: str, key: str) -> set[str]:
            names = {
                name for name in clips if any(fnmatch.fnmatchcase(part, pattern) for part in (name, Path(name).name))
            }
            if not names:
                raise DataError(f"{self.key}.{key}: no recording's name fits {pattern!r}; one is {min(clips)!r}")
            return names

        keep = set().union(*(fitting(pattern, "keep") for pattern in self.config.keep)) or set(clips)
        drop = set().union(*(fitting(pattern, "drop") for pattern in self.config.drop))
        if not keep - drop:
            raise DataError(f"{self.key}: keep and drop leave none of {len(clips)} recordings")
        return {name: clips[name] for name in keep - drop}

    def audio(self, index: int) -> np.ndarray:
        """A whole clip: float32 [samples], 16 kHz, mono.

        Raises:
            UndecodableAudio: if it cannot be decoded.
        """
        with self.lock:
            if index in self.kept:
                self.kept.move_to_end(index)
                return self.kept[index]
        try:
            samples = decode_audio(self.values[index], self.root, self.confined)
        except UndecodableAudio as error:
            self.note(index, error)
            raise
        with self.lock:
            self.kept[index] = samples
            while len(self.kept) > 1 and sum(map(len, self.kept.values())) > KEPT_SAMPLES:
                self.kept.popitem(last=False)
        return samples

    def note(self, index: int, fault: DataError) -> None:
        """Warn, once for each of the first clips, that what its header promises cannot be decoded."""
        with self.lock:
            if index in self.undecodable:
                return
            self.undecodable.add(index)
            self.skipped.append(Skipped(self.names[index], str(fault)))
            self.named += self.is_open  # those found while it is opened are told together
            number = self.named
        if 0 < number <= MOST_NAMED:
            warn_once(f"{self.place}: {self.names[index]} {PASSED_OVER}: {fault}")
        elif number == MOST_NAMED + 1:
            warn_once(f"{self.place}: more recordings cannot be decoded; further ones are not named")

    def sounds(self, index: int) -> bool:
        """Whether a clip is anything but silence."""
        try:
            if self.seconds[index] > LONG_SECONDS:  # sooner than by decoding hours of it
                parts = (self.cut_long(index, SAMPLING_RATE, place) for place in np.linspace(0, 1, TRIES))
                if any(part is not None and is_heard(part) for part in parts):
                    return True
            return is_heard(self.audio(index))
        except UndecodableAudio as error:
            self.note(index, error)
            return False

    def excerpt(self, samples: int, generator: np.random.Generator) -> np.ndarray:
        """A clip drawn at random, from a place drawn at random, beginning anew where it ends: float32 [samples].

        Every clip is as likely as every other. Silent places are passed over.

        Raises:
            DataError: if every clip is silent or unreadable.
        """
        for _ in range(TRIES):
            part = self.cut(int(generator.integers(len(self))), samples, generator.random())
            if part is not None:
                return part
        begin = int(generator.integers(len(self)))
        for index in itertools.chain(range(begin, len(self)), range(begin)):
            part = self.cut(index, samples, generator.random(), whole=True)
            if part is not None:
                return part
        raise DataError(f"{self.place}: nothing but silence in all {len(self)} recordings")

    def cut(self, index: int, samples: int, place: float, whole: bool = False) -> np.ndarray | None:
        """``samples`` samples of a clip, or None where they are silent.

        They begin at ``place``, a share of all possible beginnings. If it is silent there, they are taken from where
        the clip sounds.

        Args:
            whole: search all of a long clip for sound, too.
        """
        try:
            if self.seconds[index] > LONG_SECONDS and not whole:
                part = self.cut_long(index, samples, place)
                if part is not None:
                    return part if is_heard(part) else None
            clip = self.audio(index)
            room = len(clip) - samples if len(clip) > samples else len(clip)
            part = fitted(clip, samples, int(place * room))
            if not is_heard(part) and len(heard := np.flatnonzero(np.abs(clip) >= DIGITAL_SILENCE)):
                offset = int(heard[int(place * len(heard))]) - samples // 2
                part = fitted(clip, samples, max(0, min(offset, len(clip) - samples)))
        except DataError as error:  # its header was right, and what follows is not
            self.note(index, error)
            return None
        return part if is_heard(part) else None

    def cut_long(self, index: int, samples: int, place: float) -> np.ndarray | None:
        """As :meth:`cut`, decoding that part alone; None where the file cannot be decoded from the middle."""
        value = self.values[index]
        if not isinstance(value, str) or self.root is not None:
            return None
        with open_audio(value, None) as file:
            if foreign_container(file) is not None:
                return None
            with understood(), SequentialSound(unwrapped(file)) as sound:
                wanted = -(-samples * sound.samplerate // SAMPLING_RATE) + sound.samplerate // 100
                if not sound.seekable() or sound.frames <= wanted:
                    return None
                sound.seek(int(place * (sound.frames - wanted)))
                block, _ = mixed(sound.read(wanted, dtype="float32", always_2d=True), 1)
                cut = np.concatenate(list(resampled(iter([block]), sound.samplerate)))
        return cut[:samples] if len(cut) >= samples else None

    def digests(self) -> dict[str, str]:
        """Of each clip, by its name, the digest of its encoded bytes: equal ones are the same recording."""
        return {name: self.digest(value) for name, value in zip(self.names, self.values, strict=True)}

    def digest(self, value: Any) -> str:
        content = content_of(value)
        if not content:
            with open_audio(value, self.root, self.confined) as file:
                content = file.read()
        return digest_of(content)


def is_heard(samples: np.ndarray) -> bool:
    return has_sound(samples) and power(samples) >= SILENT_POWER


def content_of(value: Any) -> bytes:
    """What a row holds of its audio itself; nothing where it is a path."""
    if isinstance(value, dict):
        direct = samples_of(value)
        return direct[0].tobytes() if direct is not None else value.get("bytes") or b""
    return bytes(value) if isinstance(value, (bytes, bytearray)) else b""


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def overlapping(a: NoiseClips, b: NoiseClips) -> list[str]:
    """Names of the clips of ``a`` whose content is in ``b`` too."""
    known = set(b.digests().values())
    return [name for name, digest in a.digests().items() if digest in known]
