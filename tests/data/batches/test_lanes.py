"""A lane gives each of its rows once, in batches of similar length, and goes on exactly where a position says."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching, Lane, plan_batches
from data.batches.mixture import LanePart
from data.config import DataConfig
from data.opening import source_of
from data.utterance import LaneItem
from modeling.byte_processor import build_byte_processor

ROWS = 41
FIRST_SHARD = 23


def clip(number: int) -> bytes:
    """0.1 to 0.9 s of a level that tells the number, in an order of lengths unlike that of the rows."""
    length = 1600 + 320 * (number * 17 % ROWS)
    file = io.BytesIO()
    soundfile.write(file, np.full(length, number / 64, dtype=np.float32), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def clip_seconds(number: int) -> float:
    return (1600 + 320 * (number * 17 % ROWS)) / 16_000


def speaker(number: int) -> str:
    return ("ann", "bob", "eve")[number // 2 % 3]


def clip_table() -> pa.Table:
    return pa.table(
        {
            "id": [f"row{i}" for i in range(ROWS)],
            "audio": [{"bytes": clip(i), "path": None} for i in range(ROWS)],
            "text": [f"text {i}" for i in range(ROWS)],
            "speaker": [speaker(i) for i in range(ROWS)],
        }
    )


def write_shards(table: pa.Table, folder: Path) -> str:
    pq.write_table(table.slice(0, FIRST_SHARD), folder / "0.parquet", row_group_size=7)
    pq.write_table(table.slice(FIRST_SHARD), folder / "1.parquet", row_group_size=5)
    return str(folder / "*.parquet")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(clip_table(), tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def labels() -> LabelEncoder:
    return LabelEncoder(build_byte_processor(["az"]).tokenizer, True, "az")


class Setup:
    """What all lanes of a test share."""

    def __init__(
        self, files: str | None, labels: LabelEncoder, window: int = 10, batch_size: int = 4, **values: Any
    ) -> None:
        limits = {key: values.pop(key) for key in ("min_seconds", "max_seconds") if key in values}
        train = {"files": files, "columns": {"id": "id"}} | values
        self.config = DataConfig(train=train, shuffle_window=window, **limits)
        self.batch_size = batch_size
        self.sources, self.labels = [source_of(one, "data.train") for one in self.config.training_sources], labels

    def lane(
        self, lane: int = 0, lanes: int = 1, seed: int = 0, epoch: int = 0, position: dict[str, Any] | None = None
    ) -> Lane:
        batching = Batching(self.sources, self.config, self.labels, self.batch_size, seed)
        return Lane(batching, epoch, LanePart(lane, lanes), position or {})


def batches(items: Iterable[LaneItem]) -> list[list[str]]:
    return [item.batch.ids for item in items if item.batch is not None]


def names(numbers: Iterable[int]) -> list[str]:
    return sorted(f"row{i}" for i in numbers)


def flat(lists: Iterable[list[str]]) -> list[str]:
    return [name for batch in lists for name in batch]


# The plan


def test_a_plan_holds_every_row_once_in_batches_of_similar_length() -> None:
    seconds = np.random.default_rng(1).uniform(0, 30, 1000)
    plan = plan_batches(seconds.tolist(), 8, np.random.default_rng(0))
    assert sorted(row for batch in plan for row in batch) == list(range(1000))
    assert [len(batch) for batch in plan] == [8] * 125
    spread = [np.ptp(seconds[batch]) for batch in plan]
    assert np.mean(spread) < 0.5
    starts = [seconds[batch[0]] for batch in plan]
    assert abs(np.corrcoef(starts, range(125))[0, 1]) < 0.3, "the batches themselves come in random order"


def test_a_plan_mixes_rows_of_equal_length() -> None:
    plans = [plan_batches([1.0] * 32, 4, np.random.default_rng(seed)) for seed in (0, 1)]
    assert {frozenset(batch) for batch in plans[0]} != {frozenset(batch) for batch in plans[1]}
    assert plan_batches([], 4, np.random.default_rng(0)) == []


LENGTHS = np.random.default_rng(5).lognormal(np.log(3.0), 0.5, 4096).clip(0.3, 30)  # like children's speech: mean 3.4 s


@pytest.mark.parametrize(("batch_size", "budget"), [(8, None), (16, None), (64, 120.0), (1000, 60.0)])
def test_a_plan_wastes_a_tenth_at_most(batch_size: int, budget: float | None) -> None:
    assert 3.2 < LENGTHS.mean() < 3.6
    padded = 0.0
    for number in range(2):
        window = LENGTHS[2048 * number :][:2048]
        plan = plan_batches(window.tolist(), batch_size, np.random.default_rng(number), budget)
        padded += sum(len(batch) * window[batch].max() for batch in plan)
    assert 1 - LENGTHS.sum() / padded < 0.1


def test_a_plan_keeps_to_its_budget_and_uses_it() -> None:
    plan = plan_batches(LENGTHS.tolist(), 40, np.random.default_rng(0), 60.0)
    assert sorted(row for batch in plan for row in batch) == list(range(len(LENGTHS)))
    padded = [len(batch) * LENGTHS[batch].max() for batch in plan]
    assert max(padded) <= 60.0 + 1e-9 and max(map(len, plan)) == 40
    assert np.mean(padded) > 50.0, "short clips are capped by number, the others by seconds"
    assert len(plan_batches([70.0, 1.0], 4, np.random.default_rng(0), 60.0)) == 2


# One epoch


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5])
def test_every_row_comes_once(clips: str, labels: LabelEncoder, lanes: int) -> None:
    setup = Setup(clips, labels)
    for epoch in (0, 1):
        found = flat(batches(item for lane in range(lanes) for item in setup.lane(lane, lanes, epoch=epoch)))
        assert sorted(found) == names(range(ROWS))


def test_the_last_item_has_no_batch_and_all_rows_are_counted(clips: str, labels: LabelEncoder) -> None:
    items = list(Setup(clips, labels).lane())
    assert [item.batch is None for item in items] == [False] * (len(items) - 1) + [True]
    assert sum(item.rows for item in items) == ROWS
    assert sum(len(item.skipped) for item in items) == 0


def test_a_batch_holds_audio_and_labels_of_its_rows(clips: str, labels: LabelEncoder) -> None:
    for item in Setup(clips, labels).lane():
        batch = item.batch
        if batch is None:
            continue
        assert batch.audio.dtype == torch.float32
        assert batch.audio.shape == (len(batch.ids), int(batch.audio_lengths.max()))
        assert batch.labels is not None and batch.decoder_input_ids is not None
        for row, name in enumerate(batch.ids):
            number, length = int(name.removeprefix("row")), int(batch.audio_lengths[row])
            assert length == 1600 + 320 * (number * 17 % ROWS)
            assert batch.audio[row, :length].eq(number / 64).all() and batch.audio[row, length:].eq(0).all()
            assert batch.texts[row] == f"text {number}"
            ids, targets = labels.encode(batch.texts[row], None)
            assert batch.decoder_input_ids[row, : len(ids)].tolist() == ids
            assert batch.labels[row, : len(ids)].tolist() == targets
        assert batch.target_tokens == sum(len(f" {text}") + 1 for text in batch.texts)


def test_batches_pad_less_than_random_ones(clips: str, labels: LabelEncoder) -> None:
    lane = [item.batch for item in Setup(clips, labels, window=ROWS).lane() if item.batch is not None]
    lengths = torch.cat([batch.audio_lengths for batch in lane])
    shuffled = lengths[torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))]
    padded = sum(batch.audio.numel() for batch in lane)
    randomly_padded = sum(len(batch) * int(batch.max()) for batch in shuffled.split(4))
    assert padded - lengths.sum() < 0.3 * (randomly_padded - lengths.sum())


def test_epochs_and_seeds_shuffle_differently_and_repeatably(clips: str, labels: LabelEncoder) -> None:
    setup = Setup(clips, labels, window=ROWS)
    first = batches(setup.lane())
    assert batches(setup.lane()) == first
    assert batches(setup.lane(epoch=1)) != first
    assert batches(setup.lane(seed=1)) != first
    assert batches(setup.lane(epoch=1)) != batches(setup.lane(seed=1))


def test_windows_of_one_epoch_are_shuffled_differently(tmp_path: Path, labels: LabelEncoder) -> None:
    table = clip_table().take([0] * 24).set_column(0, "id", [[str(i) for i in range(24)]])
    pq.write_table(table, tmp_path / "equal.parquet")
    found = batches(Setup(str(tmp_path / "equal.parquet"), labels, window=12).lane())
    first, second = ([[int(name) % 12 for name in batch] for batch in part] for part in (found[:3], found[3:]))
    assert sorted(row for batch in first for row in batch) == list(range(12))
    assert first != second


# Which rows


def test_keep_drop(clips: str, labels: LabelEncoder) -> None:
    setup = Setup(clips, labels, keep={"speaker": ["ann", "bob"]}, drop={"speaker": ["bob"]})
    kept = [i for i in range(ROWS) if speaker(i) == "ann"]
    for lanes in (1, 2, 3):
        items = [item for lane in range(lanes) for item in setup.lane(lane, lanes)]
        assert sorted(flat(batches(items))) == names(kept)
        assert sum(item.rows for item in items) == len(kept)


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_max_utterances_are_the_same_in_every_epoch(clips: str, labels: LabelEncoder, lanes: int) -> None:
    setup = Setup(clips, labels, window=8, batch_size=1, max_utterances=11)
    epochs = [
        flat(batches(item for lane in range(lanes) for item in setup.lane(lane, lanes, epoch=epoch, seed=epoch)))
        for epoch in range(4)
    ]
    assert all(len(set(found)) == len(found) == 11 for found in epochs)
    assert len({tuple(sorted(found)) for found in epochs}) == 1
    assert len({tuple(found) for found in epochs}) > 1
    assert sorted(epochs[0]) == names(range(11))


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_max_utterances_of_those_that_are_kept(clips: str, labels: LabelEncoder, lanes: int) -> None:
    """They lie together in the file, yet every lane finds its share of them."""
    rows = sorted(clip_table().to_pylist(), key=lambda row: row["speaker"])
    folder = Path(clips).parent / "sorted"
    folder.mkdir(exist_ok=True)
    files = write_shards(pa.Table.from_pylist(rows, schema=clip_table().schema), folder)
    setup = Setup(files, labels, keep={"speaker": ["ann"]}, max_utterances=9)
    epochs = [
        flat(batches(item for lane in range(lanes) for item in setup.lane(lane, lanes, epoch=epoch)))
        for epoch in (0, 1)
    ]
    assert len(set(epochs[0])) == 9 and sorted(epochs[0]) == sorted(epochs[1])
    assert set(epochs[0]) <= set(names(i for i in range(ROWS) if speaker(i) == "ann"))


def test_max_utterances_below_the_number_of_lanes(clips: str, labels: LabelEncoder) -> None:
    setup = Setup(clips, labels, max_utterances=2)
    assert [len(flat(batches(setup.lane(lane, 3)))) for lane in range(3)] == [1, 1, 0]


# Rows that cannot be used


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """The clips with every fault a row may have, and what is to be said of each; four rows are a batch's worth."""
    flac = io.BytesIO()
    soundfile.write(flac, np.random.default_rng(0).normal(0, 0.1, 8000), 16_000, format="FLAC")
    cut = flac.getvalue()[:-2000]
    audio = {5: b"garbage", 13: b"", 16: None, 29: cut, 30: cut, 31: cut, 40: cut}
    texts: dict[int, str | None] = {7: "", 22: None, 23: "long " * 100}
    rows = clip_table().to_pylist()
    for number, value in audio.items():
        rows[number]["audio"] = {"bytes": value, "path": None}
    for number, text in texts.items():
        rows[number]["text"] = text
    reasons = {f"row{number}": "not audio" for number in audio} | {"row13": "no audio", "row16": "no audio"}
    reasons |= {"row7": "the text is empty", "row22": "the text is null", "row23": "tokens long"}
    table = pa.Table.from_pylist(rows, schema=clip_table().schema)
    return write_shards(table, tmp_path_factory.mktemp("flawed")), reasons


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_a_flawed_row_is_named_once_and_the_others_come(
    flawed: tuple[str, dict[str, str]], labels: LabelEncoder, lanes: int
) -> None:
    files, reasons = flawed
    setup = Setup(files, labels)
    items = [item for lane in range(lanes) for item in setup.lane(lane, lanes)]
    assert sorted(flat(batches(items))) == sorted(set(names(range(ROWS))) - reasons.keys())
    skipped = [row for item in items for row in item.skipped]
    assert sorted(row.id for row in skipped) == sorted(reasons)
    assert all(row.broken and reasons[row.id] in row.reason and "\n" not in row.reason for row in skipped)
    assert sum(item.rows for item in items) == ROWS


def test_a_source_without_one_good_row(tmp_path: Path, labels: LabelEncoder) -> None:
    rows = [{"id": str(i), "audio": {"bytes": b"garbage", "path": None}, "text": "text"} for i in range(12)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (only,) = Setup(str(tmp_path / "a.parquet"), labels, window=5).lane()
    assert only.batch is None and only.rows == len(only.skipped) == 12


def test_clips_too_short_and_too_long_are_left_out_but_not_broken(clips: str, labels: LabelEncoder) -> None:
    items = list(Setup(clips, labels, min_seconds=0.2, max_seconds=0.7).lane())
    fitting = [i for i in range(ROWS) if 0.2 <= (1600 + 320 * (i * 17 % ROWS)) / 16_000 <= 0.7]
    assert 20 < len(fitting) < ROWS
    assert sorted(flat(batches(items))) == names(fitting)
    skipped = [row for item in items for row in item.skipped]
    assert sorted(row.id for row in skipped) == names(set(range(ROWS)) - set(fitting))
    assert not any(row.broken for row in skipped)
    assert all("0.2 to 0.7 s are kept" in row.reason for row in skipped)


def test_a_duration_column_spares_the_header(tmp_path: Path, labels: LabelEncoder) -> None:
    seconds = [clip_seconds(i) if i % 2 else None for i in range(ROWS - 1)] + [99.0]
    pq.write_table(clip_table().append_column("duration", pa.array(seconds)), tmp_path / "a.parquet")
    columns = {"id": "id", "duration": "duration"}
    items = list(Setup(str(tmp_path / "a.parquet"), labels, columns=columns).lane())
    assert sorted(flat(batches(items))) == names(range(ROWS - 1))
    (skipped,) = [row for item in items for row in item.skipped]
    assert skipped.id == f"row{ROWS - 1}" and "99.00 s long" in skipped.reason and not skipped.broken


def test_a_duration_column_that_is_wrong_is_told(tmp_path: Path, labels: LabelEncoder) -> None:
    """Batches were planned from it; within 5 % or 0.1 s it is as good as right."""
    off = {2: 0.09, 3: -0.09, 4: 0.2, 5: 5.0, 6: -0.15}
    seconds = [clip_seconds(i) + off.get(i, 0.0) for i in range(ROWS)]
    pq.write_table(clip_table().append_column("duration", pa.array(seconds)), tmp_path / "a.parquet")
    items = list(Setup(str(tmp_path / "a.parquet"), labels, columns={"id": "id", "duration": "duration"}).lane())
    assert sorted(flat(batches(items))) == names(set(range(ROWS)) - {4, 5, 6})
    skipped = {row.id: row for item in items for row in item.skipped}
    assert sorted(skipped) == names((4, 5, 6)) and all(row.broken for row in skipped.values())
    reason = f"says {seconds[5]:.2f} s, but the audio has {clip_seconds(5):.2f} s"
    assert reason in skipped["row5"].reason


def test_audio_longer_than_its_header_says_is_left_out(tmp_path: Path, labels: LabelEncoder) -> None:
    seconds = [clip_seconds(i) for i in range(ROWS)]
    seconds[7] -= 0.05
    pq.write_table(clip_table().append_column("duration", pa.array(seconds)), tmp_path / "a.parquet")
    columns = {"id": "id", "duration": "duration"}
    limit = (clip_seconds(7) + seconds[7]) / 2
    items = list(Setup(str(tmp_path / "a.parquet"), labels, columns=columns, max_seconds=limit).lane())
    (skipped,) = [row for item in items for row in item.skipped if row.id == "row7"]
    assert not skipped.broken and f"{clip_seconds(7):.2f} s long" in skipped.reason


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (pa.array([float("nan")] * ROWS), "the text is NaN"),
        (pa.array([["a", "list"]] * ROWS), "the text is no text but a list"),
        (pa.array([{"a": "mapping"}] * ROWS), "the text is no text but a dict"),
        (pa.array([b"caf\xe9"] * ROWS), "the text is bytes"),
        (pa.array([b"caf\xe9"] * ROWS).view(pa.string()), "the text is bytes that are not UTF-8"),
    ],
    ids=["nan", "list", "dict", "bytes", "not UTF-8"],
)
def test_text_that_is_none(tmp_path: Path, labels: LabelEncoder, texts: pa.Array, said: str) -> None:
    table = clip_table()
    pq.write_table(table.set_column(table.schema.get_field_index("text"), "text", texts), tmp_path / "a.parquet")
    (only,) = Setup(str(tmp_path / "a.parquet"), labels).lane()
    assert only.batch is None and len(only.skipped) == ROWS
    assert all(row.broken and said in row.reason for row in only.skipped)


def test_one_text_that_is_not_utf_8_is_its_row_s_fault_alone(tmp_path: Path, labels: LabelEncoder) -> None:
    texts = pa.array([b"text" if i != 4 else b"caf\xe9" for i in range(ROWS)]).view(pa.string())
    pq.write_table(clip_table().set_column(2, "text", texts), tmp_path / "a.parquet")
    items = list(Setup(str(tmp_path / "a.parquet"), labels).lane())
    assert sorted(flat(batches(items))) == names(set(range(ROWS)) - {4})
    assert [row.id for item in items for row in item.skipped] == ["row4"]


def test_numbers_are_text_and_a_missing_id_is_made_up(tmp_path: Path, labels: LabelEncoder) -> None:
    table = clip_table().set_column(2, "text", pa.array(range(ROWS)))
    table = table.set_column(0, "id", pa.array([None if i < 2 else f"row{i}" for i in range(ROWS)]))
    pq.write_table(table, tmp_path / "a.parquet")
    found = [item.batch for item in Setup(str(tmp_path / "a.parquet"), labels).lane() if item.batch is not None]
    assert sorted(text for batch in found for text in batch.texts) == sorted(map(str, range(ROWS)))
    ids = {name for batch in found for name in batch.ids}
    assert len(ids) == ROWS and names(range(2, ROWS)) == sorted(name for name in ids if "-" not in name)


def test_a_row_s_language_is_its_prompt(tmp_path: Path) -> None:
    encoder = LabelEncoder(build_byte_processor(["az", "tr"]).tokenizer, True, "az")
    languages = [("tr", None, "az", "xx")[i % 4] for i in range(ROWS)]
    pq.write_table(clip_table().append_column("code", pa.array(languages)), tmp_path / "a.parquet")
    items = list(Setup(str(tmp_path / "a.parquet"), encoder, columns={"id": "id", "language": "code"}).lane())
    for item in items:
        if item.batch is not None:
            assert item.batch.decoder_input_ids is not None
            for name, tokens in zip(item.batch.ids, item.batch.decoder_input_ids.tolist(), strict=True):
                expected = languages[int(name.removeprefix("row"))] or "az"
                assert tokens[:4] == encoder.prompt(expected)
    skipped = [row for item in items for row in item.skipped]
    assert sorted(row.id for row in skipped) == names(range(3, ROWS, 4))
    assert all("'xx'" in row.reason for row in skipped)


def test_numbered_languages_are_refused_by_name(tmp_path: Path, labels: LabelEncoder) -> None:
    pq.write_table(clip_table().append_column("code", pa.array([0] * ROWS)), tmp_path / "a.parquet")
    (only,) = Setup(str(tmp_path / "a.parquet"), labels, columns={"id": "id", "language": "code"}).lane()
    assert len(only.skipped) == ROWS and "language '0'" in only.skipped[0].reason


# Going on


def through_json(item: LaneItem) -> dict[str, Any]:
    position = json.loads(json.dumps(item.position))
    assert position == item.position
    return position


CHOICES: list[dict[str, Any]] = [
    {},
    {"window": ROWS},
    {"keep": {"speaker": ["ann", "eve"]}, "window": 7},
    {"drop": {"speaker": ["eve"]}, "max_utterances": 17, "window": 5},
]


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_any_position_gives_the_rest_exactly_also_the_second_time(
    clips: str, labels: LabelEncoder, choice: dict[str, Any], lanes: int
) -> None:
    setup = Setup(clips, labels, **choice)
    lane = lanes - 1
    items = list(setup.lane(lane, lanes, epoch=1))
    assert len(items) > 2
    for i, item in enumerate(items[:-1]):
        rest = list(setup.lane(lane, lanes, epoch=1, position=through_json(item)))
        assert batches(rest) == batches(items[i + 1 :])
        assert [one.rows for one in rest] == [one.rows for one in items[i + 1 :]]
        for j in {0, len(rest) // 2, len(rest) - 2} & set(range(len(rest) - 1)):
            again = setup.lane(lane, lanes, epoch=1, position=through_json(rest[j]))
            assert batches(again) == batches(rest[j + 1 :])


def test_a_third_resumption_in_the_same_window(clips: str, labels: LabelEncoder) -> None:
    setup = Setup(clips, labels, window=20)
    expected = batches(setup.lane())
    position: dict[str, Any] = {}
    found = []
    for _ in expected:  # a fresh process for every batch
        item = next(iter(setup.lane(position=position)))
        assert item.batch is not None
        found.append(item.batch.ids)
        position = through_json(item)
    assert found == expected


def test_flawed_rows_are_named_once_across_a_resumption(
    flawed: tuple[str, dict[str, str]], labels: LabelEncoder
) -> None:
    files, reasons = flawed
    setup = Setup(files, labels)
    items = list(setup.lane())
    for i, item in enumerate(items[:-1]):
        rest = list(setup.lane(position=through_json(item)))
        assert batches(rest) == batches(items[i + 1 :])
        skipped = [row.id for one in (*items[: i + 1], *rest) for row in one.skipped]
        assert sorted(skipped) == sorted(reasons)
        assert sum(one.rows for one in (*items[: i + 1], *rest)) == ROWS


@pytest.mark.parametrize("kind", ["jsonl", "folder", "arrow"])
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_other_origins_go_on_too(tmp_path: Path, labels: LabelEncoder, kind: str, lanes: int) -> None:
    rows = [{"id": f"row{i}", "audio": f"{i}.wav", "text": f"text {i}"} for i in range(ROWS)]
    for i in range(ROWS):
        (tmp_path / f"{i}.wav").write_bytes(clip(i))
    files, origin = str(tmp_path / f"*.{kind}"), {}
    if kind == "folder":
        lines = [json.dumps({"file_name": row["audio"], "text": row["text"], "id": row["id"]}) for row in rows]
        (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
        files, origin = None, {"folder": str(tmp_path)}
    for name, part in (("a", rows[:FIRST_SHARD]), ("b", rows[FIRST_SHARD:])):
        if kind == "jsonl":
            (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
        elif kind == "arrow":
            table = pa.Table.from_pylist(part)
            with pa.ipc.new_stream(str(tmp_path / f"{name}.arrow"), table.schema) as writer:
                writer.write_table(table, max_chunksize=6)
    setup = Setup(files, labels, **origin)
    every = []
    for lane in range(lanes):
        items = list(setup.lane(lane, lanes))
        every += flat(batches(items))
        for i in range(0, len(items) - 1, 2):
            rest = list(setup.lane(lane, lanes, position=through_json(items[i])))
            assert batches(rest) == batches(items[i + 1 :])
            if len(rest) > 1:
                assert batches(setup.lane(lane, lanes, position=through_json(rest[0]))) == batches(rest[1:])
    assert sorted(every) == names(range(ROWS))
