"""Inspection tells of each second recording whether it is the same speech, how much later, and what is odd about it."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio.likeness import SAME_SPEECH, likeness_of
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.inspection.facts import InspectionSettings, examine
from data.inspection.findings import problems, would_fail
from data.inspection.inspect import inspect_corpus
from data.inspection.kinds import Kind
from data.inspection.second import LONGEST_DELAY
from data.inspection.tally import Inspection
from trainer.pages.corpus import write_page
from trainer.pages.corpus_tables import figures

RATE = 16_000


def speech(number: int, seconds: float = 3.0) -> np.ndarray:
    """Noise in syllables: bursts of bands that change, as a voice has them."""
    generator = np.random.default_rng(number)
    sound = generator.standard_normal(round(seconds * RATE))
    sound = np.convolve(sound, generator.standard_normal(8), "same")
    bursts = np.repeat(generator.random(math.ceil(seconds * 6)) > 0.4, RATE // 6 + 1)[: len(sound)]
    return (0.1 * sound / sound.std() * (bursts + 0.01)).astype(np.float32)


def microphone(sound: np.ndarray, number: int, later: int = 0, ratio: float = 0.0) -> np.ndarray:
    """What a microphone hears: an echo, as much noise as the ratio in dB says, so many samples later."""
    generator = np.random.default_rng(1000 + number)
    heard = np.concatenate([np.zeros(later), sound])[: len(sound)]
    heard = heard + 0.5 * np.concatenate([np.zeros(123), heard])[: len(heard)]
    noise = generator.standard_normal(len(heard)) * math.sqrt(float((heard**2).mean()) / 10 ** (ratio / 10))
    return ((heard + noise) * 0.3).astype(np.float32)


@pytest.mark.parametrize("later", [0, 700, 20_000])
def test_the_same_speech_is_known_in_noise_and_the_delay_is_found(later: int) -> None:
    first, second = microphone(speech(1), 1), microphone(speech(1), 2, later)
    likeness, delay = likeness_of(first, second, LONGEST_DELAY)
    assert likeness > 2 * SAME_SPEECH and delay == pytest.approx(later / RATE, abs=0.001)
    assert likeness_of(second, first, LONGEST_DELAY).delay == pytest.approx(-later / RATE, abs=0.001)


def test_another_utterance_is_not() -> None:
    found = [
        likeness_of(microphone(speech(i), i), microphone(speech(i + 1), i + 50), LONGEST_DELAY).peak for i in range(10)
    ]
    assert max(found) < SAME_SPEECH


def pair(first: np.ndarray, second: np.ndarray | None) -> set[Kind]:
    def value(sound: np.ndarray) -> dict[str, object]:
        return {"array": sound, "sampling_rate": RATE}

    record = Record("here", value(first), "one", "a", second=None if second is None else value(second))
    return set(examine(record, InspectionSettings()).shown)


def test_what_a_second_recording_shows() -> None:
    first = microphone(speech(1), 1)
    assert pair(first, None) == set() == pair(first, microphone(speech(1), 2))
    assert pair(first, 0.5 * first) == {Kind.SECOND_COPY}
    assert pair(first, microphone(speech(2), 2)) == {Kind.SECOND_OTHER}
    assert pair(first, np.zeros_like(first)) == {Kind.SECOND_SILENT}
    assert pair(first, np.concatenate([first, speech(3, 5.0)])) == {Kind.SECOND_FAR}
    stereo = {"array": np.stack([first, np.zeros_like(first)], 1), "sampling_rate": RATE}
    record = Record("here", stereo, "one", "a", channel=0, second=stereo, second_channel=1)
    assert set(examine(record, InspectionSettings()).shown) == {Kind.CHANNEL_SILENT}
    assert pair(first[:8000], speech(5, 0.5)) == set()  # too short to say


def corpus(folder: Path) -> Path:
    """Good pairs, and one each of what is odd."""
    folder.mkdir()
    for number in range(8):
        first = microphone(speech(number), number)
        soundfile.write(folder / f"{number}.wav", first, RATE)
        (folder / f"{number}.txt").write_text(f"text number {number}")
        second = microphone(speech(number), number + 50, 160 * number) * 0.5
        if number == 5:
            second = microphone(speech(99), 99)
        if number != 6:
            soundfile.write(folder / f"{number}_room.wav", second, RATE)
    (folder / "7_room.wav").write_bytes(b"no audio at all")
    return folder


@pytest.fixture(scope="module")
def inspection(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    folder = corpus(tmp_path_factory.mktemp("pairs") / "meeting")
    return inspect_corpus(CorpusSettings(input=str(folder), second="{name}_room.wav"), InspectionSettings())


def test_findings_and_figures_of_a_corpus(inspection: Inspection) -> None:
    found = {finding.title: finding for finding in problems(inspection)}
    for kind, name in ((Kind.SECOND_UNDECODABLE, "7"), (Kind.SECOND_ABSENT, "6"), (Kind.SECOND_OTHER, "5")):
        assert [example.id for example in found[kind].examples] == [name]
    assert would_fail([found[Kind.SECOND_UNDECODABLE]]) and not would_fail([found[Kind.SECOND_ABSENT]])
    told = dict(figures(inspection))
    assert told["with a second recording"] == "6 of 8 clips"
    assert told["the second hears the same later by"].startswith(
        "median +20 ms; nine tenths from +0 to +40 ms; 5 clips"
    )
    assert told["the second is louder by"].startswith("median −6")
    assert "not used" not in " ".join(found)


def test_both_recordings_are_heard_on_the_page(inspection: Inspection, tmp_path: Path) -> None:
    write_page(inspection, "meeting", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    both = sum(bool(sample.second) for sample in inspection.samples_to_hear.kept)
    assert both >= 4 and page.count("second recording <audio") == both
    assert page.count("<audio") == both + len(inspection.samples_to_hear.kept)
