"""Rows come from every origin with audio in every form; a mistake is a DataError of one line."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from data import storage
from data.batches.collation import read_utterance, row_id
from data.config import SourceConfig
from data.errors import DataError
from data.opening import open_source
from data.sources.source import Source

from ...support.object_store import object_store

ROWS = 6
TEXTS = [f"text {i}" for i in range(ROWS)]


def samples(number: int) -> np.ndarray:
    """A clip whose length tells its number."""
    return np.full(1600 + 160 * number, 0.25, dtype=np.float32)


def flac(number: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples(number), 16_000, format="FLAC")
    return file.getvalue()


def write_clip(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples(number), 16_000)


def opened(**values: Any) -> Source:
    return open_source(SourceConfig(**values), "data.train")


def read(source: Source) -> list[tuple[str, int]]:
    """Text and number of samples of every row."""
    utterances = [read_utterance(row, source) for row in source.rows()]
    return [(utterance.text, len(utterance.audio)) for utterance in utterances]


EXPECTED = [(text, len(samples(i))) for i, text in enumerate(TEXTS)]


def audio_table(form: str, marked_as_audio: bool = True, **more: list[Any]) -> pa.Table:
    """Rows with audio as bytes or as samples; with the metadata that `datasets` writes, or plain."""
    if form == "bytes":
        audio = [{"bytes": flac(i), "path": f"{i}.flac"} for i in range(ROWS)]
    else:
        audio = [{"array": samples(i).tolist(), "sampling_rate": 16_000} for i in range(ROWS)]
    table = pa.table({"audio": audio, "text": TEXTS, **more})
    if not marked_as_audio:
        return table
    marked = datasets.Features.from_arrow_schema(table.schema)
    marked["audio"] = datasets.Audio()
    return table.cast(marked.arrow_schema)


@pytest.fixture
def parquet(tmp_path: Path) -> str:
    """Six rows in two files, with columns to choose by."""
    table = audio_table("bytes", speaker=["ann", "bob"] * 3, grade=[1, 1, 2, 2, 3, 3], adult=[True, False] * 3)
    pq.write_table(table.slice(0, 4), tmp_path / "part-0.parquet", row_group_size=2)
    pq.write_table(table.slice(4), tmp_path / "part-1.parquet")
    return str(tmp_path / "part-*.parquet")


# Every origin and form


def test_parquet_as_the_hub_writes_it(parquet: str) -> None:
    source = opened(files=parquet)
    assert read(source) == EXPECTED
    assert source.row_count() == ROWS
    swapped = opened(files=[parquet.replace("*", "1"), parquet.replace("*", "0")])
    assert read(swapped) == EXPECTED[4:] + EXPECTED[:4]


@pytest.mark.parametrize("form", ["bytes", "array"])
def test_parquet_without_metadata(tmp_path: Path, form: str) -> None:
    pq.write_table(audio_table(form, marked_as_audio=False), tmp_path / "a.parquet")
    assert read(opened(files=str(tmp_path / "a.parquet"))) == EXPECTED


def test_parquet_with_bare_bytes_and_with_paths(tmp_path: Path) -> None:
    for i in range(ROWS):
        write_clip(tmp_path / "clips" / f"{i}.wav", i)
    pq.write_table(pa.table({"audio": [flac(i) for i in range(ROWS)], "text": TEXTS}), tmp_path / "bytes.parquet")
    paths = pa.table({"audio": [f"clips/{i}.wav" for i in range(ROWS)], "text": TEXTS})
    pq.write_table(paths, tmp_path / "paths.parquet")
    assert read(opened(files=str(tmp_path / "bytes.parquet"))) == EXPECTED
    assert read(opened(files=str(tmp_path / "paths.parquet"))) == EXPECTED


def test_a_second_audio_column_is_left_undecoded(tmp_path: Path) -> None:
    table = audio_table("bytes", marked_as_audio=False)
    table = table.append_column("noisy", table["audio"])
    features = datasets.Features.from_arrow_schema(table.schema)
    features |= {"audio": datasets.Audio(), "noisy": datasets.Audio()}
    pq.write_table(table.cast(datasets.Features(features).arrow_schema), tmp_path / "a.parquet")
    source = opened(files=str(tmp_path / "a.parquet"), columns={"audio": "noisy"})
    assert read(source) == EXPECTED


def test_an_empty_parquet_file_among_others(parquet: str, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(tmp_path / "part-0.parquet").slice(0, 0), tmp_path / "part-.parquet")
    source = opened(files=parquet)
    assert read(source) == EXPECTED
    assert source.row_count() == ROWS


@pytest.mark.parametrize("write", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("marked", [True, False])
def test_arrow(tmp_path: Path, write: Callable[..., Any], marked: bool) -> None:
    table = audio_table("bytes", marked_as_audio=marked)
    with write(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    source = opened(files=str(tmp_path / "a.arrow"))
    assert read(source) == EXPECTED
    assert source.row_count() is None


def test_jsonl_with_paths_relative_to_its_folder_or_to_audio_root(tmp_path: Path) -> None:
    for i in range(ROWS):
        write_clip(tmp_path / "lists" / "here" / f"{i}.wav", i)
        write_clip(tmp_path / "elsewhere" / f"{i}.wav", i)
    relative, absolute = tmp_path / "lists" / "relative.jsonl", tmp_path / "lists" / "absolute.json"
    rooted = tmp_path / "lists" / "rooted.jsonl"
    for path, prefix in ((relative, "here/"), (rooted, ""), (absolute, f"{tmp_path}/elsewhere/")):
        lines = [json.dumps({"audio": f"{prefix}{i}.wav", "text": text}) for i, text in enumerate(TEXTS)]
        path.write_text("\n".join(lines))
    assert read(opened(files=str(relative))) == EXPECTED
    assert read(opened(files=str(absolute))) == EXPECTED
    assert read(opened(files=str(rooted), audio_root=str(tmp_path / "elsewhere"))) == EXPECTED
    assert opened(files=str(relative)).row_count() is None


def test_jsonl_with_samples_and_other_column_names(tmp_path: Path) -> None:
    lines = [
        {"wave": {"array": samples(i).tolist(), "sampling_rate": 16_000}, "sentence": text, "name": i}
        for i, text in enumerate(TEXTS)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    columns = {"audio": "wave", "text": "sentence", "id": "name"}
    source = opened(files=str(tmp_path / "a.jsonl"), columns=columns)
    assert read(source) == EXPECTED
    assert [row_id(row, source) for row in source.rows()] == [str(i) for i in range(ROWS)]


def test_hub_dataset(parquet: str, tmp_path: Path) -> None:
    """A folder in a hub dataset's layout goes the same way as a name on the hub."""
    for split, part in (("train", 0), ("test", 1)):
        (tmp_path / "hub" / "data").mkdir(parents=True, exist_ok=True)
        (tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet").write_bytes(
            (tmp_path / f"part-{part}.parquet").read_bytes()
        )
    assert read(opened(hub=str(tmp_path / "hub"))) == EXPECTED[:4]
    test = opened(hub=str(tmp_path / "hub"), split="test")
    assert read(test) == EXPECTED[4:]
    assert test.row_count() is None
    with pytest.raises(DataError, match="nothing") as caught:
        read(opened(hub=str(tmp_path / "hub"), split="nothing"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "spreadsheet"])
def test_folder(tmp_path: Path, kind: str) -> None:
    names = [f"speaker {i % 2}/{i}" for i in range(ROWS)]
    for i, name in enumerate(names):
        write_clip(tmp_path / f"{name}.wav", i)
    texts = ["", *TEXTS[1:-1], 'say "ah, ə", loudly'] if kind != "txt" else TEXTS
    if kind == "jsonl":
        lines = [json.dumps({"file_name": f"{n}.wav", "text": t}) for n, t in zip(names, texts, strict=True)]
        (tmp_path / "metadata.jsonl").write_text("\n\n".join(lines) + "\n")
    elif kind == "txt":
        for name, text in zip(names, texts, strict=True):
            (tmp_path / f"{name}.txt").write_text(f"{text}\n")
        write_clip(tmp_path / "without transcript.wav", 0)
        (tmp_path / "without recording.txt").write_text("left out")
    else:
        quoted = [text.replace('"', '""') for text in texts]
        lines = ["file_name,text", *(f'{n}.wav,"{t}"' for n, t in zip(names, quoted, strict=True))]
        encoding = "utf-8-sig" if kind == "spreadsheet" else "utf-8"  # Excel begins a file with a byte-order mark
        (tmp_path / "metadata.csv").write_text("\r\n".join(lines), encoding=encoding, newline="")
    source = opened(folder=str(tmp_path), columns={"id": "id"})
    lengths = [length for _, length in EXPECTED]
    assert sorted(read(source), key=lambda row: row[1]) == list(zip(texts, lengths, strict=True))
    assert sorted(row_id(row, source) for row in source.rows()) == sorted(names)
    assert source.row_count() == ROWS


def test_globs_go_into_folders(parquet: str, tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "part-1.parquet").rename(tmp_path / "deep" / "deeper" / "part-1.parquet")
    assert sorted(read(opened(files=str(tmp_path / "**" / "*.parquet")))) == EXPECTED


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.mark.parametrize("store", ["memory", "s3"])
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "arrow"])
def test_files_at_an_address(request: pytest.FixtureRequest, tmp_path: Path, kind: str, store: str) -> None:
    """Audio lies beside them, by relative paths."""
    folder = f"{'memory://remote' if store == 'memory' else request.getfixturevalue('bucket')}/{kind}"
    for i in range(ROWS):
        storage.write_bytes(f"{folder}/clips/{i}.flac", flac(i))
    table = pa.table({"audio": [f"clips/{i}.flac" for i in range(ROWS)], "text": TEXTS})
    if kind == "parquet":
        pq.write_table(table, tmp_path / "a.parquet")
    elif kind == "arrow":
        with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
            writer.write_table(table)
    else:
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, table.to_pylist())))
    storage.write_bytes(f"{folder}/a.{kind}", (tmp_path / f"a.{kind}").read_bytes())
    assert read(opened(files=f"{folder}/*.{kind}")) == EXPECTED
    assert read(opened(files=f"{folder}/a.{kind}", audio_root=folder)) == EXPECTED
    other = opened(files=f"{folder}/a.{kind}", audio_root=f"{folder}/elsewhere")
    assert "cannot read" in failing(lambda: read(other)) and storage.is_remote(other.files[0])
    assert "no file matches" in failing(lambda: opened(files=f"{folder}/b*.{kind}").check_columns())


def test_digits_are_made_when_opened(tmp_path: Path) -> None:
    source = opened(digits={"folder": str(tmp_path / "new"), "split": "train", "utterances": 5})
    assert len(read(source)) == source.row_count() == 5


# Choice of rows


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        ({"keep": {"speaker": ["ann"]}}, [0, 2, 4]),
        ({"drop": {"speaker": ["ann"]}}, [1, 3, 5]),
        ({"keep": {"grade": [1, 3]}}, [0, 1, 4, 5]),
        ({"keep": {"grade": ["1"]}}, [0, 1]),
        ({"keep": {"adult": [True]}}, [0, 2, 4]),
        ({"keep": {"grade": [1, 2]}, "drop": {"speaker": ["bob"], "grade": [2]}}, [0]),
        ({"max_utterances": 3}, [0, 1, 2]),
        ({"max_utterances": 5}, [0, 1, 2, 3, 4]),
        ({"max_utterances": 100}, list(range(ROWS))),
        ({"keep": {"speaker": ["bob"]}, "max_utterances": 2}, [1, 3]),
    ],
)
def test_keep_drop_and_max_utterances(parquet: str, choice: dict[str, Any], kept: list[int]) -> None:
    source = opened(files=parquet, **choice)
    assert read(source) == [EXPECTED[i] for i in kept]
    assert source.row_count() == (None if choice.keys() & {"keep", "drop"} else len(kept))


def test_rows_can_be_read_again(parquet: str) -> None:
    source = opened(files=parquet)
    half_read = source.rows()
    next(half_read)
    assert read(source) == read(source) == EXPECTED


# Mistakes


def failing(message_of: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        message_of()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_files(tmp_path: Path) -> None:
    message = failing(lambda: opened(files=str(tmp_path / "no*.parquet")).check_columns())
    assert message.startswith("data.train.files: no file matches") and "no*.parquet" in message


def test_missing_column_names_the_nearest_and_all(parquet: str) -> None:
    message = failing(lambda: opened(files=parquet, columns={"text": "tekst"}).check_columns())
    assert "data.train.columns.text" in message and "'tekst'" in message
    assert "did you mean 'text'?" in message
    assert "adult, audio, grade, speaker, text" in message
    message = failing(lambda: opened(files=parquet, drop={"speakers": ["ann"]}).check_columns())
    assert "data.train.drop.speakers" in message and "did you mean 'speaker'?" in message
    assert "data.train.columns.duration" in failing(
        lambda: opened(files=parquet, columns={"duration": "length"}).check_columns()
    )


def test_no_rows(tmp_path: Path) -> None:
    pq.write_table(audio_table("bytes").slice(0, 0), tmp_path / "a.parquet")
    assert "has no rows" in failing(lambda: opened(files=str(tmp_path / "a.parquet")).check_columns())
    assert opened(files=str(tmp_path / "a.parquet")).row_count() == 0
    (tmp_path / "a.jsonl").write_text("")
    assert "a.jsonl" in failing(lambda: opened(files=str(tmp_path / "a.jsonl")).check_columns())
    (tmp_path / "metadata.jsonl").write_text("")
    assert "metadata.jsonl is empty" in failing(lambda: opened(folder=str(tmp_path)).check_columns())


def test_unknown_suffix_and_mixed_formats(parquet: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("audio\ttext\n")
    (tmp_path / "a.jsonl").write_text("{}\n")
    message = failing(lambda: opened(files=str(tmp_path / "a.tsv")).check_columns())
    assert "a.tsv is none of .arrow, .json, .jsonl, .parquet" in message
    message = failing(lambda: opened(files=[parquet, str(tmp_path / "a.jsonl")]).check_columns())
    assert "one format at a time; these are json, parquet" in message


@pytest.mark.parametrize("content", [b"not Parquet at all, but some text", b"PAR1", b""])
def test_broken_parquet(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(content)
    assert "broken.parquet" in failing(lambda: opened(files=str(path)).check_columns())
    assert "broken.parquet" in failing(opened(files=str(path)).row_count)


def test_what_is_broken_further_on_is_told_when_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text('{"audio": "a.wav", "text": "a"}\n' * 3)
    (tmp_path / "1.jsonl").write_text('{"audio": "a.wav", "te')
    source = opened(files=str(tmp_path / "*.jsonl"))
    rows = source.rows()
    assert [next(rows)["text"] for _ in range(3)] == ["a"] * 3
    assert "cannot read files" in failing(lambda: next(rows))


BAD_METADATA = {
    "no file name": (
        "metadata.csv",
        b"recorded,text\na.wav,hello\n",
        "no column for audio by a usual name: say columns",
    ),
    "no file name in a row": ("metadata.jsonl", b'{"file_name": "a.wav"}\n{"file_name": null}\n', "no column for text"),
    "no name in a row": ("metadata.jsonl", b'{"file_name":"a.wav","text":"a"}\n{"text":"b"}\n', "line 2: no audio"),
    "not an object": ("metadata.jsonl", b"[1]\n", "metadata.jsonl is neither JSON lines nor"),
    "not JSON": ("metadata.jsonl", b'{"file_name": "a.wav", "text": "a"}\n{"file', "line 2: not JSON"),
    "comma without quotes": ("metadata.csv", b"file_name,text\na.wav,hello, you\n", "row 1: 3 fields"),
    "latin-1": ("metadata.csv", b"file_name,text\na.wav,caf\xe9\n", "row 1: not UTF-8"),
    "a list as text": ("metadata.jsonl", b'{"file_name":"a","text":"a"}\n{"file_name":"a","text":[5]}', "text is list"),
    "no text": ("metadata.jsonl", b'{"file_name": "a.wav", "texts": "a"}\n', "did you mean 'texts'?"),
    "latin-1 transcript": ("a.txt", b"caf\xe9", "a.wav: text is bytes, not text in UTF-8"),
    "no transcript": ("b.txt", b"text", "1 recording without a transcript: a.wav"),
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_folder(tmp_path: Path, case: str) -> None:
    name, content, expected = BAD_METADATA[case]
    write_clip(tmp_path / "a.wav", 0)
    (tmp_path / name).write_bytes(content)
    assert expected in failing(lambda: opened(folder=str(tmp_path)).check_columns())


def test_no_folder(tmp_path: Path) -> None:
    message = failing(lambda: opened(folder=str(tmp_path / "nowhere")).check_columns())
    assert message.startswith("data.train.folder: there is no ")
