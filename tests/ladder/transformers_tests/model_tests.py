"""Runs transformers' tests of a model three times: on its own Whisper, and on this project's with and without second
attentions.

pytest -o addopts= tests/ladder/transformers_tests/model_tests.py, with TRANSFORMERS_TESTS naming the folder that
``unpack_tests`` filled. How it should go is known to :mod:`tests.ladder.transformers_tests.outcomes`.
"""

import os
import sys
import unittest
from typing import Any, ClassVar

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES, MODEL_MAPPING_NAMES

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration, DualWhisperModel

sys.path.insert(0, os.environ["TRANSFORMERS_TESTS"])
from transformers_own_tests.test_modeling_common import ModelTesterMixin

# By names the tests know which model has a loss, and of which kind.
MODEL_MAPPING_NAMES["dual_whisper"] = "DualWhisperModel"
MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES["dual_whisper"] = "DualWhisperForConditionalGeneration"


class Inputs:
    """A small model's configuration and input, under the names that the tests ask for."""

    batch_size = 3
    seq_length = decoder_seq_length = 7
    encoder_seq_length = key_length = 30
    hidden_size = 16
    num_hidden_layers = 2
    num_attention_heads = 4
    is_training = True
    pad_token_id = 0

    def __init__(self, config_class: type, **own: Any) -> None:
        self.config_class, self.own = config_class, own

    def get_config(self) -> Any:
        return self.config_class(
            **self.own,
            vocab_size=200,
            d_model=self.hidden_size,
            encoder_layers=self.num_hidden_layers,
            decoder_layers=self.num_hidden_layers,
            encoder_attention_heads=self.num_attention_heads,
            decoder_attention_heads=self.num_attention_heads,
            encoder_ffn_dim=4,
            decoder_ffn_dim=4,
            max_source_positions=self.encoder_seq_length,
            max_target_positions=40,
            pad_token_id=self.pad_token_id,
            bos_token_id=98,
            eos_token_id=98,
            decoder_start_token_id=85,
            begin_suppress_tokens=None,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(2, 80, (self.batch_size, self.seq_length), generator=generator)
        features = torch.randn(self.batch_size, 80, 2 * self.encoder_seq_length, generator=generator)
        return self.get_config(), {"input_features": features, "decoder_input_ids": ids}


class WhisperTests(ModelTesterMixin):
    """What holds for all three."""

    is_encoder_decoder = True
    config_class: type
    own: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.model_tester = Inputs(self.config_class, **self.own)
        torch.manual_seed(0)

    def _prepare_for_class(self, inputs: dict[str, Any], model_class: Any, return_labels: bool = False) -> Any:
        prepared = super()._prepare_for_class(inputs, model_class, return_labels)
        if return_labels and hasattr(model_class, "generate"):
            shape = self.model_tester.batch_size, self.model_tester.seq_length
            prepared["labels"] = torch.zeros(shape, dtype=torch.int64)
        return prepared


class PlainWhisperTest(WhisperTests, unittest.TestCase):
    config_class = WhisperConfig
    all_model_classes = (WhisperModel, WhisperForConditionalGeneration)


class WithoutSecondAttentionsTest(WhisperTests, unittest.TestCase):
    config_class = DualWhisperConfig
    own: ClassVar[dict[str, Any]] = {"dual_attention": False}
    all_model_classes = (DualWhisperModel, DualWhisperForConditionalGeneration)


class DualWhisperTest(WhisperTests, unittest.TestCase):
    config_class = DualWhisperConfig
    all_model_classes = (DualWhisperModel, DualWhisperForConditionalGeneration)
