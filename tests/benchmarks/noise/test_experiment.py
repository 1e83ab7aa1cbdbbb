"""The noise experiment's queue and its tables: what is done is passed over, what is told follows from the counts."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from benchmarks.noise.comparing import Side, compare, counts, words_of_other
from benchmarks.noise.measuring import (
    NoiseSuites,
    by_speaker,
    digest_of,
    measured,
    result_path,
    suite_figures,
    wanted_suites,
)
from benchmarks.noise.plan import NoisePlan, Variant, planned_arms
from benchmarks.noise.summary import write_summary
from tests import ROOT
from trainer.comparison.planning import PlannedArm, read_plan, written
from trainer.config.reading import ConfigError, flatten
from trainer.config.run import RunConfig
from trainer.noise_suite.config import load_suite
from trainer.record.journal import whole_rows


def result(arm: str, errors: tuple[int, ...], sets: dict[str, Any] | None = None) -> dict[str, Any]:
    """An arm measured on four speakers of 100 words each."""
    speakers = {f"s{number}": [wrong, 100, min(wrong, 5)] for number, wrong in enumerate(errors)}
    rate = sum(errors) / (100 * len(errors))
    condition = {"word_error_rate": rate, "ratio": 0.0, "kind": "noise", "speakers": speakers}
    clean = condition | {"ratio": None, "kind": "clean"}
    suite = {"conditions": {"clean": clean, "noise_0": condition}, "attention_odds": None}
    return {"arm": arm, "sets": sets, "development": suite, "report": suite}


def write_result(plan: NoisePlan, folder: Path, arm: str, errors: tuple[int, ...]) -> None:
    """As the queue would, of the plan as it is."""
    found = result(arm, errors, plan.arms[arm]) | {"made_from": digest_of(plan, arm)}
    for suite in ("development", "report"):
        found[suite] = found[suite] | {"made_from": digest_of(plan, arm, suite)}
    result_path(folder, arm).write_text(json.dumps(found))


def test_families_are_compared_on_the_same_speakers() -> None:
    plain = [result("a", (20, 10, 30, 40)), result("b", (30, 10, 30, 50))]
    better = [result("c", (10, 5, 15, 20)), result("d", (15, 5, 15, 25))]
    ours, theirs = Side(better, "report"), Side(plain, "report")
    found = compare(ours, theirs, "noise_0")
    assert found.mean == pytest.approx(110 / 800) and found.rates == pytest.approx((0.125, 0.15))
    assert found.relative is not None
    # Half of the errors for every speaker: whoever is drawn, it is half.
    assert (found.relative[0], *found.relative[1]) == pytest.approx((0.5, 0.5, 0.5))
    assert compare(theirs, None, "noise_0").relative is None
    assert compare(theirs, None, "noise_0", capped=True).rates == pytest.approx((0.05, 0.05))


def test_seeds_of_other_words_are_refused() -> None:
    other = result("b", (1, 2, 3, 4))
    other["report"]["conditions"]["noise_0"]["speakers"]["s0"] = [1, 99]
    with pytest.raises(ValueError, match="same words"):
        counts([result("a", (1, 2, 3, 4)), other], "report", "noise_0")


def test_errors_are_summed_by_speaker(tmp_path: Path) -> None:
    path = tmp_path / "noise_0.jsonl"
    rows = [
        {"id": str(n), "columns": {"speaker": who}, "hits": 3, "substitutions": 1, "deletions": 1, "insertions": more}
        for n, (who, more) in enumerate((("x", 2), ("y", 2), ("x", 14)))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert by_speaker(whole_rows(path)) == {"x": [4 + 16, 10, 4 + 5], "y": [4, 5, 4]}


def test_the_summary_names_what_has_not_run(tmp_path: Path) -> None:
    arms: dict[str, Any] = {"base": "plain", "plain": {"optimizer.learning_rate": 1e-4}, "other": {}, "later": {}}
    files = {"config": "base.yaml", "development": "d.yaml", "report": "r.yaml"}
    plan = NoisePlan(**files, arms=arms, families={"plain": ("plain",), "other": ("other",)}).beside(tmp_path)
    with pytest.raises(ConfigError, match="no arm is done"):
        write_summary(plan, tmp_path)
    (tmp_path / "arms").mkdir()
    for file in files.values():
        (tmp_path / file).write_text("a: 1")
    for arm, errors in (("base", (40, 40, 40, 40)), ("plain", (20, 20, 20, 20)), ("other", (10, 10, 10, 10))):
        write_result(plan, tmp_path, arm, errors)
    text = write_summary(plan, tmp_path)
    assert (tmp_path / "summary.md").read_text() == text and (tmp_path / "summary.png").stat().st_size > 5000
    assert "have not run: later." in text
    assert wanted_suites(plan, "base") == ["report"] and wanted_suites(plan, "later") == ["development"]
    assert "**10.0** (10.0 to 10.0)<br>+50.0% (50.0% to 50.0%)" in text

    def is_done(plan: NoisePlan) -> bool:
        other = PlannedArm("other", RunConfig.model_construct(), "validation", True)
        return NoiseSuites(plan, tmp_path).is_done(other)

    # An arm that sets something else now is another arm.
    changed = plan.model_copy(update={"arms": arms | {"other": {"optimizer.learning_rate": 1e-5}}})
    assert is_done(plan) and not is_done(changed)
    for file in files.values():  # and so is one of other data, or measured otherwise
        (tmp_path / file).write_text("a: 2")
        assert not is_done(plan)
        (tmp_path / file).write_text("a: 1")
    assert is_done(plan)
    (tmp_path / "r.yaml").write_text("a: 2")  # what was measured otherwise chooses still, and is not reported
    text = write_summary(plan, tmp_path)
    assert "| other |" in text and "the report is still to be measured of: base, plain, other." in text


def predictions(errors: Sequence[int], others: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Of utterances of ten words, two of each speaker."""
    rows = []
    for number, wrong in enumerate(errors):
        row = {"id": f"u{number}", "columns": {"speaker": f"s{number // 2}"}, "insertions": 0, "deletions": 0}
        row |= {"hits": 10 - wrong, "substitutions": wrong}
        rows.append(row | ({} if others is None else {"other": "a b", "words_of_other": others[number]}))
    return rows


def write_suite(folder: Path, conditions: dict[str, list[dict[str, Any]]]) -> None:
    """As launch/eval.py would."""
    place = folder / "predictions" / "x"
    place.mkdir(parents=True)
    figures = {}
    for name, rows in conditions.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        rate = sum(row["substitutions"] for row in rows) / sum(row["hits"] + row["substitutions"] for row in rows)
        figures[name] = {"kind": name[:-2], "ratio": 0.0, "second_ratio": None, "word_error_rate": rate}
    suite = {"conditions": list(conditions), "date": "", "hardware": "", "versions": {}, "seconds": 1.0}
    checkpoint = {"name": "x", "conditions": figures, "attention_odds": None}
    (folder / "noise_suite.json").write_text(json.dumps(suite | {"checkpoints": [checkpoint]}))


def test_intervals_over_speakers_and_over_utterances_draw_what_they_say(tmp_path: Path) -> None:
    """Each speaker has half the errors, but of two utterances one has none and one has as many."""
    sides = []
    for name, errors in (("ours", (0, 4, 0, 4)), ("theirs", (4, 4, 4, 4))):
        write_suite(tmp_path / name, {"noise_0": predictions(errors)})
        sides.append(Side([{"arm": name, "report": suite_figures(tmp_path / name)}], "report"))
    found = compare(sides[0], sides[1], "noise_0")
    assert found.relative == (0.5, (0.5, 0.5))
    assert found.over_utterances == pytest.approx((0.0, 1.0))


def test_errors_and_words_of_the_other_are_kept_by_utterance(tmp_path: Path) -> None:
    write_suite(tmp_path, {"clean_0": predictions((1, 2, 0)), "other_party_0": predictions((3, 4), (0, 2))})
    found = suite_figures(tmp_path)
    assert found["utterances"] == {"ids": "u0 u1 u2", "speakers": "s0 s0 s1", "words": "10 10 10"}
    clean, party = (found["conditions"][name] for name in ("clean_0", "other_party_0"))
    assert clean["errors"] == "1 2 0" and "words_of_other" not in clean
    assert party["errors"] == "3 4 -" and party["words_of_other"] == "0 2 -"  # u2 could not be measured
    assert party["speakers"] == {"s0": [7, 20, 7]}
    side = Side([{"arm": "a", "report": found}], "report")
    assert words_of_other(side, "other_party_0") == (2.0, 0.1) and words_of_other(side, "clean_0") is None


VARIANTS: dict[str, Any] = {
    "config": "base.yaml",
    "development": "d.yaml",
    "report": "r.yaml",
    "arms": {"one": {"training.seed": 0}, "one_seed1": {"training.seed": 1}, "both": {"training.seed": 2}},
    "families": {"one": ["one", "one_seed1"], "both": ["both"]},
    "also": {"fused": {"sets": {"heard": "fused"}, "of": ["one"]}},
    "against": {"both": ["one", "one/fused"]},
}


def test_variants_of_the_report_are_sides_of_comparisons(tmp_path: Path) -> None:
    plan = NoisePlan(**VARIANTS).beside(tmp_path)
    for file in ("base.yaml", "d.yaml", "r.yaml"):
        (tmp_path / file).write_text("a: 1")
    assert list(plan.sides) == ["one", "one/fused", "both"]
    of_first = {"first": ["one"]} | VARIANTS["families"]
    also = {"even": {"sets": {"fused_share": 0.5}, "of": ["first"]}} | VARIANTS["also"]
    parts = NoisePlan(**VARIANTS | {"families": of_first, "also": also})
    assert list(parts.sides) == ["first/even", "one", "one/fused", "both"], "a part of a family is not shown twice"
    assert wanted_suites(plan, "one") == ["development", "report", "report_fused"]
    assert wanted_suites(plan, "one_seed1") == ["report", "report_fused"], "a later seed chooses nothing"
    assert wanted_suites(plan, "both") == ["development", "report"]
    (tmp_path / "arms").mkdir()

    def write(arm: str, **suites: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        found: dict[str, Any] = {"arm": arm, "made_from": digest_of(plan, arm)}
        for suite, (errors, others) in suites.items():
            place = tmp_path / arm / suite
            write_suite(place, {"other_party_0": predictions(errors, others)})
            found[suite] = suite_figures(place) | {"made_from": digest_of(plan, arm, suite)}
        result_path(tmp_path, arm).write_text(json.dumps(found))

    write("one", report=((4, 4, 8, 8), (2, 2, 2, 2)), report_fused=((2, 2, 4, 4), (1, 1, 1, 1)))
    write("one_seed1", report=((4, 4, 8, 8), (2, 2, 2, 4)))
    write("both", report=((1, 1, 2, 2), (0, 0, 0, 1)))
    text = write_summary(plan, tmp_path)
    assert "# Does a second attention help in noise? The figures" in text
    # A quarter of the errors for every speaker and every utterance, whoever is drawn.
    assert "| both against one | **+75.0%** (75.0% to 75.0%)<br>(75.0% to 75.0%) |" in text
    assert "| both against one/fused | **+50.0%** (50.0% to 50.0%)<br>(50.0% to 50.0%) |" in text
    assert "| one | **9**, 22.5% (1.00) |" in text and "| both | **1**, 2.5% (0.11) |" in text
    assert "the report is still to be measured of: one_seed1." in text
    changed = plan.model_copy(update={"also": {"fused": Variant(sets={"heard": "average"}, of=("one",))}})
    assert "report_fused" in measured(plan, tmp_path, "one") and "report_fused" not in measured(
        changed, tmp_path, "one"
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"also": {"fused": {"sets": {"heard": "fused"}, "of": ["two"]}}}, "also.fused.of has 'two'"),
        ({"also": {"a/b": {"sets": {"heard": "fused"}, "of": ["one"]}}}, "also.a/b: a name is made"),
        ({"against": {"both/fused": ["one"]}}, "against has 'both/fused'; there is one, one/fused, both"),
    ],
)
def test_mistakes_in_variants_are_named(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        NoisePlan(**VARIANTS | changed)


@pytest.mark.parametrize("use", ["microphones", "other_party", "meant_speaker"])
def test_the_plans_with_second_recordings_can_be_run(use: str, tmp_path: Path) -> None:
    plan = read_plan(ROOT / "benchmarks" / "results" / "second_recording" / use / "plan.yaml", NoisePlan)
    arms = {arm.name: arm.config for arm in planned_arms(plan, tmp_path)}
    assert list(arms)[:3] == ["one", "joined", "attention"]
    one, both = (flatten(arms[name].model_dump(mode="json")) for name in ("one", "attention"))
    sections = {key.split(".")[0] for key in one if one[key] != both[key]}
    assert sections == {"model", "optimizer", "output_dir"}  # the same data, in the same mixtures
    for suite in plan.suites.values():
        found = load_suite(suite.path, written(suite.sets))
        assert found.cluster == "speaker" and found.paired


def test_mistakes_in_a_plan_are_named(tmp_path: Path, tiny_config: Path) -> None:
    path = tmp_path / "plan.yaml"
    files = {"config": str(tiny_config), "development": "d.yaml", "report": "r.yaml"}
    path.write_text(yaml.safe_dump(files | {"arms": {"a": {}}, "families": {"f": ["b"]}}))
    with pytest.raises(ConfigError, match="'b', which is not an arm"):
        read_plan(path, NoisePlan)
    path.write_text(yaml.safe_dump(files | {"arms": {"a": {"optimizer.learning_rat": 1}}}))
    with pytest.raises(ConfigError, match=r"arm a: .*learning_rat"):
        planned_arms(read_plan(path, NoisePlan), tmp_path)


@pytest.mark.slow
def test_an_arm_from_training_to_its_result(tmp_path: Path, tiny_values: dict[str, Any]) -> None:
    """And a second call finds it done."""
    generator = np.random.default_rng(0)
    (tmp_path / "noises").mkdir()
    soundfile.write(tmp_path / "noises" / "n.wav", 0.1 * generator.standard_normal(16_000), 16_000)
    del tiny_values["data"]["validation"]
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(tiny_values))
    noise = {"folder": str(tmp_path / "noises")}
    suite = {"speech": tiny_values["data"]["train"], "noise": noise, "types": ["noise"], "ratios": [0]}
    (tmp_path / "suite.yaml").write_text(
        yaml.safe_dump(suite | {"utterances": 4, "max_new_tokens": 4, "language": "az", "non_speech": None})
    )
    arm = {"training.steps": 4, "data.augmentation.noise": noise, "data.augmentation.noise_share": 0.5}
    plan = {"config": "base.yaml", "development": "suite.yaml", "report": "suite.yaml", "arms": {"short": arm}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    command = [sys.executable, "-m", "benchmarks.noise", "run", "--plan", str(tmp_path / "plan.yaml")]
    command += ["--output", str(tmp_path / "runs")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result_path(tmp_path, "short").read_text())
    assert found["training"]["summary"]["steps"] == 4
    assert len(found["training"]["last_logged"]["attention"]["gate_mean"]) == 2
    assert found["development"]["conditions"]["noise_0"]["word_error_rate"] >= 0
    assert not (tmp_path / "runs" / "short" / "checkpoints").exists()
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and "training" not in again.stdout.split("## Speakers")[0]
    # In a family it is measured by the report too, and neither trained nor measured again otherwise; the run's own
    # config may be of a time that knew fewer keys.
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan | {"families": {"all": ["short"]}}))
    saved = tmp_path / "runs" / "short" / "config.yaml"
    values = yaml.safe_load(saved.read_text())
    del values["noise"]["loss_frames"]
    saved.write_text(yaml.safe_dump(values))
    reported = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert reported.returncode == 0, reported.stdout + reported.stderr
    told = reported.stdout.split("## Speakers")[0]
    assert "short: report" in told and "short: training" not in told and "short: development" not in told
    assert json.loads(result_path(tmp_path, "short").read_text()).keys() > found.keys()


def test_draws_without_an_error_of_the_other_are_left_out() -> None:
    ours, theirs = (Side([result(name, (2, 0))], "report") for name in ("a", "b"))
    found = compare(ours, theirs, "noise_0")
    assert found.relative == (0.0, (0.0, 0.0))
