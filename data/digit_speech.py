"""Speaks Azerbaijani digit strings through espeak-ng, so that training can be tried where no recordings are at hand.

It knows espeak-ng and Parquet; it must not know of tokenizers, features or models.
"""

import contextlib
import ctypes
import difflib
import importlib
import io
import itertools
import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import soxr

from .errors import DataError

SAMPLING_RATE = 16_000
DIGIT_WORDS = ("sıfır", "bir", "iki", "üç", "dörd", "beş", "altı", "yeddi", "səkkiz", "doqquz")

# Chosen by their spectra: unlike each other, none whispers or croaks; at volume 100 only steph3 touches full scale.
# None has a variant file with a `breath` line (f2, f3, f5, Reed and others do): breath is noise from C's global rand(),
# heard once a klatt voice has spoken, so those voices do not speak the same twice.
TRAINING_VOICES = (
    "az", "az+m1", "az+m2", "az+m3", "az+m5", "az+m8", "az+miguel", "az+norbert", "az+robert", "az+travis",
    "az+f4", "az+Andrea", "az+Annie", "az+anika", "az+aunty", "az+belinda", "az+grandma", "az+shelby", "az+steph",
    "az+steph3",
)  # fmt: skip
UNSEEN_VOICES = ("az+m4", "az+m7", "az+f1", "az+linda")

_RECIPE_VERSION = 1  # raise it when the same arguments come to give other recordings
_ARGUMENTS_KEY = b"digit_synthesis"
_MARGIN_SECONDS = 0.1
_SILENCE_OF_PEAK = 0.01  # -40 dB
_ROWS_PER_ROW_GROUP = 100

# espeak-ng's speak_lib.h
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_PARAMETER_SPEED, _PARAMETER_VOLUME, _PARAMETER_PITCH = 1, 2, 3
_CHARACTERS_UTF8 = 1
_EVENT_LIST_TERMINATED, _EVENT_WORD = 0, 1


class _Event(ctypes.Structure):
    """espeak_EVENT: what begins where in the sound."""

    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", ctypes.c_char * 8),
    ]  # fmt: skip


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class SpokenText:
    """A text as espeak-ng speaks it, without silence at its ends: float32 [N] at 16 kHz.

    Attributes:
        word_starts: seconds at which each word begins, as espeak-ng tells it, to a millisecond.
    """

    text: str
    samples: npt.NDArray[np.float32]
    word_starts: tuple[float, ...]


@dataclass(frozen=True)
class _CorpusArguments:
    """What decides every byte of a corpus; kept in each shard's schema metadata."""

    utterances: int
    voices: tuple[str, ...]
    seed: int
    shards: int
    split: str
    warp: float = 0.0
    recipe_version: int = _RECIPE_VERSION

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+(\.\w+)*", self.split):
            raise DataError(f"split={self.split!r}: letters, digits, '_' and inner dots only, such as 'train'")

    @property
    def shard_rows(self) -> dict[str, int]:
        """The names of the shards, and how many utterances each has; the numbers differ by at most one."""
        edges = [index * self.utterances // self.shards for index in range(self.shards + 1)]
        return {
            f"{self.split}-{index:05d}-of-{self.shards:05d}.parquet": last - first
            for index, (first, last) in enumerate(itertools.pairwise(edges))
        }

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def synthesize_digit_corpus(
    folder: Path, *, utterances: int, voices: Sequence[str], seed: int, shards: int, split: str, warp: float = 0.0
) -> list[Path]:
    """Write utterances of 1 to 4 spoken Azerbaijani digits as `{split}-00000-of-0000N.parquet`.

    Columns: `id`, `audio` (FLAC, 16 kHz, mono, with 0.1 s of silence on either side), `text`, `language` ("az"),
    `speaker` (the voice) and `duration` (seconds). The voices take turns; words, speed, pitch and volume are drawn
    from `seed` and `split`. The same arguments give the same bytes under the same versions of the libraries, save for
    voices with breath (see `TRAINING_VOICES`). Shards already there from the same arguments are left as they are; the
    split's shards from other arguments are replaced, only once all the new ones are written.

    Args:
        folder: made if missing.
        utterances: number of recordings in all shards together.
        voices: espeak-ng voices, a language or `language+variant`, such as "az+f1".
        warp: each recording is played faster or slower by up to this share, which moves pitch and formants as other
            throats do: more voices than there are.

    Returns:
        The shards' paths, in order.

    Raises:
        DataError: an argument is out of range, espeak-ng or a voice is missing, or a shard's name is taken by a
            file that this function did not write.
    """
    arguments = _CorpusArguments(
        utterances=utterances, voices=tuple(voices), seed=seed, shards=shards, split=split, warp=warp
    )
    rows_of = {folder / name: rows for name, rows in arguments.shard_rows.items()}
    paths = list(rows_of)
    if all(_is_complete(path, arguments, rows) for path, rows in rows_of.items()):
        return paths
    for path in paths:
        if path.exists() and _arguments_of(path) is None:
            raise DataError(f"folder={folder}: {path.name} was not written by this synthesis; choose another")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".synthesis-") as unfinished, _Espeak() as espeak:
        espeak.require_voices(arguments.voices)
        recordings = _recordings(espeak, arguments)
        for path, rows in rows_of.items():
            shard = pa.Table.from_pylist(list(itertools.islice(recordings, rows)))
            shard = shard.replace_schema_metadata({_ARGUMENTS_KEY: arguments.to_json().encode()})
            pq.write_table(shard, Path(unfinished) / path.name, row_group_size=_ROWS_PER_ROW_GROUP)
        for stale in folder.glob(f"{split}-*-of-*.parquet"):
            if stale not in paths and _arguments_of(stale) is not None:
                stale.unlink()
        for path in paths:
            os.replace(Path(unfinished) / path.name, path)
    return paths


def synthesize_clip(folder: Path, *, voice: str, seed: int) -> tuple[Path, str]:
    """One digit string as ``new_clip.flac`` in ``folder``: the file and what it says.

    Raises:
        DataError: as :func:`synthesize_digit_corpus`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        shards = synthesize_digit_corpus(Path(scratch), utterances=1, voices=[voice], seed=seed, shards=1, split="clip")
        row = pq.read_table(shards[0]).to_pylist()[0]
    clip = folder / "new_clip.flac"
    clip.write_bytes(row["audio"]["bytes"])
    return clip, row["text"]


def speak_texts(texts: Sequence[str], *, voices: Sequence[str], seed: int) -> list[SpokenText]:
    """Texts spoken in turn by espeak-ng's voices, with speed, pitch and volume drawn from the seed, as in a corpus.

    Raises:
        DataError: if espeak-ng or a voice is missing.
    """
    generator, found = random.Random(seed), []
    with _Espeak() as espeak:
        espeak.require_voices(voices)
        for text, voice in zip(texts, itertools.cycle(voices), strict=False):
            speed, pitch, volume = generator.randint(130, 200), generator.randint(25, 75), generator.randint(50, 100)
            spoken = espeak.speak(text, voice=voice, speed=speed, pitch=pitch, volume=volume)
            samples = soxr.resample(spoken, espeak.sampling_rate, SAMPLING_RATE)
            begin, end = _loud_part(samples)
            starts = tuple(max(0.0, start - begin / SAMPLING_RATE) for start in espeak.word_starts)
            found.append(SpokenText(text, samples[begin:end], starts))
    return found


def _arguments_of(path: Path) -> str | None:
    """The arguments that a shard was made from, as JSON; None where it is no shard of ours."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowInvalid:
        return None
    return metadata[_ARGUMENTS_KEY].decode() if _ARGUMENTS_KEY in metadata else None


def _is_complete(path: Path, arguments: _CorpusArguments, rows: int) -> bool:
    return path.is_file() and _arguments_of(path) == arguments.to_json() and pq.read_metadata(path).num_rows == rows


def _recordings(espeak: "_Espeak", arguments: _CorpusArguments) -> Iterator[dict[str, Any]]:
    generator = random.Random(f"{arguments.split}:{arguments.seed}")
    for index in range(arguments.utterances):
        text = " ".join(generator.choices(DIGIT_WORDS, k=generator.randint(1, 4)))
        voice = arguments.voices[index % len(arguments.voices)]
        speed, pitch, volume = generator.randint(130, 200), generator.randint(25, 75), generator.randint(50, 100)
        spoken = espeak.speak(text, voice=voice, speed=speed, pitch=pitch, volume=volume)
        factor = 1 + generator.uniform(-arguments.warp, arguments.warp) if arguments.warp else 1.0
        samples = _with_exact_margins(soxr.resample(spoken, espeak.sampling_rate * factor, SAMPLING_RATE))
        flac = io.BytesIO()
        soundfile.write(flac, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
        name = f"{arguments.split}-{index:06d}"
        yield {
            "id": name,
            "audio": {"bytes": flac.getvalue(), "path": f"{name}.flac"},
            "text": text,
            "language": "az",
            "speaker": voice,
            "duration": len(samples) / SAMPLING_RATE,
        }


def _with_exact_margins(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cut the quiet ends of `[samples]` at 16 kHz off and set 0.1 s of silence in their place."""
    begin, end = _loud_part(samples)
    return np.pad(samples[begin:end], round(_MARGIN_SECONDS * SAMPLING_RATE))


def _loud_part(samples: npt.NDArray[np.float32]) -> tuple[int, int]:
    """First sample of what is not quiet beside the peak, and the first after it."""
    loud = np.flatnonzero(np.abs(samples) > _SILENCE_OF_PEAK * np.abs(samples).max())
    return int(loud[0]), int(loud[-1]) + 1


class _Espeak(contextlib.AbstractContextManager["_Espeak"]):
    """espeak-ng on a private copy of its library.

    The library is global state: its pitch flutter runs on from one utterance to the next, through Terminate and
    Initialize too, so only a library that nobody has used yet speaks the same twice. Loading a copy gives one, and
    leaves alone whoever else in the process speaks. One object must not be used from two threads.
    """

    def __init__(self) -> None:
        try:
            loader = importlib.import_module("espeakng_loader")
        except ImportError as error:
            raise DataError("espeak-ng is missing: pip install espeakng-loader") from error
        self._data_folder = Path(loader.get_data_path())
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as private:
            try:
                self._library: Any = ctypes.CDLL(shutil.copy(loader.get_library_path(), private))
            except OSError as error:
                raise DataError(f"espeak-ng's library cannot be loaded: {error}") from error
        self._declare_signatures()
        self.sampling_rate: int = self._library.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, 0, os.fsencode(self._data_folder), _INITIALIZE_DONT_EXIT
        )
        if self.sampling_rate <= 0:
            raise DataError(f"espeak-ng does not start with its data in {self._data_folder}")
        self._chunks: list[npt.NDArray[np.int16]] = []
        self.word_starts: list[float] = []  # of what was spoken last, seconds
        self._callback = _SynthCallback(self._collect)  # held here: the library keeps only a bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _declare_signatures(self) -> None:
        library = self._library
        library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        library.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
        library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p,
        ]  # fmt: skip

    def __exit__(self, *error: object) -> None:
        self._library.espeak_Terminate()

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        begun = itertools.takewhile(lambda event: event.type != _EVENT_LIST_TERMINATED, events or ())
        self.word_starts += [event.audio_position / 1000 for event in begun if event.type == _EVENT_WORD]
        return 0

    def require_voices(self, voices: Sequence[str]) -> None:
        """Check that every voice exists: for an unknown variant espeak-ng silently speaks the plain language."""
        variants = sorted(path.name for path in (self._data_folder / "voices" / "!v").iterdir())
        for voice in voices:
            language, plus, variant = voice.partition("+")
            if plus and variant not in variants:
                near = difflib.get_close_matches(variant, variants, n=1, cutoff=0.0)
                hint = f"; the nearest is '{language}+{near[0]}'" if near else ""
                raise DataError(f"voices: espeak-ng has no variant {variant!r} for {voice!r}{hint}")
            if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise DataError(f"voices: espeak-ng has no voice {language!r} for {voice!r}; Azerbaijani is 'az'")

    def speak(self, text: str, *, voice: str, speed: int, pitch: int, volume: int) -> npt.NDArray[np.float32]:
        """`[samples]` in [-1, 1) at `sampling_rate`; speed in words a minute, pitch 0 to 99, volume 100 is normal."""
        self._chunks.clear()
        self.word_starts.clear()
        self._library.espeak_SetVoiceByName(voice.encode())
        for parameter, value in ((_PARAMETER_SPEED, speed), (_PARAMETER_PITCH, pitch), (_PARAMETER_VOLUME, volume)):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        whole_text = (0, 0, 0)  # from its start, without an end
        status = self._library.espeak_Synth(encoded, len(encoded) + 1, *whole_text, _CHARACTERS_UTF8, None, None)
        if status != 0 or not self._chunks:
            raise DataError(f"espeak-ng gave no sound for {text!r} in voice {voice!r} (status {status})")
        return np.concatenate(self._chunks).astype(np.float32) / np.float32(32768)
