"""The audio of a window: clips one after the other, with the noise of their rooms between them."""

from collections.abc import Callable, Sequence

import numpy as np

from ...audio.cutting import speech_region
from ...errors import DataError
from ...utterance import SAMPLING_RATE, AudioBatch, Skipped, Utterance
from ..collation import TimedRow, collate, language_of, read_audio, read_utterance, refuse_other_length, row_id, text_of
from ..spoken import Said, WindowText
from .plan import Window, WindowPlanner
from .texts import own_segments

QUIET_SECONDS = 0.1  # of a clip, whose noise is taken for that of its room
SILENCE_LEVELS = (-60.0, -15.0)  # dB of full scale, of recordings without speech

Augment = Callable[[Utterance, Window], tuple[Utterance, int | None]]


def read_windows(
    windows: Sequence[Window], planner: WindowPlanner, augment: Augment | None = None
) -> tuple[AudioBatch | None, list[Skipped], set[int]]:
    """As :func:`data.batches.collation.read_batch`, of windows: clips that cannot be used are left out and named."""
    utterances, encoded, skipped, origins, seeds = [], [], list[Skipped](), set[int](), list[int]()
    for window in windows:
        try:
            read = read_window(window, planner, skipped)
            if read is None:
                continue
            utterance, text = read
            if augment is not None and window.rows:
                samples = len(utterance.audio)
                utterance, seed = augment(utterance, window)
                text = text.slower(len(utterance.audio) / samples)
                seeds += [] if seed is None else [seed]
            elif augment is not None:
                seeds.append(window.seed)
            encoded.append(planner.labels.encode_window(text, utterance.language))
            utterances.append(utterance)
            origins |= {timed.origin for timed in window.rows}
        except DataError as error:
            skipped.append(Skipped(row_id(window.example.row, window.example.source), str(error)))
    return (collate(utterances, planner.labels.pad(encoded), seeds) if utterances else None), skipped, origins


def read_window(window: Window, planner: WindowPlanner, skipped: list[Skipped]) -> tuple[Utterance, WindowText] | None:
    """A window's audio and what is said in it; None where none of its clips can be used.

    Args:
        skipped: clips that cannot be used are added here.

    Raises:
        DataError: for a row whose own segments cannot be used, and if nothing without speech can be decoded.
    """
    example = window.example
    generator = np.random.default_rng(window.seed)
    language = language_of(example.row, example.source)
    learns_speech = planner.config.silence > 0
    if window.has_own_segments:
        return own_window(window, learns_speech)
    if not window.rows:
        audio = silence(window, planner, generator)
        name = f"silence-{window.seed:x}"
        text = WindowText((), window.timestamps, learns_speech=learns_speech)
        return Utterance(name, audio, "", language), text
    clips, names, texts, pauses = [], [], [], []
    for timed, pause in zip(window.rows, window.pauses, strict=False):
        try:
            utterance = read_utterance(timed.row, timed.source)
            refuse_other_length(timed, len(utterance.audio) / SAMPLING_RATE)
            planner.labels.text_tokens(utterance.text)
        except DataError as error:
            skipped.append(Skipped(row_id(timed.row, timed.source), str(error)))
            continue
        clips.append(utterance.audio)
        names.append(utterance.id)
        texts.append(utterance.text)
        pauses.append(pause)
    if not clips:
        return None
    begun = beginning(window.begun)
    audio, places = laid_out([*clips, *begun], [*pauses, window.pauses[-1]], generator)
    most = round(max(window.seconds, places[len(clips) - 1][1] / SAMPLING_RATE) * SAMPLING_RATE)
    spans = [(begin / SAMPLING_RATE, end / SAMPLING_RATE) for begin, end in places]
    said = [Said(*span, text) for span, text in zip(spans, texts, strict=False)]
    if begun and spans[-1][0] * SAMPLING_RATE < most:
        said.append(Said(spans[-1][0], None, ""))
    before = [text for text in map(text_before, window.before) if text]
    prompt = ". ".join(filter(None, (", ".join(window.hotwords), " ".join(before))))  # as transcription's prompts
    text = WindowText(tuple(said), window.timestamps, prompt, learns_speech)
    return Utterance("+".join(names), audio[:most], text.text, language), text


def own_window(window: Window, learns_speech: bool) -> tuple[Utterance, WindowText]:
    """A row that is a window by itself."""
    timed = window.example
    audio = read_audio(timed.row, timed.source)
    refuse_other_length(timed, len(audio) / SAMPLING_RATE)
    said, before = own_segments(timed.row, timed.source, len(audio) / SAMPLING_RATE)
    timestamps = window.timestamps or (len(said) == 1 and said[0].end is None)  # nothing could be said without
    if not timestamps and said and said[-1].end is None:  # its words would be heard and not written
        audio, said = audio[: round(said[-1].start * SAMPLING_RATE)], said[:-1]
    text = WindowText(said, timestamps, before if window.before else "", learns_speech)
    utterance = Utterance(row_id(timed.row, timed.source), audio, text.text, language_of(timed.row, timed.source))
    return utterance, text


def beginning(timed: TimedRow | None) -> list[np.ndarray]:
    """The audio of a clip that ends beyond the window; nothing where it cannot be read, which is told elsewhere."""
    try:
        return [] if timed is None else [read_audio(timed.row, timed.source)]
    except DataError:
        return []


def text_before(timed: TimedRow) -> str:
    return text_of(timed.row[timed.source.columns.text]).strip()


def laid_out(
    clips: Sequence[np.ndarray], pauses: Sequence[float], generator: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Clips one after the other, each after its pause; a pause more follows the last.

    Args:
        clips: float32 [samples] each.
        pauses: seconds before each clip, and after the last unless that is left out.

    Returns:
        The audio, and the first and last sample of what is said in each clip, see
        :func:`data.audio.cutting.speech_region`.
    """
    parts, places, at = list[np.ndarray](), list[tuple[int, int]](), 0
    for number, pause in enumerate(pauses):
        around = [*clips[max(0, number - 1) : number], *clips[number : number + 1]]
        between = room_noise(around, round(pause * SAMPLING_RATE), generator)
        parts.append(between)
        at += len(between)
        if number < len(clips):
            begin, end = speech_region(clips[number])
            places.append((at + begin, at + end))
            parts.append(clips[number])
            at += len(clips[number])
    return np.concatenate(parts), places


def room_noise(clips: Sequence[np.ndarray], samples: int, generator: np.random.Generator) -> np.ndarray:
    """Noise as in the quietest 0.1 s of a clip; of two clips it goes over from the first one's to the second one's.

    Returns:
        float32 [samples].
    """
    if not samples:
        return np.zeros(0, np.float32)
    white = np.fft.rfft(generator.standard_normal(samples))
    made = []
    for clip in clips:
        quiet = quietest(clip)
        shape = np.abs(np.fft.rfft(quiet * np.hanning(len(quiet))))
        places = np.linspace(0, len(shape) - 1, len(white))
        noise = np.fft.irfft(white * np.interp(places, np.arange(len(shape)), shape), samples)
        level = np.sqrt(np.square(noise).mean())
        made.append(noise * (np.sqrt(np.square(quiet).mean()) / level if level else 0.0))
    share = np.linspace(0, 1, samples) if len(made) > 1 else 0.0
    return (made[0] * (1 - share) + made[-1] * share).astype(np.float32)


def quietest(clip: np.ndarray) -> np.ndarray:
    """The quietest 0.1 s of a clip, float64; all of a shorter one."""
    size = round(QUIET_SECONDS * SAMPLING_RATE)
    if len(clip) < 2 * size:
        return clip.astype(np.float64)
    frames = clip[: len(clip) // size * size].reshape(-1, size).astype(np.float64)
    return frames[int(np.square(frames).mean(axis=1).argmin())]


def silence(window: Window, planner: WindowPlanner, generator: np.random.Generator) -> np.ndarray:
    """A window where nobody speaks: a recording without speech at any level, or the noise of a clip's room."""
    samples = round(window.seconds * SAMPLING_RATE)
    if planner.sounds is None:
        return room_noise([read_audio(window.example.row, window.example.source)], samples, generator)
    return at_any_level(planner.sounds.excerpt(samples, generator), generator)


def at_any_level(sound: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A sound without speech as loud or quiet as one may be, float32 within [-1, 1]."""
    level = 10 ** (generator.uniform(*SILENCE_LEVELS) / 20)
    return np.clip(sound * (level / np.sqrt(np.square(sound).mean())), -1, 1).astype(np.float32)
