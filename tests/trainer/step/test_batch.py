"""What a batch's padding does to the model's numbers: nothing."""

from pathlib import Path
from typing import Any

import torch

from data.batches.features import LogMel, padded_frames, visible_frames
from trainer.config.reading import load_config
from trainer.memory.cells import cell_of
from trainer.model.building import build_model


def test_frames_for_a_gpu_change_no_number_of_the_encoders(tiny_config: Path) -> None:
    """They are beyond the longest clip, and are cut off after the convolutions."""
    model: Any = build_model(load_config(tiny_config))[0].eval()
    samples = torch.randn(2, 24_000, generator=torch.Generator().manual_seed(0)) * 0.1
    samples[1, 16_000:] = 0
    visible = [visible_frames(24_000), visible_frames(16_000)]
    log_mel, outputs = LogMel(80), []
    lengths = [padded_frames(visible, on_gpu=on_gpu) for on_gpu in (False, True)]
    assert lengths == [204, 256]
    for frames in lengths:
        with torch.no_grad():
            outputs.append(model.model.encoder(log_mel(samples, frames), feature_lengths=visible).last_hidden_state)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)


def test_the_prediction_has_a_gpus_frames(tiny_config: Path) -> None:
    cell = cell_of(load_config(tiny_config), precision="fp32", seconds=1.5)
    assert (cell.frames, cell.frames_on(gpu=True), cell.encoder_positions) == (204, 256, 100)
