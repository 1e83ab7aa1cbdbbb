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
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from tests.trainer.transcription.test_alignment import voice

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
    texts = {}
    for share in ("0", "1"):
        (texts[share],) = results(
            transcribe("child.wav", "--second", "room.wav", "--fuse", "--fuse-share", share, "--format", "json")
        )
        assert [segment["share"] for segment in texts[share]["segments"]] == [float(share)]
    (alone,), (room,) = (results(transcribe(name, "--format", "json")) for name in ("child.wav", "room.wav"))
    assert texts["1"]["text"] == alone["text"]
    assert texts["0"]["text"] == room["text"]
    assert "second" not in alone
    assert "share" not in alone["segments"][0]


def test_channels_folders_and_patterns_give_the_same(transcribe: Callable[..., Outcome], pair: Path) -> None:
    for name in ("meeting/child.wav", "meeting/deep/child.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("child.wav", name)
        far = Path("meeting/far") / Path(name).relative_to("meeting").with_suffix(".flac")
        far.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(far, soundfile.read("room.wav")[0], 16_000)
    shutil.copy("room.wav", "child_room.wav")
    (expected,) = results(transcribe("child.wav", "--second", "room.wav", "--fuse", "--format", "json"))

    def check(outcome: Outcome, *seconds: str) -> None:
        found = results(outcome)
        assert [result["second"]["file"] for result in found] == list(seconds)
        for result in found:
            assert (result["text"], result["segments"]) == (expected["text"], expected["segments"])

    options = ("--fuse", "--format", "json")
    check(transcribe("stereo.wav", "--second", "channel", *options), "stereo.wav (right channel)")
    check(transcribe("child.wav", "--second", "{name}_room.wav", *options), "child_room.wav")
    check(transcribe("child.wav", "child_room.wav", "--second", "{name}_room.wav", *options), "child_room.wav")
    check(transcribe("child.wav", "--second", "meeting/far", *options), "meeting/far/child.flac")
    check(
        transcribe("meeting", "--second", "meeting/far", *options),
        "meeting/far/child.flac",
        "meeting/far/deep/child.flac",
    )
    (turned,) = results(
        transcribe("stereo.wav", "--second", "left_channel", "--fuse", "--fuse-share", "0", *options[1:])
    )
    assert turned["text"] == results(transcribe("child.wav", "--format", "json"))[0]["text"]


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

    def text(*arguments: str) -> str:
        (result,) = results(run(launch.transcribe.main, "--checkpoint", folder, *arguments, "--format", "json"))
        if "--second" in arguments:
            use = "fused" if "--fuse" in arguments else "model"
            assert result["second"]["use"] == use
            assert ("share" in result["segments"][0]) == (use == "fused")
        return str(result["text"])

    alone, other = text("child.wav"), text("room.wav")
    both = text("child.wav", "--second", "room.wav")
    assert both not in (alone, other)
    assert text("child.wav", "--second", "room.wav", "--fuse", "--fuse-share", "1") == alone
    assert text("child.wav", "--second", "room.wav", "--second-kind", "speaker") == both
    assert text("stereo.wav", "--second", "channel") == both


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
