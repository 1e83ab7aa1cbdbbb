"""Recordings of any length to text: which files, where they are cut, in which language."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import launch.transcribe
from data.audio import UndecodableAudio
from data.errors import DataError
from data.utterance import SAMPLING_RATE
from tests.end_to_end import Outcome, run
from trainer.config import RunConfig
from trainer.config_file import ConfigError
from trainer.languages import known_languages
from trainer.transcription import Transcriber, audio_files, cut_at_quiet

TINY = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * SAMPLING_RATE)).astype(np.float32)


# Cutting


@pytest.mark.parametrize("seconds", [0.01, 1, 29.9, 30, 30.01, 31, 65, 123.456])
def test_pieces_sum_to_the_audio_and_fit_the_window(seconds: float) -> None:
    audio = noise(seconds)
    pieces = cut_at_quiet(audio)
    np.testing.assert_array_equal(np.concatenate(pieces), audio)
    assert max(map(len, pieces)) <= 30 * SAMPLING_RATE
    assert all(len(piece) >= 22 * SAMPLING_RATE for piece in pieces[:-1])
    assert len(pieces[-1]) > 0


@pytest.mark.parametrize("pause", [22.0, 25.5, 29.5])
def test_the_cut_is_in_the_pause(pause: float) -> None:
    audio = noise(40)
    audio[int(pause * SAMPLING_RATE) : int((pause + 0.3) * SAMPLING_RATE)] *= 0.01
    audio[10 * SAMPLING_RATE : 11 * SAMPLING_RATE] = 0  # quieter, but it would make a short piece
    first, _ = cut_at_quiet(audio)
    assert pause <= len(first) / SAMPLING_RATE <= pause + 0.3


def test_short_audio_stays_whole() -> None:
    audio = noise(30)
    (piece,) = cut_at_quiet(audio)
    assert piece is audio


def test_window_and_search_can_be_others() -> None:
    pieces = cut_at_quiet(noise(10), window=3, search=1)
    assert all(2 <= len(piece) / SAMPLING_RATE <= 3 for piece in pieces[:-1])


# Files


def test_files_of_folders_and_names_come_once_in_order(tmp_path: Path) -> None:
    for name in ("b.wav", "a.FLAC", "notes.txt", "deep/c.mp3", "deep/d.opus"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    named = tmp_path / "notes.txt"  # named outright, it is tried whatever its suffix
    found = audio_files([str(named), str(tmp_path), str(tmp_path / "b.wav")])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "notes.txt",
        "a.FLAC",
        "b.wav",
        "deep/c.mp3",
        "deep/d.opus",
    ]


def test_a_folder_within_a_folder_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "session.wav").mkdir()
    with pytest.raises(DataError, match="holds no recording"):
        audio_files([str(tmp_path)])


@pytest.mark.parametrize(("name", "reason"), [("nowhere.wav", "does not exist"), ("", "holds no recording")])
def test_nothing_to_transcribe(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        audio_files([str(tmp_path / name)])


# Transcribing, with an untrained model


def save_model(folder: Path, language: str | None, padding: str) -> Path:
    from trainer.model import build_model

    model, processor = build_model(
        RunConfig.model_validate(
            {
                "output_dir": "unused",
                "model": {"architecture": TINY, "encoder_padding": padding},
                "data": {"language": language, "train": {"folder": "unused"}},
                "training": {"steps": 1},
            }
        )
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("checkpoints") / "clip", "az", "clip")


@pytest.fixture
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Ends decoding after few tokens, and holds the arguments of each call."""
    import trainer.transcription

    calls: list[Any] = []
    original = trainer.transcription.greedy_decode

    def decode(model: Any, features: Any, lengths: Any, languages: Any, task: str, max_new_tokens: int) -> Any:
        calls.append((features.shape, lengths, languages, task))
        return original(model, features, lengths, languages, task, max_new_tokens=3)

    monkeypatch.setattr(trainer.transcription, "greedy_decode", decode)
    return calls


def test_a_long_recording_is_decoded_in_pieces(checkpoint: Path, few_tokens: list[Any], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", noise(70), SAMPLING_RATE)
    transcriber = Transcriber(str(checkpoint), None, batch_size=2)
    text = transcriber.transcribe(tmp_path / "long.wav")
    assert isinstance(text, str)
    assert "<|" not in text
    assert [shape[0] for shape, *_ in few_tokens] == [2, 1]
    assert all(shape[2] <= 3000 for shape, *_ in few_tokens)
    assert few_tokens[0][2:] == (["az", "az"], "transcribe")  # the one language that it knows


def test_a_whole_window_of_speech_can_be_decoded(checkpoint: Path, few_tokens: list[Any], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "full.wav", noise(30), SAMPLING_RATE)
    Transcriber(str(checkpoint), "az").transcribe(tmp_path / "full.wav")
    ((shape, lengths, *_),) = few_tokens
    assert shape[2] == 3000
    assert lengths[0] <= 3000


def test_padding_is_that_of_training(tmp_path: Path, few_tokens: list[Any]) -> None:
    soundfile.write(tmp_path / "short.wav", noise(1), SAMPLING_RATE)
    for padding in ("clip", "window"):
        Transcriber(str(save_model(tmp_path / padding, "az", padding)), "az").transcribe(tmp_path / "short.wav")
    (clip, clip_lengths, *_), (window, window_lengths, *_) = few_tokens
    assert (clip[2] < 300, window[2]) == (True, 3000)
    assert (clip_lengths is None, window_lengths) == (False, None)


def test_text_does_not_depend_on_the_pieces_beside(checkpoint: Path, few_tokens: list[Any]) -> None:
    transcriber = Transcriber(str(checkpoint), "az")
    pieces = [noise(2), noise(5)]
    together = list(transcriber.decode(pieces))
    assert together == [next(iter(transcriber.decode([piece]))) for piece in pieces]


def test_the_language_is_detected_where_several_are_known(
    checkpoint: Path, few_tokens: list[Any], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "short.wav", noise(1), SAMPLING_RATE)
    transcriber = Transcriber(str(checkpoint), None)
    known = transcriber.model.generation_config
    known.lang_to_id = {"<|az|>": known.lang_to_id["<|az|>"], "<|en|>": known.lang_to_id["<|az|>"] - 1}
    transcriber.language = None
    assert isinstance(transcriber.transcribe(tmp_path / "short.wav"), str)


def test_known_languages(checkpoint: Path) -> None:
    transcriber = Transcriber(str(checkpoint), None)
    assert transcriber.language == "az"
    assert known_languages(transcriber.model) == ["az"]
    transcriber.model.generation_config.is_multilingual = False
    assert known_languages(transcriber.model) == ["en"]


@pytest.mark.parametrize("language", ["pl", "xx", "AZ", "azerbaijani", ""])
def test_a_language_that_the_checkpoint_does_not_know(checkpoint: Path, language: str) -> None:
    with pytest.raises(ConfigError, match=f"--language is '{language}'.*knows az only"):
        Transcriber(str(checkpoint), language)


def test_what_is_no_recording(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("text")
    with pytest.raises(UndecodableAudio, match="not audio that soundfile reads"):
        Transcriber(str(checkpoint), None).transcribe(tmp_path / "text.wav")


# The command


@pytest.fixture
def transcribe(checkpoint: Path, few_tokens: list[Any]) -> Callable[..., Outcome]:
    return lambda *arguments: run(launch.transcribe.main, "--checkpoint", checkpoint, *arguments)


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with recordings in it."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    soundfile.write("good.wav", noise(0.5), SAMPLING_RATE)
    soundfile.write("no_samples.wav", noise(0), SAMPLING_RATE)
    Path("text.wav").write_text("not a recording")
    return tmp_path


def test_one_recording_is_its_text_alone(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    outcome = transcribe("good.wav")
    assert outcome.code == 0
    assert len(outcome.output.splitlines()) == 1
    assert "good.wav" not in outcome.output


def test_work_goes_on_after_a_file_that_is_no_recording(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    outcome = transcribe("text.wav", "good.wav")
    assert outcome.code == 1
    assert "error: text.wav: not audio that soundfile reads" in outcome.complaint
    assert outcome.output.startswith("good.wav: ")


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["no_samples.wav"], 1, ("no_samples.wav: no samples",)),
        (["empty"], 2, ("empty holds no recording", ".flac")),
        (["good.wav", "nowhere.wav"], 2, ("nowhere.wav does not exist",)),
        (["good.wav", "--language", "xx"], 2, ("--language is 'xx'", "it knows az only")),
        (["good.wav", "--task", "translat"], 2, ("--task", "'translat'", "translate")),
        ([], 2, ("FILE_OR_FOLDER",)),
    ],
)
def test_what_cannot_be_transcribed(
    transcribe: Callable[..., Outcome], recordings: Path, arguments: list[str], code: int, parts: tuple[str, ...]
) -> None:
    outcome = transcribe(*arguments)
    assert outcome.code == code
    for part in parts:
        assert part in outcome.complaint


def test_a_checkpoint_that_knows_english_only(checkpoint: Path, recordings: Path) -> None:
    english = Path(shutil.copytree(checkpoint, "english"))
    generation = json.loads((english / "generation_config.json").read_text())
    (english / "generation_config.json").write_text(json.dumps(generation | {"is_multilingual": False}))
    for arguments, part in ((("--language", "az"), "--language is 'az'"), (("--task", "translate"), "--task")):
        outcome = run(launch.transcribe.main, "--checkpoint", english, "good.wav", *arguments)
        assert outcome.code == 2
        assert part in outcome.complaint


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("run", "did you mean run/best?"),
        ("runs/demo/best", "neither a folder nor a hub name"),
        ("run/checkpoints/step_00000004", "--resume"),
        ("openai/whisper-tinny", "cannot open checkpoint openai/whisper-tinny"),
    ],
)
def test_a_checkpoint_that_is_none(checkpoint: Path, recordings: Path, name: str, part: str) -> None:
    shutil.copytree(checkpoint, "run/best")
    Path("run/checkpoints/step_00000004").mkdir(parents=True)
    Path("run/checkpoints/step_00000004/run_state.json").write_text("{}")
    outcome = run(launch.transcribe.main, "--checkpoint", name, "good.wav")
    assert outcome.code == 2
    assert part in outcome.complaint
