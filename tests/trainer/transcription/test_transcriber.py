"""Recordings of any length to text: in which pieces, batches and language, and when each part was said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from data.audio.decoding import UndecodableAudio
from data.utterance import SAMPLING_RATE
from modeling.checkpoint_files import CheckpointError
from modeling.decoding import detect_languages, encode, encoder_padding
from tests.support.untrained import save_checkpoint
from trainer.config.reading import ConfigError
from trainer.model.languages import known_languages
from trainer.transcription.heard import REPEATING, compression_ratio
from trainer.transcription.recordings import Recording
from trainer.transcription.transcriber import Transcriber, similar_lengths
from trainer.transcription.transcripts import Transcript
from trainer.transcription.work import Untranscribed

LANGUAGES = ("az", "de", "en", "tr")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * SAMPLING_RATE)).astype(np.float32)


def tone(seconds: float, hertz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows four languages."""
    return save_checkpoint(tmp_path_factory.mktemp("several"), LANGUAGES)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows Azerbaijani."""
    return save_checkpoint(tmp_path_factory.mktemp("one"))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Recording]:
    def save(audio: np.ndarray, name: str) -> Recording:
        soundfile.write(tmp_path / name, audio, SAMPLING_RATE, subtype="FLOAT")
        return Recording(tmp_path / name)

    return save


def texts(results: Any) -> list[str]:
    return [result.text for result in results]


# Batches


def test_batches_hold_similar_lengths_and_the_earliest_first() -> None:
    batches = similar_lengths([50, 10, 40, 20, 90], 2)
    assert batches == [[2, 0], [1, 3], [4]]
    assert similar_lengths([], 2) == []
    assert similar_lengths([3, 3, 3], 8) == [[0, 1, 2]]


def test_what_is_heard_does_not_depend_on_what_is_decoded_together(
    several: Path, saved: Callable[..., Recording]
) -> None:
    recordings = [saved(noise(0.3 + 0.4 * n, n), f"{n}.wav") for n in range(6)]
    recordings.append(saved(np.concatenate([noise(12, 7), tone(25, 400)]), "long.wav"))
    together = list(Transcriber(str(several), batch_size=4, timestamps="auto").transcribe_all(recordings))
    alone = Transcriber(str(several), batch_size=1, timestamps="auto")
    assert together == [alone.transcribe(recording.path) for recording in recordings]
    assert len(set(texts(together))) == 7
    assert len(together[-1].segments) >= 4


def test_pieces_of_many_recordings_fill_a_batch(several: Path, saved: Callable[..., Recording]) -> None:
    transcriber = Transcriber(str(several), "az", batch_size=4)
    recordings = [saved(noise(0.5), f"{n}.wav") for n in range(6)]
    shapes: list[Any] = []
    encoder = transcriber.model.get_encoder()
    encoder.conv1.register_forward_hook(lambda module, given, out: shapes.append(given[0].shape))
    list(transcriber.transcribe_all(recordings))
    assert [shape[0] for shape in shapes] == [4, 2]


def test_results_come_in_order_and_before_all_recordings_are_read(
    one: Path, saved: Callable[..., Recording], tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("text")
    good, silent = saved(noise(0.2), "good.wav"), saved(np.zeros(1000), "silent.wav")
    read: list[Recording] = []

    def endless() -> Any:
        for recording in [Recording(tmp_path / "text.wav"), silent, *[good] * 1000]:
            read.append(recording)
            yield recording

    transcriber = Transcriber(str(one), batch_size=2)
    transcriber.max_new_tokens = 2
    results = transcriber.transcribe_all(endless())
    first, second, third = next(results), next(results), next(results)
    assert isinstance(first, Untranscribed)
    assert "not audio" in str(first.error)
    assert isinstance(second, Transcript)
    assert (second.text, second.segments) == ("", ())
    assert isinstance(third, Transcript)
    assert third.file.endswith("good.wav")
    assert len(read) <= 40


def test_an_hour_of_audio_is_held_at_once_and_no_more(one: Path, saved: Callable[..., Recording]) -> None:
    hour = saved(np.zeros(3600 * SAMPLING_RATE, np.float32), "hour.wav")
    transcriber = Transcriber(str(one))
    assert [len(works) for works in transcriber.look_ahead([hour] * 3)] == [1, 1, 1]


def test_progress_reaches_the_end(one: Path, saved: Callable[..., Recording]) -> None:
    silent, loud = saved(np.zeros(16_000), "silent.wav"), saved(noise(0.5), "loud.wav")
    seen: list[float] = []
    list(Transcriber(str(one), batch_size=1).transcribe_all([loud, silent, loud], seen.append))
    assert seen == sorted(seen)
    assert seen[0] == pytest.approx(0.5)
    assert seen[-1] == pytest.approx(2.0)


# Padding


def test_padding_is_that_of_training(tmp_path: Path) -> None:
    shapes: list[Any] = []
    for padding in ("clip", "window", None):
        transcriber = Transcriber(str(save_checkpoint(tmp_path / str(padding), padding=padding)))
        transcriber.model.get_encoder().conv1.register_forward_hook(
            lambda module, given, out: shapes.append(given[0].shape)
        )
        transcriber.hear([noise(1), noise(30)], ["az", "az"])
        transcriber.hear([noise(1)], ["az"])
    assert [shape[2] for shape in shapes] == [3000, 154, 3000, 3000, 3000, 3000]


def test_another_number_of_mel_bins(tmp_path: Path, saved: Callable[..., Recording]) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint", mel_bins=128)
    path = saved(noise(1), "a.wav").path
    assert Transcriber(str(folder)).transcribe(path).text
    from modeling.byte_processor import build_byte_processor

    build_byte_processor(["az"], 80).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="makes 80 mel bins, but its model takes 128"):
        Transcriber(str(folder))


# Languages


def test_each_recordings_language_is_detected_once(several: Path, saved: Callable[..., Recording]) -> None:
    transcriber = Transcriber(str(several), batch_size=3)
    sounds = [tone(1, 150), tone(1, 3000), noise(2), tone(1, 800)]
    # Of a long one, its first piece with sound decides, not those after.
    sounds.append(np.concatenate([np.zeros(35 * SAMPLING_RATE), noise(9), tone(31, 3000)]))
    results = list(transcriber.transcribe_all(saved(sound, f"{n}.wav") for n, sound in enumerate(sounds)))
    expected = [detected(transcriber, sound.astype(np.float32)) for sound in sounds[:4]]
    assert [result.language for result in results[:4]] == expected
    assert len(set(expected)) > 1
    assert all(result.language_detected for result in results)
    work = transcriber.read(saved(sounds[4], "4.wav"))
    firsts = [detected(transcriber, piece.audio) for piece in work.pieces]
    assert len(set(firsts)) > 1
    assert results[4].language == firsts[0]


def detected(transcriber: Transcriber, audio: np.ndarray) -> str:
    (language,) = detect_languages(transcriber.model, transcriber.encode([audio]).states)
    return language


def test_a_language_that_is_given_is_followed(several: Path, saved: Callable[..., Recording]) -> None:
    path = saved(noise(1), "a.wav").path
    results = [Transcriber(str(several), language).transcribe(path) for language in LANGUAGES]
    assert [(result.language, result.language_detected) for result in results] == [(x, False) for x in LANGUAGES]
    assert len({result.text for result in results}) > 1


def test_the_one_language_that_a_checkpoint_knows(one: Path, saved: Callable[..., Recording]) -> None:
    transcriber = Transcriber(str(one))
    result = transcriber.transcribe(saved(noise(1), "a.wav").path)
    assert (result.language, result.language_detected) == ("az", False)
    assert known_languages(transcriber.model) == ["az"]
    transcriber.model.generation_config.is_multilingual = False
    assert known_languages(transcriber.model) == ["en"]


def test_english_only(tmp_path: Path, saved: Callable[..., Recording]) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint", ["en"])
    generation = Transcriber(str(folder)).model.generation_config
    generation.is_multilingual = False
    del generation.lang_to_id, generation.task_to_id
    generation.save_pretrained(folder)
    result = Transcriber(str(folder)).transcribe(saved(noise(1), "a.wav").path)
    assert result.language == "en"
    assert result.text
    with pytest.raises(ConfigError, match=r"--language is 'az'.*knows en only"):
        Transcriber(str(folder), "az")
    with pytest.raises(ConfigError, match=r"--task is 'translate'.*English only"):
        Transcriber(str(folder), task="translate")


@pytest.mark.parametrize("language", ["pl", "xx", "kmr", ""])
def test_a_language_that_the_checkpoint_does_not_know(one: Path, language: str) -> None:
    with pytest.raises(ConfigError, match=f"--language is '{language}'.*knows az only"):
        Transcriber(str(one), language)


@pytest.mark.parametrize("language", ["az", "AZ", "azj", "az-AZ", "Azerbaijani"])
def test_a_language_is_understood_however_it_is_given(one: Path, language: str) -> None:
    assert Transcriber(str(one), language).language == "az"


def test_a_checkpoint_that_does_not_say_what_it_knows(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint")
    (folder / "generation_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"generation_config\.json of .* has no lang_to_id"):
        Transcriber(str(folder))


# Times


def test_times_from_pauses_are_where_the_sound_is(several: Path, saved: Callable[..., Recording]) -> None:
    audio = np.concatenate([0.0001 * noise(3), noise(2), 0.0001 * noise(4), tone(3, 400), 0.0001 * noise(15), noise(1)])
    transcript = Transcriber(str(several), "az", timestamps="auto").transcribe(saved(audio, "a.wav").path)
    loud = [segment for segment in transcript.segments if segment.end - segment.start < 5]
    first, last = loud[0], loud[-1]
    assert (first.start, first.end) == (pytest.approx(2.9, abs=0.03), pytest.approx(5.1, abs=0.03))
    assert (last.start, last.end) == (pytest.approx(26.9, abs=0.03), pytest.approx(28, abs=0.03))
    check_order(transcript)


def check_order(transcript: Transcript) -> None:
    times = [time for segment in transcript.segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= transcript.duration


def test_times_from_tokens_are_the_models(tmp_path: Path, saved: Callable[..., Recording]) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint", padding=None, positions=60, timestamp_tokens=True)
    path = saved(np.concatenate([noise(45), tone(20, 300)]), "a.wav").path
    transcript = Transcriber(str(folder), timestamps="auto").transcribe(path)
    assert transcript == Transcriber(str(folder), timestamps="tokens").transcribe(path)
    check_order(transcript)
    pieces = Transcriber(str(folder)).read(Recording(path)).pieces
    for segment in transcript.segments:
        piece = max(p for p in [piece.begin / SAMPLING_RATE for piece in pieces] if p <= segment.start + 1e-3)
        assert (segment.start - piece) / 0.02 == pytest.approx(round((segment.start - piece) / 0.02), abs=0.06)


def test_pieces_are_shorter_where_only_they_have_times(tmp_path: Path) -> None:
    plain = save_checkpoint(tmp_path / "plain", padding=None, timestamp_tokens=True)
    one = save_checkpoint(tmp_path / "one", timestamp_tokens=True)

    def longest(checkpoint: Path, **options: Any) -> float:
        return Transcriber(str(checkpoint), **options).piece_seconds

    assert [longest(one), longest(one, timestamps="auto"), longest(one, timestamps="tokens")] == [30, 10, 30]
    assert [longest(plain, timestamps="auto"), longest(plain, timestamps="pauses")] == [30, 10]
    assert [longest(one, timestamps="auto", piece_seconds=4), longest(plain, piece_seconds=15)] == [4, 15]


def test_tokens_of_a_vocabulary_that_has_none(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint", padding=None)
    assert not Transcriber(str(folder), timestamps="auto").asks_tokens
    with pytest.raises(ConfigError, match=r"--segments is 'tokens'.*no timestamp tokens"):
        Transcriber(str(folder), timestamps="tokens")


# Loops and silence


def test_compression_tells_loops_from_sentences() -> None:
    assert compression_ratio("") < 1
    assert compression_ratio("no no no no") < REPEATING
    assert compression_ratio("It was after breakfast that Tom saw the bear, and the bear saw Tom.") < REPEATING
    assert compression_ratio("He hates shooting. " * 10) > REPEATING


def test_a_loop_is_decoded_again_and_again_the_same(tmp_path: Path) -> None:
    transcriber = Transcriber(str(save_checkpoint(tmp_path / "checkpoint", positions=300)))
    audio = tone(2, 3000).astype(np.float32)
    (loop,) = transcriber.understand(transcriber.encode([audio]), ["az"])
    assert loop.repeats
    (first,) = transcriber.hear([audio], ["az"])
    assert not first.repeats
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert transcriber.hear([audio], ["az"]) == [first]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loop_that_stays_one_is_kept_and_told(
    one: Path, saved: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.transcription.hearing.REPEATING", 0.1)
    path = saved(noise(1), "a.wav").path
    transcript = Transcriber(str(one)).transcribe(path)
    assert transcript.repeats
    monkeypatch.undo()
    assert transcript.text == Transcriber(str(one)).transcribe(path).text


def test_digital_silence_is_not_asked_about(one: Path, saved: Callable[..., Recording]) -> None:
    transcriber = Transcriber(str(one))
    audio = np.concatenate([np.zeros(50 * SAMPLING_RATE), noise(1), np.zeros(100 * SAMPLING_RATE)])
    assert len(transcriber.read(saved(audio, "a.wav")).pieces) == 1
    transcript = transcriber.transcribe(saved(audio, "a.wav").path)
    assert len(transcript.segments) == 1
    assert transcript.segments[0].start == pytest.approx(49.9, abs=0.03)
    assert transcript.duration == 151


def test_what_is_no_recording(one: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("text")
    with pytest.raises(UndecodableAudio, match="not audio that soundfile reads"):
        Transcriber(str(one)).transcribe(tmp_path / "text.wav")


def test_half_precision(several: Path) -> None:
    transcriber = Transcriber(str(several), dtype="bf16")
    assert transcriber.model.dtype == torch.bfloat16
    assert encoder_padding(transcriber.model) == "clip"
    assert encode(transcriber.model, torch.zeros(1, 80, 104), [100]).last_hidden_state.dtype == torch.bfloat16
    assert transcriber.hear([noise(1)], [None])[0].segments


@pytest.mark.parametrize(("noted", "asked"), [(True, (True, True)), (False, (False, False)), (None, (False, False))])
def test_a_checkpoint_says_whether_it_was_trained_on_timestamps(
    tmp_path: Path, noted: bool | None, asked: tuple[bool, bool]
) -> None:
    """Its text is better with them, so that they are asked for even where nobody wants times."""
    folder = save_checkpoint(tmp_path / "checkpoint", timestamp_tokens=True)
    file = folder / "generation_config.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(values if noted is None else values | {"trained_on_timestamps": noted}), "utf-8")
    assert tuple(Transcriber(str(folder), timestamps=one).asks_tokens for one in ("auto", None)) == asked
    assert Transcriber(str(folder), timestamps="pauses").asks_tokens is False


def test_pieces_are_as_long_as_what_the_model_was_trained_on(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint", timestamp_tokens=True)
    file = folder / "generation_config.json"
    values = json.loads(file.read_text(encoding="utf-8")) | {"trained_on_timestamps": True}
    for noted, seconds in (({}, 30), ({"trained_on_seconds": 12.0}, 12)):
        file.write_text(json.dumps(values | noted), "utf-8")
        assert Transcriber(str(folder)).piece_seconds == seconds
        assert Transcriber(str(folder), timestamps="pauses").piece_seconds == 10
        assert Transcriber(str(folder), piece_seconds=5).piece_seconds == 5
