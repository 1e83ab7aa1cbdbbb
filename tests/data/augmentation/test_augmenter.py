"""What is laid over an utterance: at the asked ratio, as often as asked, the same for any ranks and after a resume."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from data.augmentation.augmenter import Augmenter, number_of
from data.augmentation.change import OtherSpeech
from data.augmentation.config import AugmentationConfig
from data.batches.collation import TimedRow, read_batch, timed_rows
from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching
from data.batches.loader import TrainingBatches, join_states
from data.config import DataConfig
from data.errors import DataError
from data.sources.source import Source
from data.utterance import AudioBatch, Utterance
from modeling.byte_processor import build_byte_processor
from tests.support.ratios import ratio_in_decibel

ROWS = 24
BROKEN = 5  # this row's audio has a header and no more


def tone(number: int, seconds: float = 0.5) -> np.ndarray:
    """A tone that tells the number by its frequency, in whole periods of 100 ms."""
    times = np.arange(int(16_000 * seconds)) / 16_000
    return (0.3 * np.sin(2 * np.pi * (200 + 100 * number) * times)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def strength(samples: np.ndarray, number: int) -> float:
    """How much of a row's tone is in samples."""
    times = np.arange(len(samples)) / 16_000
    return float(abs(np.mean(samples * np.exp(-2j * np.pi * (200 + 100 * number) * times))))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tones of 0.5 to 0.73 s, one of them broken."""
    contents = [encoded(tone(i, 0.5 + 0.01 * i)) for i in range(ROWS)]
    contents[BROKEN] = contents[BROKEN][:5000]
    table = pa.table(
        {
            "id": [f"row{i}" for i in range(ROWS)],
            "audio": [{"bytes": content, "path": None} for content in contents],
            "text": ["a"] * ROWS,
            "duration": [0.5 + 0.01 * i for i in range(ROWS)],
        }
    )
    path = tmp_path_factory.mktemp("clips") / "0.parquet"
    pq.write_table(table, path, row_group_size=7)
    return str(path)


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("noises")
    generator = np.random.default_rng(0)
    for name in ("hiss", "roar"):
        soundfile.write(folder / f"{name}.wav", 0.1 * generator.standard_normal(40_000), 16_000)
    return str(folder)


@pytest.fixture(scope="module")
def labels() -> LabelEncoder:
    return LabelEncoder(build_byte_processor(["az"]).tokenizer, True, "az")


def data_config(files: str, augmentation: dict[str, Any] | None, **values: Any) -> DataConfig:
    train = {"files": files, "columns": {"id": "id", "duration": "duration"}}
    return DataConfig.model_validate({"train": train, "shuffle_window": 12, "augmentation": augmentation} | values)


def open_batches(
    config: DataConfig, labels: LabelEncoder, rank: int = 0, ranks: int = 1, state: dict[str, Any] | None = None
) -> TrainingBatches:
    sources = [Source(one, "data.train") for one in config.training_sources]
    return TrainingBatches(Batching(sources, config, labels, 3, 7), rank, ranks, state)


def epoch_of(batches: TrainingBatches) -> list[AudioBatch]:
    """The rest of an epoch."""
    found: list[AudioBatch] = []
    while not (group := batches.next_group(1)).exhausted:
        found += [batch for batch in group.batches if batch is not None]
    return found


Clip = tuple[bytes, bytes, int]


def by_id(batches: Sequence[AudioBatch]) -> dict[str, Clip]:
    """Each utterance's audio and noise and its seed."""
    found = {}
    for batch in batches:
        assert batch.seeds is not None
        for row, name in enumerate(batch.ids):
            end = int(batch.audio_lengths[row])
            noise = b"" if batch.noise is None else batch.noise[row, :end].numpy().tobytes()
            found[name] = batch.audio[row, :end].numpy().tobytes(), noise, int(batch.seeds[row])
    return found


def run(config: DataConfig, labels: LabelEncoder, ranks: int = 1) -> dict[str, Clip]:
    """An epoch of all ranks."""
    return by_id([batch for rank in range(ranks) for batch in epoch_of(open_batches(config, labels, rank, ranks))])


def augmented(
    config: dict[str, Any], audio: np.ndarray, others: Sequence[np.ndarray | None] = (), seed: int = 0
) -> Utterance:
    augmenter = Augmenter(AugmentationConfig.model_validate(config), seed, (0.1, 30.0))
    return augmenter(Utterance("a", audio, ""), 0, 0, OtherSpeech(len(others), lambda index: others[index]))[0]


OVERLAYS: dict[str, dict[str, Any]] = {
    "noise": {"noise_share": 1.0, "noise_ratio": (3, 3)},
    "babble": {"babble_share": 1.0, "babble_ratio": (3, 3), "babble_speakers": (2, 4)},
    "competing": {"competing_share": 1.0, "competing_ratio": (3, 3)},
}


@pytest.mark.parametrize("kind", OVERLAYS)
def test_every_utterance_has_an_overlay_at_the_asked_ratio(
    kind: str, clips: str, noises: str, labels: LabelEncoder
) -> None:
    values = OVERLAYS[kind] | ({"noise": {"folder": noises}} if kind == "noise" else {})
    config = data_config(clips, values, shuffle_window=4)  # few others to draw
    found = epoch_of(open_batches(config, labels))
    names = [name for batch in found for name in batch.ids]
    assert sorted(names) == sorted(f"row{i}" for i in range(ROWS) if i != BROKEN)
    for batch in found:
        assert batch.noise is not None and batch.noise.dtype == batch.audio.dtype == torch.float32
        assert batch.noise.shape == batch.audio.shape and float(batch.audio.abs().max()) <= 1.0
        for row, name in enumerate(batch.ids):
            end = int(batch.audio_lengths[row])
            audio, noise = batch.audio[row, :end].numpy(), batch.noise[row, :end].numpy()
            speech = audio - noise
            assert ratio_in_decibel(speech, noise) == pytest.approx(3, abs=0.01)
            own = int(name.removeprefix("row"))
            clean = tone(own, end / 16_000)
            assert speech / np.linalg.norm(speech) == pytest.approx(clean / np.linalg.norm(clean), abs=1e-5)
            assert not batch.noise[row, end:].any()
            if kind == "competing":
                assert strength(noise, own) < 0.1 * max(strength(noise, i) for i in range(ROWS))


def test_babble_has_as_many_voices_as_asked_and_competing_speech_one() -> None:
    others = [tone(i) for i in range(1, 12)]
    for wanted, config in ((1, OVERLAYS["competing"]), (5, OVERLAYS["babble"] | {"babble_speakers": (5, 5)})):
        noise = augmented(config, tone(0), others).noise
        assert noise is not None
        levels = np.array([strength(noise, i) for i in range(1, 12)])
        assert (levels > 0.5 * levels.max()).sum() == wanted
        assert (levels < 0.01 * levels.max()).sum() == 11 - wanted


def test_without_another_utterance_that_can_be_read_it_stays_clean() -> None:
    silent = np.zeros(8000, np.float32)
    for others in ([], [None], [silent], [np.zeros(0, np.float32)]):
        utterance = augmented(OVERLAYS["babble"], tone(0), others)
        assert utterance.noise is None and np.array_equal(utterance.audio, tone(0))

    def broken(index: int) -> np.ndarray:
        raise DataError("cut off")

    augmenter = Augmenter(AugmentationConfig.model_validate(OVERLAYS["competing"]), 0, (0.1, 30.0))
    assert augmenter(Utterance("a", tone(0), ""), 0, 0, OtherSpeech(3, broken))[0].noise is None


def test_silent_speech_stays_as_it_is(noises: str) -> None:
    silent = np.zeros(8000, np.float32)
    utterance = augmented(OVERLAYS["noise"] | {"noise": {"folder": noises}}, silent)
    assert utterance.noise is None and not utterance.audio.any()


def test_shares_are_how_often(noises: str) -> None:
    config = {"noise": {"folder": noises}, "noise_share": 0.3, "babble_share": 0.2, "babble_speakers": (2, 2)}
    augmenter = Augmenter(AugmentationConfig.model_validate(config | {"competing_share": 0.1}), 0, (0.1, 30.0))
    others = [tone(i) for i in range(1, 6)]
    kinds = {"clean": 0, "noise": 0, "babble": 0, "competing": 0}
    for number in range(300):
        speech = OtherSpeech(len(others), lambda index: others[index])
        noise = augmenter(Utterance(str(number), tone(0), ""), 0, 0, speech)[0].noise
        levels = [] if noise is None else [strength(noise, i) for i in range(1, 6)]
        voices = sum(level > 0.4 * np.sqrt(np.square(noise).mean()) for level in levels)
        kinds["clean" if noise is None else ("noise", "competing", "babble")[voices]] += 1
    for kind, share in {"clean": 0.4, "noise": 0.3, "babble": 0.2, "competing": 0.1}.items():
        assert kinds[kind] == pytest.approx(300 * share, abs=4 * np.sqrt(300 * share * (1 - share))), kinds


ALL = {
    "noise_share": 0.5,
    "speed": (0.8, 1.2),
    "pitch": (-2, 2),
    "pitch_share": 0.5,
    "vocal_tract": (0.9, 1.1),
    "reverberation_share": 0.5,
    "band_share": 0.5,
    "codec_share": 0.3,
    "codecs": ("gsm", "ulaw"),
    "gain": (-10, 10),
    "silence_is_noise": True,
}


def test_lanes_and_ranks_change_nothing(clips: str, noises: str, labels: LabelEncoder) -> None:
    config = ALL | {"noise": {"folder": noises}}
    one = run(data_config(clips, config), labels)
    assert len(one) == ROWS - 1
    assert run(data_config(clips, config, lanes=3), labels, ranks=2) == one
    assert run(data_config(clips, config, lanes=2, workers=2), labels) == one
    # Overlapping speech comes from the lane's window: equal lanes, whoever reads them.
    config |= {"babble_share": 0.5, "babble_speakers": (1, 3)}
    assert run(data_config(clips, config, lanes=2), labels, ranks=2) == run(data_config(clips, config, lanes=2), labels)


def test_another_epoch_or_seed_is_drawn_anew(clips: str, noises: str, labels: LabelEncoder) -> None:
    config = data_config(clips, OVERLAYS["noise"] | {"noise": {"folder": noises}})
    batches = open_batches(config, labels)
    first = by_id(epoch_of(batches))
    batches.next_epoch()
    second = by_id(epoch_of(batches))
    assert first.keys() == second.keys()
    assert all(first[name][part] != second[name][part] for name in first for part in range(3))
    sounds = [augmented(OVERLAYS["competing"], tone(0), [tone(1)], seed=seed).audio.tobytes() for seed in range(3)]
    assert len(set(sounds)) == 3


def test_a_resumed_epoch_goes_on_with_the_same(clips: str, noises: str, labels: LabelEncoder) -> None:
    config = data_config(clips, ALL | OVERLAYS["babble"] | {"noise_share": 0.0}, lanes=2)
    batches = open_batches(config, labels)
    for _ in range(3):
        state = batches.next_group(1).state
    rest = by_id(epoch_of(batches))
    assert len(rest) > 6
    assert by_id(epoch_of(open_batches(config, labels, state=join_states([state])))) == rest


def test_a_mixture_draws_anew_in_each_window(clips: str, noises: str, labels: LabelEncoder) -> None:
    source = {"files": clips, "columns": {"id": "id", "duration": "duration"}, "keep": {"id": ["row1"]}}
    values = {"train": [source, source], "shuffle_window": 2, "augmentation": OVERLAYS["noise"]}
    values["augmentation"] |= {"noise": {"folder": noises}}
    batches = open_batches(DataConfig.model_validate(values), labels)
    seeds = [int(seed) for _ in range(5) for batch in batches.next_group(1).batches if batch for seed in batch.seeds]
    assert len(set(seeds)) == 5


def test_slowed_clips_keep_the_seconds_of_a_batch(clips: str, labels: LabelEncoder) -> None:
    config = data_config(clips, {"speed": (0.5, 0.5)})
    source = Source(config.training_sources[0], "data.train")
    found = epoch_of(TrainingBatches(Batching([source], config, labels, 8, 7, batch_seconds=3.0)))
    assert all(batch.audio.numel() <= 3.0 * 16_000 + 16 for batch in found) and max(len(b.ids) for b in found) > 1


def test_switching_one_change_on_draws_nothing_else_anew(noises: str) -> None:
    config = OVERLAYS["noise"] | {"noise": {"folder": noises}}
    alone = augmented(config, tone(0))
    louder = augmented(config | {"gain": (-6, -6), "band_share": 0.0}, tone(0))
    assert alone.noise is not None and louder.noise is not None
    assert louder.noise == pytest.approx(alone.noise * 10 ** (-6 / 20), rel=1e-4, abs=1e-7)


def test_without_augmentation_nothing_is_drawn(clips: str, labels: LabelEncoder) -> None:
    plain = epoch_of(open_batches(data_config(clips, None), labels))
    unchanged = epoch_of(open_batches(data_config(clips, {}), labels))
    for one, other in zip(plain, unchanged, strict=True):
        assert one.seeds is None and one.noise is None
        assert other.seeds is not None and other.noise is None  # nothing asked for: seeds alone
        assert one.ids == other.ids and torch.equal(one.audio, other.audio)


def test_clean_and_noisy_utterances_share_a_batch(clips: str, noises: str, labels: LabelEncoder) -> None:
    config = data_config(clips, None)
    source = Source(config.training_sources[0], "data.train")
    usable, _ = timed_rows([(row, 0) for row in list(source.rows())[:2]], [source], config)

    def augment(utterance: Utterance, row: TimedRow) -> tuple[Utterance, int]:
        noise = 0.5 * utterance.audio if utterance.id == "row1" else None
        return Utterance(utterance.id, utterance.audio, utterance.text, None, noise), number_of(utterance.id) >> 1

    batch, _, _ = read_batch(usable, labels, 30.0, augment)
    assert batch is not None and batch.noise is not None and batch.seeds is not None
    assert not batch.noise[0].any() and torch.equal(batch.noise[1], 0.5 * batch.audio[1])
    assert batch.seeds.tolist() == [number_of("row0") >> 1, number_of("row1") >> 1]
