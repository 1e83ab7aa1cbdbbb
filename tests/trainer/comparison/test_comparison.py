"""The figures of a comparison against plain sums, its Markdown, and its page: whole, harmless, the figures the same."""

import datetime
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

import launch.compare
from trainer.comparison.charts import colours, cost_charts, seconds_at, thinned
from trainer.comparison.comparison import Comparison, compare
from trainer.comparison.examples import setbacks, widest
from trainer.comparison.page import comparison_report
from trainer.comparison.reading import Prediction, read_arms
from trainer.comparison.tables import against_baseline, cost_table, judgement, notes, pair_table, verdict
from trainer.config.reading import ConfigError
from trainer.evaluation.breakdown import length_bin
from trainer.pages.charts import Axis, axis_over
from trainer.pages.formats import signed
from trainer.pages.page import environment

from ...end_to_end import run
from ...support.comparison_runs import misheard, sentences, write_evaluation, write_run, write_study
from ..pages.test_corpus import Page

DAY = datetime.date(2025, 11, 22)
NASTY = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four runs and plain Whisper on 160 utterances of 20 speakers."""
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def compared(study: list[Path]) -> Comparison:
    return compare(read_arms(study), "speaker")


def comparison_page(*given: Any, **options: Any) -> str:
    return comparison_report(*given, **options)["comparison.html"]


def comparison_markdown(*given: Any, **options: Any) -> str:
    return comparison_report(*given, **options)["comparison.md"]


def parsed(comparison: Comparison, **options: Any) -> Page:
    return Page(comparison_page(comparison, "python launch/compare.py x", DAY, **options))


def test_rates_are_those_of_the_evaluations(compared: Comparison, study: list[Path]) -> None:
    for result, folder in zip(compared.results, study, strict=False):
        stored = json.loads((folder / "evaluations" / "best_test" / "evaluation.json").read_text())
        assert result.word_error_rate == pytest.approx(stored["word_error_rate"])
        assert result.character_error_rate == pytest.approx(stored["character_error_rate"])
        kinds = (result.substitutions, result.deletions, result.insertions)
        assert sum(kinds) == pytest.approx(stored["word_error_rate"])
        assert result.substitutions == pytest.approx(stored["substitutions"] / stored["words"])
        assert result.interval is not None
        assert result.interval[0] < result.word_error_rate < result.interval[1]
    assert compared.arms[compared.baseline].name == "plain Whisper"
    assert (compared.units, compared.unit_count, compared.utterances) == ("speaker", 20, 160)


def test_sentences_say_how_far_each_is_from_the_baseline(compared: Comparison) -> None:
    told = against_baseline(compared)
    assert told[0] == "full: 20.07 points below plain Whisper [−25.22, −14.66], p < 0.001"
    assert len(told) == 4


def test_pairs_are_paired(compared: Comparison) -> None:
    assert [(pair.first, pair.second) for pair in compared.pairs] == [(a, b) for a in range(5) for b in range(a + 1, 5)]
    for pair in compared.pairs:
        rates = [compared.results[index].word_error_rate for index in (pair.first, pair.second)]
        assert pair.difference == pytest.approx(rates[0] - rates[1])
        assert pair.interval is not None
        assert pair.interval[0] < pair.difference < pair.interval[1]
        assert pair.p_adjusted >= pair.p_randomisation
    against_plain = [pair for pair in compared.pairs if pair.second == 4]
    assert all(pair.differs and pair.difference < 0 for pair in against_plain)
    assert not compared.pair(1, 3).differs


def test_the_same_model_twice_is_not_distinguishable(tmp_path: Path) -> None:
    said = sentences(30)
    heard = misheard(said, 0.3, seed=1)
    comparison = compare(read_arms([write_run(tmp_path / name, said, heard) for name in ("a", "b")]))
    (pair,) = comparison.pairs
    assert (pair.difference, pair.interval, pair.differs) == (0.0, (0.0, 0.0), False)
    assert (pair.p_bootstrap, pair.p_matched_pairs, pair.p_randomisation, pair.p_adjusted) == (1.0,) * 4
    assert "Not distinguishable at 5 % from it: b." in verdict(comparison)
    assert against_baseline(comparison) == [
        "b: as many errors as a [0.00, 0.00], not distinguishable at 5 %, p = 1.000"
    ]


def test_few_speakers_are_told_as_the_reason(tmp_path: Path) -> None:
    """Far more errors with all of five speakers, in which no test could find anything."""
    said = sentences(50)
    runs = [
        write_run(tmp_path / name, said, misheard(said, rate, seed), speakers=5)
        for name, rate, seed in (("good", 0.05, 1), ("bad", 0.6, 2))
    ]
    comparison = compare(read_arms(runs), "speaker")
    (told,) = against_baseline(comparison)
    assert "points above good [−∞, +∞], not distinguishable at 5 %: 5 values of speaker are too few" in told
    assert pair_table(comparison).rows[0][-1].endswith("5 values of speaker are too few to find any difference")


def test_a_pair_that_differs_only_by_itself_says_so(tmp_path: Path) -> None:
    """One of 10 pairs: the interval, too, is that of the corrected test."""
    said = sentences(60)
    runs = [write_run(tmp_path / str(n), said, misheard(said, 0.2 + 0.035 * n, seed=n)) for n in range(5)]
    comparison = compare(read_arms(runs))
    alone = [pair for pair in comparison.pairs if pair.p_randomisation < 0.05 and not pair.differs]
    assert alone and any(pair.differs for pair in comparison.pairs)
    for pair in comparison.pairs:
        assert pair.interval is not None
        assert pair.differs != (pair.interval[0] <= 0 <= pair.interval[1])
    told = judgement(comparison, alone[0])
    assert "for this pair alone" in told and "as one of 10 pairs" in told


def test_updates_are_those_of_the_weights_that_were_evaluated(tmp_path: Path) -> None:
    said = sentences(20)
    heard = misheard(said, 0.2, seed=1)
    runs = [
        write_run(tmp_path / "best", said, heard, summary={"steps": 30, "best_step": 20}),
        write_run(tmp_path / "last", said, heard, summary={"steps": 30, "best_step": 30}),
        write_run(tmp_path / "final", said, heard, summary={"steps": 30, "best_step": 20}, checkpoint="runs/x/final"),
    ]
    updates = [row[4] for row in cost_table(compare(read_arms(runs)), None).rows]
    assert updates == ["20 of 30", "30", "30"]


def test_a_resumed_run_shows_the_rate_it_began_with(tmp_path: Path) -> None:
    said = sentences(20)
    for name in ("resumed", "other"):
        write_run(tmp_path / name, said, misheard(said, 0.2, seed=1))
    lines = (tmp_path / "resumed" / "metrics.jsonl").read_text().splitlines()
    row = {"step": 300, "kind": "resumed", "changed": ["optimizer.learning_rate: 3e-05 -> 1e-05", "so the window ..."]}
    lines.insert(-1, json.dumps(row))
    (tmp_path / "resumed" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    comparison = compare(read_arms([tmp_path / "resumed", tmp_path / "other"]))
    assert comparison.differences["optimizer.learning_rate"] == ("1e-05 (3e-05 until step 300)", "1e-05")
    told = " ".join(notes(comparison))
    assert "resumed was resumed with another optimizer.learning_rate: 3e-05 until step 300, then 1e-05." in told


def test_speakers_are_resampled_whole(study: list[Path], tmp_path: Path) -> None:
    # All of a run's errors are with one of eight speakers: utterances as units would take that for certain.
    said = sentences(80)
    keys = sorted(said)
    heard = {key: "nothing like it" if number % 8 == 0 else said[key] for number, key in enumerate(keys)}
    runs = [write_run(tmp_path / "good", said, said), write_run(tmp_path / "bad", said, heard)]
    assert compare(read_arms(runs)).pairs[0].differs
    by_speaker = compare(read_arms(runs), "speaker")
    assert not by_speaker.pairs[0].differs
    assert by_speaker.pairs[0].p_randomisation == 1.0
    assert "Only 8 values of speaker" in " ".join(notes(by_speaker))
    own = [write_run(tmp_path / f"own_{name}", said, said, interval_units="age") for name in ("a", "b")]
    assert compare(read_arms(own)).units == "age"
    assert compare(read_arms([*own, runs[0]])).units == "utterances"


def test_an_utterance_without_a_speaker_is_a_unit_of_its_own(tmp_path: Path) -> None:
    """A missing value is written as no text."""
    said = sentences(24)
    for name in ("a", "b"):
        folder = write_run(tmp_path / name, said, said, speakers=4)
        path = folder / "evaluations" / "best_test" / "predictions.jsonl"
        path.write_text(path.read_text().replace('"s00"', '""'))
    arms = read_arms([tmp_path / "a", tmp_path / "b"])
    assert compare(arms, "speaker").unit_count == 6 + 3
    empty = [prediction.model_copy(update={"columns": {"speaker": ""}}) for prediction in arms[0].predictions]
    assert compare([arm.model_copy(update={"predictions": tuple(empty)}) for arm in arms], "speaker").unit_count == 24


def test_cost_is_told_where_something_was_saved(compared: Comparison) -> None:
    full, lora, *_, plain = compared.results
    assert full.saved == pytest.approx(plain.word_error_rate - full.word_error_rate)
    assert full.seconds_per_point == pytest.approx(900 / (100 * full.saved))
    assert (plain.saved, plain.seconds_per_point) == (None, None)
    text = comparison_markdown(compared, "x", DAY, price_per_hour=36.0)
    row = next(line for line in text.partition("## Cost")[2].splitlines() if line.startswith("| full "))
    assert [cell.strip() for cell in row.split("|")][-3:-1] == [f"{full.seconds_per_point / 100:.2f}", "9.00"]
    assert lora.arm.summary is not None
    assert "$" not in comparison_markdown(compared, "x", DAY)


def test_a_saving_that_may_be_chance_has_no_cost(tmp_path: Path) -> None:
    said = sentences(12)
    heard = misheard(said, 0.4, seed=1)
    better = heard | {"u0000": said["u0000"]}
    result = compare(
        read_arms([write_run(tmp_path / "a", said, heard), write_run(tmp_path / "b", said, better)])
    ).results[1]
    assert result.saved is not None
    assert result.saved > 0
    assert result.seconds_per_point is None


def test_only_what_differs_is_shown_of_the_configs(compared: Comparison) -> None:
    assert [(key, *values) for key, values in compared.differences.items()] == [
        ("model.strategy", "full", "lora", "frozen_encoder", "frozen_primary"),
        ("model.dual_attention", "false", "false", "false", "true"),
        ("optimizer.learning_rate", "1e-05", "0.001", "1e-05", "0.0001"),
    ]


def test_a_key_that_one_config_lacks_differs_and_places_do_not(tmp_path: Path) -> None:
    said = sentences(4)
    lora = write_run(tmp_path / "lora", said, said, config={"model.lora": {"rank": 8}, "logging.every_steps": 1})
    full = write_run(tmp_path / "full", said, said, config={"model.lora": None})
    found = compare(read_arms([lora, full])).differences
    assert found == {"model.lora.rank": ("8", "–")}


def test_what_runs_settled_themselves_is_no_difference(tmp_path: Path) -> None:
    def differing(**second: Any) -> dict[str, tuple[str, ...]]:
        said, folder = sentences(4), Path(tempfile.mkdtemp(dir=tmp_path))
        first = {"performance.onednn": True, "training.step_utterances": 12}
        first |= {"training.batch_size": 3, "training.accumulation": 4}
        other = {key: second.get(key.split(".")[1], value) for key, value in first.items()}
        arms = [write_run(folder / name, said, said, config=own) for name, own in (("a", first), ("b", other))]
        return compare(read_arms(arms)).differences

    assert differing(onednn=False, batch_size=6, accumulation=2) == {}
    larger = differing(step_utterances=24, batch_size=6, accumulation=1)
    assert larger == {"training.step_utterances": ("12", "24"), "training.batch_size": ("3", "6")}
    assert set(differing(step_utterances=None, accumulation=2)) == {"training.step_utterances", "training.accumulation"}


def test_parts_of_the_data_sum_to_the_whole(compared: Comparison) -> None:
    titles = {breakdown.title: breakdown for breakdown in compared.breakdowns}
    assert list(titles) == ["length of the clip", "age", "speaker"]
    for title in ("length of the clip", "age"):
        groups = titles[title].groups
        assert sum(group.words for group in groups) == compared.words
        for index, result in enumerate(compared.results):
            errors = sum(group.rates[index] * group.words for group in groups)
            assert errors / compared.words == pytest.approx(result.word_error_rate)
    assert [group.value for group in titles["age"].groups] == ["6", "7", "8", "9", "10"]  # as numbers
    lengths = {value.removesuffix("-") for value in map(length_bin, (p.seconds for p in compared.arms[0].predictions))}
    assert {group.value.split(" ")[0].replace("–", "-") for group in titles["length of the clip"].groups} == lengths
    assert (len(titles["speaker"].groups), titles["speaker"].left_out) == (12, 8)


def test_examples_are_where_the_arms_are_furthest_apart(compared: Comparison) -> None:
    chosen = widest(compared)
    assert len(chosen) == 10
    rows = [[arm.predictions[place] for arm in compared.arms] for place in range(compared.utterances)]
    spreads = [max(p.errors for p in row) - min(p.errors for p in row) for row in rows]
    assert spreads[chosen[0]] == max(spreads)
    best, plain = compared.arms[compared.best].predictions, compared.arms[4].predictions
    worse = setbacks(compared, chosen)
    assert worse
    assert all(best[place].errors > plain[place].errors for place in worse)


def marked(prediction: Prediction) -> str:
    """The words heard, as the page's template marks them."""
    macros = environment.get_template("trainer/comparison/examples.html.j2").module
    return " ".join(macros.heard(prediction).split())


def test_words_are_marked() -> None:
    counts = {"hits": 1, "substitutions": 1, "deletions": 1, "insertions": 1, "character_errors": 0, "characters": 9}
    alignment = [("equal", "the", "the"), ("substitute", "<u>", "<b>"), ("delete", "a", ""), ("insert", "", "uh")]
    texts = {"id": "a", "reference": "", "normalized_reference": "", "normalized_hypothesis": "", "seconds": 1}
    prediction = Prediction.model_validate(texts | counts | {"alignment": alignment})
    assert marked(prediction) == "the <del>&lt;u&gt;</del><ins>&lt;b&gt;</ins> <del>a</del> <ins>uh</ins>"
    right = Prediction.model_validate(texts | dict.fromkeys(counts, 0))
    assert "as spoken" in marked(right)
    long = prediction.model_copy(update={"alignment": prediction.alignment * 50})
    assert "… 140 more words" in marked(long)


def test_the_page_says_what_the_tables_say(compared: Comparison) -> None:
    page = parsed(compared, price_per_hour=2.5, missing={"qlora": "training ended with exit code 1"})
    text = comparison_markdown(compared, "python launch/compare.py x", DAY, 2.5, {"qlora": "it failed"})
    cells = [
        cell.strip().replace("\\", "")
        for line in text.splitlines()
        if line.startswith("| ")
        for cell in line.strip("|").split("|")
    ]
    assert len(cells) > 150
    for cell in cells:
        assert cell in page.text
    for told in (verdict(compared), "2025-11-22", "qlora: training ended", "python launch/compare.py x", "Holm"):
        assert told in page.text
    assert "not distinguishable at 5 %" in page.text
    assert len([name for name, _ in page.elements if name == "figure"]) == 9  # curves, cost, breakdowns
    runs = [str(attributes["class"]) for name, attributes in page.elements if name == "polyline"]
    assert runs == [f"curve run{number}" for _ in range(3) for number in range(4)]  # a colour a run, in all pictures


def test_nothing_that_is_compared_is_markup(tmp_path: Path) -> None:
    said = {f"{NASTY}{number}": f"{NASTY} said {number}" for number in range(6)}
    heard = dict.fromkeys(said, f"{NASTY} heard")
    folder = tmp_path / '"onload="<script>alert(2)<b>x=1'
    other = write_run(tmp_path / "other", said, said, config={"model.checkpoint": "y"})
    runs = [write_run(folder, said, heard, config={"model.checkpoint": NASTY}, summary={"hardware": NASTY}), other]
    for line in ("evaluation.json", "predictions.jsonl"):
        path = runs[0] / "evaluations" / "best_test" / line
        path.write_text(
            path.read_text().replace('"speaker"', json.dumps(NASTY)).replace('"english"', json.dumps(NASTY))
        )
        path = other / "evaluations" / "best_test" / line
        path.write_text(path.read_text().replace('"english"', json.dumps(NASTY)))
    comparison = compare(read_arms(runs))
    page = parsed(comparison, missing={NASTY: NASTY})
    assert page.names().isdisjoint({"script", "img", "link", "iframe", "object", "a", "b x"})
    assert NASTY in page.text
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    written = comparison_markdown(comparison, f"x {NASTY}", DAY).partition("Made on")[0]
    assert "<script" not in written.replace("\\<", "")


def test_the_page_asks_for_nothing_else(compared: Comparison) -> None:
    page = comparison_page(compared, "x", DAY)
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|src=|href=|https?://", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_a_run_alone_has_a_page(tmp_path: Path) -> None:
    said = sentences(1)
    comparison = compare(read_arms([write_run(tmp_path / "run", said, misheard(said, 0.5, seed=3), summary={})]))
    assert comparison.pairs == ()
    assert comparison.results[0].interval is None
    page = parsed(comparison)
    assert "unfinished: step 400 of 400" in page.text
    assert "1 run on test" in page.text


def test_evaluations_alone_can_be_compared(tmp_path: Path) -> None:
    said = sentences(25)
    folders = [
        write_evaluation(tmp_path / name, said, misheard(said, rate, seed=4), f"openai/whisper-{name}")
        for name, rate in (("tiny", 0.4), ("base", 0.2))
    ]
    comparison = compare(read_arms(folders))
    assert colours(comparison) == [-1, 0]
    page = parsed(comparison)
    assert "One config alone is known here." in page.text
    assert "peak memory" in page.text


def test_a_corpus_without_words_or_errors_has_a_page(tmp_path: Path) -> None:
    said = sentences(3)
    right = [write_run(tmp_path / name, said, said) for name in ("a", "b")]
    assert "0.0 %" in parsed(compare(read_arms(right))).text


def test_notes_tell_what_makes_figures_doubtful(tmp_path: Path) -> None:
    said = sentences(30)
    one = write_run(tmp_path / "one", said, said, beams=5)
    two = write_run(tmp_path / "two", said, said, summary={"steps": 20, "hardware": "1 x CPU"})
    told = " ".join(notes(compare(read_arms([one, two]))))
    for part in ("two is unfinished: step 400 of 400", "numbers of beams", "different hardware", "One training each"):
        assert part in told
    assert "30 utterances are few for MAPSSWE" in told


def test_time_is_summed_from_the_seconds_a_step() -> None:
    rows = [
        {"step": 1, "kind": "train", "seconds_per_step": 3.0},
        {"step": 11, "kind": "train", "seconds_per_step": 0.5},
        {"step": 11, "kind": "validation", "word_error_rate": 0.5},
        {"step": 21, "kind": "train", "seconds_per_step": 1.0},
    ]
    assert seconds_at(rows) == {1: 3.0, 11: 8.0, 21: 18.0}
    points = [(float(step), float(step % 2)) for step in range(1, 1001)]
    assert len(thinned(points)) <= 150
    assert thinned(points)[-1][0] == 1000
    assert thinned(points[:3]) == points[:3]


def test_axes_hold_their_values_and_have_ticks() -> None:
    for values in ([0.1, 0.2], [0.3], [0.0], [1.0, 900.0], [0.0007, 0.5], [40.0, 40.0]):
        for log_from in (None, 8.0):
            axis = axis_over(values, log_from=log_from)
            assert all(0 <= axis.place(value) <= 1 for value in values)
            assert 2 <= len(axis.ticks()) <= 8, (values, axis)
            assert all(axis.low <= tick * 1.001 and tick <= axis.high * 1.001 for tick in axis.ticks())
    assert Axis(0.0, 10.0).place(5) == 0.5
    assert Axis(1.0, 100.0, is_log=True).place(10) == pytest.approx(0.5)
    assert Axis(0.0, 1.0).place(7) == 1.0


def test_names_stand_in_a_legend_and_not_among_the_markers(compared: Comparison) -> None:
    """Beside them they covered each other, the axis and the bars."""
    page = comparison_page(compared, "x", DAY).partition("What it took")[2].partition("For whom")[0]
    assert '<ul class="legend">' in page
    written = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert written and not any(arm.name in text for arm in compared.arms for text in written)
    notes = [chart.note for chart in cost_charts(compared)]
    assert len(notes) == 3 and all(note.startswith("plain Whisper, ") for note in notes)


def test_points_have_a_sign_unless_they_are_none() -> None:
    assert [signed(value) for value in (0.012, -0.012, 0.000001, -0.000001, 0.0)] == [
        "+1.20",
        "−1.20",
        "0.00",
        "0.00",
        "0.00",
    ]


def test_the_command_writes_both_files_and_the_way_to_them(study: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder"
    arguments = [str(study[0]), str(study[1]), "--cluster", "speaker", "--output", str(output)]
    for _ in range(2):  # over older files of its own
        outcome = run(launch.compare.main, *arguments)
        assert (outcome.code, outcome.errors) == (0, "")
    assert "full has the lowest word error rate, 11.2 %" in outcome.output
    assert str(output / "comparison.html") in outcome.output
    text = (output / "comparison.md").read_text()
    assert f"python launch/compare.py {study[0]} {study[1]} --cluster speaker --output {output}" in text
    full = json.loads((study[0] / "evaluations" / "best_test" / "evaluation.json").read_text())
    assert f"| full | {100 * full['word_error_rate']:.2f} " in text
    assert "3 runs on test" in (output / "comparison.html").read_text()
    assert sorted(path.name for path in output.iterdir()) == ["comparison.html", "comparison.md"]


def test_an_unknown_column_is_refused_where_there_are_none(tmp_path: Path) -> None:
    said = sentences(3)
    folder = write_run(tmp_path / "run", said, said)
    path = folder / "evaluations" / "best_test" / "predictions.jsonl"
    rows = [json.loads(line) | {"columns": {}} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match=r"they hold no columns.*'evaluation.columns=\[speaker\]'"):
        compare(read_arms([folder]), "speaker")
