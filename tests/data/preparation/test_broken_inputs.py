"""Hundreds of broken inputs: each is put right with a notice, left out with id and reason, or refused; none passes."""

import functools
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import launch.prepare
from data.audio.decoding import decode_audio
from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching, Lane
from data.batches.mixture import LanePart
from data.config import DataConfig
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.preparation.prepare import prepare
from data.preparation.settings import ClipSettings, PrepareSettings
from data.preparation.summary import Summary
from data.sources.source import Source
from modeling.byte_processor import build_byte_processor

from ...end_to_end import run
from ...support.broken_audio import AudioCase, audio_cases, speech
from ...support.broken_files import FileCase, file_cases
from ...support.broken_rows import RowCase, row_cases, write_recordings, write_surroundings

AUDIO, ROWS, FILES = audio_cases(), row_cases(), file_cases()
PREPARED = ("embedded", "paths", "parquet", "reencoded")
STREAMED = ("stream of parquet", "stream of paths")


def test_there_are_at_least_200_of_them() -> None:
    assert len(AUDIO) + len(ROWS) + len(FILES) > 700


def settings(corpus: Path | str, output: Path, **values: Any) -> PrepareSettings:
    clips = {key: values.pop(key) for key in list(values) if key in ClipSettings.model_fields}
    whole = {key: values.pop(key) for key in list(values) if key in PrepareSettings.model_fields}
    reading = CorpusSettings(input=str(corpus), **({"language": "tr"} | values))
    return PrepareSettings(
        corpus=reading, clips=ClipSettings(**clips), output=str(output), **({"max_skipped_share": 1.0} | whole)
    )


def quarantine(output: Path) -> list[dict[str, str]]:
    rows = [json.loads(line) for line in (output / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        assert row.keys() == {"id", "place", "kind", "reason"} and all(row.values()), row
        assert "\n" not in row["reason"] and len(row["reason"]) < 500 and "Traceback" not in row["reason"]
    return rows


def shard_rows(output: Path) -> list[dict[str, Any]]:
    shards = sorted(output.glob("*.parquet"))
    return [row | {"split_name": path.name.split("-")[0]} for path in shards for row in pq.read_table(path).to_pylist()]


def check_accounts(summary: Summary, output: Path) -> None:
    """Every row is either in a shard or in the quarantine, and the manifest says the same."""
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    left_out = quarantine(output)
    assert summary.clips + len(left_out) == summary.rows == manifest["rows"]
    assert sum(manifest["dropped"].values()) == len(left_out)
    assert manifest["notices"] == dict(summary.notices)


# Recordings


@dataclass
class Outcome:
    """What became of the cases by number: the audio of those that were kept, the reason of those that were not."""

    audio: dict[int, np.ndarray] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    notices: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All recordings in a folder, with manifest.jsonl, and in a Parquet file."""
    folder = tmp_path_factory.mktemp("recordings")
    lines = []
    for number, case in enumerate(AUDIO):
        (folder / f"{number}{case.suffix}").write_bytes(case.content)
        lines.append({"id": str(number), "audio": f"{number}{case.suffix}", "text": "bir"})
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    audio = [{"bytes": case.content, "path": line["audio"]} for case, line in zip(AUDIO, lines, strict=True)]
    table = pa.table({"id": [line["id"] for line in lines], "audio": audio, "text": ["bir"] * len(lines)})
    pq.write_table(table, folder / "all.parquet", row_group_size=50)
    return folder


@pytest.fixture(scope="module")
def outcome(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What became of them on a way, found out once."""

    @functools.cache
    def by(way: str) -> Outcome:
        if way in STREAMED:
            return streamed(str(recordings / ("all.parquet" if way == "stream of parquet" else "manifest.jsonl")))
        output = tmp_path_factory.mktemp(way) / "out"
        corpus = recordings / ("all.parquet" if way == "parquet" else "manifest.jsonl")
        made = settings(corpus, output, embed_audio=way != "paths", reencode=way == "reencoded", job_rows=100)
        summary = prepare(made)
        check_accounts(summary, output)
        found = Outcome(notices=dict(summary.notices))
        for row in shard_rows(output):
            path = row["audio"]["path"]
            found.audio[int(row["id"])] = decode_audio(path if way == "paths" else row["audio"])
            if way in ("embedded", "parquet"):
                check_name(AUDIO[int(row["id"])], path)
        found.reasons = {int(row["id"]): row["reason"] for row in quarantine(output)}
        return found

    return by


def check_name(case: AudioCase, path: str) -> None:
    """The name in the shard ends as what the file holds, whatever it was called."""
    magic = {".wav": b"RIFF", ".flac": b"fLaC", ".ogg": b"OggS", ".opus": b"OggS"}
    suffix = Path(path).suffix
    content = case.content[20:] if case.content.startswith(b"ID3") else case.content
    assert (suffix == ".mp3" and content[0] == 0xFF) or content.startswith(magic[suffix]), (case.name, path)


def streamed(files: str, **values: Any) -> Outcome:
    """What the training stream makes of rows whose ids are numbers."""
    config = DataConfig(train={"files": files, "columns": {"id": "id"}} | values, language="tr", shuffle_window=100)
    labels = LabelEncoder(build_byte_processor(["tr"]).tokenizer, True, "tr")
    sources = [Source(one, "data.train") for one in config.training_sources]
    found, rows = Outcome(), 0
    for item in Lane(Batching(sources, config, labels, 4), 0, LanePart(0, 1), {}):
        rows += item.rows
        for one in item.skipped:
            assert int(one.id) not in found.reasons
            found.reasons[int(one.id)] = one.reason
        if item.batch is not None:
            lengths = item.batch.audio_lengths.tolist()
            for name, audio, length in zip(item.batch.ids, item.batch.audio, lengths, strict=True):
                found.audio[int(name)] = audio[:length].numpy()
    assert rows == len(found.audio) + len(found.reasons)
    return found


def check_recording(case: AudioCase, number: int, found: Outcome, reason: str | None) -> None:
    if reason is not None:
        assert number not in found.audio, f"{case.name} was kept"
        assert re.search(reason, found.reasons[number]), found.reasons[number]
        return
    assert case.samples is not None
    assert number not in found.reasons, found.reasons.get(number)
    np.testing.assert_allclose(found.audio[number], case.samples, atol=1e-4)


@pytest.mark.parametrize("way", PREPARED)
@pytest.mark.parametrize("number", range(len(AUDIO)), ids=[case.name for case in AUDIO])
def test_a_recording_is_prepared_or_left_out(number: int, way: str, outcome: Any) -> None:
    check_recording(AUDIO[number], number, outcome(way), AUDIO[number].reason)


def test_what_was_put_right_is_told(outcome: Any) -> None:
    for way in ("embedded", "parquet"):
        for notice, count in outcome(way).notices.items():
            assert count == sum(case.notice is not None and case.notice in notice for case in AUDIO), notice
        assert len(outcome(way).notices) == len({case.notice for case in AUDIO if case.notice})


# Rows


@pytest.fixture(scope="module")
def prepared_rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @functools.cache
    def by(way: str) -> tuple[dict[int, dict[str, Any]], dict[int, str], dict[str, int]]:
        """The rows that were kept and the reasons of the others, by number, and the notices."""
        folder = tmp_path_factory.mktemp(way)
        corpus, output = folder / "corpus", folder / "out"
        write_surroundings(corpus)
        write_recordings(corpus)
        columns = ("duration", "sampling_rate", "start", "end", "language", "speaker", "split", "topic")
        first = {"id": "first", "audio": "good.wav", "text": "first"} | dict.fromkeys(columns)
        lines = [json.dumps(first).encode(), *(case.json_line(number) for number, case in enumerate(ROWS))]
        (corpus / "all.jsonl").write_bytes(b"\n".join(lines))
        before = {path for path in folder.rglob("*") if not path.is_relative_to(output)}
        layout = {"layout": "audiofolder"} if way == "audiofolder" else {"embed_audio": way != "paths"}
        made = settings(corpus / "all.jsonl", output, kind="json", extra_columns=("topic",), job_rows=60, **layout)
        started = time.monotonic()
        summary = prepare(made)
        assert time.monotonic() - started < 20
        check_accounts(summary, output)
        assert {path for path in folder.rglob("*") if not path.is_relative_to(output)} == before
        rows = audio_folder_rows(output) if way == "audiofolder" else shard_rows(output)
        places = [row for row in quarantine(output) if "all.jsonl: line" in row["place"]]
        reasons = {int(row["place"].rpartition(" ")[2]) - 2: row["reason"] for row in places}
        assert len(places) == len(reasons)
        return match_rows(rows, reasons), reasons, dict(summary.notices)

    return by


def audio_folder_rows(output: Path) -> list[dict[str, Any]]:
    rows = []
    for metadata in sorted(output.glob("*/metadata.jsonl")):
        for line in metadata.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            path = metadata.parent / row["file_name"]
            assert path.resolve().is_relative_to(output.resolve()) and path.is_file()
            rows.append(row | {"split_name": metadata.parent.name})
    return rows


def match_rows(rows: list[dict[str, Any]], reasons: dict[int, str]) -> dict[int, dict[str, Any]]:
    """Rows that were kept by number: in the order of the corpus, but for their splits."""
    kept = [number for number in range(-1, len(ROWS)) if number not in reasons]
    names: dict[str, int] = {}
    for number in kept:
        case = ROWS[number] if number >= 0 else None
        given = (case.kept or {}).get("id") if case else "first"
        names[given or f"case{number}"] = number
    return {names[row["id"]]: row for row in rows if row["id"] in names}


@pytest.mark.parametrize("way", ["embedded", "paths", "audiofolder"])
@pytest.mark.parametrize("number", range(len(ROWS)), ids=[case.name for case in ROWS])
def test_a_row_is_prepared_or_left_out(number: int, way: str, prepared_rows: Any) -> None:
    case: RowCase = ROWS[number]
    rows, reasons, notices = prepared_rows(way)
    if case.reason is not None:
        assert number not in rows and re.search(case.reason, reasons[number]), reasons.get(number)
        return
    assert number not in reasons, reasons.get(number)
    if number in rows:  # rows without an id of their own have one of their path's
        for column, value in (case.kept or {}).items():
            assert rows[number][column] == value
    else:
        assert case.kept == {"text": "bir iki"} or case.line is not None, "a row with an id of its own is gone"
    if case.notice:
        assert any(case.notice in notice for notice in notices)


# Whole corpora


@pytest.mark.parametrize("case", FILES, ids=[case.name for case in FILES])
def test_a_corpus_is_prepared_or_refused(case: FileCase, tmp_path: Path) -> None:
    corpus = case.make(tmp_path / "corpus")
    values = dict(case.settings)
    if values.get("audio_root"):
        values["audio_root"] = str(tmp_path / values["audio_root"])
    made = settings(corpus, tmp_path / "out", cache=str(tmp_path / "cache"), job_rows=3, **values)
    try:
        summary = prepare(made)
    except DataError as error:
        message = str(error)
        assert "Traceback" not in message and not (tmp_path / "out" / "manifest.json").exists()
        assert case.damaged or (case.refused is not None and re.search(case.refused, message)), message
    else:
        assert case.refused is None
        texts = [row["text"] for row in shard_rows(tmp_path / "out")]
        reasons = [row["reason"] for row in quarantine(tmp_path / "out")]
        check_accounts(summary, tmp_path / "out")
        if case.damaged:
            assert set(texts) <= {"bir", "iki", "üç", "dörd"} and len(texts) + len(reasons) == 4
        else:
            assert sorted(texts) == sorted(case.texts)
            assert len(reasons) == len(case.reasons), reasons
            assert all(map(re.search, case.reasons, reasons)), reasons
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name or path.name == "ran"]
    assert not list(tmp_path.glob("cache/*.part-*"))


REFUSED = [case for case in FILES if case.refused][::12]


@pytest.mark.parametrize("case", REFUSED, ids=[case.name for case in REFUSED])
def test_the_command_refuses_with_2_and_one_line(case: FileCase, tmp_path: Path) -> None:
    corpus = case.make(tmp_path / "corpus")
    options = ["--output", tmp_path / "out", "--cache", tmp_path / "cache", "--workers", 0]
    for ours, theirs in case.settings.get("columns", {}).items():
        options += ["--columns", f"{ours}={theirs}"]
    ended = run(launch.prepare.main, corpus, *options)
    assert ended.code == 2, ended
    assert re.search(str(case.refused), ended.complaint)
    assert len(ended.errors.splitlines()) == 1


def test_a_run_stops_above_the_share_and_goes_on_below_it(tmp_path: Path) -> None:
    """A tenth is broken, each row in another way."""
    broken = [case.json_line(number) for number, case in enumerate(ROWS) if case.reason and case.row][:40]
    corpus = tmp_path / "corpus"
    write_surroundings(corpus)
    write_recordings(corpus)
    good = [json.dumps({"audio": "good.wav", "text": "bir", "id": f"good{i}"}).encode() for i in range(360)]
    lines = [line for i in range(40) for line in (*good[9 * i : 9 * i + 9], broken[i])]
    (corpus / "all.jsonl").write_bytes(b"\n".join(lines))
    with pytest.raises(DataError, match=r"of 400 rows cannot be used .*One is .*line"):
        prepare(settings(corpus / "all.jsonl", tmp_path / "out", max_skipped_share=0.08, kind="json"))
    summary = prepare(settings(corpus / "all.jsonl", tmp_path / "out", max_skipped_share=0.12, kind="json"))
    assert (summary.rows, summary.clips) == (400, 360)


def test_a_column_that_is_none_of_splits_is_refused(tmp_path: Path) -> None:
    write_surroundings(tmp_path / "corpus")
    lines = [json.dumps({"audio": "good.wav", "text": "bir", "split": f"s{i}", "id": i}) for i in range(100)]
    (tmp_path / "corpus" / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="more than 64 splits"):
        prepare(settings(tmp_path / "corpus" / "a.jsonl", tmp_path / "out"))


# The training stream


STREAM_CASES = [
    pytest.param(number, way, id=f"{case.name}-{way}") for way in STREAMED for number, case in enumerate(AUDIO)
]


@pytest.mark.parametrize(("number", "way"), STREAM_CASES)
def test_a_recording_is_trained_on_or_skipped(number: int, way: str, outcome: Any) -> None:
    case = AUDIO[number]
    check_recording(case, number, outcome(way), case.reason and ".")


STREAM_ROWS: list[tuple[str, dict[str, Any], str | None]] = [
    ("text null", {"text": None}, "the text is null"),
    ("text with a special token", {"text": "<|startoftranscript|>bir"}, "the text holds '<|startoftranscript|>'"),
    ("text with a timestamp", {"text": "<|0.00|>bir<|1.00|>"}, "the text holds the timestamp '<|0.00|>'"),
    ("text with a tag", {"text": "<|laughs|> bir <|EN|>"}, None),
    ("text blank", {"text": " \n "}, "the text is empty"),
    ("text of 10,000 letters", {"text": "a b" * 3333}, "tokens long"),
    ("right-to-left marks", {"text": "\u200fbir"}, None),
    ("audio null", {"audio": None}, "no audio"),
    ("audio of nulls", {"audio": {"bytes": None, "path": None}}, "no audio"),
    ("path outside", {"audio": {"bytes": None, "path": "../outside.wav"}}, "outside"),
    ("path outside by detours", {"audio": {"bytes": None, "path": "a/../../outside.wav"}}, "outside"),
    ("path of nothing", {"audio": {"bytes": None, "path": "absent.wav"}}, "cannot open"),
    ("path of a folder", {"audio": {"bytes": None, "path": "folder.wav"}}, "cannot open"),
    ("path with NUL", {"audio": {"bytes": None, "path": "a\0.wav"}}, "cannot open|NUL"),
    ("path of 300 letters", {"audio": {"bytes": None, "path": "a" * 300}}, "cannot open"),
    ("path of zeros without end", {"audio": {"bytes": None, "path": "/dev/zero"}}, "not audio|not a plain file"),
    ("path within", {"audio": {"bytes": None, "path": "good.wav"}}, None),
    ("duration contradicted", {"duration": 5.0}, "the duration column says"),
    ("duration too small", {"duration": 0.2}, "the duration column says"),
    ("duration infinite", {"duration": float("inf")}, "inf s long"),
    ("duration NaN", {"duration": float("nan")}, None),
    ("duration negative", {"duration": -1.0}, None),
    ("duration 0", {"duration": 0.0}, None),
    ("language unknown", {"language": "Klingon"}, "language 'Klingon'"),
    ("language empty", {"language": ""}, None),
    ("language null", {"language": None}, None),
]


@pytest.fixture(scope="module")
def stream_rows(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    corpus = tmp_path_factory.mktemp("rows") / "corpus"
    write_surroundings(corpus)
    good = {"audio": {"bytes": None, "path": "good.wav"}, "text": "bir", "duration": 0.5, "language": "tr"}
    rows = [good | row | {"id": str(number)} for number, (_, row, _) in enumerate(STREAM_ROWS)]
    pq.write_table(pa.Table.from_pylist(rows), corpus / "a.parquet", row_group_size=7)
    columns = {"id": "id", "duration": "duration", "language": "language"}
    return streamed(str(corpus / "a.parquet"), columns=columns)


@pytest.mark.parametrize("number", range(len(STREAM_ROWS)), ids=[name for name, _, _ in STREAM_ROWS])
def test_a_row_is_trained_on_or_skipped(number: int, stream_rows: Outcome) -> None:
    _, _, reason = STREAM_ROWS[number]
    if reason is None:
        np.testing.assert_allclose(stream_rows.audio[number], speech(), atol=1e-4)
    else:
        assert re.search(reason, stream_rows.reasons[number]), stream_rows.reasons[number]


@pytest.mark.timeout(5)
def test_the_stream_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    write_surroundings(tmp_path / "corpus")
    rows = [{"id": str(i), "audio": name, "text": "bir"} for i, name in enumerate(("good.wav", "pipe.wav"))]
    (tmp_path / "corpus" / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = streamed(str(tmp_path / "corpus" / "a.jsonl"))
    assert found.audio.keys() == {0} and "plain file" in found.reasons[1]


@pytest.mark.parametrize("rate", ["abc", float("nan"), float("inf")])
def test_the_stream_skips_samples_of_a_rate_that_is_none(tmp_path: Path, rate: Any) -> None:
    rows = [{"id": "0", "audio": {"array": [0.1] * 8000, "sampling_rate": rate}, "text": "bir"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert "rate" in streamed(str(tmp_path / "a.parquet")).reasons[0]


@pytest.mark.parametrize("case", [case for case in FILES if case.name.startswith("parquet: ") and case.refused],
                         ids=lambda case: case.name)  # fmt: skip
def test_the_stream_refuses_the_parquet_files_that_preparation_refuses(case: FileCase, tmp_path: Path) -> None:
    path = Path(case.make(tmp_path / "corpus"))
    with pytest.raises(DataError):
        source = Source(DataConfig(train={"files": str(path / "*.parquet" if path.is_dir() else path)}).train, "train")
        source.check_columns()
        list(source.rows())


@pytest.mark.parametrize("case", [case for case in FILES if case.name.startswith("parquet: ") and case.damaged],
                         ids=lambda case: case.name)  # fmt: skip
def test_the_stream_ends_with_a_message_at_damage(case: FileCase, tmp_path: Path) -> None:
    try:
        found = streamed(str(case.make(tmp_path / "corpus")))
    except DataError as error:
        assert re.search("cannot read|has no column|not one", str(error))
    else:
        assert len(found.audio) + len(found.reasons) == 4


def test_believing_headers_leaves_out_what_headers_tell(recordings: Path, tmp_path: Path) -> None:
    """Blind to damage behind the header, but not to a header that contradicts itself or the file's size."""
    for embed_audio in (True, False):
        output = tmp_path / f"out-{embed_audio}"
        corpus = settings(recordings / "manifest.jsonl", output, check="headers", embed_audio=embed_audio, job_rows=100)
        check_accounts(prepare(corpus), output)
        reasons = {int(row["id"]) for row in quarantine(output)}
        for number, case in enumerate(AUDIO):
            told = case.name.startswith(
                ("wav header", "wav cut", "wav of", "wav block", "flac cut after 4 ", "an empty")
            )
            if case.reason is None:
                assert number not in reasons, case.name
            elif told or re.fullmatch(r"flac header byte (18|19|20) .*", case.name):
                assert number in reasons, case.name
