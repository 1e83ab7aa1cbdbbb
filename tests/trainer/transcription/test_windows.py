"""Long recordings by windows that follow each other: the places, tokens and prompts of Whisper's authors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import WhisperFeatureExtractor

import launch.transcribe
from data.utterance import SAMPLING_RATE
from modeling.checkpoints import open_model
from modeling.decoding import first_timestamp_token
from modeling.greedy import Said
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.config.reading import ConfigError
from trainer.transcription.heard import Heard, Silence
from trainer.transcription.prompting import Told
from trainer.transcription.recordings import Recording
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.windows import Course, Opened, Parts, Sequential, parts_of
from trainer.transcription.work import Work

from .test_transcriber import noise, saved, tone

__all__ = ["saved"]
FIRST = 1000  # the token of 0.00 s in tests without a model
EVERYTHING = Silence(1.0, -100.0, ())  # nothing is left out, nothing decoded again


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain Whisper that knows timestamps and four languages."""
    folder = tmp_path_factory.mktemp("plain")
    return save_checkpoint(folder, ("az", "de", "en", "tr"), padding=None, positions=16, timestamp_tokens=True)


def scene(seed: int, seconds: float) -> np.ndarray:
    """Tones and noise in turns."""
    draw = np.random.default_rng(seed)
    parts = [noise(2.5, seed), *(tone(float(draw.uniform(1, 6)), float(draw.uniform(100, 3000))) for _ in range(9))]
    audio = np.tile(np.concatenate(parts), int(np.ceil(seconds * SAMPLING_RATE / sum(map(len, parts)))))
    return audio[: round(seconds * SAMPLING_RATE)].astype(np.float32)


def tokens_of(transcriber: Transcriber, recordings: list[np.ndarray], batch_size: int) -> list[list[list[int]]]:
    """Of each recording and window the tokens that count."""
    opened = [Opened(Work(Recording(Path(f"{n}.wav")), "en"), audio) for n, audio in enumerate(recordings)]
    windows = Sequential(transcriber, batch_size)
    return list(windows.transcribe_all(opened, lambda work: [work.heard[n].tokens for n in range(len(work.pieces))]))


def redraw(model: Any, seed: int) -> None:
    """Other random weights; and no time after 12 s, so that windows do not all end with their 30 s."""
    first = first_timestamp_token(model)
    assert first is not None
    model.generation_config.suppress_tokens = [
        *model.generation_config.suppress_tokens,
        *range(first + 600, first + 1501),
    ]
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.dim() > 1 and "embed_positions" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)


def by_transformers(folder: Path, seed: int, recordings: list[np.ndarray]) -> list[list[int]]:
    """The tokens of transformers' own long form, with the time at the end of each window once."""
    model = open_model(str(folder)).eval()
    redraw(model, seed)
    first = first_timestamp_token(model)
    assert first is not None
    extract = WhisperFeatureExtractor()
    inputs = extract(
        recordings,
        sampling_rate=SAMPLING_RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest",
        return_attention_mask=True,
    )
    made = model.generate(
        **inputs,
        return_timestamps=True,
        return_segments=True,
        condition_on_prev_tokens=False,
        language="en",
        task="transcribe",
    )
    found = []
    for segments in made["segments"]:
        lists = [segment["tokens"].tolist() for segment in segments]
        once = [ids[:-1] if len(ids) > 2 and ids[-2] >= first else ids for ids in lists]
        found.append([token for ids in once for token in ids])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_tokens_are_those_of_transformers(plain: Path, seed: int) -> None:
    recordings = [scene(seed, 75), scene(seed + 10, 41.5), scene(seed + 20, 12)]
    expected = by_transformers(plain, seed, recordings)
    transcriber = Transcriber(str(plain), "en", windows="sequential", silence=EVERYTHING)
    redraw(transcriber.model, seed)
    found = tokens_of(transcriber, recordings, batch_size=2)
    assert [[token for window in windows for token in window] for windows in found] == expected
    assert sum(map(len, found)) > 9, "windows begin at timestamps, not every 30 s"


def test_windows_do_not_depend_on_what_is_decoded_together(plain: Path) -> None:
    transcriber = Transcriber(str(plain), "en", windows="sequential", silence=EVERYTHING)
    recordings = [scene(seed, seconds) for seed, seconds in enumerate((40, 65, 20, 33))]
    together = tokens_of(transcriber, recordings, batch_size=3)
    assert together == [tokens_of(transcriber, [audio], batch_size=1)[0] for audio in recordings]


# Where the next window begins


@pytest.mark.parametrize(
    ("tokens", "timed", "advance", "kept"),
    [
        ([1000, 5, 1100, 1100, 6, 1200, 1200], [(0, 2, [5]), (2, 4, [6])], 400, 6),
        ([1000, 5, 1100, 1100, 6, 7], [(0, 2, [5])], 200, 3),
        ([1000, 5, 1100, 1150, 6, 1200], [(0, 2, [5]), (3, 4, [6])], 2500, 6),
        ([1010, 5, 1100], [(0, 2, [5])], 2500, 3),
        ([1000, 5, 6], [(0, 25, [5, 6])], 2500, 3),
        ([1000], [], 2500, 1),
        ([], [], 2500, 0),
    ],
)
def test_a_window_ends_at_its_last_complete_timestamp(
    tokens: list[int], timed: list[Any], advance: int, kept: int
) -> None:
    assert parts_of(tokens, FIRST, 2500) == Parts([(a, b, ids) for a, b, ids in timed], advance, tokens[:kept])


# Decoding again, silence, languages


class Spoken(Sequential):
    """Windows in which is said what a test gives, by temperature."""

    def __init__(self, transcriber: Transcriber, answers: dict[float, Said], batch_size: int = 2) -> None:
        super().__init__(transcriber, batch_size)
        self.asked: list[tuple[float, list[list[int]]]] = []

        def said(states: Any, languages: Any, so_far: Any = None, temperature: float = 0.0) -> list[Said]:
            self.asked.append((temperature, [list(text) for text in so_far]))
            return [answers[temperature]] * len(languages)

        transcriber.said = said  # type: ignore[method-assign]


def work_of(windows: Sequential, seconds: float) -> Work:
    work = Work(Recording(Path("a.wav")), "en")
    (found,) = windows.transcribe_all([Opened(work, noise(seconds))], lambda work: work)
    return found


def likely(tokens: list[int], log_probability: float = -0.5, no_speech: float = 0.1) -> Said:
    return Said(tokens, log_probability, no_speech)


def test_unlikely_and_repeating_windows_are_decoded_again(plain: Path) -> None:
    transcriber = Transcriber(str(plain), "en", windows="sequential")
    first = first_timestamp_token(transcriber.model)
    assert first is not None
    good, loop = [first, 97, 98, first + 500], [first, *[97] * 60, first + 500]
    cases = {
        0.2: [likely(loop), likely(good)],
        0.4: [likely(good, -1.1), likely(loop), likely(good)],
        1.0: [likely(loop)] * 6,
    }
    for temperature, answers in cases.items():
        steps = (0.0, *transcriber.silence.temperatures)
        windows = Spoken(transcriber, dict(zip(steps, answers, strict=False)))
        (heard,) = work_of(windows, 20).heard.values()
        assert (heard.temperature, heard.repeats) == (temperature, temperature == 1.0)
        assert [asked for asked, _ in windows.asked] == list(steps[: len(answers)])


def test_a_window_where_nobody_speaks_is_passed_over(plain: Path) -> None:
    transcriber = Transcriber(str(plain), "en", windows="sequential")
    first = first_timestamp_token(transcriber.model)
    assert first is not None
    ends_early = [first, 97, first + 100, first + 100, 98]
    work = work_of(Spoken(transcriber, {0.0: likely(ends_early, -1.5, 0.9)}), 50)
    assert [piece.begin for piece in work.pieces] == [0, 30 * SAMPLING_RATE]
    assert not any(heard.is_speech for heard in work.heard.values()) and work.heard[0].segments
    spoken = work_of(Spoken(transcriber, {0.0: likely(ends_early, -0.5, 0.9)}), 50)
    assert spoken.pieces[1].begin == 2 * SAMPLING_RATE and spoken.heard[0].is_speech


def test_the_text_so_far_is_left_out_after_a_high_temperature(plain: Path) -> None:
    transcriber = Transcriber(str(plain), "en", windows="sequential", told=Told(previous_text=True))
    first = first_timestamp_token(transcriber.model)
    assert first is not None
    text = [first, 97, first + 500, first + 500]
    windows = Spoken(transcriber, {0.0: likely(text)})
    work_of(windows, 29)
    assert [so_far for _, (so_far,) in windows.asked] == [[], text[:3], text[:3] * 2]
    tries = {0.0: likely(text, -2), 0.2: likely(text, -2), 0.4: likely(text, -2), 0.6: likely(text)}
    windows = Spoken(transcriber, tries)
    work_of(windows, 29)
    assert all(so_far == [] for _, (so_far,) in windows.asked)


def test_windows_heard_before_the_language_was_known_are_heard_again() -> None:
    course = Course(0, Work(Recording(Path("a.wav")), None), noise(90), None)
    codes = ["az", "en"]

    def pass_on(language: str, sure: float) -> None:
        probabilities = [sure, 1 - sure] if language == "az" else [1 - sure, sure]
        heard = Heard(language, [], False, [], np.log(np.array(probabilities, np.float32)))
        course.pass_on(heard, Parts([], 1000, [5]))
        course.tell_language(codes)

    pass_on("az", 0.52)
    pass_on("en", 0.99)
    assert (course.work.language, course.place) == (None, 2000)
    pass_on("en", 0.99)
    assert (course.work.language, course.place, course.work.pieces, course.texts) == ("en", 0, [], [])


def test_digital_silence_is_not_heard(plain: Path) -> None:
    transcriber = Transcriber(str(plain), "en", windows="sequential", silence=EVERYTHING)
    audio = np.concatenate(
        [np.zeros(65 * SAMPLING_RATE, np.float32), noise(3), np.zeros(40 * SAMPLING_RATE, np.float32)]
    )
    works = [Work(Recording(Path(name)), "en") for name in ("a.wav", "b.wav")]
    opened = [Opened(works[0], audio), Opened(works[1], audio[:800_000])]
    seen: list[float] = []
    works = list(Sequential(transcriber, 2).transcribe_all(opened, lambda work: work, seen.append))
    assert [piece.begin for piece in works[0].pieces][:1] == [60 * SAMPLING_RATE]
    assert works[1].pieces == []
    assert seen == sorted(seen)


# The command


@pytest.fixture
def transcribe(plain: Path) -> Callable[..., Outcome]:
    return lambda *arguments: run(launch.transcribe.main, "--checkpoint", plain, *arguments)


def test_windows_from_the_command_line(
    transcribe: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, seconds in enumerate((40, 3, 65)):
        soundfile.write(f"{number}.wav", scene(number, seconds), SAMPLING_RATE)
    given = ("--windows", "sequential", "--no-speech-threshold", "1", "--logprob-threshold", "-100", "--format", "json")
    outcome = transcribe(*given, "--batch-size", "2", "0.wav", "1.wav", "2.wav")
    assert outcome.code == 0, outcome.complaint
    results = [json.loads(line) for line in outcome.output.splitlines()]
    assert [result["file"] for result in results] == ["0.wav", "1.wav", "2.wav"]
    assert [result["duration"] for result in results] == [40, 3, 65]
    assert all(result["language_detected"] for result in results)
    for result in results:
        for segment in result["segments"]:
            assert 0 <= segment["start"] <= segment["end"] <= result["duration"]
            assert segment["avg_logprob"] < 0 and segment["temperature"] in (0, 0.2, 0.4, 0.6, 0.8, 1)
            assert 0 <= segment["no_speech_prob"] <= 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--windows", "sequential", "--beams", "2"], "--windows sequential excludes --beams"),
        (["--windows", "sequential", "--piece-seconds", "9"], "--windows sequential excludes --piece-seconds"),
        (["--windows", "sequential", "--second", "a.wav"], "--windows sequential excludes --second"),
        (["--previous-text"], "--previous-text is of --windows sequential"),
        (["--prompt", "word " * 40], "--prompt take"),
        (["--prompt", "a <|endoftext|>"], "--prompt holds '<|endoftext|>'"),
        (["--hotwords", "nowhere.txt"], "--hotwords is 'nowhere.txt', which cannot be read"),
    ],
)
def test_options_that_do_not_go_together(
    transcribe: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", noise(1), SAMPLING_RATE)
    outcome = transcribe(*arguments, "a.wav")
    assert outcome.code == 2
    assert part in outcome.complaint


def test_a_checkpoint_that_knows_no_timestamps(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint", timestamp_tokens=True)
    with pytest.raises(ConfigError, match=r"--windows is 'sequential'.*not trained on timestamps.*'pieces' is right"):
        Transcriber(str(folder), windows="sequential")


@pytest.mark.parametrize("padding", ["clip", "window"])
def test_dual_attention_checkpoints_hear_windows_too(tmp_path: Path, padding: str) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint", padding=padding, timestamp_tokens=True)
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(generation | {"trained_on_timestamps": True}))
    transcriber = Transcriber(str(folder), windows="sequential", silence=EVERYTHING)
    lengths: list[int] = []
    transcriber.model.get_encoder().conv1.register_forward_hook(lambda m, given, out: lengths.append(given[0].shape[2]))
    work = work_of(Sequential(transcriber, 1), 33)
    assert work.pieces and lengths[0] == 3000
    assert (lengths[-1] < 1000) == (padding == "clip")
