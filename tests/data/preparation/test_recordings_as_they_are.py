"""Preparation, training and inspection decide alike on joined files, cancelled channels, silence and films."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from data.audio.decoders import ffmpeg
from data.audio.decoding import decode_audio
from data.audio.mixing import OUT_OF_PHASE
from data.batches.collation import read_audio, timed_rows
from data.config import DataConfig
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.inspection.facts import InspectionSettings, examine
from data.inspection.kinds import Kind
from data.preparation.audio_kept.first import CONVERTED
from data.preparation.checking import ClipCheck, Dropped
from data.preparation.measuring import NEEDS_FFMPEG
from data.preparation.prepare import prepare
from data.preparation.settings import ClipSettings, PrepareSettings
from data.sources.source import Source

from ...support.films import RATE, film, needs_ffmpeg, spoken


def encoded(samples: np.ndarray, kind: str = "WAV", rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


VOICE = spoken(1.0, 16_000)
CANCELLED = encoded(np.stack([VOICE, -VOICE], axis=1))
SILENCE = encoded(np.zeros(16_000))


def corpus(folder: Path, **recordings: bytes) -> Path:
    """A folder with recordings by their names without suffix, and a text of each."""
    folder.mkdir()
    lines = []
    for name, content in recordings.items():
        (folder / f"{name}.wav").write_bytes(content)
        lines.append(json.dumps({"id": name, "audio": f"{name}.wav", "text": f"bir {name}"}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder / "manifest.jsonl"


def prepared(manifest: Path, output: Path, **values: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """Kept rows and rows left out, by their ids, and notices."""
    clips = {key: values.pop(key) for key in list(values) if key in ClipSettings.model_fields}
    reading = CorpusSettings(input=str(manifest), language="tr")
    summary = prepare(
        PrepareSettings(
            corpus=reading, clips=ClipSettings(**clips), output=str(output), max_skipped_share=1.0, **values
        )
    )
    rows = [row for path in sorted(output.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    left_out = [json.loads(line) for line in (output / "quarantine.jsonl").read_text().splitlines()]
    return {row["id"]: row for row in rows}, {row["id"]: row for row in left_out}, dict(summary.notices)


def in_training(manifest: Path) -> dict[str, np.ndarray | str]:
    """What training reads of each row, or why it does not."""
    config = DataConfig(train={"files": str(manifest), "columns": {"id": "id"}}, language="tr")
    source = Source(config.training_sources[0], "data.train")
    found: dict[str, np.ndarray | str] = {}
    for row in source.read(source.lane(0, 1, None)):
        try:
            found[row["id"]] = read_audio(row, source)
        except ValueError as error:
            found[row["id"]] = str(error)
    usable, _ = timed_rows([(row, 0) for row in source.read(source.lane(0, 1, None))], [source], config)
    assert usable
    return found


def inspected(manifest: Path, name: str) -> Any:
    audio = str(manifest.parent / f"{name}.wav")
    return examine(Record("here", audio, text="bir", id=name), InspectionSettings(language="tr"))


@pytest.mark.parametrize("way", [{}, {"reencode": True}, {"trim_silence": True}, {"embed_audio": False}])
def test_cancelled_channels_are_kept_and_counted_and_silence_is_left_out(way: dict[str, Any], tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "corpus", good=encoded(VOICE), cancelled=CANCELLED, silent=SILENCE)
    rows, left_out, notices = prepared(manifest, tmp_path / "out", **way)
    assert rows.keys() == {"good", "cancelled"} and notices[OUT_OF_PHASE] == 1
    assert left_out["silent"]["kind"] == "no sound" and "digital silence" in left_out["silent"]["reason"]
    audio = rows["cancelled"]["audio"]
    samples = decode_audio(audio["path"] if "embed_audio" in way else audio)
    if "trim_silence" not in way:
        np.testing.assert_allclose(samples, VOICE, atol=2e-4)
    assert np.abs(samples).max() > 0.2


def test_silence_without_a_text_is_not_at_fault() -> None:
    """Nor is what is too short judged by its sound."""
    check = ClipCheck(ClipSettings(), True, None)
    for text, seconds, kind in ((None, 1, "missing text"), (" ", 1, "empty text"), ("bir", 0.05, "too short")):
        outcome = check(Record("here", encoded(np.zeros(round(seconds * 16_000))), text=text, language="tr"))
        assert isinstance(outcome, Dropped) and outcome.kind == kind
    check.audio.measure.check_sound(np.zeros(16_000, np.float32), Record("here", b"", text=None))


def test_training_and_inspection_decide_alike(tmp_path: Path) -> None:
    joined = encoded(VOICE, "FLAC") + encoded(VOICE, "FLAC")
    manifest = corpus(tmp_path / "corpus", good=encoded(VOICE), cancelled=CANCELLED, joined=joined)
    rows, left_out, _ = prepared(manifest, tmp_path / "out")
    trained = in_training(manifest)
    assert rows.keys() == {"good", "cancelled"}
    np.testing.assert_array_equal(trained["cancelled"], decode_audio(CANCELLED))
    assert inspected(manifest, "cancelled").audio.level == pytest.approx(
        inspected(manifest, "good").audio.level, abs=0.1
    )
    for reason in (
        left_out["joined"]["reason"],
        trained["joined"],
        inspected(manifest, "joined").shown[Kind.UNDECODABLE][0],
    ):
        assert reason.startswith("2 recordings in one file, one after the other")


@pytest.mark.parametrize("check", ["decode", "headers"])
@needs_ffmpeg
def test_what_ffmpeg_reads_is_written_as_flac(check: Any, tmp_path: Path) -> None:
    whole, cut = film("m4a"), film("webm")[:-8000]
    manifest = corpus(tmp_path / "corpus", good=encoded(VOICE), phone=whole, cut=cut)
    rows, left_out, notices = prepared(manifest, tmp_path / "out", check=check)
    assert notices[CONVERTED] == 1 and rows.keys() == {"good", "phone"}
    assert rows["phone"]["audio"]["path"] == "phone.flac" and rows["phone"]["audio"]["bytes"].startswith(b"fLaC")
    np.testing.assert_allclose(decode_audio(rows["phone"]["audio"]), decode_audio(whole), atol=2e-5)
    assert "ended prematurely" in left_out["cut"]["reason"]


@needs_ffmpeg
def test_paths_to_what_ffmpeg_reads_stay_with_a_notice(tmp_path: Path) -> None:
    manifest = corpus(tmp_path / "corpus", good=encoded(VOICE), phone=film("m4a"))
    rows, _, notices = prepared(manifest, tmp_path / "out", embed_audio=False)
    assert rows["phone"]["audio"]["path"].endswith("phone.wav") and notices[NEEDS_FFMPEG] == 1
    trained = in_training(manifest)
    assert len(trained["phone"]) / 16_000 == pytest.approx(rows["phone"]["duration"], abs=0.01)
    facts = inspected(manifest, "phone")
    assert facts.parts["encoding"] == "AAC" and facts.parts["sampling rate"] == str(RATE) and not facts.is_broken


def test_without_ffmpeg_every_way_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    phone = b"\0\0\0\x1cftypM4A " + bytes(4000)
    manifest = corpus(tmp_path / "corpus", good=encoded(VOICE), phone=phone)
    _, left_out, _ = prepared(manifest, tmp_path / "out")
    trained, facts = in_training(manifest)["phone"], inspected(manifest, "phone")
    for reason in (left_out["phone"]["reason"], trained, facts.shown[Kind.UNDECODABLE][0]):
        assert "MP4 or QuickTime, which ffmpeg reads" in reason and "apt install ffmpeg" in reason


@needs_ffmpeg
@pytest.mark.parametrize("way", [{}, {"reencode": True}, {"embed_audio": False}, {"check": "headers"}])
def test_mp3_in_a_wav_file_is_read(way: dict[str, Any], tmp_path: Path) -> None:
    content = film("mp3.wav")
    manifest = corpus(tmp_path / "corpus", good=content, cut=content[:-3000])
    rows, left_out, _ = prepared(manifest, tmp_path / "out", **way)
    assert rows["good"]["duration"] == pytest.approx(len(decode_audio(content)) / 16_000, abs=0.03)
    trained = in_training(manifest)
    assert "cut off" in trained["cut"] and not isinstance(trained["good"], str)
    if "check" not in way:
        assert "cut off" in left_out["cut"]["reason"]
    np.testing.assert_array_equal(decode_audio(content, whole=True), trained["good"])


@needs_ffmpeg
def test_segments_of_a_film_cost_two_processes_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says how long it is, and one that decodes it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "talk.mp4").write_bytes(film("film.mp4"))
    lines = ["audio_path\tstart\tend\ttext", *(f"talk.mp4\t{n / 2}\t{n / 2 + 0.5}\tbir {n}" for n in range(5))]
    (folder / "segments.tsv").write_text("\n".join(lines))
    started: list[str] = []
    popen = subprocess.Popen

    def counted(line: list[str], **rest: Any) -> Any:
        started.append(Path(line[0]).name)
        return popen(line, **rest)

    monkeypatch.setattr(ffmpeg.subprocess, "Popen", counted)
    rows, left_out, _ = prepared(folder / "segments.tsv", tmp_path / "out")
    assert len(rows) == 5 and not left_out
    assert started.count("ffmpeg") == 1
    whole = decode_audio(film("film.mp4"))
    found = np.concatenate([decode_audio(rows[name]["audio"]) for name in sorted(rows)])
    assert len(found) == 5 * 8000 and np.abs(found).max() == pytest.approx(np.abs(whole).max(), abs=0.1)
