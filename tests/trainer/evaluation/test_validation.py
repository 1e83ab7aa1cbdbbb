"""Evaluations while training: subsets and budgets, the metric that chooses, early stopping, texts in TensorBoard."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import launch.train
from data.sources.source import Source
from modeling.checkpoints import open_model, open_processor
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.config.evaluation import EvaluationConfig
from trainer.config.reading import load_config
from trainer.engine.accelerator import build_accelerator
from trainer.evaluation.error_rates import ErrorRates
from trainer.evaluation.evaluator import Evaluation
from trainer.record.checkpoints import RunState
from trainer.record.patience import note_evaluation, out_of_patience
from trainer.run import build_evaluator

EVERY_STEP = ("training.steps=6", "optimizer.warmup_steps=1", "evaluation.every_steps=1", "evaluation.max_new_tokens=3")
Train = Callable[..., Outcome]


@pytest.fixture
def train(tiny_config: Path) -> Train:
    """Trains the tiny model into ``run``, with overrides and flags."""
    return lambda *arguments: run(launch.train.main, "--config", tiny_config, *arguments)


def evaluations(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "validation"]


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def state(folder: Path) -> dict[str, Any]:
    return json.loads((sorted(folder.glob("checkpoints/step_*"))[-1] / "run_state.json").read_text())


def found(word: float, character: float = 0.5, **counts: int) -> Evaluation:
    numbers = {"utterances": 1, "words": 10, "substitutions": 1, "deletions": 1, "insertions": 1} | counts
    shares = {"word_error_rate": word, "character_error_rate": character}
    raw = {f"raw_{name}": share for name, share in shares.items()}
    rates = ErrorRates(**numbers, **shares, **raw)
    return Evaluation([], rates, "basic", 1, (), None, 1.0, 1.0, 1.0)


def noted(values: list[float], **options: Any) -> tuple[RunState, list[bool]]:
    state, better = RunState(), []
    for step, value in enumerate(values, start=1):
        state.step = step
        better.append(note_evaluation(state, found(value), EvaluationConfig(**options)))
    return state, better


# Which is the best, and patience


def test_the_best_is_the_lowest() -> None:
    state, better = noted([0.5, 0.6, 0.4, 0.4, 0.39])
    assert better == [True, False, True, False, True]
    assert (state.best, state.best_step, state.without_improvement) == (0.39, 5, 0)


def test_another_metric_chooses() -> None:
    config, state = EvaluationConfig(best_metric="character_error_rate"), RunState(step=1)
    assert note_evaluation(state, found(0.5, 0.3), config)
    state.step = 2
    assert not note_evaluation(state, found(0.4, 0.3), config)
    state.step = 3
    assert note_evaluation(state, found(0.6, 0.2), config)
    assert (state.best, state.best_word_error_rate, state.best_character_error_rate) == (0.2, 0.6, 0.2)
    counts = EvaluationConfig(best_metric="insertions")
    state = RunState()
    assert note_evaluation(state, found(0.5, insertions=4), counts)
    assert not note_evaluation(state, found(0.1, insertions=5), counts)


@pytest.mark.parametrize(
    ("values", "least", "waited"),
    [
        ([0.5, 0.5, 0.6], 0.0, 2),
        ([0.5, 0.49], 0.0, 0),
        ([0.5, 0.49, 0.48], 0.02, 0),  # small steps together
        ([0.5, 0.49, 0.485], 0.02, 2),
        ([0.5, 0.6, 0.4, 0.41], 0.05, 1),
    ],
)
def test_patience_counts_what_improves_too_little(values: list[float], least: float, waited: int) -> None:
    state, _ = noted(values, patience=2, minimum_improvement=least)
    assert state.without_improvement == waited
    assert out_of_patience(state, EvaluationConfig(patience=2)) == (waited >= 2)
    assert not out_of_patience(state, EvaluationConfig())


def test_a_run_that_no_longer_improves_ends_as_finished(train: Train, tmp_path: Path) -> None:
    options = (*EVERY_STEP, "evaluation.patience=2", "evaluation.minimum_improvement=5")
    outcome = train(*options)
    folder = tmp_path / "run"
    assert outcome.code == 0
    assert "stopped early at step 3: 2 evaluations without a lower word error rate by 5" in outcome.output
    assert [row["step"] for row in evaluations(folder)] == [1, 2, 3]
    ended = summary(folder)
    assert (ended["stopped_early"], ended["steps"]) == (True, 3)
    assert ended["word_error_rate"] == min(row["word_error_rate"] for row in evaluations(folder))
    assert (folder / "final" / "model.safetensors").exists() and state(folder)["step"] == 3
    again = train("--resume", *options)
    assert again.code == 0
    assert "finished already: stopped early at step 3" in again.output
    assert (summary(folder)["stopped_early"], summary(folder)["steps"]) == (True, 3)
    on = train("--resume", *EVERY_STEP, "evaluation.patience=null")
    assert on.code == 0
    assert (summary(folder)["stopped_early"], summary(folder)["steps"]) == (False, 6)


def test_the_summary_holds_the_rates_of_the_best_checkpoint(train: Train, tmp_path: Path) -> None:
    assert train(*EVERY_STEP, "evaluation.best_metric=deletions").code == 0
    best = min(evaluations(tmp_path / "run"), key=lambda row: row["deletions"])
    ended, saved = summary(tmp_path / "run"), state(tmp_path / "run")
    assert (ended["best_step"], saved["best"]) == (best["step"], best["deletions"])
    assert saved["best"] > 1, "a count, to be told from a rate"
    rates = (best["word_error_rate"], best["character_error_rate"])
    assert (ended["word_error_rate"], ended["character_error_rate"]) == rates
    assert ended["stopped_early"] is False


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (
            "evaluation.best_metric=wer",
            ("evaluation.best_metric is 'wer'", "'word_error_rate'", "'character_error_rate'"),
        ),
        ("evaluation.patience=0", ("evaluation.patience is 0",)),
        ("evaluation.minimum_improvement=0.1", ("minimum_improvement (0.1) does nothing without patience",)),
        ("evaluation.max_new_tokens=446", ("evaluation.max_new_tokens is 446", "places for 444")),
        ("evaluation.utterances=0", ("evaluation.utterances is 0",)),
        ("evaluation.columns=[spekaer]", ("evaluation.columns is 'spekaer'", "'speaker'", "data.validation")),
        ("evaluation.normalizer=english", ("evaluation.normalizer is 'english'", "'az'")),
        ("evaluation.columns=[seconds]", ("evaluation.columns", "'seconds' is what evaluation.json calls the length")),
    ],
)
def test_what_the_user_can_put_right(train: Train, tmp_path: Path, override: str, parts: tuple[str, ...]) -> None:
    for flags in ((), ("--check",)):
        outcome = train(override, *flags)
        assert outcome.code == 2
        for part in parts:
            assert part in outcome.complaint
        assert not (tmp_path / "run").exists()


# Which utterances


def sample_ids(folder: Path) -> dict[str, list[int]]:
    """Utterances whose texts TensorBoard shows, and at which steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        tag.split("/")[1]: [event.step for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if tag.startswith("validation/")
    }


def test_a_subset_is_the_same_at_each_evaluation_and_after_a_resume(train: Train, tmp_path: Path) -> None:
    options = (*EVERY_STEP, "evaluation.utterances=5", "evaluation.samples=9", "checkpoints.every_steps=1")
    train(*options, "training.steps=2")
    train("--resume", *options, "training.steps=4")
    assert [row["utterances"] for row in evaluations(tmp_path / "run")] == [5, 5, 5, 5]
    shown = sample_ids(tmp_path / "run")
    assert len(shown) == 5
    assert all(steps == [1, 2, 3, 4] for steps in shown.values())


def test_a_budget_of_time_fixes_the_subset(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is used up after the first round; later evaluations, also of a resumed run, take that one's rows."""
    monkeypatch.setattr("data.batches.evaluation_rows.ROUND", 1)
    options = (*EVERY_STEP, "evaluation.batch_size=3", "checkpoints.every_steps=1", "evaluation.samples=9")
    train(*options, "training.steps=2", "evaluation.max_seconds=0.001")
    assert state(tmp_path / "run")["evaluation_rows"] == 3
    train("--resume", *options, "training.steps=3", "evaluation.max_seconds=0.001")
    assert [row["utterances"] for row in evaluations(tmp_path / "run")] == [3, 3, 3]
    assert all(steps == [1, 2, 3] for steps in sample_ids(tmp_path / "run").values())
    train("--resume", *options, "training.steps=4")
    assert evaluations(tmp_path / "run")[-1]["utterances"] == 11, "without a budget, all"


def test_another_budget_fixes_another_subset(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.batches.evaluation_rows.ROUND", 1)
    options = (*EVERY_STEP, "evaluation.batch_size=3", "checkpoints.every_steps=1")
    train(*options, "training.steps=2", "evaluation.max_seconds=0.001", "evaluation.utterances=2")
    train("--resume", *options, "training.steps=3", "evaluation.max_seconds=60", "evaluation.utterances=2")
    train("--resume", *options, "training.steps=4", "evaluation.max_seconds=60", "evaluation.utterances=9")
    # What is measured otherwise is measured anew before training goes on.
    rows = [(row["step"], row["utterances"]) for row in evaluations(tmp_path / "run")]
    assert rows == [(1, 2), (2, 2), (3, 9), (4, 9)]
    train("--resume", *options, "training.steps=5", "evaluation.max_seconds=0.001", "evaluation.utterances=9")
    assert evaluations(tmp_path / "run")[-1]["utterances"] == 3


def test_a_budget_that_suffices_takes_all(train: Train, tmp_path: Path) -> None:
    train(*EVERY_STEP, "training.steps=1", "optimizer.warmup_steps=0", "evaluation.max_seconds=60")
    assert [row["utterances"] for row in evaluations(tmp_path / "run")] == [11]
    assert state(tmp_path / "run")["evaluation_rows"] == 11


def test_what_an_evaluation_writes(train: Train, tmp_path: Path) -> None:
    train(*EVERY_STEP, "training.steps=1", "optimizer.warmup_steps=0", "evaluation.samples=2")
    (row,) = evaluations(tmp_path / "run")
    assert list(row) == [
        "step", "kind", "word_error_rate", "character_error_rate", "raw_word_error_rate", "raw_character_error_rate",
        "substitutions", "deletions", "insertions", "seconds", "real_time_factor", "utterances", "skipped",
    ]  # fmt: skip
    assert len(sample_ids(tmp_path / "run")) == 2


@pytest.fixture
def tongues(corpus: Path, tmp_path: Path) -> Callable[..., str]:
    """A source whose rows but for some are in Azerbaijani, as an override of data.validation."""

    def write(**others: str | None) -> str:
        rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()
        mixed = [row | {"language": others.get(f"row{number}", "az")} for number, row in enumerate(rows)]
        pq.write_table(pa.Table.from_pylist(mixed), tmp_path / "tongues.parquet")
        return f"data.validation={{files: {tmp_path / 'tongues.parquet'}, columns: {{id: id, language: language}}}}"

    return write


def test_a_row_that_the_normalizer_does_not_fit_is_skipped(
    train: Train, tongues: Callable[..., str], tmp_path: Path
) -> None:
    """It must not cost the steps since the last checkpoint."""
    checkpoint = save_checkpoint(tmp_path / "whisper", ("az", "en"), positions=64)
    model = (f"model.checkpoint={checkpoint}", "model.architecture=null", "evaluation.normalizer=english")
    source = tongues(**{f"row{number}": "en" for number in range(8)}, row9="xx")
    outcome = train(*EVERY_STEP, *model, source, "data.language=en", "training.steps=2")
    assert outcome.code == 0, outcome.errors
    assert [(row["utterances"], row["skipped"]) for row in evaluations(tmp_path / "run")] == [(8, 3)] * 2
    quarantined = (tmp_path / "run" / "quarantine.jsonl").read_text()
    for reason in ("would change words of the language 'az'", "its language is 'xx'"):
        assert reason in quarantined


def test_a_missing_reference_is_no_silence(train: Train, corpus: Path, tmp_path: Path) -> None:
    rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()
    texts = [row | {"text": None if number < 3 else row["text"]} for number, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(texts), tmp_path / "texts.parquet")
    source = f"data.validation={{files: {tmp_path / 'texts.parquet'}, columns: {{id: id}}}}"
    outcome = train(*EVERY_STEP, source, "training.steps=2")
    assert outcome.code == 0, outcome.errors
    assert [(row["utterances"], row["skipped"]) for row in evaluations(tmp_path / "run")] == [(8, 3)] * 2
    quarantined = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert {(row["id"], row["reason"]) for row in quarantined} == {
        (row["id"], "the text is null, a missing value") for row in rows[:3]
    }


def test_silence_asks_for_no_language_to_be_heard(
    tiny_config: Path, tongues: Callable[..., str], tmp_path: Path
) -> None:
    """Hearing one takes a forward pass, which ranks with data do not make."""
    checkpoint = save_checkpoint(tmp_path / "dual", ("az", "en"))
    config = load_config(tiny_config, [tongues(row3=None), "data.language=null", "evaluation.max_new_tokens=3"])
    assert config.data.validation is not None
    source = Source(config.data.validation, "data.validation")
    model = open_model(str(checkpoint))
    evaluator = build_evaluator(config, build_accelerator(config), open_processor(str(checkpoint)), source)
    heard = []

    def note(module: Any, arguments: Any, options: dict[str, Any]) -> None:
        heard.append(options.get("use_cache") is False)  # as detect_languages asks

    model.register_forward_pre_hook(note, with_kwargs=True)
    evaluator.run(model)
    assert sum(heard) == 1, "of three batches the one with a row without a language"
    heard.clear()
    evaluator.decode(model, None)
    assert heard and not any(heard)
    assert evaluator.languages_of(None) == ["az"]


def test_no_samples(train: Train, tmp_path: Path) -> None:
    train(*EVERY_STEP, "training.steps=1", "optimizer.warmup_steps=0", "evaluation.samples=0")
    assert not sample_ids(tmp_path / "run")
