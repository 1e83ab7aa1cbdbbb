"""Facts about one clip.

Decodes with :mod:`data.audio.decoding`, as training does, so that both refuse the same rows. What is odd only in
comparison with other clips is found in :mod:`data.inspection.tally`. No torch.
"""

import contextlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import storage
from ..audio.cutting import has_sound, sound_bounds
from ..audio.decoders import ffmpeg
from ..audio.decoding import Decoded, decode, samples_of
from ..audio.mixing import OUT_OF_PHASE
from ..audio.opening import open_audio
from ..audio.sounds import SequentialSound, foreign_container, understood, unwrapped
from ..audio.undecodable import MissingChannel, UndecodableAudio
from ..corpora.record import Record
from ..preparation.clips import RecordingReader, cut_clip
from ..preparation.measuring import contradicts
from ..preparation.special_tokens import special_token_in
from ..sources.config import Section
from ..sources.languages import whisper_code
from ..utterance import SAMPLING_RATE
from .characters import oddities
from .counts import digest, text_digest
from .kinds import FAILURES, LEFT_OUT, TEXT_FAILURES, Kind
from .labels import open_labels
from .second import SecondFacts, second_facts

FULL_SCALE = 0.999  # of samples in [-1, 1]
CLIPPED_SHARE = 0.001  # of a clip's samples at full scale, above which it is heard
LOW_LEVEL = -50.0  # dBFS, RMS over the clip
OFFSET = 0.01  # mean of the samples
SOUND_SHARE = 0.1  # of a clip between its first and its last sound
CHANNELS = {1: "mono", 2: "stereo"}
LOWEST_LEVEL = -100.0  # dBFS; digital silence counts as this


class InspectionSettings(Section):
    """What training requires of the clips.

    Attributes:
        min_seconds, max_seconds: of clips that training takes.
        max_skipped_share: of unusable rows, above which training stops.
        language: of rows that say none.
        multilingual: whether the checkpoint is; None where none was named.
        tokenizer: folder or hub name of a checkpoint whose tokenizer counts tokens; None: bytes bound them.
        max_tokens: positions of the decoder, for prompt and text.
    """

    min_seconds: float = 0.1
    max_seconds: float = 30.0
    max_skipped_share: float = 0.01
    language: str | None = None
    multilingual: bool | None = None
    tokenizer: str | None = None
    max_tokens: int = 448

    @property
    def text_tokens(self) -> int:
        """Tokens of text that fit beside the prompt: four of it, or two for English-only models."""
        return self.max_tokens - (2 if self.multilingual is False else 4)


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What a clip's samples, at 16 kHz and mono, say.

    Attributes:
        samples: how many; a second has 16,000.
        level: RMS in dBFS, of a full-scale square wave 0.
        clipped: share of samples at full scale.
        offset: mean of the samples.
        sound: samples from the first sound to the last, 0 for digital silence; see ``data.audio.cutting``.
        digest: of the samples at 16 bits, so that copies in other lossless encodings are the same.
    """

    samples: int
    level: float
    clipped: float
    offset: float
    sound: int
    digest: int

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLING_RATE


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What is known of one clip.

    Attributes:
        id: the corpus's name, or where it has the clip.
        text: without spaces around it.
        parts: language, split, speaker, sampling rate, channels and encoding, as far as they are known.
        id_digest: NONE where the corpus names no clip.
        audio: None where it cannot be decoded.
        shown: each kind of thing that the clip shows, with its detail and how bad it is.
        heard: float32 [N], the samples; None where it cannot be decoded.
        second: of the second recording; None without one that can be decoded.
    """

    id: str
    place: str
    text: str
    parts: dict[str, str]
    id_digest: int
    audio: AudioFacts | None
    shown: dict[Kind, tuple[str, float]]
    heard: np.ndarray | None = field(default=None, repr=False, compare=False)
    second: SecondFacts | None = None

    @property
    def is_broken(self) -> bool:
        """Whether training would skip the row as broken; rows outside its length limits are only left out."""
        return self.audio is None or any(kind in self.shown for kind in FAILURES)

    @property
    def is_left_out(self) -> bool:
        return any(kind in self.shown for kind in LEFT_OUT)


def examine(
    record: Record,
    settings: InspectionSettings,
    recordings: RecordingReader | None = None,
    seconds: RecordingReader | None = None,
) -> ClipFacts:
    """Decode one clip and note what is of interest; what is wrong with the clip is noted, not raised.

    Args:
        recordings: who reads clips that are parts; pass the same one for many of few recordings.
        seconds: likewise for second recordings; another one.

    Raises:
        DataError: if ``settings.tokenizer`` cannot be opened.
    """
    text = (record.text or "").strip()
    shown: dict[Kind, tuple[str, float]] = {}
    parts = {
        "language": whisper_code(record.language or ""),
        "split": record.split or "",
        "speaker": record.speaker or "",
    }
    audio = samples = None
    if record.fault is not None:
        shown[Kind.FAULT] = (record.fault, 0)
    else:
        try:
            header, decoded = read_audio(record, recordings)
            parts |= header
            samples = decoded.samples
            audio = audio_facts(samples)
            shown |= {Kind.OUT_OF_PHASE: ("", 0.0)} if OUT_OF_PHASE in decoded.remarks else {}
        except MissingChannel as error:
            shown[Kind.NO_CHANNEL] = (str(error), 0)
        except UndecodableAudio as error:
            shown[Kind.UNDECODABLE] = (str(error), 0)
    second = None
    if samples is not None:
        second, of_second = second_facts(record, samples, seconds)
        shown |= of_second
    if audio is not None:
        shown |= audio_kinds(audio, record, parts.get("sampling rate"), settings)
    of_text = {} if Kind.FAULT in shown and not text else text_kinds(None if record.text is None else text, settings)
    if any(kind in shown for kind in LEFT_OUT):  # training sees the length first and never the text
        of_text = {kind: detail for kind, detail in of_text.items() if kind not in TEXT_FAILURES}
    shown |= of_text
    identity: Any = {"id": record.id or record.place, "place": record.place, "id_digest": text_digest(record.id)}
    return ClipFacts(**identity, text=text, parts=parts, audio=audio, shown=shown, heard=samples, second=second)


def read_audio(record: Record, recordings: RecordingReader | None) -> tuple[dict[str, str], Decoded]:
    """What the header says, and the samples with what is to be told of them.

    Raises:
        UndecodableAudio: as :func:`data.audio.decoding.decode`.
    """
    value: Any = record.audio
    if isinstance(value, dict) and value.get("array") is None:
        value = value.get("bytes") or value.get("path")
    is_remote = isinstance(value, str) and storage.is_remote(value)
    if record.is_part:
        with contextlib.nullcontext(recordings) if recordings else RecordingReader() as reader:
            decoded = Decoded(cut_clip(record, reader), tuple(reader.remarks))
        return {} if is_remote else audio_header(value), decoded  # the reader has fetched it, once
    if is_remote:
        with open_audio(value, None) as file:  # once, for header and samples
            value = file.read()
    return audio_header(value), decode(value, whole=True, channel=record.channel)


def audio_header(value: Any) -> dict[str, str]:
    """Encoding, sampling rate and channels of encoded audio; nothing where the header cannot be read."""
    direct = samples_of(value)
    if direct is not None:
        return {"encoding": "samples", "sampling rate": str(direct[1])}
    with open_audio(value, None) as file:
        try:
            container = foreign_container(file)
            if container is not None:
                probed = ffmpeg.probe(file, container)
                return shape_of(probed.coding.upper(), probed.sampling_rate, probed.channels)
            with understood(), SequentialSound(unwrapped(file)) as sound:
                bits = sound.subtype.removeprefix("PCM_") if sound.subtype.startswith("PCM_") else ""
                coding = f"{bits} bit" if bits.isdigit() else sound.subtype.replace("_", " ").lower()
                encoding = "MP3" if sound.format == "MP3" else f"{sound.format} {coding}"
                return shape_of(encoding, sound.samplerate, sound.channels)
        except UndecodableAudio:
            return {}


def shape_of(encoding: str, rate: int, channels: int) -> dict[str, str]:
    return {
        "encoding": encoding,
        "sampling rate": str(rate),
        "channels": CHANNELS.get(channels, f"{channels} channels"),
    }


def audio_facts(samples: np.ndarray) -> AudioFacts:
    """Facts of decoded samples, float32 [N] in [-1, 1]."""
    power = float(np.dot(samples, samples)) / len(samples)
    begin, end = sound_bounds(samples) if has_sound(samples) else (0, 0)
    peak = max(float(samples.max()), -float(samples.min()))
    clipped = np.count_nonzero(np.abs(samples) >= FULL_SCALE) / len(samples) if peak >= FULL_SCALE else 0.0
    return AudioFacts(
        samples=len(samples),
        level=max(10 * math.log10(power), LOWEST_LEVEL) if power > 0 else LOWEST_LEVEL,
        clipped=float(clipped),
        offset=float(samples.mean()),
        sound=end - begin,
        digest=digest((samples * np.float32(32_767)).astype(np.int16).tobytes()),
    )


def audio_kinds(
    audio: AudioFacts, record: Record, rate: str | None, settings: InspectionSettings
) -> dict[Kind, tuple[str, float]]:
    """What the audio of a clip shows."""
    shown: dict[Kind, tuple[str, float]] = {}
    seconds = audio.seconds
    if seconds > settings.max_seconds:
        shown[Kind.TOO_LONG] = (f"{seconds:.1f} s", seconds)
    elif seconds < settings.min_seconds:
        shown[Kind.TOO_SHORT] = (f"{seconds:.3f} s", -seconds)
    if not audio.sound:
        shown[Kind.NO_SOUND] = (f"{seconds:.1f} s", seconds)
    elif audio.sound < SOUND_SHARE * audio.samples:
        detail = f"sound in {audio.sound / SAMPLING_RATE:.1f} of {seconds:.1f} s"
        shown[Kind.LITTLE_SOUND] = (detail, 1 - audio.sound / audio.samples)
    if audio.sound and audio.level < LOW_LEVEL:
        shown[Kind.QUIET] = (f"{audio.level:.0f} dBFS", -audio.level)
    if audio.clipped > CLIPPED_SHARE:
        shown[Kind.CLIPPED] = (f"{audio.clipped:.1%} of the samples at full scale", audio.clipped)
    if abs(audio.offset) > OFFSET:
        shown[Kind.OFFSET] = (f"{audio.offset:+.3f}", abs(audio.offset))
    claimed = record.duration
    if claimed is not None and contradicts(claimed, seconds):
        shown[Kind.OTHER_DURATION] = (f"{seconds:.2f} s, not {claimed:.2f} s", abs(claimed - seconds))
    if rate is not None and record.sampling_rate is not None and int(rate) != record.sampling_rate:
        shown[Kind.OTHER_RATE] = (f"{int(rate):,} Hz, not {record.sampling_rate:,} Hz", 0)
    return shown


def text_kinds(text: str | None, settings: InspectionSettings) -> dict[Kind, tuple[str, float]]:
    """What the transcript of a clip, without spaces around it, shows; None where there is none."""
    if text is None:
        return {Kind.MISSING: ("null", 0)}
    if not text:
        return {Kind.EMPTY: ("", 0)}
    shown = {Kind[kind.upper()]: (detail, 0.0) for kind, detail in oddities(text).items()}
    try:
        size = len(text.encode()) + 1  # and the space before it; a token is one byte or more
    except UnicodeEncodeError:
        return shown | {Kind.NOT_UNICODE: ("half of a surrogate pair", 0)}
    if token := special_token_in(text):
        return shown | {Kind.SPECIAL: (token, 0)}
    if settings.tokenizer is None:
        if size > settings.text_tokens:
            shown[Kind.UNJUDGED_LABEL] = (f"{size} bytes", size)
        return shown
    label = open_labels(settings.tokenizer).read(text)
    if label.special is not None:
        shown[Kind.SPECIAL] = (label.special, 0)
    elif label.tokens > settings.text_tokens:
        shown[Kind.LONG_LABEL] = (f"{label.tokens} tokens; {settings.text_tokens} fit", label.tokens)
    elif label.forbidden is not None:
        shown[Kind.SUPPRESSED] = (label.forbidden, 0)
    return shown
