"""The suite's figures and the attention odds, against what they must come to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.augmentation.noise_mixing import fitted
from data.augmentation.synthetic_noise import SyntheticNoises
from data.config import ColumnNames, SourceConfig
from data.sources.source import Source
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoints import open_model
from tests.support.untrained import save_checkpoint
from trainer.config.evaluation import EvaluationConfig
from trainer.evaluation.error_rates import Prediction, score
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.normalizers import build_normalizer
from trainer.noise_suite.attention_odds import attention_odds, condition_for, odds, report
from trainer.noise_suite.conditions import CLEAN, NON_SPEECH, Condition, conditions_of
from trainer.noise_suite.figures import condition_figures, type_figures
from trainer.noise_suite.mixing import Mixer
from trainer.noise_suite.results import Measured


def heard(*texts: tuple[str, str], seconds: float = 6.0) -> Measured:
    """Of (reference, hypothesis) pairs."""
    said = [Prediction(f"{n}", *pair, "en", seconds, {"speaker": str(n % 2)}) for n, pair in enumerate(texts)]
    return Measured(score(said, lambda own: build_normalizer("basic", own)), "basic", [], 1.0, 0.1, {})


def test_rates_and_the_paired_difference() -> None:
    ours = heard(("a b c d", "a b c d"), ("a b c d", "a b x"), ("a b", "a b"))
    theirs = heard(("a b c d", "a b"), ("a b c d", "a b x"), ("a b", "a b"))
    figures = condition_figures(Condition("noise", 0.0), ours, theirs, None)
    assert figures["word_error_rate"] == pytest.approx(2 / 10)
    assert (figures["substitutions"], figures["deletions"], figures["insertions"]) == (1, 1, 0)
    low, high = figures["word_error_rate_interval"]
    assert low <= 0.2 <= high
    assert figures["difference"]["value"] == pytest.approx(-2 / 10)
    assert figures["difference"]["interval"][1] <= 0  # never worse in any draw
    assert condition_figures(Condition("noise", 0.0), ours, None, None)["difference"] is None


def test_a_difference_is_of_what_both_could_hear() -> None:
    ours, theirs = heard(("a b", "a b"), ("c d", "")), heard(("a b", "a"))
    difference = condition_figures(Condition(CLEAN), ours, theirs, None)["difference"]
    assert difference["utterances"] == 1 and difference["value"] == pytest.approx(-0.5)


def test_a_kind_over_all_its_ratios() -> None:
    conditions = conditions_of(("noise",), (0.0, 10.0), True, False)
    assert [condition.name for condition in conditions] == ["clean", "noise_10", "noise_0"]
    quiet, loud = heard(("a b", "a b"), ("c d", "c")), heard(("a b", "a"), ("c d", "x y"))
    ours = {"clean": quiet, "noise_10": quiet, "noise_0": loud}
    first = {"clean": quiet, "noise_10": quiet, "noise_0": quiet}
    found = type_figures(ours, first, conditions, "speaker")
    assert list(found) == ["noise"]
    assert found["noise"]["ratios"] == [10.0, 0.0]
    assert found["noise"]["word_error_rate"] == pytest.approx(4 / 8)
    assert found["noise"]["difference"]["value"] == pytest.approx(4 / 8 - 2 / 8)
    assert type_figures(ours, None, conditions, None)["noise"]["difference"] is None


def test_words_heard_where_nobody_speaks() -> None:
    ours = heard(("", "thank you"), ("", ""), ("", "thank you"), ("", "bye"))
    figures = condition_figures(Condition(NON_SPEECH), ours, heard(("", ""), ("", ""), ("", "a"), ("", "")), None)
    assert figures["hallucination_rate"] == pytest.approx(0.75)
    assert figures["words_per_minute"] == pytest.approx(5 / (4 * 6 / 60))
    assert figures["heard_most"] == [("thank you", 2), ("bye", 1)]
    assert figures["difference"]["value"] == pytest.approx(0.75 - 0.25)
    low, high = figures["hallucination_rate_interval"]
    assert 0 <= low < 0.75 < high <= 1


def test_the_odds_are_of_the_noise_nearest_to_0_decibel() -> None:
    assert condition_for(conditions_of(("babble", "noise"), (10.0, -5.0, 5.0), True, True)) == Condition("noise", -5.0)
    assert condition_for(conditions_of(("babble", "competing"), (10.0, 0.0), True, True)) == Condition("babble", 0.0)
    assert condition_for(conditions_of((), (), True, True)) is None


def test_the_report_of_shares() -> None:
    # Two mixtures of 2 and 8 tokens, two layers; shares summed over tokens.
    one = np.array([[2, 2, 2], [1.0, 0.4, 0.8], [0, 1.2, 1.6], [0, 1.0, 1.0]])
    other = np.array([[8, 8, 8], [2.0, 1.6, 3.2], [0, 4.8, 6.4], [0, 4.0, 8.0]])
    found = report(np.stack([one, other]), Condition("noise", 0.0))
    assert (found["utterances"], found["tokens"]) == (2, 10)
    assert found["noise_dominated_frames"] == pytest.approx(0.3)
    assert found["primary_share"] == pytest.approx(0.3) and found["secondary_share"] == pytest.approx(0.7)
    assert found["primary_odds"] == pytest.approx(3 / 7) and found["secondary_odds"] == pytest.approx(7 / 3)
    assert found["odds_ratio"] == pytest.approx(49 / 9)
    assert found["odds_ratio_interval"] == pytest.approx((49 / 9, 49 / 9), rel=1e-4)  # both mixtures have it
    assert [layer["secondary_share"] for layer in found["layers"]] == pytest.approx([0.6, 0.8])
    assert [layer["gate"] for layer in found["layers"]] == pytest.approx([0.5, 0.9])
    assert odds(1.0) == pytest.approx(1e6)


class HalfNoise:
    """White noise in the second half of what is asked for."""

    names = ("half",)

    def excerpt(self, samples: int, generator: np.random.Generator) -> np.ndarray:
        noise = fitted(SyntheticNoises(0).audio(5), samples).copy()
        noise[: samples // 2] = 0
        return noise


@pytest.fixture
def evaluator(tmp_path: Path, corpus: Path) -> Any:
    from accelerate import Accelerator

    folder = save_checkpoint(tmp_path / "dual", positions=64)
    source = Source(
        SourceConfig(files=str(corpus / "validation-*.parquet"), columns=ColumnNames(id="id"), language="az"), "speech"
    )
    config = EvaluationConfig(batch_size=4, max_new_tokens=8)
    options = {"language": "az", "task": "transcribe", "config": config, "in_training": False}
    processor = Checkpoint(str(folder)).processor
    return open_model(str(folder)), Evaluator(Accelerator(cpu=True), processor, source, **options)


def test_attention_that_looks_everywhere_has_the_share_of_the_frames(evaluator: Any) -> None:
    model, decoder = evaluator
    for layer in model.model.decoder.layers:  # without queries the weights are even over what is not masked
        torch.nn.init.zeros_(layer.secondary_attn.q_proj.weight)
        torch.nn.init.zeros_(layer.secondary_attn.q_proj.bias)
    mixer = Mixer(0, HalfNoise(), [], {}, 2)
    found = attention_odds(model, decoder, mixer, Condition("noise", -20.0), 5)
    assert found is not None and found["utterances"] == 5
    # The second half of each clip is the noise's; beyond it lies 0.5 s of margin that is seen, too.
    assert found["noise_dominated_frames"] == pytest.approx(0.5, abs=0.03)
    shares = [layer["secondary_share"] for layer in found["layers"]]
    assert shares[0] == pytest.approx(shares[1], abs=1e-6)
    assert 0.5 * found["noise_dominated_frames"] < shares[0] < found["noise_dominated_frames"]
    assert found["primary_share"] != pytest.approx(shares[0], abs=1e-4)


def test_attention_odds_do_not_depend_on_batch_mates(evaluator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, decoder = evaluator
    mixer = Mixer(0, SyntheticNoises(0), [], {}, 2)
    found = []
    for size in (1, 3):
        monkeypatch.setattr("trainer.noise_suite.attention_odds.BATCH_SIZE", size)
        found.append(attention_odds(model, decoder, mixer, Condition("noise", 0.0), 6))
    assert found[0]["secondary_share"] == pytest.approx(found[1]["secondary_share"], abs=1e-5)
    assert found[0]["tokens"] == found[1]["tokens"]
    assert 0 < found[0]["secondary_share"] < 1
