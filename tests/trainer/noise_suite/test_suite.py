"""launch/eval.py --noise-suite on tiny checkpoints: what it writes, going on, warnings, and bad input."""

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

import launch.eval
from tests import ROOT
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.noise_suite.checkpoints import named_checkpoints
from trainer.noise_suite.config import NoiseSuiteConfig, load_suite
from trainer.noise_suite.suite import run_suite

pytestmark = pytest.mark.usefixtures("exact_attention")

Suite = Callable[..., Outcome]

VALUES: dict[str, Any] = {
    "noise": "synthetic",
    "types": ["noise", "babble"],
    "ratios": [0, 10],
    "non_speech": {"clips": 3, "seconds": 0.5},
    "babble_speakers": 2,
    "utterances": 6,
    "max_new_tokens": 4,
    "attention_utterances": 2,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_checkpoint(folder / "plain", ("az", "en"), padding=None, positions=40)
    save_checkpoint(folder / "dual", ("az", "en"), positions=40)
    return folder


@pytest.fixture
def best(models: Path, tiny_values: dict[str, Any], tmp_path: Path) -> Path:
    """A checkpoint in a run's folder."""
    folder = tmp_path / "run"
    shutil.copytree(models / "dual", folder / "best")
    (folder / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    return folder / "best"


@pytest.fixture
def suite(best: Path, tmp_path: Path) -> Suite:
    """Runs the command on ``run/best`` with VALUES; keywords replace values, None takes them away."""

    def call(*arguments: object, checkpoints: tuple[object, ...] = (best,), **values: Any) -> Outcome:
        chosen = {key: value for key, value in (VALUES | values).items() if value is not None}
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(chosen), encoding="utf-8")
        named = [part for checkpoint in checkpoints for part in ("--checkpoint", checkpoint)]
        return run(launch.eval.main, "--noise-suite", path, *named, *arguments)

    return call


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "noise_suite.json").read_text("utf-8"))
    return found


def test_two_checkpoints_end_to_end(suite: Suite, best: Path, models: Path, tmp_path: Path) -> None:
    outcome = suite("--output", tmp_path / "out", checkpoints=(best, f"stock={models / 'plain'}"), cluster="speaker")
    assert outcome.code == 0, outcome.errors
    result = read(tmp_path / "out")
    names = ["clean", "noise_10", "noise_0", "babble_10", "babble_0", "non_speech"]
    assert result["conditions"] == names
    assert [one["name"] for one in result["checkpoints"]] == ["run", "stock"]
    assert result["noises"] == ["brown", "chirps", "clicks", "hum", "pink", "white"]
    assert result["interval_units"] == "speaker" and "torch" in result["versions"]
    for checkpoint in result["checkpoints"]:
        is_first = checkpoint["name"] == "run"
        for name in names[:-1]:
            figures = checkpoint["conditions"][name]
            assert figures["utterances"] == 6 and figures["word_error_rate"] >= 0
            assert len(figures["word_error_rate_interval"]) == 2
            assert (figures["difference"] is None) == is_first
            lines = (tmp_path / "out" / "predictions" / checkpoint["name"] / f"{name}.jsonl").read_text("utf-8")
            assert len(lines.splitlines()) == 6
        alone = checkpoint["conditions"]["non_speech"]
        assert alone["clips"] == 3 and alone["hallucination_rate"] == 1  # an untrained model always says something
        assert alone["words_per_minute"] > 0
        assert set(checkpoint["types"]) == {"noise", "babble"}
        assert (checkpoint["attention_odds"] is not None) == is_first  # plain Whisper has one attention
    assert result["checkpoints"][0]["attention_odds"]["condition"] == "noise_0"
    heard = {
        tuple(json.loads(line)["hypothesis"] for line in path.read_text("utf-8").splitlines())
        for path in (tmp_path / "out" / "predictions" / "run").glob("[cnb]*_*.jsonl")
    }
    assert len(heard) == 5  # under no two conditions the same
    page = (tmp_path / "out" / "noise_suite.html").read_text("utf-8")
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")
    assert "Word error rate by noise" in page and "stock" in page
    table = (tmp_path / "out" / "noise_suite.md").read_text("utf-8")
    assert "| condition | run | stock |" in table and "| babble, 0 dB |" in table
    assert (tmp_path / "out" / "noise_suite.png").read_bytes().startswith(b"\x89PNG")
    assert "noise, 10 dB" in outcome.output and "written to" in outcome.output


def test_what_is_known_is_not_measured_again(suite: Suite, best: Path, tmp_path: Path) -> None:
    output = tmp_path / "run" / "noise_suite"  # where it goes without --output
    assert suite().code == 0
    first = read(output)
    place = output / "predictions" / "run"
    (place / "noise_0.json").unlink()  # as a suite that was ended in noise_0 leaves it
    (place / "babble_0.jsonl").write_text("{", encoding="utf-8")
    outcome = suite()
    again = [line for line in outcome.output.splitlines() if line.startswith("run: ") and " in " in line]
    measured = [line.split(": ")[1] for line in again if "known already" not in line and "clips" not in line]
    assert measured == ["noise_0", "babble_0"], outcome.output
    second = read(output)
    for name in ("clean", "noise_0", "babble_0"):
        figures = [result["checkpoints"][0]["conditions"][name]["word_error_rate"] for result in (first, second)]
        assert figures[0] == figures[1]
    assert second["checkpoints"][0]["attention_odds"] == first["checkpoints"][0]["attention_odds"]


def test_other_settings_and_weights_are_measured_again(suite: Suite, best: Path, models: Path) -> None:
    def measured(outcome: Outcome) -> set[str]:
        assert outcome.code == 0, outcome.errors
        lines = [line.split(": ") for line in outcome.output.splitlines() if line.startswith("run: ")]
        return {line[1] for line in lines if "known already" not in line[-1] and "attention" not in line[-1]}

    few = {"types": ["noise"], "ratios": [0], "non_speech": None, "attention_utterances": 0}
    assert measured(suite(**few)) == {"clean", "noise_0"}
    assert measured(suite(**few, seed=1)) == {"noise_0"}
    assert measured(suite("beams=2", **few, seed=1)) == {"clean", "noise_0"}
    leaks = few | {"types": [], "other_party": [0]}
    assert measured(suite("beams=2", **leaks, seed=1)) == {"other_party_0"}
    assert measured(suite("beams=2", **leaks, seed=1, leak_room=0.3)) == {"other_party_0"}
    config = json.loads((best / "config.json").read_text("utf-8"))
    (best / "config.json").write_text(json.dumps(config | {"encoder_padding": "window"}), encoding="utf-8")
    assert measured(suite("beams=2", **few, seed=1)) == {"clean", "noise_0"}


def test_from_python_with_speech_of_its_own(models: Path, corpus: Path, tmp_path: Path) -> None:
    speech = {"files": str(corpus / "validation-*.parquet"), "columns": {"id": "id"}}
    values = {"speech": speech, "ratios": [5], "types": ["competing"], "language": "az", "max_new_tokens": 4}
    said: list[str] = []
    result = run_suite(values, {"p": models / "plain", "d": models / "dual"}, tmp_path / "out", say=said.append)
    assert result is not None and result == read(tmp_path / "out")
    assert [one["name"] for one in result["checkpoints"]] == ["p", "d"]
    assert result["checkpoints"][0]["conditions"]["competing_5"]["utterances"] == 11
    assert len([line for line in said if line.startswith("p: ")]) == 2


def test_a_silent_clip_and_one_without_a_transcript_are_left_out_and_named(
    suite: Suite, corpus: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()[:6]
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    rows[0] |= {"id": "mute", "audio": {"bytes": (tmp_path / "silence.wav").read_bytes(), "path": "silence.wav"}}
    rows[1] |= {"id": "untold", "text": None}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mute.parquet")
    speech = {"files": str(tmp_path / "mute.parquet"), "columns": {"id": "id"}}
    outcome = suite(speech=speech, utterances=None, ratios=[0], attention_utterances=0)
    assert outcome.code == 0, outcome.errors
    for name, figures in read(tmp_path / "run" / "noise_suite")["checkpoints"][0]["conditions"].items():
        if name != "non_speech":
            assert figures["utterances"] == 4
            assert [row["id"] for row in figures["skipped"]] == ["mute", "untold"]
            assert "silence" in figures["skipped"][0]["reason"] and "null" in figures["skipped"][1]["reason"]
    assert "2 left out, the first mute" in outcome.output


def noise_folder(folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        samples = 0.1 * np.random.default_rng(len(name) + number).standard_normal(8000)
        soundfile.write(folder / name, samples, 16_000)
    return folder


def test_noises_that_were_trained_in_are_named(
    suite: Suite, best: Path, tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    measured = noise_folder(tmp_path / "measured", ("rain.wav", "wind.wav", "cars.wav"))
    (tmp_path / "trained").mkdir()
    shutil.copy(measured / "wind.wav", tmp_path / "trained" / "other_name.wav")
    noise = {"noise": {"folder": str(tmp_path / "trained")}, "noise_share": 0.5}
    tiny_values["data"]["augmentation"] = noise
    (best.parent / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    values = {"noise": {"folder": str(measured)}, "types": ["noise"], "ratios": [0], "attention_utterances": 0}
    outcome = suite(**values)
    assert outcome.code == 0, outcome.errors
    assert "warning: run: was trained in 1 of the suite's 3 noises" in outcome.output and "wind.wav" in outcome.output
    assert read(best.parent / "noise_suite")["checkpoints"][0]["trained_in"] == ["wind.wav"]
    shutil.rmtree(tmp_path / "trained")
    outcome = suite(**values)
    assert outcome.code == 0 and "cannot be told" in outcome.output


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"types": ["rain"]}, "types.0 is 'rain': input should be 'noise', 'babble' or 'competing'"),
        ({"ratios": [float("nan")]}, "a ratio is nan; it must be a number of decibels"),
        ({"ratios": [500]}, "a ratio is 500"),
        ({"ratios": [5, 5.0]}, "5 stands twice"),
        ({"ratios": []}, "ratios is empty"),
        ({"noise": None, "non_speech": None}, "types has 'noise', but noise is missing"),
        ({"noise": None, "types": ["babble"]}, "non_speech needs noise"),
        ({"noise": "synthetics"}, "noise is 'synthetics': input should be 'synthetic'"),
        ({"noise": {"folder": "not/there"}}, "noise.folder: not/there is missing"),
        ({"noise": {"folder": "docs"}}, "noise.folder: docs has no recordings"),
        ({"noise": {"foldr": "docs"}}, "unknown key noise.foldr; did you mean 'folder'?"),
        ({"ratio": [5]}, "unknown key ratio; did you mean 'ratios'?"),
        ({"clean": False, "types": [], "non_speech": None}, "nothing is measured"),
        ({"language": "xx"}, "language is 'xx'"),
        ({"cluster": "talker"}, "cluster is 'talker': data.validation"),
        ({"babble_speakers": 30}, "babble need at least 31"),
        ({"max_new_tokens": 40}, "evaluation.max_new_tokens is 40"),
    ],
)
def test_bad_suites_are_refused_in_a_line(suite: Suite, values: dict[str, Any], told: str, tmp_path: Path) -> None:
    outcome = suite(**values)
    assert outcome.code == 2
    assert told in outcome.complaint
    assert not (tmp_path / "run" / "noise_suite").exists()


def test_bad_arguments_are_refused_in_a_line(suite: Suite, best: Path, models: Path, tmp_path: Path) -> None:
    plain = models / "plain"
    for checkpoints, arguments, told in (
        ((tmp_path / "none",), (), "neither a folder nor a hub name"),
        ((best.parent,), (), "did you mean"),
        ((plain,), (), "--output is missing"),
        ((plain,), ("--output", tmp_path / "out"), "speech is missing, and so is --config"),
        ((f"a={best}", f"a={plain}"), (), "two checkpoints are called 'a'"),
        ((f"a/b={best}",), (), "checkpoint 'a/b': a name is made of letters"),
        ((best,), ("--baseline", "plain"), "--baseline goes without --noise-suite"),
        ((best,), ("--output", best / "config.json"), "is a file"),
        ((), (), "--checkpoint"),
    ):
        outcome = suite(*arguments, checkpoints=checkpoints)
        assert outcome.code == 2, told
        assert told in outcome.complaint
    outcome = run(launch.eval.main, "--checkpoint", best, "--checkpoint", plain)
    assert outcome.code == 2 and "goes with --noise-suite" in outcome.complaint


def test_names_of_checkpoints(best: Path, models: Path) -> None:
    shutil.copytree(best, best.parent / "final")
    assert [one.name for one in named_checkpoints([best, models / "plain"])] == ["run", "plain"]
    assert [one.name for one in named_checkpoints([best, best.parent / "final"])] == ["run_best", "run_final"]
    assert [one.name for one in named_checkpoints([f"x={best}", best.parent / "final"])] == ["x", "run"]


def test_the_shipped_suites_and_the_page_name_every_key() -> None:
    for name in ("noise_suite.yaml", "demo_noise_suite.yaml"):
        assert load_suite(ROOT / "configs" / name).kinds == ("noise", "babble", "competing")
    page = (ROOT / "docs" / "noise_suite.md").read_text("utf-8")
    for key in NoiseSuiteConfig.model_fields:
        assert f"`{key}`" in page, key
