"""launch/transcribe.py with a second recording: which files belong together, what is fused, and what cannot be."""

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import launch.transcribe
from data.audio.decoding import decode_audio
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from tests.trainer.transcription.second.test_alignment import voice
from trainer.transcription.recordings import Recording, find_recordings
from trainer.transcription.second.pairing import SecondUse
from trainer.transcription.second.second_recordings import with_second
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.transcripts import Transcript

pytestmark = pytest.mark.usefixtures("exact_attention")


@pytest.fixture
def pair(recordings: Path) -> Path:
    """The working folder, with a voice that two microphones heard."""
    rng = np.random.default_rng(0)
    for name, level in (("child.wav", 0.01), ("room.wav", 0.02)):
        soundfile.write(name, voice(2) + rng.normal(0, level, 32_000), 16_000)
    both = np.stack([soundfile.read(name)[0] for name in ("child.wav", "room.wav")], axis=1)
    soundfile.write("stereo.wav", both, 16_000)
    return recordings


def results(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.code == 0, outcome.errors
    return [json.loads(line) for line in outcome.output.splitlines()]


def test_two_recordings_are_fused(transcribe: Callable[..., Outcome], pair: Path) -> None:
    fused = transcribe("child.wav", "--second", "room.wav", "--fuse", "--format", "json")
    assert fused.errors == ""
    (result,) = results(fused)
    assert result["second"] == {"file": "room.wav", "use": "fused", "delay": None}
    assert all(0 < segment["share"] < 1 for segment in result["segments"])
    (first,) = results(
        transcribe("child.wav", "--second", "room.wav", "--fuse", "--fuse-share", "1", "--format", "json")
    )
    assert [segment["share"] for segment in first["segments"]] == [1.0]
    (alone,) = results(transcribe("child.wav", "--format", "json"))
    assert first["text"] == alone["text"] != result["text"]
    assert "second" not in alone
    assert "share" not in alone["segments"][0]


def test_what_leaks_from_the_other_channel_is_taken_out(transcribe: Callable[..., Outcome], pair: Path) -> None:
    own, other = voice(3), voice(3, seed=5)
    soundfile.write("call.wav", np.stack([own + 0.7 * other, other], axis=1), 16_000, subtype="FLOAT")
    soundfile.write("own.wav", own, 16_000, subtype="FLOAT")
    (heard,) = results(transcribe("call.wav", "--second", "channel", "--subtract", "--format", "json"))
    assert heard["second"] == {"file": "call.wav (right channel)", "use": "subtracted", "delay": None}
    folder = save_checkpoint(pair / "checkpoint_of_one", padding=None)
    transcriber = Transcriber(str(folder), second=SecondUse(subtract=True))
    (recording,) = with_second(find_recordings(["call.wav"]), "channel", ["call.wav"], SecondUse())
    (piece,) = transcriber.read(recording).pieces
    assert piece.second is None
    mixed = soundfile.read("call.wav", dtype="float32")[0][:, 0]
    assert np.corrcoef(piece.audio, own)[0, 1] > 0.95 > np.corrcoef(mixed, own)[0, 1]


def test_what_leaks_from_another_file_is_taken_out_at_its_time(transcribe: Callable[..., Outcome], pair: Path) -> None:
    """Two telephones that were started half a second apart."""
    own, other = voice(6), voice(6, seed=5)
    soundfile.write("mine.wav", own + other, 16_000, subtype="FLOAT")
    soundfile.write("theirs.wav", np.concatenate([np.zeros(8000), other]), 16_000, subtype="FLOAT")
    files = ["mine.wav"]
    use = SecondUse(subtract=True)
    (recording,) = with_second(find_recordings(files), "theirs.wav", files, use)
    work = Transcriber(str(save_checkpoint(pair / "checkpoint_of_one")), second=use).read(recording)
    assert work.second is not None and work.second.delay == pytest.approx(0.5, abs=0.01)
    assert np.corrcoef(np.concatenate([piece.audio for piece in work.pieces]), own)[0, 1] > 0.9


def test_a_silent_other_party_leaks_nothing(transcribe: Callable[..., Outcome], pair: Path) -> None:
    both = np.stack([voice(2), np.zeros(32_000)], axis=1)
    soundfile.write("call.wav", both, 16_000, subtype="FLOAT")
    soundfile.write("own.wav", both[:, 0], 16_000, subtype="FLOAT")
    said = [
        results(transcribe(*given, "--format", "json"))[0]["text"]
        for given in (("call.wav", "--second", "channel", "--subtract"), ("own.wav",))
    ]
    assert said[0] == said[1]


def test_channels_folders_and_patterns_say_the_same(pair: Path) -> None:
    for name in ("meeting/child.wav", "meeting/deep/child.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("child.wav", name)
        far = Path("meeting/far") / Path(name).relative_to("meeting").with_suffix(".flac")
        far.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(far, soundfile.read("room.wav")[0], 16_000)
    shutil.copy("room.wav", "child_room.wav")
    child, room = (decode_audio(name) for name in ("child.wav", "room.wav"))

    def check(files: list[str], option: str, *seconds: str) -> None:
        found = with_second(find_recordings(files), option, files, SecondUse())
        for recording, name in zip(found, seconds, strict=True):
            assert recording.second is not None and recording.second.label == name
            np.testing.assert_array_equal(recording.decode().samples, room if option == "left_channel" else child)
            np.testing.assert_array_equal(
                recording.second.decode().samples, child if option == "left_channel" else room
            )

    check(["child.wav"], "room.wav", "room.wav")
    check(["stereo.wav"], "channel", "stereo.wav (right channel)")
    check(["stereo.wav"], "left_channel", "stereo.wav (left channel)")
    check(["child.wav"], "{name}_room.wav", "child_room.wav")
    check(["child.wav", "child_room.wav"], "{name}_room.wav", "child_room.wav")
    check(["child.wav"], "meeting/far", "meeting/far/child.flac")
    check(["meeting"], "meeting/far", "meeting/far/child.flac", "meeting/far/deep/child.flac")


@pytest.mark.parametrize("option", ["{name}_room.wav", "far"])
def test_a_recording_that_lacks_its_second_one_is_heard_alone(
    transcribe: Callable[..., Outcome], pair: Path, option: str
) -> None:
    Path("far").mkdir()
    for place in ("child_room.wav", "far/child.wav"):
        shutil.copy("room.wav", place)
    shutil.copy("child.wav", "other.wav")
    outcome = transcribe("other.wav", "child.wav", "--second", option, "--fuse", "--format", "json")
    assert "warning: 1 of 2 recordings have no second one and are heard alone: " in outcome.errors
    other, child = results(outcome)
    assert "second" in child and "second" not in other
    assert other["text"] == results(transcribe("other.wav", "--format", "json"))[0]["text"]


def test_beams_times_and_batches_with_some_that_are_fused(
    transcribe: Callable[..., Outcome], pair: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = save_checkpoint(tmp_path_factory.mktemp("plain"), ["az", "de"], padding=None, timestamp_tokens=True)
    soundfile.write("long.wav", np.concatenate([voice(3), voice(4, 1)]), 16_000)
    soundfile.write("long_room.wav", voice(3), 16_000)
    shutil.copy("room.wav", "child_room.wav")
    outcome = run(
        launch.transcribe.main, "--checkpoint", plain, "child.wav", "long.wav", "--second", "{name}_room.wav", "--fuse",
        "--beams", "2", "--format", "json"
    )  # fmt: skip
    child, long = results(outcome)
    assert child["language_detected"]
    assert all(0 < segment["share"] < 1 for segment in child["segments"])
    shares = [segment["share"] for segment in long["segments"] if segment["start"] > 3.1]
    assert shares
    assert set(shares) == {1.0}  # the second recording has ended


def test_a_model_that_hears_both_is_given_both(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = hearing_both(tmp_path_factory.mktemp("both"))
    transcriber = Transcriber(str(folder), second=SecondUse())
    child, room, stereo = (Path(name) for name in ("child.wav", "room.wav", "stereo.wav"))

    def text(recording: Recording, **use: Any) -> str:
        transcriber.second = SecondUse(**use)
        (result,) = transcriber.transcribe_all([recording])
        assert isinstance(result, Transcript)
        if result.second is not None:
            assert result.second.use == ("fused" if use.get("fuse") else "model")
            assert (result.segments[0].share is not None) == use.get("fuse", False)
        return result.text

    alone, other, beside = text(Recording(child)), text(Recording(room)), Recording(child, second=Recording(room))
    both = text(beside)
    assert both not in (alone, other)
    assert text(beside, fuse=True, share=1.0) == alone
    assert text(beside, fuse=True, share=0.0) == other
    assert text(beside, kind="speaker") == both
    assert text(Recording(stereo, 0, Recording(stereo, 1))) == both
    (told,) = results(run(launch.transcribe.main, "--checkpoint", folder, child, "--second", room, "--format", "json"))
    assert told["text"] == both


def hearing_both(folder: Path) -> Path:
    """A checkpoint whose second attentions read the second recording."""
    path = save_checkpoint(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"second_recording": "attention"}))
    return folder


def test_remarks_and_codes_of_several(transcribe: Callable[..., Outcome], pair: Path) -> None:
    Path("far").mkdir()
    shutil.copy("room.wav", "far/child.wav")
    soundfile.write("far/good.wav", np.zeros(8000), 16_000)
    outcome = transcribe("good.wav", "child.wav", "--second", "far", "--fuse")
    assert outcome.code == 2
    assert re.match("error: far/good.wav, the second recording of good.wav, holds no sound", outcome.complaint)
    assert outcome.output.startswith("child.wav: ")
    soundfile.write("other.wav", voice(2, 3), 16_000)
    outcome = transcribe("child.wav", "--second", "other.wav", "--fuse")
    assert outcome.code == 0
    assert "warning: child.wav: other.wav has no speech in common with it" in outcome.errors


def test_standard_input_has_a_second_file(
    transcribe: Callable[..., Outcome], pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path("child.wav").read_bytes())))
    piped = transcribe("-", "--second", "room.wav", "--fuse")
    assert piped.output == transcribe("child.wav", "--second", "room.wav", "--fuse").output
    assert "standard input" in transcribe("-", "--second", "channel", "--fuse").complaint
    assert "standard input" in transcribe("-", "--second", "{name}_room.wav", "--fuse").complaint


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["child.wav", "--second", "room.wav"], ("hears one recording", "--fuse")),
        (["child.wav", "--fuse"], ("--fuse", "--second says which")),
        (["child.wav", "--second-kind", "speaker"], ("--second-kind", "--second says which")),
        (["child.wav", "--second", "room.wav", "--fuse-share", "0.5"], ("--fuse-share is of --fuse",)),
        (["child.wav", "--second", "room.wav", "--fuse", "--fuse-share", "2"], ("--fuse-share", "from 0 to 1")),
        (["child.wav", "--second", "room.wav", "--fuse", "--second-kind", "speaker"], ("--fuse averages",)),
        (["child.wav", "--subtract"], ("--subtract", "--second says which")),
        (["child.wav", "--second", "room.wav", "--subtract", "--fuse"], ("--subtract", "excludes --fuse")),
        (["child.wav", "--second", "channel", "--subtract"], ("one channel",)),
        (["child.wav", "--second", "nowhere.wav", "--fuse"], ("'nowhere.wav'", "does not exist", "channel")),
        (["child.wav", "--second", "{name}_far.wav", "--fuse"], ("child_far.wav not found",)),
        (["child.wav", "good.wav", "--second", "{name}_far.wav", "--fuse"], ("each recording would lack",)),
        (["child.wav", "--second", "{nam}.wav", "--fuse"], ("--second", "{name}")),
        (["child.wav", "--second", "empty", "--fuse"], ("empty/child.wav not found",)),
        (["child.wav", "good.wav", "--second", "room.wav", "--fuse"], ("one file for 2 recordings", "a folder")),
        (["child.wav", "--second", "./child.wav", "--fuse"], ("the first recording itself",)),
        (
            ["child.wav", "--second", "text.wav", "--fuse"],
            ("text.wav, the second recording of child.wav,", "not audio"),
        ),
        (["child.wav", "--second", "silent.wav", "--fuse"], ("silent.wav", "holds no sound")),
        (["child.wav", "--second", "hour.wav", "--fuse"], ("hour.wav", "far longer than the first")),
        (["child.wav", "--second", "channel", "--fuse"], ("a channel of child.wav", "has one channel")),
    ],
)
def test_what_cannot_be(
    transcribe: Callable[..., Outcome], pair: Path, arguments: list[str], parts: tuple[str, ...]
) -> None:
    soundfile.write("silent.wav", np.zeros(32_000), 16_000)
    if "hour.wav" in arguments:
        soundfile.write("hour.wav", np.full(100 * 16_000, 0.1), 16_000)
    outcome = transcribe(*arguments)
    assert outcome.code == 2
    for part in parts:
        assert part in outcome.complaint
    assert outcome.output == ""
