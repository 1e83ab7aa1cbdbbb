"""Every shape of corpus becomes the same shards; splits, limits, layouts and the manifest are as asked for."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from data.audio.decoding import decode_audio
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.preparation.prepare import prepare
from data.preparation.settings import ClipSettings, PrepareSettings
from data.preparation.summary import Summary, print_summary

from ...support.corpora_on_disk import (
    SHAPES,
    SPEAKERS,
    TEXTS,
    WITH_SPLITS,
    WITHOUT_SPEAKERS,
    encoded,
    json_lines,
    kaldi_segments,
    parquet,
    samples,
    write_audio,
)


def settings(corpus: Path | str, output: Path, **values: Any) -> PrepareSettings:
    clips = {key: values.pop(key) for key in list(values) if key in ClipSettings.model_fields}
    whole = {key: values.pop(key) for key in list(values) if key in PrepareSettings.model_fields}
    reading = CorpusSettings(input=str(corpus), language=values.pop("language", "az"), **values)
    return PrepareSettings(corpus=reading, clips=ClipSettings(**clips), output=str(output), **whole)


def prepared(corpus: Path | str, output: Path, **values: Any) -> tuple[Summary, list[dict[str, Any]]]:
    """The summary and all rows, each with its split, in the order of text."""
    summary = prepare(settings(corpus, output, **values))
    return summary, rows_of(output)


def rows_of(output: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(output.glob("*.parquet")):
        rows += [row | {"split_name": path.name.split("-")[0]} for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: TEXTS.index(row["text"]) if row["text"] in TEXTS else -1)


def quarantine(output: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (output / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]


# Shapes


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_clips(shape: str, tmp_path: Path) -> None:
    corpus = SHAPES[shape](tmp_path / "corpus" if shape != "archive" else tmp_path)
    summary, rows = prepared(corpus, tmp_path / "out", cache=str(tmp_path / "cache"), job_rows=4)
    rows = sorted(rows, key=lambda row: row["duration"])
    texts = [text.replace("|", "/") for text in TEXTS] if shape == "lj_speech" else TEXTS
    assert [row["text"] for row in rows] == texts, quarantine(tmp_path / "out")
    assert (summary.rows, summary.clips, sum(summary.dropped.values())) == (6, 6, 0)
    for number, row in enumerate(rows):
        audio = decode_audio(row["audio"])
        exact = shape not in ("common_voice",)
        assert len(audio) / 16_000 == row["duration"]
        if exact:
            assert len(audio) == len(samples(number))
            np.testing.assert_allclose(audio, samples(number), atol=2e-4)
        else:
            assert abs(len(audio) - len(samples(number))) < 1600
        assert row["language"] == "az"
        if shape not in WITHOUT_SPEAKERS:
            assert row["speaker"] == SPEAKERS[number]
    assert len({row["id"] for row in rows}) == 6
    splits = {row["split_name"] for row in rows}
    assert splits == ({"train", "validation", "test"} if shape in WITH_SPLITS else {"train"})


def test_audio_that_needs_no_change_is_kept_to_the_byte(tmp_path: Path) -> None:
    _, rows = prepared(json_lines(tmp_path), tmp_path / "out")
    assert [row["audio"]["bytes"] for row in rows] == [encoded(i) for i in range(6)]
    assert [row["audio"]["path"] for row in rows] == [f"clip{i}.flac" for i in range(6)]
    assert [row["id"] for row in rows] == [f"audio/clip{i}" for i in range(6)]


def test_datasets_opens_the_output_as_it_is(tmp_path: Path) -> None:
    import datasets

    prepare(settings(json_lines(tmp_path), tmp_path / "out", shares={"train": 0.5, "test": 0.5}, split_seed=1))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "test"}
    assert isinstance(loaded["train"].features["audio"], datasets.Audio)
    assert sum(len(split) for split in loaded.values()) == 6


def test_a_hub_dataset_by_its_name(tmp_path: Path) -> None:
    """A local folder stands for the hub: the same call opens both."""
    folder = parquet(tmp_path / "train")
    (folder / "b.parquet").unlink()
    (folder / "a.parquet").rename(folder / "train-0.parquet")
    _, rows = prepared(folder, tmp_path / "out", kind="hub", hub_splits=("train",))
    assert [row["text"] for row in rows] == TEXTS[:4]


def test_columns_by_other_names(tmp_path: Path) -> None:
    corpus = parquet(tmp_path / "corpus")
    table = pq.read_table(corpus).rename_columns(["clip", "words", "who", "key"])
    pq.write_table(table, tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"no column for audio.*--columns audio=NAME.*clip, words, who, key"):
        prepared(tmp_path / "odd.parquet", tmp_path / "none")
    with pytest.raises(DataError, match=r"but it has no column '\w+' \(did you mean 'words'\?\)"):
        prepared(tmp_path / "odd.parquet", tmp_path / "none", columns={"audio": "clip", "text": "word"})
    columns = {"audio": "clip", "text": "words", "speaker": "who", "id": None}
    _, rows = prepared(tmp_path / "odd.parquet", tmp_path / "out", columns=columns)
    assert [(row["text"], row["speaker"]) for row in rows] == list(zip(TEXTS, SPEAKERS, strict=True))
    assert not any(row["id"] in ("clip0", "clip1") for row in rows)


def test_columns_carried_along(tmp_path: Path) -> None:
    manifest = json_lines(tmp_path)
    lines = manifest.read_text(encoding="utf-8").splitlines()
    manifest.write_text("\n".join(json.dumps(json.loads(line) | {"age": 5 + i}) for i, line in enumerate(lines)))
    _, rows = prepared(manifest, tmp_path / "out", extra_columns=("duration", "age"))
    assert [row["age"] for row in rows] == ["5", "6", "7", "8", "9", "10"]
    # its own column and a carried one of the same name would be two
    assert [row["duration"] for row in rows] == [len(samples(i)) / 16_000 for i in range(6)]


def test_columns_of_a_folder_carried_along(tmp_path: Path) -> None:
    _, rows = prepared(kaldi_segments(tmp_path / "corpus"), tmp_path / "out", extra_columns=("start",))
    assert [float(row["start"]) for row in rows] == [sum(len(samples(i)) for i in range(n)) / 16_000 for n in range(6)]


def test_arrow_s_paths_begin_at_its_folder(tmp_path: Path) -> None:
    table = pa.table({"audio": [f"audio/{name}" for name in write_audio(tmp_path / "audio")], "text": TEXTS})
    with pa.ipc.new_stream(str(tmp_path / "all.arrow"), table.schema) as writer:
        writer.write_table(table)
    _, rows = prepared(tmp_path / "all.arrow", tmp_path / "out")
    assert [row["text"] for row in rows] == TEXTS


def test_nemo_s_offsets_cut_a_recording(tmp_path: Path) -> None:
    whole = np.concatenate([samples(i) for i in range(6)])
    soundfile.write(tmp_path / "long.flac", whole, 16_000)
    begins = np.cumsum([0] + [len(samples(i)) for i in range(6)]) / 16_000
    lines = [
        {"audio_filepath": "long.flac", "offset": begins[i], "duration": len(samples(i)) / 16_000, "text": TEXTS[i]}
        for i in range(6)
    ]
    (tmp_path / "m.json").write_text("\n".join(map(json.dumps, lines)))
    _, rows = prepared(tmp_path / "m.json", tmp_path / "out")
    for number, row in enumerate(rows):
        np.testing.assert_allclose(decode_audio(row["audio"]), samples(number), atol=2e-4)
    assert len({row["id"] for row in rows}) == 6


# Which clips, and where


def test_limits_and_the_summary(tmp_path: Path) -> None:
    summary, rows = prepared(json_lines(tmp_path), tmp_path / "out", min_seconds=0.515, max_seconds=0.535)
    assert [row["text"] for row in rows] == TEXTS[2:4]
    assert summary.dropped == {"too short": 2, "too long": 2} and summary.broken == 0
    assert summary.splits == {"train": (2, pytest.approx((8320 + 8480) / 16_000))}
    reasons = {row["id"]: row["reason"] for row in quarantine(tmp_path / "out")}
    assert reasons["audio/clip0"] == "0.50 s long; 0.515 to 0.535 s are kept"
    assert set(reasons) == {"audio/clip0", "audio/clip1", "audio/clip4", "audio/clip5"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["clips"] == 2 and manifest["rows"] == 6
    assert manifest["dropped"] == {"too long": 2, "too short": 2}
    assert [shard["file"] for shard in manifest["splits"]["train"]["shards"]] == ["train-00000.parquet"]


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 6, 7])
@pytest.mark.parametrize(
    "shape",
    ["json_lines", "comma_separated", "parquet", "arrow", "kaldi", "kaldi_archive", "web_dataset",
     "web_dataset_compressed", "lhotse", "lhotse_cuts", "lhotse_shar"],
)  # fmt: skip
def test_max_samples_are_the_first(shape: str, limit: int, tmp_path: Path) -> None:
    summary, rows = prepared(SHAPES[shape](tmp_path / "c"), tmp_path / "out", max_samples=limit, job_rows=2)
    assert [row["text"] for row in rows] == TEXTS[:limit] and summary.rows == min(limit, 6)


def test_splits_by_speaker_share_nobody(tmp_path: Path) -> None:
    many = {seed: prepared(json_lines(tmp_path / str(seed)), tmp_path / f"out{seed}", split_by="speaker",
                           shares={"train": 0.5, "test": 0.5}, split_seed=seed)[1] for seed in range(4)}  # fmt: skip
    for rows in many.values():
        splits = {who: {row["split_name"] for row in rows if row["speaker"] == who} for who in set(SPEAKERS)}
        assert all(len(names) == 1 for names in splits.values())
    assert len({tuple(row["split_name"] for row in rows) for rows in many.values()}) > 1


def test_a_split_without_clips_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shares = {"train": 0.98, "validation": 0.01, "test": 0.01}
    for by in ("speaker", "id"):
        summary = prepare(settings(json_lines(tmp_path / by), tmp_path / f"out-{by}", shares=shares, split_by=by))
        print_summary(summary, "out")
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: split ")]
        assert [line.split()[2] for line in told] == ["validation", "test"] and set(summary.splits) == {"train"}
        assert all("--split-seed" in line and ("--split-by id" in line) == (by == "speaker") for line in told)


def test_adding_data_moves_nothing_between_splits(tmp_path: Path) -> None:
    manifest = json_lines(tmp_path / "a")
    lines = manifest.read_text(encoding="utf-8").splitlines()
    shares = {"train": 0.5, "test": 0.5}
    manifest.write_text("\n".join(lines[2:4]), encoding="utf-8")
    few = {row["id"]: row["split_name"] for row in prepared(manifest, tmp_path / "few", shares=shares)[1]}
    manifest.write_text("\n".join(reversed(lines)), encoding="utf-8")
    all_rows = {row["id"]: row["split_name"] for row in prepared(manifest, tmp_path / "all", shares=shares)[1]}
    assert len(few) == 2 and few.items() <= all_rows.items()


def test_a_corpus_s_own_splits_are_kept_unless_others_are_asked_for(tmp_path: Path) -> None:
    table = pq.read_table(parquet(tmp_path / "c"))
    named = table.append_column("split", [["train", "dev", "test", "train", "val", "train"]])
    pq.write_table(named, tmp_path / "c.parquet")
    _, rows = prepared(tmp_path / "c.parquet", tmp_path / "own")
    names = ["train", "validation", "test", "train", "validation", "train"]
    assert [row["split_name"] for row in rows] == names
    _, rows = prepared(tmp_path / "c.parquet", tmp_path / "other", shares={"train": 1.0})
    assert {row["split_name"] for row in rows} == {"train"}


@pytest.mark.parametrize("same", [(1, 4, 5), (1, 4), (0, 1)], ids=["a whole shard", "part of one", "in one job"])
def test_duplicate_ids_are_taken_out_across_jobs(same: tuple[int, ...], tmp_path: Path) -> None:
    manifest = json_lines(tmp_path)
    lines = manifest.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) | {"id": "same" if i in same else f"id{i}"} for i, line in enumerate(lines)]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    kept = [i for i in range(6) if i not in same[1:]]
    for layout in ("parquet", "audiofolder"):
        output = tmp_path / layout
        for _ in range(2):  # also where nothing is left to do
            summary = prepare(settings(manifest, output, job_rows=2, layout=layout))
            assert summary.dropped == {"duplicate id": len(same) - 1} and summary.clips == len(kept)
            assert [row["id"] for row in quarantine(output)] == ["same"] * (len(same) - 1)
    assert [row["text"] for row in rows_of(tmp_path / "parquet")] == [TEXTS[i] for i in kept]
    assert [row["audio"]["bytes"] for row in rows_of(tmp_path / "parquet")] == [encoded(i) for i in kept]
    totals = json.loads((tmp_path / "parquet" / "manifest.json").read_text())["splits"]["train"]
    assert totals["clips"] == len(kept) and totals["bytes"] == sum(len(encoded(i)) for i in kept)
    assert totals["seconds"] == pytest.approx(sum(len(samples(i)) for i in kept) / 16_000)
    assert len(list((tmp_path / "audiofolder" / "train").rglob("*.flac"))) == len(kept)


# What is written


def test_an_audio_folder_opens_with_datasets(tmp_path: Path) -> None:
    import datasets

    prepare(settings(json_lines(tmp_path), tmp_path / "out", layout="audiofolder", job_rows=2))
    lines = (tmp_path / "out" / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text"] for row in rows] == TEXTS
    assert [(tmp_path / "out" / "train" / row["file_name"]).read_bytes() for row in rows] == list(
        map(encoded, range(6))
    )
    # `datasets` reads the audio of such folders with torchcodec, which is no dependency of ours.
    opened = datasets.load_dataset("audiofolder", data_dir=str(tmp_path / "out"), split="train", streaming=True)
    assert isinstance(opened.features["audio"], datasets.Audio)
    assert {"text", "speaker", "duration", "id", "language"} <= set(opened.features)
    # and our own reader takes it back
    assert [row["text"] for row in prepared(tmp_path / "out", tmp_path / "again")[1]] == TEXTS


def test_paths_alone(tmp_path: Path) -> None:
    _, rows = prepared(json_lines(tmp_path), tmp_path / "out", embed_audio=False, check="headers")
    for number, row in enumerate(rows):
        assert row["audio"] == {"bytes": None, "path": str(tmp_path / "audio" / f"clip{number}.flac")}
        assert row["duration"] == len(samples(number)) / 16_000


def test_reencoded_clips_are_16_khz_mono_flac(tmp_path: Path) -> None:
    stereo = np.stack([samples(0), -0.5 * samples(0)], axis=1)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", np.repeat(stereo, 3, axis=0), 48_000)
    (tmp_path / "in" / "a.txt").write_text("one")
    _, (row,) = prepared(tmp_path / "in", tmp_path / "out", reencode=True)
    info = soundfile.info(io.BytesIO(row["audio"]["bytes"]))
    assert (info.format, info.samplerate, info.channels, info.subtype) == ("FLAC", 16_000, 1, "PCM_16")
    assert row["audio"]["path"] == "a.flac" and row["duration"] == info.frames / 16_000


def test_large_splits_become_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data.preparation import shards

    monkeypatch.setattr(shards, "SHARD_BYTES", 10_000)
    monkeypatch.setattr(shards, "GROUP_BYTES", 1000)
    _, rows = prepared(json_lines(tmp_path), tmp_path / "out")
    assert [row["text"] for row in rows] == TEXTS
    names = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert len(names) > 1 and names[0] == "train-00000-001.parquet"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [shard["file"] for shard in manifest["splits"]["train"]["shards"]] == names


# Refusals


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_skipped_share": 0.0}, "rows cannot be used"),
        ({"min_seconds": 5}, "not one of 6 rows can be used"),
        ({"extra_columns": ("agee",)}, "no column 'agee'"),
        ({"kind": "kaldi"}, "a corpus of kind kaldi is a folder"),
        ({"kind": "parket"}, r"--kind is 'parket' \(did you mean 'parquet'\?\)"),
    ],
)
def test_what_cannot_be(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    manifest = json_lines(tmp_path)
    if "max_skipped_share" in values:
        manifest.write_text(manifest.read_text(encoding="utf-8") + "\n{}", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        prepare(settings(manifest, tmp_path / "out", **values))


def test_an_output_that_is_not_ours(tmp_path: Path) -> None:
    manifest = json_lines(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").touch()
    for overwrite in (False, True):
        with pytest.raises(DataError, match="files that are no preparation's"):
            prepare(settings(manifest, tmp_path / "out"), overwrite=overwrite)


def test_other_settings_want_another_output(tmp_path: Path) -> None:
    manifest = json_lines(tmp_path)
    prepare(settings(manifest, tmp_path / "out"))
    with pytest.raises(DataError, match=r"clips.max_seconds was 30.0, is 20.0"):
        prepare(settings(manifest, tmp_path / "out", max_seconds=20))
    prepare(settings(manifest, tmp_path / "out", max_seconds=20), overwrite=True)
    assert len(rows_of(tmp_path / "out")) == 6


def test_what_is_not_there(tmp_path: Path) -> None:
    for corpus in (tmp_path / "none", tmp_path / "none-*.parquet", "org/name"):
        with pytest.raises(DataError, match="neither a file nor a folder"):
            prepare(settings(corpus, tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is empty"):
        prepare(settings(tmp_path / "empty", tmp_path / "out"))


def test_ids_that_are_no_clips_ids_are_an_error(tmp_path: Path) -> None:
    """As in FLEURS, where an id is a sentence's, which several read."""
    clips = [{"bytes": encoded(i % 6), "path": f"{i}.flac"} for i in range(12)]
    columns = {"id": [i // 3 for i in range(12)], "audio": clips, "text": [f"word {i}" for i in range(12)]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"8 of 12 rows have the id of an earlier row.*--columns id="):
        prepared(tmp_path / "a.parquet", tmp_path / "out", max_skipped_share=0.05)
    assert not (tmp_path / "out" / "manifest.json").exists()
    _, rows = prepared(tmp_path / "a.parquet", tmp_path / "other", columns={"id": None})
    assert len({row["id"] for row in rows}) == 12
