"""Scores of clips: they are the model's, shared out over processes, resumable, and limits decode nothing again."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

import launch.prepare
from data.corpora.settings import CorpusSettings
from data.preparation import work
from data.preparation.scores import Sounding
from data.preparation.settings import PrepareSettings
from modeling.decoding import generate_tokens
from tests import ROOT
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.transcription.scoring import opened as scoring
from trainer.transcription.scoring import scorer as scorers
from trainer.transcription.scoring.opened import OpenScorer
from trainer.transcription.scoring.scorer import scoring_workers

from ....data.preparation.test_resume import content

pytestmark = pytest.mark.usefixtures("exact_attention")

CLIPS = 9


def tone(number: int, seconds: float = 0.4) -> np.ndarray:
    time = np.arange(round(16_000 * seconds)) / 16_000
    return (0.3 * np.sin(2 * np.pi * 120 * (number + 1) * time)).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "clip", ("az", "en"), positions=12)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips; the fifth has no transcript."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(CLIPS):
        soundfile.write(folder / f"{number}.flac", tone(number, 0.3 + 0.05 * number), 16_000)
    rows = [{"path": f"{i}.flac", "text": None if i == 4 else f"mətn {i}", "id": f"id{i}"} for i in range(CLIPS)]
    (folder / "all.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return folder / "all.jsonl"


@pytest.fixture
def prepare(checkpoint: Path, corpus: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """A scored preparation into ``out``."""
    scorers.opened.cache_clear()

    def command(*arguments: object, output: str = "out", workers: int = 0) -> Outcome:
        fixed = ("--output", tmp_path / output, "--score", checkpoint, "--workers", workers, "--language", "az")
        return run(launch.prepare.main, corpus, *fixed, "--job-rows", 4, "--max-skipped-share", 1, *arguments)

    return command


def rows_of(output: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(output.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def quarantine(output: Path) -> dict[str, str]:
    lines = map(json.loads, (output / "quarantine.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["id"]: f"{line['kind']}: {line['reason']}" for line in lines}


def test_the_shards_hold_what_the_model_says_of_each_clip(prepare: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = prepare()
    assert outcome.code == 0, outcome.errors
    rows = rows_of(tmp_path / "out")
    assert [row["id"] for row in rows] == [f"id{i}" for i in range(CLIPS) if i != 4]
    assert list(rows[0])[6:] == [
        "hypothesis", "word_error_rate", "character_error_rate", "evidence", "edge_evidence", "text_log_probability",
        "mean_log_probability", "no_speech_probability", "compression_ratio",
    ]  # fmt: skip
    for row in rows:
        assert row["hypothesis"].isalpha() and row["word_error_rate"] >= 0.5
        assert 0 <= row["no_speech_probability"] <= 1 and row["text_log_probability"] < row["mean_log_probability"] < 0
    assert len({row["evidence"] for row in rows}) == len(rows)
    assert "transcripts that fit least" in outcome.output
    page = (tmp_path / "out" / "scores.html").read_text(encoding="utf-8")
    assert "id0" in page and "mətn 0" in page and "<ins>" in page


@pytest.mark.parametrize("padding", [None, "clip"])
def test_evidence_is_how_much_likelier_the_transcript_is_with_the_audio_than_with_silence(
    tmp_path: Path, padding: str | None
) -> None:
    folder = save_checkpoint(tmp_path, ("az", "en"), padding=padding, positions=40)
    scorer = OpenScorer(str(folder))
    (found,) = scorer([Sounding(tone(3), "ab c", "az")])
    assert found is not None
    model, labels = scorer.model, scorer.labels.encode("ab c", "az")
    logarithms = []
    for audio in (tone(3), np.zeros_like(tone(3))):
        encoded = scorer.encode([audio])
        with torch.no_grad():
            logits = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([labels[0]])).logits
        losses = torch.nn.functional.cross_entropy(logits[0], torch.tensor(labels[1]), reduction="none")
        logarithms.append(-losses.numpy()[np.array(labels[1]) != -100])
    gain = logarithms[0] - logarithms[1]
    assert len(gain) == len(" ab c") + 1
    assert found.evidence == pytest.approx(gain.mean(), abs=2e-4)
    assert found.edge_evidence == pytest.approx(min(gain[0], gain[-1]), abs=2e-4)
    assert found.text_log_probability == pytest.approx(logarithms[0].mean(), abs=2e-4)
    tokens = generate_tokens(model, scorer.encode([tone(3)]), ["az"], "transcribe", scorer.max_new_tokens)
    assert found.hypothesis == scorer.processor.decode(tokens[0], skip_special_tokens=True)


def test_capitals_are_asked_for_as_the_model_writes(checkpoint: Path) -> None:
    capitals, small = OpenScorer(str(checkpoint))([Sounding(tone(1), text, "az") for text in ("IŞIQ", "ışıq")])
    assert capitals is not None and small is not None and capitals.hypothesis.islower()
    assert capitals.evidence == small.evidence
    assert scoring.spelled_like("IŞIQ", "SÖZ", "az") == "IŞIQ"
    assert scoring.spelled_like("Işıq", "söz", "az") == "Işıq"


def test_a_score_does_not_depend_on_the_clips_beside_it(checkpoint: Path) -> None:
    scorer = OpenScorer(str(checkpoint), batch_size=3)
    clips = [Sounding(tone(i, 0.3 + 0.1 * (i * 3 % 5)), f"mətn {i}", "az") for i in range(5)]
    together = scorer(clips)
    for clip, score in zip(clips, together, strict=True):
        (alone,) = scorer([clip])
        assert alone is not None and score is not None and alone.hypothesis == score.hypothesis
        assert alone.evidence == pytest.approx(score.evidence, abs=2e-4)


@pytest.mark.slow
def test_processes_share_the_work_and_write_the_same_bytes(
    prepare: Callable[..., Outcome], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert prepare("--pseudo-label").code == 0
    outcome = prepare("--pseudo-label", output="shared", workers=2)
    assert outcome.code == 0, outcome.errors
    assert "max_length" not in capfd.readouterr().err  # what transformers says in the workers
    one, two = content(tmp_path / "out"), content(tmp_path / "shared")
    assert one == two


@pytest.mark.slow
def test_killed_with_its_processes_it_goes_on(
    prepare: Callable[..., Outcome], checkpoint: Path, corpus: Path, tmp_path: Path
) -> None:
    assert prepare(output="whole").code == 0
    fixed = ("--score", checkpoint, "--language", "az", "--job-rows", 4, "--max-skipped-share", 1, "--workers", 2)
    command = [sys.executable, "launch/prepare.py", corpus, "--output", tmp_path / "out", *fixed]
    first = subprocess.Popen(list(map(str, command)), cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out" / ".jobs").glob("0*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    again = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "done before" in again.stdout
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_after_a_kill_only_what_is_missing_is_decoded(
    prepare: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepare(output="whole").code == 0
    jobs: list[int] = []
    scored = OpenScorer.__call__

    class PowerCut(BaseException):
        pass

    def counted(self: OpenScorer, clips: list[Sounding]) -> Any:
        jobs.append(len(clips))
        if len(jobs) == 2:
            raise PowerCut
        return scored(self, clips)

    monkeypatch.setattr(OpenScorer, "__call__", counted)
    with pytest.raises(PowerCut):
        prepare()
    assert jobs == [4, 3]
    assert prepare().code == 0
    assert jobs == [4, 3, 3, 1]
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_other_limits_decode_nothing_again(
    prepare: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepare().code == 0
    everything = rows_of(tmp_path / "out")
    least = sorted(row["evidence"] for row in everything)
    monkeypatch.setattr(OpenScorer, "__call__", lambda *_: pytest.fail("decoded again"))
    outcome = prepare("--min-evidence", least[3])
    assert outcome.code == 0, outcome.errors
    kept = rows_of(tmp_path / "out")
    assert sorted(row["evidence"] for row in kept) == least[3:]
    gone = [row for row in everything if row not in kept]
    reasons = quarantine(tmp_path / "out")
    for row in gone:
        assert reasons[row["id"]].startswith("transcript of something else: evidence ")
        assert (
            f"{row['evidence']:.2f} is below --min-evidence {least[3]:g}; the model hears '{row['hypothesis']}'"
            in (reasons[row["id"]])
        )
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["dropped"] == {
        "missing text": 1, "transcript of something else": 3,
    }  # fmt: skip
    assert prepare().code == 0
    assert rows_of(tmp_path / "out") == everything
    assert prepare("--max-word-error-rate", 0.1).code == 2  # nothing would be left
    assert prepare("--max-no-speech", 1).code == 0
    assert rows_of(tmp_path / "out") == everything


def test_limits_hold_in_an_audio_folder_too(prepare: Callable[..., Outcome], tmp_path: Path) -> None:
    assert prepare("--layout", "audiofolder").code == 0
    table = tmp_path / "out" / "train" / "metadata.jsonl"
    before = list(map(json.loads, table.read_text(encoding="utf-8").splitlines()))
    least = sorted(row["evidence"] for row in before)
    assert prepare("--layout", "audiofolder", "--min-evidence", least[2]).code == 0
    after = list(map(json.loads, table.read_text(encoding="utf-8").splitlines()))
    assert sorted(row["evidence"] for row in after) == least[2:]
    assert {row["file_name"] for row in after} == {
        str(path.relative_to(table.parent)) for path in table.parent.rglob("*.flac")
    }


def test_clips_without_a_transcript_get_what_the_model_hears(prepare: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = prepare(
        "--pseudo-label", "--min-log-probability", -50, "--max-compression-ratio", 50, "--max-no-speech", 1
    )
    assert outcome.code == 0, outcome.errors
    rows = {row["id"]: row for row in rows_of(tmp_path / "out")}
    assert len(rows) == CLIPS
    assert {row["label"] for name, row in rows.items() if name != "id4"} == {"given"}
    pseudo = rows["id4"]
    assert pseudo["text"] == pseudo["hypothesis"] and pseudo["label"].endswith("clip")
    assert pseudo["evidence"] is None and pseudo["word_error_rate"] is None
    assert "1 clip without a transcript got what" in outcome.output


@pytest.mark.parametrize(
    ("limit", "kind"),
    [
        (("--min-log-probability", -0.001), "unsure pseudo-label: mean log probability -"),
        (("--max-compression-ratio", 0.01), "repeating pseudo-label: compression ratio "),
    ],
)
def test_pseudo_labels_that_the_model_is_not_sure_of_are_left_out(
    prepare: Callable[..., Outcome], tmp_path: Path, limit: tuple[str, float], kind: str
) -> None:
    loose = {"--min-log-probability": -50, "--max-compression-ratio": 50, "--max-no-speech": 1}
    options = [part for pair in (loose | dict([limit])).items() for part in pair]
    outcome = prepare("--pseudo-label", *options)
    assert outcome.code == 0, outcome.errors
    assert len(rows_of(tmp_path / "out")) == CLIPS - 1
    assert quarantine(tmp_path / "out")["id4"].startswith(kind)


def test_recordings_of_a_folder_without_transcripts_are_labelled(checkpoint: Path, tmp_path: Path) -> None:
    scorers.opened.cache_clear()
    (tmp_path / "in").mkdir()
    for number in range(2):
        soundfile.write(tmp_path / "in" / f"{number}.flac", tone(number), 16_000)
    options = ("--min-log-probability", -50, "--max-compression-ratio", 50, "--max-no-speech", 1)
    arguments = ("--output", tmp_path / "out", "--score", checkpoint, "--pseudo-label", "--workers", 0, *options)
    outcome = run(launch.prepare.main, tmp_path / "in", *arguments)
    assert outcome.code == 0, outcome.errors
    rows = rows_of(tmp_path / "out")
    assert [row["id"] for row in rows] == ["0", "1"]
    assert all(row["text"] == row["hypothesis"] and row["language"] in ("az", "en") for row in rows)


def test_a_long_recording_without_a_transcript_is_cut_at_pauses(checkpoint: Path, tmp_path: Path) -> None:
    scorers.opened.cache_clear()
    (tmp_path / "in").mkdir()
    spoken, pause = tone(2, 4.0), np.zeros(8_000, np.float32)
    soundfile.write(tmp_path / "in" / "talk.flac", np.concatenate([spoken, pause] * 3), 16_000)
    soundfile.write(tmp_path / "in" / "silent.flac", np.zeros(16_000 * 7, np.float32), 16_000)
    options = ("--min-log-probability", -50, "--max-compression-ratio", 50, "--max-no-speech", 1, "--max-seconds", 6)
    arguments = ("--output", tmp_path / "out", "--score", checkpoint, "--pseudo-label", "--workers", 0, *options)
    outcome = run(launch.prepare.main, tmp_path / "in", *arguments)
    assert outcome.code == 0, outcome.errors
    rows = rows_of(tmp_path / "out")
    assert [row["id"].rpartition("-")[0].rpartition("-")[0] for row in rows] == ["talk"] * 3
    bounds = [tuple(map(int, row["id"].split("-")[1:])) for row in rows]
    assert [begin for begin, _ in bounds[1:]] == [end for _, end in bounds[:-1]] and bounds[-1][1] == 13_500
    assert all(end % 4_500 >= 4_000 or end % 4_500 == 0 for _, end in bounds)
    assert quarantine(tmp_path / "out")["silent"] == "nothing heard: the recording is silent, and has no transcript"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["rows"] == 2


@pytest.mark.parametrize("method", ["hash", "balanced"])
def test_parts_of_a_recording_are_in_one_split(checkpoint: Path, tmp_path: Path, method: str) -> None:
    scorers.opened.cache_clear()
    (tmp_path / "in").mkdir()
    for number in range(4):
        soundfile.write(tmp_path / "in" / f"{number}.flac", tone(number, 5.0), 16_000)
    options = ("--min-log-probability", -50, "--max-compression-ratio", 50, "--max-no-speech", 1, "--max-seconds", 3)
    arguments = ("--output", tmp_path / "out", "--score", checkpoint, "--pseudo-label", "--workers", 0, *options)
    splits = ("--split", "train=0.5,validation=0.5", "--split-method", method)
    outcome = run(launch.prepare.main, tmp_path / "in", *arguments, *splits)
    assert outcome.code == 0, outcome.errors
    split_of: dict[str, set[str]] = {}
    for path in (tmp_path / "out").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            split_of.setdefault(row["id"].split("-")[0], set()).add(path.name.split("-")[0])
    assert sorted(split_of) == list("0123") and all(len(splits) == 1 for splits in split_of.values())


def test_a_table_without_a_column_of_texts_is_labelled(checkpoint: Path, tmp_path: Path) -> None:
    scorers.opened.cache_clear()
    soundfile.write(tmp_path / "a.flac", tone(1), 16_000)
    (tmp_path / "all.csv").write_text("file_name\na.flac\n")
    options = ("--min-log-probability", -50, "--max-compression-ratio", 50, "--max-no-speech", 1)
    arguments = ("--output", tmp_path / "out", "--score", checkpoint, "--workers", 0)
    assert "no column for text" in run(launch.prepare.main, tmp_path / "all.csv", *arguments).complaint
    outcome = run(launch.prepare.main, tmp_path / "all.csv", *arguments, "--pseudo-label", *options)
    assert outcome.code == 0, outcome.errors
    assert len(rows_of(tmp_path / "out")) == 1


def test_audio_that_stays_where_it_is_is_scored_too(prepare: Callable[..., Outcome], tmp_path: Path) -> None:
    assert prepare("--paths-only").code == 0
    paths = rows_of(tmp_path / "out")
    assert prepare(output="embedded").code == 0
    embedded = rows_of(tmp_path / "embedded")
    assert [row["evidence"] for row in paths] == [row["evidence"] for row in embedded]
    assert paths[0]["audio"]["bytes"] is None


def test_languages_that_the_model_does_not_know_are_told(checkpoint: Path, tmp_path: Path) -> None:
    scorers.opened.cache_clear()
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.flac", tone(number), 16_000)
    rows = [{"path": "0.flac", "text": "a", "language": "ka"}, {"path": "1.flac", "text": "b", "language": "az"}]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ("--output", tmp_path / "out", "--score", checkpoint, "--workers", 0)
    outcome = run(launch.prepare.main, tmp_path / "all.jsonl", *arguments)
    assert outcome.code == 0, outcome.errors
    assert [row["evidence"] is None for row in rows_of(tmp_path / "out")] == [True, False]
    notices = json.loads((tmp_path / "out" / "manifest.json").read_text())["notices"]
    assert notices == {"clips in a language that the model of --score does not know": 1}
    assert f"1 clip of a language that {checkpoint} does not know was not scored" in outcome.output
    refused = run(launch.prepare.main, tmp_path / "all.jsonl", *arguments, "--language", "ka")
    assert f"--language is 'ka', which {checkpoint} does not know" in refused.complaint


def test_a_transcript_too_long_for_the_decoder_has_no_evidence(checkpoint: Path) -> None:
    scorer = OpenScorer(str(checkpoint))
    long, short = scorer([Sounding(tone(1), "far too long for twelve", "az"), Sounding(tone(1), "ab", "az")])
    assert long is not None and long.evidence is None and long.word_error_rate == 1.0
    assert short is not None and short.evidence is not None


def test_audio_that_headers_alone_say_is_whole_is_dropped_when_it_is_not(checkpoint: Path, tmp_path: Path) -> None:
    scorers.opened.cache_clear()
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000, format="FLAC")
    damaged = bytearray(file.getvalue())
    damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    (tmp_path / "0.flac").write_bytes(damaged)
    soundfile.write(tmp_path / "1.flac", tone(1), 16_000)
    rows = [{"path": f"{i}.flac", "text": "a", "id": f"id{i}", "language": "az"} for i in range(2)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ("--output", tmp_path / "out", "--score", checkpoint, "--workers", 0, "--check", "headers")
    outcome = run(launch.prepare.main, tmp_path / "all.jsonl", *arguments)
    assert outcome.code == 0, outcome.errors
    assert quarantine(tmp_path / "out")["id0"].startswith("undecodable audio: ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--max-no-speech", 1.5), "--max-no-speech is 1.5: Input should be less than or equal to 1"),
        (("--min-evidence", "nan"), "--min-evidence is nan: Input should be a finite number"),
        (("--max-seconds", 40), "--score hears at most 30 s of a clip: set --max-seconds to that"),
        (("--keep-columns", "evidence"), "--keep-columns evidence: --score writes a column of that name"),
        (("--score-batch", 0), "--score-batch is 0; 1 to 4096 is right"),
        (("--score-device", "cuda:99"), "--score-device is 'cuda:99'"),
        (("--min-log-probability", -1), "--min-log-probability is of pseudo-labels: it says nothing without"),
        (("--inspect",), "--inspect writes no shards: leave --output out"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(
    prepare: Callable[..., Outcome], arguments: tuple[object, ...], complaint: str
) -> None:
    outcome = prepare(*arguments)
    assert outcome.code == 2
    assert complaint in outcome.complaint


@pytest.mark.parametrize(
    "option", ["--pseudo-label", "--min-evidence=1", "--max-word-error-rate=1", "--max-no-speech=1"]
)
def test_limits_say_nothing_without_a_score(corpus: Path, tmp_path: Path, option: str) -> None:
    outcome = run(launch.prepare.main, corpus, "--output", tmp_path / "out", option)
    assert outcome.complaint == f"error: {option.split('=')[0]} says nothing without --score CHECKPOINT"


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--report", "--report says nothing without --inspect or --score"),
        ("--checkpoint", "--checkpoint says nothing without --inspect; --score CHECKPOINT scores clips"),
    ],
)
def test_options_of_inspection_say_nothing_without_it(
    corpus: Path, tmp_path: Path, option: str, complaint: str
) -> None:
    outcome = run(launch.prepare.main, corpus, "--output", tmp_path / "out", option, tmp_path / "x")
    assert outcome.complaint == f"error: {complaint}"


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_decoded(
    prepare: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert prepare("--report", tmp_path / "file" / "page.html").code == 2
    assert not (tmp_path / "out").exists()


def test_inspection_scores_nothing(corpus: Path, checkpoint: Path) -> None:
    outcome = run(launch.prepare.main, corpus, "--inspect", "--score", checkpoint)
    assert "--inspect writes no shards: leave --score out" in outcome.complaint


def test_what_is_no_checkpoint_is_refused_before_anything_is_written(corpus: Path, tmp_path: Path) -> None:
    outcome = run(launch.prepare.main, corpus, "--output", tmp_path / "out", "--score", tmp_path)
    assert outcome.code == 2 and "it is not a checkpoint" in outcome.complaint
    assert not (tmp_path / "out").exists()


def test_another_checkpoint_needs_another_output(
    prepare: Callable[..., Outcome], checkpoint: Path, tmp_path: Path
) -> None:
    assert prepare().code == 0
    outcome = prepare("--pseudo-label")
    assert "holds a preparation with other settings" in outcome.complaint
    assert prepare("--overwrite", "--pseudo-label").code == 0
    other = save_checkpoint(tmp_path / "other", ("az",), positions=16)
    outcome = prepare("--score", other, "--pseudo-label")
    assert "score.checkpoint was" in outcome.complaint


def test_processes_are_as_many_as_memory_has_room_for() -> None:
    gibibyte = 2**30
    assert scoring_workers(None, gibibyte, gpus=0, room=gibibyte) == 1
    assert scoring_workers(0, 9 * gibibyte, gpus=0, room=gibibyte) == 0
    assert scoring_workers(5, gibibyte, gpus=0, room=None) == 5
    with pytest.raises(
        ValueError, match=r"--workers is 5: with --score each takes 2\.0 GiB, and 7\.0 GiB are free; --wor"
    ):
        scoring_workers(5, 2 * gibibyte, gpus=0, room=7 * gibibyte)


def test_what_is_held_for_scoring_is_bounded(
    prepare: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepare(output="whole").code == 0
    monkeypatch.setattr(work, "SECONDS_AHEAD", 0.8)
    assert prepare().code == 0
    assert [row["id"] for row in rows_of(tmp_path / "out")] == [row["id"] for row in rows_of(tmp_path / "whole")]


def test_a_scorer_is_sent_to_processes_without_importing_libraries() -> None:
    """What they print when they are imported would reach the terminal from each process."""
    module = "trainer.transcription.scoring.scorer"
    command = f"import sys, {module}; sys.exit(not {{'torch', 'transformers'}}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False).returncode == 0


def test_without_scores_a_preparation_is_marked_as_it_was_before_there_were_any(corpus: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(corpus=CorpusSettings(input=str(corpus)), output=str(tmp_path))
    assert not {"score", "limits"} & json.loads(settings.fingerprint()).keys()


def test_a_model_that_knows_english_only(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "english")
    file = tmp_path / "english" / "generation_config.json"
    limits = json.loads(file.read_text()) | {"is_multilingual": False}
    file.write_text(json.dumps({key: value for key, value in limits.items() if not key.endswith("_to_id")}))
    scorer = OpenScorer(str(tmp_path / "english"))
    english, unsaid, other = scorer([Sounding(tone(1), "ab", language) for language in ("en", None, "az")])
    assert english is not None and english == unsaid and english.language == "en"
    assert other is None


GPU_OF = {"MainProcess": "cuda:0", "SpawnProcess-1": "cuda:0", "SpawnProcess-2": "cuda:1", "SpawnProcess-5": "cuda:1"}


@pytest.mark.parametrize(("process", "device"), GPU_OF.items())
def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch, process: str, device: str) -> None:
    monkeypatch.setattr(scoring, "find_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3 if process == "SpawnProcess-5" else 2)
    monkeypatch.setattr(scoring.multiprocessing, "current_process", lambda: SimpleNamespace(name=process))
    assert str(scoring.own_device("cuda")) == device
    assert str(scoring.own_device("cuda:7")) == "cuda:7"
    assert str(scoring.own_device("cpu")) == "cpu"
