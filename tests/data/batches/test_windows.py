"""Clips become windows: each once, with the times of what is said, in labels as Whisper's own training had them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from data.audio.cutting import speech_region
from data.augmentation.augmenter import Augmenter
from data.batches.labels import IGNORED, LabelEncoder
from data.batches.lanes import Batching, Lane
from data.batches.loader import TrainingBatches
from data.batches.mixture import LanePart
from data.batches.spoken import Said, WindowText
from data.batches.windows.texts import segments_of
from data.config import DataConfig
from data.errors import DataError
from data.opening import source_of
from data.utterance import SAMPLING_RATE, AudioBatch, LaneItem
from modeling.byte_processor import build_byte_processor

ROWS = 30
WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet")


def tone(number: int) -> np.ndarray:
    """0.1 s of faint noise, 0.5 to 2 s of a tone, and 0.2 s of faint noise."""
    generator = np.random.default_rng(number)
    length = SAMPLING_RATE // 2 + SAMPLING_RATE * (number * 7 % 16) // 10
    sound = 0.3 * np.sin(np.arange(length) * (0.05 + 0.01 * number))
    floor = 1e-4 * generator.standard_normal(length + 4800)
    floor[1600 : 1600 + length] += sound
    return floor.astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    import io

    folder = tmp_path_factory.mktemp("clips")
    encoded = []
    for number in range(ROWS):
        file = io.BytesIO()
        soundfile.write(file, tone(number), SAMPLING_RATE, format="WAV", subtype="FLOAT")
        encoded.append({"bytes": file.getvalue(), "path": None})
    table = pa.table(
        {
            "id": [f"row{i}" for i in range(ROWS)],
            "audio": encoded,
            "text": [f"{WORDS[i % 10]} {i}" for i in range(ROWS)],
            "speaker": [f"speaker{i % 3}" for i in range(ROWS)],
            "language": ["az" if i % 2 else "tr" for i in range(ROWS)],
        }
    )
    pq.write_table(table, folder / "0.parquet", row_group_size=7)
    return str(folder / "*.parquet")


@pytest.fixture(scope="module")
def labels() -> LabelEncoder:
    return LabelEncoder(build_byte_processor(["az", "tr"]).tokenizer, True, "az")


def batching(clips: str, labels: LabelEncoder, windows: dict[str, Any] | None, **values: Any) -> Batching:
    data = {key: values.pop(key) for key in ("augmentation", "shuffle_window") if key in values}
    columns = {"id": "id"} | values.pop("columns", {})
    config = DataConfig(train={"files": clips, "columns": columns} | values, windows=windows, **data)
    return Batching([source_of(one, "data.train") for one in config.training_sources], config, labels, 4, 7)


def items(of: Batching, position: dict[str, Any] | None = None, epoch: int = 0) -> list[LaneItem]:
    changes, lengths = of.config.augmentation, (of.config.min_seconds, of.config.longest_speech_seconds)
    augmenter = None if changes is None else Augmenter(changes, of.seed, lengths)
    return list(Lane(of, epoch, LanePart(0, 1), position or {}, augmenter))


def batches(of: Batching) -> list[AudioBatch]:
    return [item.batch for item in items(of) if item.batch is not None]


def windows_of(of: Batching) -> list[tuple[str, np.ndarray, list[int], list[int]]]:
    """Id, audio, decoder input and labels of each window, without padding."""
    found = []
    for batch in batches(of):
        assert batch.decoder_input_ids is not None
        assert batch.labels is not None
        for row, name in enumerate(batch.ids):
            audio = batch.audio[row, : int(batch.audio_lengths[row])].numpy()
            found.append((name, audio, batch.decoder_input_ids[row].tolist(), batch.labels[row].tolist()))
    return found


def said_in(labels: LabelEncoder, targets: list[int]) -> list[Any]:
    """Times in seconds and texts of labels, in order."""
    first = labels.vocabulary["<|notimestamps|>"] + 1
    found: list[Any] = []
    text: list[int] = []
    for token in [*targets, first]:
        if token in (IGNORED, labels.end_of_text):
            continue
        if token >= first:
            found += [labels.tokenizer.decode(text).strip()] if text else []
            found.append(round((token - first) * 0.02, 2))
            text = []
        else:
            text.append(token)
    return found[:-1]


PLAIN = {"timestamps": 1.0, "previous_text": 0.0, "seconds": (8, 8), "pauses": (0.2, 1.0)}


def test_every_clip_is_said_once_and_no_window_is_longer_than_asked(clips: str, labels: LabelEncoder) -> None:
    found = windows_of(batching(clips, labels, PLAIN))
    assert sorted(name for names, *_ in found for name in names.split("+")) == sorted(f"row{i}" for i in range(ROWS))
    assert max(len(audio) for _, audio, *_ in found) <= 8 * SAMPLING_RATE
    assert len(found) < ROWS / 2
    assert sum(len(audio) for _, audio, *_ in found) > 0.85 * len(found) * 8 * SAMPLING_RATE  # filled


def test_the_times_are_where_each_clip_sounds(clips: str, labels: LabelEncoder) -> None:
    for names, audio, _, targets in windows_of(batching(clips, labels, PLAIN)):
        said = said_in(labels, targets)
        for name, (start, text, end) in zip(names.split("+"), zip(*[iter(said)] * 3, strict=False), strict=True):
            number = int(name.removeprefix("row"))
            assert text == f"{WORDS[number % 10]} {number}"
            clip = tone(number)
            begin, stop = speech_region(clip)
            place = round(start * SAMPLING_RATE) - begin
            near = min(
                (np.abs(audio[at : at + len(clip)] - clip).max(), at)
                for at in range(max(0, place - 200), min(place + 201, len(audio) - len(clip) + 1))
            )
            assert near[0] < 1e-6
            assert abs((near[1] + stop) / SAMPLING_RATE - end) <= 0.0101


def test_a_segment_that_ends_beyond_the_window_has_its_start_alone(clips: str, labels: LabelEncoder) -> None:
    found = [said_in(labels, targets) for *_, targets in windows_of(batching(clips, labels, PLAIN))]
    begun = [said for said in found if len(said) % 3 == 1]
    assert len(begun) > len(found) / 2
    assert all(said[-1] <= 8 - 0.3 for said in begun)


def test_without_timestamps_such_a_segment_is_not_heard(clips: str, labels: LabelEncoder) -> None:
    """Its words would be heard and not written."""
    lengths = {name: len(tone(int(name[3:]))) for name in (f"row{i}" for i in range(ROWS))}
    for names, audio, inputs, targets in windows_of(batching(clips, labels, PLAIN | {"timestamps": 0.0})):
        assert labels.vocabulary["<|notimestamps|>"] in inputs
        assert len(said_in(labels, targets)) == 1  # the text
        sounding = sum(lengths[name] for name in names.split("+"))
        loud = int((np.abs(audio) > 0.01).sum())
        assert loud < sounding


def test_shares_of_clips_timestamps_and_silence(clips: str, labels: LabelEncoder) -> None:
    many = batching(clips, labels, {"joined": 0.5, "timestamps": 0.5, "silence": 0.5, "previous_text": 0.0})
    timed = joined = silent = total = 0
    for epoch in range(8):
        for item in items(many, epoch=epoch):
            batch = item.batch
            for name, ids in zip(batch.ids, batch.decoder_input_ids.tolist(), strict=True) if batch else ():
                total += 1
                silent += name.startswith("silence")
                joined += name.count("+") > 0
                timed += labels.vocabulary["<|notimestamps|>"] not in ids
    assert abs(silent / total - 0.5) < 0.04
    assert abs(timed / total - 0.5) < 0.08
    assert 0.02 < joined / total < 0.3


def test_where_nobody_speaks_no_speech_is_learned_and_elsewhere_the_language(clips: str, labels: LabelEncoder) -> None:
    speaks = labels.vocabulary["<|az|>"]
    for name, _, inputs, targets in windows_of(batching(clips, labels, PLAIN | {"silence": 0.4})):
        start = inputs.index(labels.vocabulary["<|startoftranscript|>"])
        if name.startswith("silence"):
            assert targets[start] == labels.vocabulary["<|nospeech|>"]
            assert said_in(labels, targets[start + 1 :]) == [0.0]
        else:
            assert targets[start] == speaks
    for _, _, _, targets in windows_of(batching(clips, labels, PLAIN)):
        assert targets[0] == IGNORED


def test_the_text_before_is_a_prompt_without_loss(clips: str, labels: LabelEncoder) -> None:
    found = windows_of(batching(clips, labels, PLAIN | {"previous_text": 1.0}, columns={"language": "language"}))
    prompted = [one for one in found if one[2][0] == labels.vocabulary["<|startofprev|>"]]
    assert len(prompted) >= 2
    for names, _, inputs, targets in prompted:
        start = inputs.index(labels.vocabulary["<|startoftranscript|>"])
        assert targets[: start + 3] == [IGNORED] * (start + 2) + targets[start + 2 : start + 3]
        before = labels.tokenizer.decode(inputs[1:start])
        own = {f"{WORDS[int(name[3:]) % 10]} {int(name[3:])}" for name in names.split("+")}
        assert before.startswith(" ")
        assert not own & set(before.replace("  ", " ").split("|"))


def test_windows_are_of_one_language_and_of_one_speaker_if_asked(clips: str, labels: LabelEncoder) -> None:
    of = batching(clips, labels, PLAIN | {"one_speaker": True}, columns={"language": "language", "speaker": "speaker"})
    for names, _, inputs, _ in windows_of(of):
        numbers = [int(name[3:]) for name in names.split("+")]
        assert len({number % 3 for number in numbers}) == 1
        assert len({number % 2 for number in numbers}) == 1
        assert labels.vocabulary["<|az|>" if numbers[0] % 2 else "<|tr|>"] in inputs


def test_hotwords_stand_in_the_prompt_and_some_are_said(clips: str, labels: LabelEncoder) -> None:
    said = total = 0
    for names, _, inputs, _ in windows_of(batching(clips, labels, PLAIN | {"hotwords": 1.0})):
        start = inputs.index(labels.vocabulary["<|startoftranscript|>"])
        words = labels.tokenizer.decode(inputs[1:start]).strip().rstrip(".").split(", ")
        assert set(words) <= set(WORDS)
        own = {WORDS[int(name[3:]) % 10] for name in names.split("+")}
        said += len(own & set(words))
        total += len(words)
    assert 0.3 < said / total < 1.0


def test_a_resumed_lane_goes_on_to_the_last_bit(clips: str, labels: LabelEncoder) -> None:
    options = {"seconds": (3, 9), "silence": 0.2, "hotwords": 0.3, "joined": 0.7}
    of = batching(clips, labels, options, shuffle_window=11, augmentation={"speed": (0.9, 1.1), "gain": (-6, 6)})
    whole = items(of)
    assert len(whole) > 5
    for stop in (0, len(whole) // 2, len(whole) - 2):
        position = json.loads(json.dumps(whole[stop].position))
        for a, b in zip(whole[stop + 1 :], items(of, position), strict=True):
            assert (a.batch is None) == (b.batch is None)
            if a.batch is not None and b.batch is not None:
                assert a.batch.ids == b.batch.ids
                assert a.batch.audio.equal(b.batch.audio)
                assert a.batch.labels.equal(b.batch.labels)


def test_batches_depend_on_the_lanes_and_not_on_the_ranks(clips: str, labels: LabelEncoder) -> None:
    of = batching(clips, labels, PLAIN | {"silence": 0.2}, shuffle_window=9)
    of = Batching(of.sources, of.config.model_copy(update={"lanes": 2}), labels, 4, 7)
    one = TrainingBatches(of)
    alone = [batch.ids for _ in range(6) for batch in one.next_group(1).batches if batch is not None]
    both = [TrainingBatches(of, rank, 2) for rank in range(2)]
    shared = [batch.ids for _ in range(3) for rank in both for batch in rank.next_group(1).batches if batch is not None]
    assert alone == shared


def test_another_speed_moves_the_times(clips: str, labels: LabelEncoder) -> None:
    of = batching(clips, labels, PLAIN | {"seconds": (12, 12)}, augmentation={"speed": (1.25, 1.25)})
    for _, audio, _, targets in windows_of(of):
        said = said_in(labels, targets)
        loud = np.flatnonzero(np.abs(audio) > 0.05) / SAMPLING_RATE
        assert abs(said[0] - loud[0]) < 0.05
        last = said[-1] if len(said) % 3 == 0 else said[-2]
        assert abs(last - loud[loud < last + 0.1][-1]) < 0.05


def test_batches_by_seconds(clips: str, labels: LabelEncoder) -> None:
    of = batching(clips, labels, PLAIN | {"joined": 0.5})
    of = Batching(of.sources, of.config, labels, 16, 7, batch_seconds=20.0)
    sizes = [len(batch.ids) * batch.audio.shape[1] / SAMPLING_RATE for batch in batches(of)]
    assert max(sizes) <= 20.1
    assert max(sizes) > 12


def test_a_clip_that_cannot_be_read_is_left_out_of_its_window_and_named(
    clips: str, labels: LabelEncoder, tmp_path: Path
) -> None:
    table = pq.read_table(clips.replace("*", "0"))
    rows = table.to_pylist()
    rows[5]["audio"]["bytes"] = rows[5]["audio"]["bytes"][:3000]
    rows[8]["text"] = None
    rows[11]["text"] = ""
    rows[14]["language"] = "xx"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "0.parquet")
    more = {"hotwords": 1.0, "silence": 0.3}
    of = batching(str(tmp_path / "*.parquet"), labels, PLAIN | more, columns={"language": "language"})
    skipped = {one.id: one.reason for item in items(of) for one in item.skipped}
    assert sorted(skipped) == ["row11", "row14", "row5", "row8"]
    assert "language 'xx'" in skipped["row14"]
    said = [name for names, *_ in windows_of(of) for name in names.split("+") if not name.startswith("silence")]
    assert sorted(said) == sorted({f"row{i}" for i in range(ROWS)} - set(skipped))


def write_windows(folder: Path, segments: Any, previous: str | None = None) -> str:
    import io

    file = io.BytesIO()
    soundfile.write(file, np.full(5 * SAMPLING_RATE, 0.1, np.float32), SAMPLING_RATE, format="WAV", subtype="FLOAT")
    row = {"id": "w", "audio": {"bytes": file.getvalue()}, "text": "whole", "segments": segments, "before": previous}
    pq.write_table(pa.Table.from_pylist([row]), folder / "0.parquet")
    return str(folder / "*.parquet")


OWN = {"segments": "segments", "previous_text": "before"}


def test_rows_with_segments_are_windows_by_themselves(labels: LabelEncoder, tmp_path: Path) -> None:
    segments = [
        {"start": 0.5, "end": 1.5, "text": "one two"},
        {"start": 1.5, "end": 2.0, "text": "three"},
        {"start": 4.0, "end": None, "text": ""},
    ]
    files = write_windows(tmp_path, segments, "what was said before")
    always = {"timestamps": 1.0, "previous_text": 1.0}
    ((name, audio, inputs, targets),) = windows_of(batching(files, labels, always, columns=OWN))
    assert name == "w"
    assert len(audio) == 5 * SAMPLING_RATE
    assert said_in(labels, targets) == [0.5, "one two", 1.5, 1.5, "three", 2.0, 4.0]
    start = inputs.index(labels.vocabulary["<|startoftranscript|>"])
    assert labels.tokenizer.decode(inputs[1:start]) == " what was said before"
    never = {"timestamps": 0.0, "previous_text": 0.0}
    ((_, audio, inputs, targets),) = windows_of(batching(files, labels, never, columns=OWN))
    assert len(audio) == 4 * SAMPLING_RATE
    assert inputs[0] == labels.vocabulary["<|startoftranscript|>"]


def test_a_window_in_which_a_segment_only_begins_has_its_start(labels: LabelEncoder, tmp_path: Path) -> None:
    """Without timestamps there would be nothing to write of it, and no audio left."""
    files = write_windows(tmp_path, [{"start": 0.0, "end": None, "text": ""}])
    ((_, audio, _, targets),) = windows_of(batching(files, labels, {"timestamps": 0.0}, columns=OWN))
    assert len(audio) == 5 * SAMPLING_RATE
    assert said_in(labels, targets) == [0.0]


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ([(0.0, 2.0, "a"), (1.0, 3.0, "b")], "segment 2, 1 to 3 s, begins before the one before it ends"),
        ([(2.0, 1.0, "a")], "segment 1, 2 to 1 s, runs backwards"),
        ([(-1.0, 1.0, "a")], "segment 1, -1 to 1 s, runs backwards"),
        ([(float("nan"), 1.0, "a")], "runs backwards"),
        ([(0.0, 31.0, "a")], "longer than the 30 s"),
        ([(4.0, 6.0, "a")], "lies beyond the recording's 5.00 s"),
        ([(7.0, None, "a")], "lies beyond the recording's 5.00 s"),
        ([(1.0, None, ""), (2.0, 3.0, "b")], "begins before the one before it ends"),
        ([(1.0, 2.0, " ")], "has no text"),
        ([(1.0, 2.0, None)], "missing value"),
        ([("x", 2.0, "a")], "needs start and end"),
    ],
)
def test_segments_that_cannot_be_are_named(segments: list[Any], reason: str) -> None:
    rows = [{"start": start, "end": end, "text": text} for start, end, text in segments]
    with pytest.raises(DataError, match=reason.replace("(", r"\(")):
        segments_of(rows, 5.0)


def test_a_row_whose_segments_cannot_be_used_is_left_out_and_named(labels: LabelEncoder, tmp_path: Path) -> None:
    files = write_windows(tmp_path, [{"start": 3.0, "end": 2.0, "text": "a"}])
    (item,) = items(batching(files, labels, {}, columns=OWN))
    assert [(one.id, one.reason) for one in item.skipped] == [("w", "segment 1, 3 to 2 s, runs backwards")]


def test_a_text_before_is_shortened_at_its_beginning(labels: LabelEncoder) -> None:
    said = (Said(0.0, 1.0, "x" * 300),)
    inputs, targets = labels.encode_window(WindowText(said, True, "a" * 200 + "b" * 100), "az")
    assert len(inputs) == len(targets) == 448
    start = inputs.index(labels.vocabulary["<|startoftranscript|>"])
    before = labels.tokenizer.decode(inputs[1:start])
    assert before == ("a" * 200 + "b" * 100)[-len(before) :]
    with pytest.raises(DataError, match="446 tokens long"):
        labels.encode_window(WindowText((Said(0.0, 1.0, "x" * 443),), True), "az")


def test_windows_whose_text_would_not_fit_are_shorter(clips: str) -> None:
    short = LabelEncoder(build_byte_processor(["az", "tr"]).tokenizer, True, "az", max_tokens=40)
    found = windows_of(batching(clips, short, PLAIN | {"seconds": (30, 30)}))
    assert sorted(name for names, *_ in found for name in names.split("+")) == sorted(f"row{i}" for i in range(ROWS))
    assert all(len(inputs) <= 40 for _, _, inputs, _ in found)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"windows": {"one_speaker": True}}, "windows.one_speaker needs train.columns.speaker"),
        ({"windows": {"seconds": (5, 31)}}, "must lie within 1 and 30"),
        ({"windows": {"silence": 1.0}}, "less than 1"),
        ({"windows": {}, "second": "channel"}, "windows are of one recording, and train has second recordings"),
        ({"windows": None, "columns": {"segments": "segments"}}, "train.columns.segments is for training on windows"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], reason: str) -> None:
    windows = values.pop("windows")
    with pytest.raises(ValueError, match=reason):
        DataConfig(train={"files": "x.parquet"} | values, windows=windows)
