"""Second recordings: where they come from, what cannot be used, and that draws are the same on any way to a batch."""

import io
import itertools
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from pydantic import ValidationError

from data.audio.decoding import decode_audio
from data.batches.collation import collate, read_batch, timed_rows
from data.batches.evaluation_rows import EvaluationRows
from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching, plan_batches
from data.batches.loader import TrainingBatches, join_states
from data.batches.passing import receive, send
from data.batches.second_recordings import beside
from data.config import DataConfig, SourceConfig
from data.opening import source_of
from data.utterance import AudioBatch, SecondRecordings, Skipped, Utterance
from modeling.byte_processor import build_byte_processor

ROWS, RATE = 30, 16_000
SPEAKERS = ["ann", "bob", "eve"]
LONE, UNKNOWN = 28, 29  # rows of a speaker with one utterance, and of nobody known


def tone(number: int, seconds: float = 0.2) -> np.ndarray:
    """A tone that tells the number by its frequency."""
    times = np.arange(round(RATE * seconds)) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 100 * number) * times)).astype(np.float32)


def number_in(audio: np.ndarray) -> int:
    """The number of the loudest tone."""
    spectrum = np.abs(np.fft.rfft(audio, RATE))
    return round((int(spectrum.argmax()) - 200) / 100)


def encoded(channels: Sequence[np.ndarray], rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.stack(channels, axis=1), rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def seconds_of_row(row: int) -> float:
    return 0.2 + 0.01 * (row % 7)


def speaker_of(row: int) -> str | None:
    return {LONE: "solo", UNKNOWN: None}.get(row, SPEAKERS[row % 3])


@pytest.fixture(scope="module")
def labels() -> LabelEncoder:
    return LabelEncoder(build_byte_processor(["az"]).tokenizer, True, "az")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    table = pa.table(
        {
            "id": [f"row{i}" for i in range(ROWS)],
            "audio": [{"bytes": encoded([tone(i, seconds_of_row(i))]), "path": None} for i in range(ROWS)],
            "text": ["a"] * ROWS,
            "speaker": [speaker_of(i) for i in range(ROWS)],
        }
    )
    path = tmp_path_factory.mktemp("clips") / "0.parquet"
    pq.write_table(table, path, row_group_size=9)
    return str(path)


def read(rows: list[dict[str, Any]], labels: LabelEncoder, **values: Any) -> tuple[AudioBatch | None, list[Skipped]]:
    """Rows as one batch, and what was left out."""
    limit = values.pop("max_seconds", 30.0)
    config = DataConfig.model_validate({"train": {"files": "x"} | values, "max_seconds": limit})
    source = source_of(config.training_sources[0], "data.train")
    source.__dict__["audio_root"] = "."
    usable, skipped = timed_rows([(row, 0) for row in rows], [source], config)
    batch, broken, _ = read_batch(usable, labels, limit)
    return batch, skipped + broken


COLUMNS = {"id": "id", "second_audio": "room"}


def test_a_column_holds_second_recordings_in_all_forms(labels: LabelEncoder, tmp_path: Path) -> None:
    """Rows without one are in the batch too, and one that is too long is cut."""
    path = tmp_path / "room.wav"
    path.write_bytes(encoded([tone(1)]))
    samples = {"array": tone(1), "sampling_rate": RATE}
    forms = [None, encoded([tone(1)]), {"bytes": None, "path": None}, str(path), samples, "", float("nan"),
             encoded([tone(1, 2.0)]), {"bytes": encoded([tone(1, 0.1)], 8_000), "path": None}]  # fmt: skip
    rows = [{"id": str(i), "audio": encoded([tone(0)]), "text": "a", "room": form} for i, form in enumerate(forms)]
    batch, skipped = read(rows, labels, columns=COLUMNS, max_seconds=0.5)
    assert batch is not None and batch.second is not None and not skipped and len(batch.ids) == len(forms)
    assert batch.second.rows == [1, 3, 4, 7, 8] and batch.second.noise is None
    assert batch.second.audio_lengths.tolist() == [3200, 3200, 3200, 8000, 3200]
    assert batch.second.audio.shape == (5, 8000) and batch.second.audio.dtype == torch.float32
    for row in range(3):
        np.testing.assert_array_equal(batch.second.audio[row, :3200], tone(1))
        assert not batch.second.audio[row, 3200:].any()
    alone, _ = read([rows[0]], labels, columns=COLUMNS)
    assert alone is not None and alone.second is None


def test_a_second_recording_at_fault_is_skipped_by_its_own_reason(labels: LabelEncoder) -> None:
    whole = encoded([tone(1)])
    forms = {"cut": whole[:3000], "no header": whole[:20], "silent": encoded([0 * tone(1)]), "gone": "nowhere.wav"}
    rows = [{"id": name, "audio": encoded([tone(0)]), "text": "a", "room": form} for name, form in forms.items()]
    batch, skipped = read(rows, labels, columns=COLUMNS)
    assert batch is None and {one.id for one in skipped} == set(forms) and all(one.broken for one in skipped)
    assert all(one.reason.startswith("second recording: ") and "\n" not in one.reason for one in skipped)
    assert {one.id: one.reason for one in skipped}["silent"] == "second recording: it is silent"


@pytest.mark.parametrize(("second", "first"), [("channel", 0), ("left_channel", 1)])
def test_the_channels_of_a_stereo_recording(second: str, first: int, labels: LabelEncoder) -> None:
    stereo = [{"id": "a", "audio": encoded([tone(0), tone(1)]), "text": "a"}]
    batch, skipped = read(stereo, labels, second=second, columns={"id": "id"})
    assert batch is not None and batch.second is not None and not skipped
    np.testing.assert_array_equal(batch.audio[0], tone(first))
    np.testing.assert_array_equal(batch.second.audio[0], tone(1 - first))
    quiet = [{"id": "a", "audio": encoded([0 * tone(0) if i != first else tone(0) for i in range(2)]), "text": "a"}]
    batch, skipped = read(quiet, labels, second=second, columns={"id": "id"})
    assert batch is not None and batch.second is None and not skipped  # the other party says nothing
    mono = [{"id": "a", "audio": encoded([tone(0)]), "text": "a"}]
    batch, skipped = read(mono, labels, second=second, columns={"id": "id"})
    assert batch is None and skipped[0].reason.endswith("the recording has one channel, so no right channel")


def test_a_copy_is_the_clip_itself_even_a_silent_one(labels: LabelEncoder) -> None:
    rows = [{"id": str(i), "audio": encoded([i * tone(0)]), "text": "a"} for i in range(2)]
    batch, skipped = read(rows, labels, second="copy", columns={"id": "id"})
    assert not skipped
    assert batch is not None and batch.second is not None and not skipped and batch.second.rows == [0, 1]
    assert torch.equal(batch.audio, batch.second.audio) and torch.equal(batch.audio_lengths, batch.second.audio_lengths)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"second": "channel", "columns": {"second_audio": "room"}}, "second is channel and columns.second_audio room"),
        ({"second": "speaker"}, "second is speaker: say in columns.speaker"),
        ({"second": "other_speaker"}, "second is other_speaker: say in columns.speaker"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SourceConfig.model_validate({"files": "x"} | values)


# Draws


def config_of(files: str, second: str, augmentation: dict[str, Any] | None = None, **values: Any) -> DataConfig:
    train = {"files": files, "columns": {"id": "id", "speaker": "speaker"}, "second": second}
    return DataConfig.model_validate(
        {"train": train, "shuffle_window": 15, "min_seconds": 0.01, "augmentation": augmentation} | values
    )


def open_batches(
    config: DataConfig, labels: LabelEncoder, rank: int = 0, ranks: int = 1, state: Any = None, processes: bool = False
) -> TrainingBatches:
    sources = [source_of(one, "data.train") for one in config.training_sources]
    return TrainingBatches(Batching(sources, config, labels, 4, 5), rank, ranks, state, in_processes=processes)


def rest_of(batches: TrainingBatches) -> list[AudioBatch]:
    found: list[AudioBatch] = []
    while not (group := batches.next_group(1)).exhausted:
        assert not group.skipped
        found += [batch for batch in group.batches if batch is not None]
    return found


def seconds_by_id(batches: Sequence[AudioBatch]) -> dict[str, bytes | None]:
    """Each utterance's second recording, as bytes."""
    found: dict[str, bytes | None] = {}
    for batch in batches:
        found |= dict.fromkeys(batch.ids)
        second = batch.second
        for place, row in enumerate(second.rows if second else ()):
            assert second is not None
            found[batch.ids[row]] = second.audio[place, : int(second.audio_lengths[place])].numpy().tobytes()
    return found


def whole_epoch(config: DataConfig, labels: LabelEncoder, ranks: int = 1, processes: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rank in range(ranks):
        batches = open_batches(config, labels, rank, ranks, processes=processes)
        found |= seconds_by_id(rest_of(batches))
        batches.close()
    return found


def heard(found: dict[str, bytes | None]) -> dict[int, int | None]:
    """By the number of each row, that of the row that is its second recording."""
    numbers = {
        name: None if audio is None else number_in(np.frombuffer(audio, np.float32)) for name, audio in found.items()
    }
    return {int(name.removeprefix("row")): number for name, number in numbers.items()}


@pytest.mark.parametrize("augmentation", [None, {"leakage_share": 1.0, "leakage_ratio": (0, 3), "gain": (-6, 0)}])
def test_a_model_that_hears_one_recording_gets_the_same_first_ones(
    augmentation: dict[str, Any] | None, clips: str, labels: LabelEncoder
) -> None:
    config = config_of(clips, "other_speaker", augmentation)
    sources = [source_of(one, "data.train") for one in config.training_sources]
    found = {}
    for hears in (True, False):
        batching = Batching(sources, config, labels, 4, 5, hears_second=hears)
        batches = TrainingBatches(batching, 0, 1, None, in_processes=False)
        found[hears] = rest_of(batches)
        batches.close()
    assert any(batch.second is not None for batch in found[True])
    for both, one in zip(found[True], found[False], strict=True):
        assert one.second is None and one.ids == both.ids and torch.equal(one.audio, both.audio)
        assert (one.noise is None) == (both.noise is None) == (augmentation is None)
        assert one.noise is None or both.noise is None or torch.equal(one.noise, both.noise)


def test_another_utterance_of_the_speaker_anew_in_each_epoch(clips: str, labels: LabelEncoder) -> None:
    batches = open_batches(config_of(clips, "speaker"), labels)
    epochs = []
    for _ in range(2):
        found = heard(seconds_by_id(rest_of(batches)))
        assert len(found) == ROWS and found[LONE] is None and found[UNKNOWN] is None
        for row, other in found.items():
            if row not in (LONE, UNKNOWN):
                assert other is not None and other != row and speaker_of(other) == speaker_of(row)
        epochs.append(found)
        batches.next_epoch()
    assert sum(epochs[0][row] != epochs[1][row] for row in epochs[0]) > ROWS / 3


def test_somebody_elses_utterance_beside_the_clip(clips: str, labels: LabelEncoder) -> None:
    found = rest_of(open_batches(config_of(clips, "other_speaker"), labels))
    for row, other in heard(seconds_by_id(found)).items():
        assert (
            other is None if row == UNKNOWN else other is not None and speaker_of(other) not in (None, speaker_of(row))
        )
    for batch in found:
        assert batch.second is not None
        assert batch.second.audio_lengths.tolist() == batch.audio_lengths[batch.second.rows].tolist()


def test_the_other_party_overlaps_in_part() -> None:
    other = np.concatenate([np.zeros(1000), tone(2, 0.1), np.zeros(1000)]).astype(np.float32)  # quiet ends are left out
    for place in np.linspace(0, 0.999, 9):
        channel = beside(other, 3200, place)
        spoken = np.flatnonzero(channel)
        middle = int(place * 3200)
        assert channel.shape == (3200,) and channel.dtype == np.float32
        assert spoken[0] == pytest.approx(max(0, middle - 800), abs=330)
        assert spoken[-1] == pytest.approx(min(3199, middle + 800), abs=330)
    assert np.count_nonzero(beside(tone(2, 2.0), 3200, 0.5)) > 3000, "a longer one is cut at both ends"


ALL = {"competing_share": 0.5, "babble_share": 0.3, "babble_speakers": (1, 2), "gain": (-6, 0), "speed": (0.9, 1.1)}


@pytest.mark.parametrize("second", ["speaker", "other_speaker", "copy"])
def test_lanes_ranks_and_a_resume_change_nothing(second: str, clips: str, labels: LabelEncoder) -> None:
    extra = {"leakage_share": 0.7} if second == "other_speaker" else {"second_missing_share": 0.3}
    config = config_of(clips, second, ALL | extra, lanes=2)
    found = whole_epoch(config, labels)
    assert len(found) == ROWS and sum(audio is not None for audio in found.values()) > ROWS / 2
    assert whole_epoch(config, labels, ranks=2) == found
    assert whole_epoch(config.model_copy(update={"workers": 2}), labels) == found
    batches = open_batches(config, labels)
    for _ in range(3):
        state = batches.next_group(1).state
    rest = seconds_by_id(rest_of(batches))
    assert 6 < len(rest) < ROWS and rest.items() <= found.items()
    assert seconds_by_id(rest_of(open_batches(config, labels, state=join_states([state])))) == rest


@pytest.mark.slow
def test_processes_give_the_same(clips: str, labels: LabelEncoder) -> None:
    config = config_of(clips, "speaker", ALL, lanes=2, workers=2)
    assert whole_epoch(config, labels, processes=True) == whole_epoch(config, labels)


def test_a_mixture_draws_anew_in_each_window(clips: str, labels: LabelEncoder) -> None:
    config = config_of(clips, "speaker")
    config = config.model_copy(update={"train": (config.train, config.train), "shuffle_window": 2 * ROWS})
    batches = open_batches(config, labels)
    numbers: dict[int, set[int | None]] = {}
    for _ in range(30):
        for row, other in heard(seconds_by_id([one for one in batches.next_group(1).batches if one])).items():
            numbers.setdefault(row, set()).add(other)
            assert other is None or speaker_of(other) == speaker_of(row)
    assert max(map(len, numbers.values())) > 1


def test_nobody_competes_with_another_utterance_of_their_own(clips: str, labels: LabelEncoder) -> None:
    found = rest_of(
        open_batches(config_of(clips, "copy", {"competing_share": 1.0, "competing_ratio": (-30, -30)}), labels)
    )
    for batch in found:
        assert batch.noise is not None and batch.second is not None and batch.second.noise is not None
        for row, name in enumerate(batch.ids):
            own = int(name.removeprefix("row"))
            other = number_in(batch.noise[row].numpy())
            assert other != own and (own == UNKNOWN or speaker_of(other) != speaker_of(own))
            assert number_in(batch.second.noise[row].numpy()) == other, "one scene: the same voice in both"


def test_rows_are_planned_by_the_sum_of_both() -> None:
    seconds, second = np.random.default_rng(0).uniform(1, 20, (2, 200)).tolist()
    plan = plan_batches(seconds, 50, np.random.default_rng(0), 120.0, second)
    assert sorted(row for batch in plan for row in batch) == list(range(200))
    for batch in plan:
        longest = max(seconds[row] for row in batch) + max(second[row] for row in batch)
        assert len(batch) * longest <= 120.0 or len(batch) == 1
    bounds = sorted((min(sums), max(sums)) for batch in plan if (sums := [seconds[row] + second[row] for row in batch]))
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(bounds))


def test_a_batch_keeps_to_its_seconds(clips: str, labels: LabelEncoder) -> None:
    config = config_of(clips, "copy", {"speed": (0.5, 0.5), "second_delay": (-0.1, -0.1)})
    batching = Batching([source_of(config.training_sources[0], "data.train")], config, labels, 8, 7, batch_seconds=4.0)
    found = rest_of(TrainingBatches(batching))
    total = [batch.audio.numel() + batch.second.audio.numel() for batch in found if batch.second is not None]
    assert len(total) == len(found) and max(total) <= 4.0 * RATE + 64 and max(len(batch.ids) for batch in found) > 2


# Evaluation


@pytest.mark.parametrize("second", ["speaker", "other_speaker"])
def test_an_evaluation_hears_the_same_each_time(second: str, clips: str) -> None:
    source = source_of(config_of(clips, second).training_sources[0], "data.test")
    found = []
    for batch_size, ranks, subset in ((8, 1, None), (3, 2, None), (8, 1, 12)):
        turns = [
            turn
            for rank in range(ranks)
            for turn in EvaluationRows(source, batch_size, rank=rank, world_size=ranks, subset=subset).turns()
        ]
        assert not [one for turn in turns for one in turn.skipped]
        found.append(seconds_by_id([turn.audio for turn in turns if turn.audio is not None]))
    assert len(found[0]) == ROWS and found[1] == found[0]
    assert len(found[2]) == 12 and found[2].items() <= found[0].items()
    for row, other in heard(found[0]).items():
        same = None if other is None else speaker_of(other) == speaker_of(row)
        assert (
            same is None if row == UNKNOWN or (second == "speaker" and row == LONE) else same is (second == "speaker")
        )
        assert other != row


def test_an_evaluation_decodes_no_more_than_it_needs(clips: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    monkeypatch.setattr(
        "data.batches.second_recordings.decode_audio", lambda *a, **k: decoded.append(1) or decode_audio(*a, **k)
    )
    source = source_of(config_of(clips, "speaker").training_sources[0], "data.test")
    turns = list(EvaluationRows(source, 8).turns())
    assert sum(len(turn.audio.second.rows) for turn in turns if turn.audio and turn.audio.second) == ROWS - 2
    assert len(decoded) == ROWS + ROWS - 2


def test_a_row_of_an_evaluation_with_a_second_recording_at_fault_is_named(tmp_path: Path) -> None:
    forms = [encoded([tone(1)]), encoded([tone(1)])[:20], None]
    rows = [{"id": str(i), "audio": encoded([tone(0)]), "text": "a", "room": form} for i, form in enumerate(forms)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "0.parquet")
    source = source_of(SourceConfig.model_validate({"files": str(tmp_path / "0.parquet"), "columns": COLUMNS}), "x")
    (turn,) = EvaluationRows(source, 4).turns()
    assert turn.audio is not None and sorted(turn.audio.ids) == ["0", "2"]
    assert turn.audio.second is not None and len(turn.audio.second.rows) == 1
    assert [one.id for one in turn.skipped] == ["1"] and turn.skipped[0].reason.startswith("second recording: ")


# Batches


def batch_of(noises: Sequence[tuple[bool, bool | None]]) -> AudioBatch:
    """Rows with noise in the first recording or not, and in the second, where there is one."""
    audio = tone(0)

    def noise(there: bool | None) -> np.ndarray | None:
        return audio / 2 if there else None

    utterances = [
        Utterance(str(i), audio, "", None, noise(first), None if second is None else audio, noise(second))
        for i, (first, second) in enumerate(noises)
    ]
    labels = torch.arange(len(noises))[:, None]
    return collate(utterances, (labels, labels))


def test_noisy_is_what_second_attentions_read() -> None:
    assert batch_of([(True, None), (True, False), (False, True), (False, None)]).noisy_targets.tolist() == [0, 2]
    assert batch_of([(True, False), (True, None)]).noisy_targets.tolist() == [1]
    assert batch_of([(False, True), (False, None)]).noisy_targets.tolist() == [0]
    assert batch_of([(False, None), (False, False)]).noisy_targets.tolist() == []


def test_parts_and_other_processes_have_second_recordings_too() -> None:
    second = SecondRecordings(
        [1, 3, 4], torch.arange(3.0)[:, None].repeat(1, 5), torch.tensor([5, 4, 3]), torch.ones(3, 5)
    )
    part = second.part(3, 5)
    assert part is not None and part.noise is not None and part.rows == [0, 1] and part.audio[:, 0].tolist() == [1, 2]
    assert part.audio_lengths.tolist() == [4, 3] and part.noise.shape == (2, 5)
    assert second.part(2, 3) is None and second.part(0, 1) is None
    batch = batch_of([(False, True), (True, None)])
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        send(one, batch)
        came = receive(other)[0]
    assert came.second.rows == [0] and torch.equal(came.second.audio, batch.second.audio)  # type: ignore[union-attr]
    assert torch.equal(came.second.noise, batch.second.noise)  # type: ignore[union-attr, arg-type]
