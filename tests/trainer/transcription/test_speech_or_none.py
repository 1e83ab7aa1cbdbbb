"""Where nobody speaks: what the model invents there is left out, and does not decide the language."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import launch.transcribe
from data.utterance import SAMPLING_RATE
from tests.end_to_end import run
from tests.support.untrained import save_checkpoint
from trainer.transcription.heard import Heard, Silence, within_sound
from trainer.transcription.recordings import Recording
from trainer.transcription.second.pairing import PairedPiece
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.transcripts import Segment
from trainer.transcription.work import Work

from .test_transcriber import noise, saved, tone

__all__ = ["saved"]
CODES = ["az", "en", "nn"]


def work_of(pieces: int) -> Work:
    one = PairedPiece(0, np.zeros(SAMPLING_RATE, np.float32))
    return Work(Recording(Path("a.wav")), None, pieces=[one] * pieces)


def heard(*probabilities: float, is_speech: bool = True) -> Heard:
    likelihoods = np.log(np.array(probabilities, np.float32))
    return Heard(CODES[int(likelihoods.argmax())], [], False, [], likelihoods, 0.1, is_speech)


# Languages


def test_a_language_that_is_sure_needs_one_piece() -> None:
    work = work_of(9)
    work.heard[0] = heard(0.02, 0.95, 0.03)
    assert work.tell_language(CODES) == []
    assert (work.language, work.sure) == ("en", pytest.approx(0.95))


def test_noise_before_speech_does_not_decide_the_language() -> None:
    """Eleven seconds of noise and then English were heard as Nynorsk."""
    work = work_of(9)
    work.heard[0] = heard(0.01, 0.01, 0.98, is_speech=False)
    assert work.tell_language(CODES) == [] and work.language is None
    work.heard[1] = heard(0.05, 0.9, 0.05)
    assert work.tell_language(CODES) == [0], "it is heard again, in English"
    assert work.language == "en" and list(work.heard) == [1]


def test_what_several_pieces_say_together_decides() -> None:
    work = work_of(3)
    for number, piece in enumerate([heard(0.2, 0.35, 0.45), heard(0.2, 0.5, 0.3), heard(0.2, 0.6, 0.2)]):
        work.heard[number] = piece
        again = work.tell_language(CODES)
    assert (work.language, work.sure) == ("en", pytest.approx((0.35 + 0.5 + 0.6) / 3))
    assert again == [0]


def test_five_pieces_without_speech_end_the_search() -> None:
    work = work_of(9)
    for number in range(5):
        assert work.language is None
        work.heard[number] = heard(0.2, 0.3, 0.5, is_speech=False)
        work.tell_language(CODES)
    assert work.language == "nn"


def test_an_unsure_language_is_told_and_its_probability_written(
    tmp_path: Path, saved: Callable[..., Recording]
) -> None:
    """A model without training finds several languages about as likely."""
    folder = save_checkpoint(tmp_path / "checkpoint", ("az", "en", "tr", "de"))
    result = Transcriber(str(folder)).transcribe(saved(np.concatenate([noise(12), tone(25, 400)]), "a.wav").path)
    assert result.language_probability is not None and 0 < result.language_probability < 1
    told = [warning for warning in result.warnings if "its language seems to be" in warning]
    assert bool(told) == (result.language_probability < 0.5)
    given = Transcriber(str(folder), "en").transcribe(tmp_path / "a.wav")
    assert given.language_probability is None


def test_the_language_is_one_for_all_of_a_recording(
    tmp_path: Path, saved: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces that were heard before it was known are heard again in it; the progress counts each once."""
    transcriber = Transcriber(str(save_checkpoint(tmp_path / "checkpoint", CODES)), piece_seconds=3, batch_size=2)
    asked: list[str | None] = []

    def hear(pieces: Any, languages: Any, seconds: Any = None) -> list[Heard]:
        asked.extend(languages)
        first = len(asked) == len(languages)
        found = [heard(0.1, 0.1, 0.8, is_speech=False) if first else heard(0.01, 0.98, 0.01) for _ in pieces]
        return [
            Heard(language or one.language, [Segment(0, 1, language or "?")], False, [], one.likelihoods)
            if language
            else one
            for one, language in zip(found, languages, strict=True)
        ]

    monkeypatch.setattr(transcriber, "hear", hear)
    seen: list[float] = []
    recording = saved(noise(11), "a.wav")
    (result,) = transcriber.transcribe_all([recording], seen.append)
    assert asked[:2] == [None, None] and set(asked[2:]) == {"en"}
    assert result.language == "en"  # type: ignore[union-attr]
    assert seen[-1] == pytest.approx(11) and max(seen) <= 11.01


# Silence


@pytest.fixture
def deaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Transcriber]:
    """A checkpoint that finds no speech likely, and its text as likely as is said."""

    def build(no_speech: float, sureness: float, **options: Any) -> Transcriber:
        from trainer.transcription import hearing

        transcriber = Transcriber(str(save_checkpoint(tmp_path / "checkpoint")), **options)
        found = lambda self, clips, fused=None: [no_speech] * clips  # noqa: E731
        monkeypatch.setattr(hearing.NoSpeech, "probabilities", found)
        monkeypatch.setattr(transcriber, "sureness", lambda encoded, pieces: [sureness] * len(pieces))
        return transcriber

    return build


@pytest.mark.parametrize(
    ("no_speech", "sureness", "silence", "is_left_out"),
    [
        (0.9, -1.5, Silence(), True),
        (0.5, -1.5, Silence(), False),
        (0.9, -0.5, Silence(), False),
        (0.9, -1.5, Silence(no_speech=1.0), False),
        (0.5, -0.5, Silence(0.4, -0.4), True),
        (math.nan, -1.5, Silence(), False),
    ],
)
def test_words_where_nobody_speaks_are_left_out(
    deaf: Callable[..., Transcriber],
    saved: Callable[..., Recording],
    no_speech: float,
    sureness: float,
    silence: Silence,
    is_left_out: bool,
) -> None:
    result = deaf(no_speech, sureness, silence=silence).transcribe(saved(noise(2), "a.wav").path)
    assert bool(result.left_out) == is_left_out and bool(result.segments) != is_left_out
    assert bool(result.text) != is_left_out
    (part,) = result.left_out or result.segments
    assert part.no_speech_prob == (None if math.isnan(no_speech) else no_speech)
    assert any("nobody seems to speak in 2.0 s" in warning for warning in result.warnings) == is_left_out


def test_how_likely_the_text_is(tmp_path: Path, saved: Callable[..., Recording]) -> None:
    """The mean over the tokens and the end is that of transformers' scores, where nothing is suppressed."""
    transcriber = Transcriber(str(save_checkpoint(tmp_path / "checkpoint")), "az")
    transcriber.model.generation_config.suppress_tokens = None
    audio = noise(1.5)
    encoded = transcriber.encode([audio])
    (piece,) = transcriber.understand(encoded, ["az"])
    made = transcriber.model.generate(
        encoder_outputs=encoded.states,
        language=["az"],
        task="transcribe",
        max_new_tokens=transcriber.max_new_tokens,
        output_scores=True,
        return_dict_in_generate=True,
        force_unique_generate_call=True,
    )
    likely = [float(step.log_softmax(dim=-1).max()) for step in made.scores]
    if len(likely) == len(piece.tokens) + 1:  # it ended by itself
        assert transcriber.sureness(encoded, [piece]) == [pytest.approx(sum(likely) / len(likely), abs=1e-4)]
    else:
        (mean,) = transcriber.sureness(encoded, [piece])
        assert mean < 0


def test_the_thresholds_are_options(tmp_path: Path, saved: Callable[..., Recording]) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint")
    path = saved(noise(2), "a.wav").path
    given = ("--checkpoint", folder, "--format", "json", path)
    shown = [
        json.loads(
            run(launch.transcribe.main, *given, "--no-speech-threshold", threshold, "--logprob-threshold", 0).output
        )
        for threshold in ("0", "1")
    ]
    assert [bool(one["left_out"]) for one in shown] == [True, False]
    assert shown[0]["left_out"][0]["text"] == shown[1]["text"] and shown[0]["text"] == ""
    assert run(launch.transcribe.main, *given, "--no-speech-threshold", "2").code == 2


# Times


def test_a_segment_begins_no_earlier_than_the_sound() -> None:
    timed = [(0.0, 20.0, [1]), (20.0, 29.0, [2])]
    assert within_sound(timed, 14.2, 27.5) == [(14.2, 20.0, [1]), (20.0, 27.5, [2])]
    assert within_sound([(0.0, 2.0, [1])], 14.2, 27.5) == [(0.0, 2.0, [1])], "no sound there: the model's own times"
