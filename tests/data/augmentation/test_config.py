"""The section data.augmentation: what cannot be right is refused, and a run's own config.yaml is read again."""

from typing import Any

import pytest
from pydantic import ValidationError

from data.augmentation.config import AugmentationConfig


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"noise_share": 0.5}, "noise_share is 0.5 without noise"),
        ({"noise": {"folder": "a"}}, "noise is given, but noise_share is 0: set it, or take noise out"),
        ({"noise_ratio": (3, 3)}, "noise_ratio is given, but noise_share is 0"),
        (
            {"reverberation_responses": {"folder": "a"}},
            "reverberation_responses is given, but reverberation_share is 0",
        ),
        ({"reverberation_seconds": (0.1, 0.2)}, "reverberation_seconds is given, but reverberation_share is 0"),
        ({"codecs": ["mp3"]}, "codecs is given, but codec_share is 0"),
        ({"bands": [(300, 3400)], "band_share": 0.0}, "bands is given, but band_share is 0"),
        ({"babble_speakers": (2, 4)}, "babble_speakers is given, but babble_share is 0"),
        ({"babble_ratio": (3, 3)}, "babble_ratio is given, but babble_share is 0"),
        ({"competing_ratio": (3, 3)}, "competing_ratio is given, but competing_share is 0"),
        ({"babble_share": 0.6, "competing_share": 0.5}, "babble_share 0.6, competing_share 0.5: at most one"),
        ({"babble_share": 1.5}, "less than or equal to 1"),
        ({"babble_share": float("nan")}, "less than or equal to 1|greater than or equal to 0"),
        ({"noise_ratio": (5, float("nan"))}, r"\[5, nan\] must be two numbers, the lower first"),
        ({"noise_ratio": (0, float("inf"))}, r"\[0, inf\] must"),
        ({"competing_ratio": (10, 0)}, r"\[10, 0\] must"),
        ({"babble_ratio": (-500, 0)}, "within -100 and 100"),
        ({"babble_share": 0.1, "babble_speakers": (0, 3)}, r"babble_speakers is \[0, 3\]"),
        ({"speed": (0.1, 1.0)}, "within 0.5 and 2"),
        ({"band_share": 0.1, "bands": [(3400, 300)]}, r"bands has \[3400, 300\]"),
        ({"band_share": 0.1, "bands": [(0, 8000)]}, r"bands has \[0, 8000\]"),
        ({"band_share": 0.1, "bands": [(float("nan"), 4000)]}, r"bands has \[nan, 4000\]"),
        ({"codecs": ["aac"]}, "mp3"),
        ({"noise": {}}, "exactly one of folder and dataset"),
        ({"noise": {"folder": "a", "dataset": {"files": "b"}}}, "exactly one of folder and dataset"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        AugmentationConfig.model_validate(values)


def test_a_config_that_names_every_key_is_what_it_was() -> None:
    for values in (
        {},
        {"gain_share": 0.0},
        {"codec_share": 0.2, "codecs": ["ulaw"]},
        {"babble_share": 1.0, "babble_ratio": (3, 3), "babble_speakers": (2, 4)},
    ):
        config = AugmentationConfig.model_validate(values)
        assert AugmentationConfig.model_validate(config.model_dump(mode="json")) == config  # as a run's config.yaml
