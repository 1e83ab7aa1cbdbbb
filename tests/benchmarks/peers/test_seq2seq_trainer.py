"""The usual way of training refuses what it cannot train."""

from pathlib import Path

import pytest

from benchmarks.peers.seq2seq_trainer import StepTimes, build_trainer
from trainer.config.reading import ConfigError, load_config


def test_a_model_from_nothing_is_refused(tiny_config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.checkpoint is null, but this trainer only fine-tunes; set it to"):
        build_trainer(load_config(tiny_config), tmp_path, StepTimes())
