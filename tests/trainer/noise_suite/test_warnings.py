"""What the noise suite says before it measures and beside the figures: broken weights, noises known or unreadable."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from safetensors.numpy import save_file

from modeling.checkpoint_files import CheckpointError
from tests.support.untrained import save_checkpoint
from trainer.noise_suite.checkpoints import NamedCheckpoint, check_weights
from trainer.noise_suite.suite import run_suite
from trainer.noise_suite.trained_noises import MOST_RUNS, overlap_with_training, training_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "dual", ("az", "en"), positions=40)


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    for number, name in enumerate(("rain.wav", "wind.wav", "cars.wav")):
        (tmp_path / "noises").mkdir(exist_ok=True)
        samples = 0.1 * np.random.default_rng(number).standard_normal(8000)
        soundfile.write(tmp_path / "noises" / name, samples, 16_000)
    return tmp_path / "noises"


@pytest.fixture
def values(corpus: Path, noises: Path) -> dict[str, Any]:
    """A suite of one condition."""
    speech = {"files": str(corpus / "validation-*.parquet"), "columns": {"id": "id"}}
    common = {"utterances": 4, "language": "az", "max_new_tokens": 4, "attention_utterances": 0, "clean": False}
    return common | {"speech": speech, "noise": {"folder": str(noises)}, "ratios": [0], "types": ["noise"]}


Run = Callable[..., Path]


@pytest.fixture
def run_of(model: Path, tiny_values: dict[str, Any], tmp_path: Path) -> Run:
    """A checkpoint in a run that was trained in one noise and began from another checkpoint."""

    def make(name: str, noise: Path | None = None, began: object = None) -> Path:
        folder = tmp_path / "runs" / name
        shutil.copytree(model, folder / "best")
        values = tiny_values | {"model": {"checkpoint": str(began)}} if began else tiny_values
        if noise is not None:
            (folder / "noises").mkdir()
            shutil.copy(noise, folder / "noises")
            augmentation = {"noise": {"folder": str(folder / "noises")}, "noise_share": 0.5}
            values = values | {"data": values["data"] | {"augmentation": augmentation}}
        (folder / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        return folder / "best"

    return make


def named(path: object) -> NamedCheckpoint:
    return NamedCheckpoint("a", str(path))


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def take_away(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def lose_a_part(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def spoil_the_index(folder: Path) -> None:
    take_away(folder)
    (folder / "model.safetensors.index.json").write_text("[]")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut_short, r"model\.safetensors: "),
        (take_away, r"model\.safetensors is missing"),
        (lose_a_part, r"two\.safetensors is missing"),
        (spoil_the_index, r"model\.safetensors\.index\.json: "),
    ],
)
def test_a_broken_checkpoint_is_refused_before_the_first_is_measured(
    spoil: Callable[[Path], None], told: str, model: Path, values: dict[str, Any], tmp_path: Path
) -> None:
    check_weights(named(model))
    shutil.copytree(model, tmp_path / "broken")
    spoil(tmp_path / "broken")
    said: list[str] = []
    with pytest.raises(CheckpointError, match=f"broken/{told}"):
        run_suite(values, {"a": model, "b": tmp_path / "broken"}, tmp_path / "out", say=said.append)
    assert not said and not (tmp_path / "out").exists()


def test_an_adapter_and_its_base_are_looked_at(model: Path, tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(model, base)
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is missing"):
        check_weights(named(adapter))
    save_file({"a": np.zeros(3, np.float32)}, adapter / "adapter_model.safetensors")
    check_weights(named(adapter))
    cut_short(base)
    with pytest.raises(CheckpointError, match=r"cannot read .*base/model\.safetensors: "):
        check_weights(named(adapter))


def test_all_that_is_to_be_known_of_checkpoints_comes_first(
    run_of: Run, values: dict[str, Any], noises: Path, tmp_path: Path
) -> None:
    one, other = run_of("one", noises / "rain.wav"), run_of("other", noises / "wind.wav")
    said: list[str] = []
    result = run_suite(values, {"one": one, "other": other}, tmp_path / "out", say=said.append)
    assert result is not None
    measured = [line for line in said if not line.startswith("note: ")]
    assert [line.startswith("warning: ") for line in measured] == [True, True, False, False]
    notes = [line for line in said if line.startswith("note: ")]
    assert [line.split(":")[1] for line in notes] == [" one", " other"]  # the checkpoints forbid all but letters
    assert all("4 of 4 references cannot be decoded as they are" in line for line in notes)
    assert "rain.wav" in said[0] and "wind.wav" in said[1]
    assert [one["trained_in"] for one in result["checkpoints"]] == [["rain.wav"], ["wind.wav"]]


def test_noises_of_the_runs_before_count(run_of: Run, noises: Path) -> None:
    from data.augmentation.fields import NoiseSourceConfig
    from data.augmentation.noise_clips import NoiseClips

    clips = NoiseClips(NoiseSourceConfig(folder=str(noises)), "noise")
    first = run_of("first", noises / "rain.wav")
    second = run_of("second", None, first)
    third = run_of("third", noises / "wind.wav", second)
    assert overlap_with_training(named(third), clips) == (["rain.wav", "wind.wav"], [])
    shutil.rmtree(first)
    overlap, unknown = overlap_with_training(named(third), clips)
    assert overlap == ["wind.wav"] and len(unknown) == 1
    assert "cannot be told" in unknown[0] and "which its run began from, is not there" in unknown[0]


def test_so_many_runs_are_gone_back_and_no_further(run_of: Run) -> None:
    place: Path | None = None
    for number in range(MOST_RUNS + 1):
        place = run_of(f"run{number}", None, place)
        assert bool(training_of(named(place)).unknown) == (number == MOST_RUNS)
    config = place.parent / "config.yaml" if place else Path()
    looped = yaml.safe_load(config.read_text()) | {"model": {"checkpoint": str(place)}}
    config.write_text(yaml.safe_dump(looped))
    assert not training_of(named(place)).unknown  # it goes on from itself


def test_of_a_copied_checkpoint_it_cannot_be_told(
    run_of: Run, values: dict[str, Any], noises: Path, tmp_path: Path
) -> None:
    shutil.copytree(run_of("a", noises / "rain.wav"), tmp_path / "copied")
    assert training_of(named("openai/whisper-tiny")).unknown == []
    result = run_suite(values, [tmp_path / "copied"], tmp_path / "out", say=lambda text: None)
    assert result is not None
    [warning] = result["checkpoints"][0]["warnings"]
    assert "cannot be told" in warning and "does not lie in a run's folder" in warning
    assert training_of(named(run_of("b", None, tmp_path / "copied"))).unknown
    config = run_of("c").parent / "config.yaml"
    config.write_text("nonsense: 1")
    assert "nonsense" in training_of(named(config.parent / "best")).unknown[0]


def test_noises_that_cannot_be_used_are_listed_also_when_all_is_known(
    run_of: Run, values: dict[str, Any], noises: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(noises / "nan.wav", np.full(8000, np.nan, np.float32), 16_000, subtype="FLOAT")
    (noises / "broken.wav").write_bytes(b"no audio")
    values |= {"non_speech": {"clips": 20, "seconds": 0.2}}
    checkpoint = run_of("a")
    for _ in range(2):  # the second time nothing of it is drawn for the mixtures
        result = run_suite(values, [checkpoint], tmp_path / "out", say=lambda text: None)
        assert result is not None
        assert [one["id"] for one in result["noises_unreadable"]] == ["broken.wav", "nan.wav"]
        assert "not finite" in result["noises_unreadable"][1]["reason"]
        values |= {"non_speech": None}
    for page in ("noise_suite.md", "noise_suite.html"):
        text = (tmp_path / "out" / page).read_text("utf-8").replace("\\", "")
        assert "2 recordings of noise could not be used: broken.wav, nan.wav" in text
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("warning: noise: ") for line in lines if "warning" in line] == [True, True]
    assert not any(".py" in line for line in lines)


def test_speakers_heard_beside_themselves_are_told(
    model: Path, values: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()[:8]
    for number, row in enumerate(rows):
        row["speaker"] = "rare" if number == 0 else "often"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "two.parquet")
    speech = {"files": str(tmp_path / "two.parquet"), "columns": {"id": "id"}}
    values |= {"speech": speech, "types": ["babble", "competing"], "babble_speakers": 2, "utterances": None}
    values |= {"noise": None, "cluster": "speaker"}
    said: list[str] = []
    result = run_suite(values, [model], tmp_path / "out", say=said.append)
    assert result is not None
    assert [warning.split(", which")[0] for warning in result["warnings"]] == [
        "babble: too few other speakers for 7 of 8 utterances"
    ]
    assert said[0] == f"warning: {result['warnings'][0]}"
    assert "too few other speakers" in (tmp_path / "out" / "noise_suite.md").read_text("utf-8")
    result = run_suite(values | {"utterances": 3}, [model], tmp_path / "few", say=lambda text: None)
    assert result is not None and "of 3 utterances" in result["warnings"][0]
