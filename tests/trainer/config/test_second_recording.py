"""What of a model that hears second recordings does not go together."""

from typing import Any

import pytest
from pydantic import ValidationError

from trainer.config.model import ModelConfig


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"second_recording": "attention", "dual_attention": False}, "dual_attention: false leaves out"),
        ({"second_recording": "joined"}, "set dual_attention to false"),
        ({"second_recording": "before", "second_recording_layers": 1}, "take second_recording_layers out"),
        ({"second_recording": "before", "encoder_padding": "window"}, "take encoder_padding: window out"),
        ({"second_recording": "attention", "secondary_layer": 1}, "take one of them out"),
        ({"second_recording": "both"}, "'none', 'attention', 'joined' or 'before'"),
    ],
)
def test_what_does_not_go_together_is_told(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ModelConfig.model_validate({"checkpoint": "openai/whisper-tiny", **keys})


@pytest.mark.parametrize("dual", [True, False])
def test_the_encoder_may_hear_both_with_and_without_second_attentions(dual: bool) -> None:
    keys = {"checkpoint": "openai/whisper-tiny", "second_recording": "before", "dual_attention": dual}
    values = ModelConfig.model_validate(keys).decoder_values
    assert values == {"dual_attention": dual, "second_recording": "before"}
