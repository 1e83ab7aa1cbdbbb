"""Which scored clips limits leave out, and which are the worst."""

from typing import Any

import pytest

from data.preparation.leaving_out.misfits import MOST_WORST, JudgedClip, Least, fault_of, margin
from data.preparation.scores import ScoreLimits

GIVEN: dict[str, Any] = {
    "hypothesis": "what is heard", "word_error_rate": 0.5, "evidence": 3.0, "edge_evidence": 0.5,
    "mean_log_probability": -3.0,
    "no_speech_probability": 0.7, "compression_ratio": 9.0,
}  # fmt: skip
PSEUDO = GIVEN | {
    "label": "a/checkpoint", "word_error_rate": None, "evidence": None, "edge_evidence": None,
    "mean_log_probability": -0.5,
    "no_speech_probability": 0.5, "compression_ratio": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "limits", "kind"),
    [
        (GIVEN, {}, None),
        (GIVEN | {"label": "given"}, {}, None),
        (
            GIVEN,
            {"min_evidence": 3.0, "min_edge_evidence": 0.5, "max_word_error_rate": 0.5, "max_no_speech": 0.7},
            None,
        ),
        (GIVEN, {"min_evidence": 3.1}, "transcript of something else"),
        (GIVEN, {"min_edge_evidence": 0.6}, "transcript of a part"),
        (GIVEN, {"max_word_error_rate": 0.4}, "word error rate"),
        (GIVEN, {"max_no_speech": 0.6}, "no speech"),
        (GIVEN | {"evidence": None}, {"min_evidence": 3.1}, None),
        (GIVEN | {"hypothesis": None}, {"min_evidence": 3.1}, None),
        (PSEUDO, {"min_evidence": 9.0, "max_word_error_rate": 0.0}, None),
        (PSEUDO | {"mean_log_probability": -1.1}, {}, "unsure pseudo-label"),
        (PSEUDO | {"mean_log_probability": -1.1}, {"min_log_probability": -1.2}, None),
        (PSEUDO | {"compression_ratio": 2.5}, {}, "repeating pseudo-label"),
        (PSEUDO | {"no_speech_probability": 0.61}, {}, "no speech"),
        (PSEUDO | {"no_speech_probability": 0.61}, {"max_no_speech": 0.7}, None),
    ],
)
def test_a_clip_is_left_out_for_what_lies_beyond_a_limit(
    row: dict[str, Any], limits: dict[str, float], kind: str | None
) -> None:
    fault = fault_of(row, ScoreLimits(**limits))
    assert (None if fault is None else fault[0]) == kind


def test_the_reason_has_the_figure_the_option_and_what_is_heard() -> None:
    fault = fault_of(GIVEN, ScoreLimits(min_evidence=3.5))
    assert fault is not None
    assert fault[1] == "evidence 3.00 is below --min-evidence 3.5; the model hears 'what is heard'"


def test_the_worst_are_kept_in_order() -> None:
    least = Least()
    for number in range(3 * MOST_WORST):
        least.offer(float(-number % 100), JudgedClip(f"row {number}", {}, ""))
    least.offer(None, JudgedClip("none", {}, ""))
    found = [clip.place for clip in least.clips()]
    assert len(found) == MOST_WORST
    assert found[:4] == ["row 0", "row 100", "row 99", "row 98"]


def test_a_clip_is_as_doubtful_as_its_worse_figure() -> None:
    assert margin(GIVEN | {"evidence": 1.5, "edge_evidence": 0.5}) == pytest.approx(0.5)
    assert margin(GIVEN | {"evidence": 4.0, "edge_evidence": -3.3}) == pytest.approx(-3.0)
    assert margin(PSEUDO) is None
