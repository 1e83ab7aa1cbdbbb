"""SpecAugment: masks of the asked sizes, inside each clip, drawn from its seed alone."""

import numpy as np
import pytest
import torch

from data.augmentation.config import SpecAugmentConfig
from data.batches.features import LogMel, padded_frames, visible_frames
from trainer.step.spec_augment import own_frames, spec_augment

BINS, FRAMES = 80, 400


def features(lengths: list[int], frames: int = FRAMES) -> torch.Tensor:
    """Random features, silence (one value) beyond each length."""
    values = torch.rand(len(lengths), BINS, frames, generator=torch.Generator().manual_seed(0)) + 0.5
    for row, length in enumerate(lengths):
        values[row, :, length:] = -0.5
    return values


def hidden(before: torch.Tensor, after: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Whole frames and whole bins that were changed in one utterance's own part [bins, frames]."""
    changed = (before != after).numpy()
    return changed.all(axis=0), changed.all(axis=1)


def stretches(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def masked(config: SpecAugmentConfig, lengths: list[int], seeds: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    before = features(lengths)
    return before, spec_augment(before.clone(), lengths, torch.tensor(seeds), config)


def test_masks_are_as_many_and_as_wide_as_asked() -> None:
    config = SpecAugmentConfig(time_masks=2, time_frames=30, time_share=1.0, frequency_masks=1, frequency_bins=10)
    lengths = [FRAMES - 2] * 200
    before, after = masked(config, lengths, list(range(200)))
    widths: list[int] = []
    bands: list[int] = []
    for row, length in enumerate(lengths):
        frames, bins = hidden(before[row, :, :length], after[row, :, :length])
        assert len(stretches(frames)) <= 2 and sum(stretches(frames)) <= 60 and len(stretches(bins)) <= 1
        widths += stretches(frames)
        bands += stretches(bins)
    assert max(bands) == 10 and min(bands) == 1 and np.mean(bands) == pytest.approx(5.5, abs=0.7)
    assert np.quantile(widths, 0.9) <= 31 and np.mean(widths) == pytest.approx(15.5, abs=2.5)


def test_a_time_mask_is_at_most_a_share_of_the_clip() -> None:
    config = SpecAugmentConfig(time_masks=1, time_share=0.1, frequency_masks=0)
    lengths = [40, 200, 390] * 40
    before, after = masked(config, lengths, list(range(120)))
    widest = dict.fromkeys(lengths, 0)
    for row, length in enumerate(lengths):
        frames, _ = hidden(before[row, :, :length], after[row, :, :length])
        widest[length] = max([widest[length], *stretches(frames)])
    assert widest == {40: 4, 200: 20, 390: 39}


def test_padding_is_untouched_and_masks_hold_the_mean_of_the_rest() -> None:
    lengths = [100, 250, FRAMES]
    before, after = masked(SpecAugmentConfig(), lengths, [1, 2, 3])
    for row, length in enumerate(lengths):
        assert torch.equal(before[row, :, length:], after[row, :, length:])
        own = before[row, :, :length]
        filled = after[row, :, :length][own != after[row, :, :length]]
        assert len(filled) and filled.numpy() == pytest.approx(float(own.mean()), abs=1e-5)


def test_batch_mates_and_padding_change_nothing() -> None:
    lengths, config = [100, 250, 300], SpecAugmentConfig()
    _, together = masked(config, lengths, [11, 12, 13])
    for row, length in enumerate(lengths):
        alone = features(lengths)[row : row + 1, :, : length + 2]
        spec_augment(alone, [length], torch.tensor([11 + row]), config)
        assert alone[0, :, :length].numpy() == pytest.approx(together[row, :, :length].numpy(), abs=1e-5)
    assert not torch.equal(together, masked(config, lengths, [21, 22, 23])[1])
    assert torch.equal(together, masked(config, lengths, [11, 12, 13])[1])


def test_under_30_second_windows_masks_lie_in_the_clip_too() -> None:
    generator = torch.Generator().manual_seed(0)
    audio = torch.zeros(2, 32_000)
    audio[0], audio[1, :8000] = 0.1 * torch.randn(32_000, generator=generator), 0.1
    log_mel = LogMel(BINS)
    window = log_mel(audio, 3000)
    assert own_frames(window).tolist() == pytest.approx([200, 50], abs=3)
    visible = [visible_frames(32_000), visible_frames(8000)]
    clip = log_mel(audio, padded_frames(visible))
    config, seeds = SpecAugmentConfig(time_share=0.5), torch.tensor([5, 6])
    changed = spec_augment(window.clone(), None, seeds, config)
    assert not torch.equal(changed, window)
    shorter = spec_augment(clip.clone(), visible, seeds, config)
    assert changed[:, :, : clip.shape[2]].numpy() == pytest.approx(shorter.numpy(), abs=1e-4)


def test_nothing_is_hidden_where_nothing_is_asked_for() -> None:
    lengths, seeds = [100, 250], [1, 2]
    for values in ({"share": 0.0}, {"time_masks": 0, "frequency_masks": 0}, {"time_frames": 0, "frequency_bins": 0}):
        before, after = masked(SpecAugmentConfig.model_validate(values), lengths, seeds)
        assert torch.equal(before, after), values


def test_the_share_is_how_many_utterances_are_masked() -> None:
    before, after = masked(SpecAugmentConfig(share=0.25), [60] * 200, list(range(200)))
    assert int((before != after).any(dim=2).any(dim=1).sum()) == pytest.approx(50, abs=20)


def test_silence_and_the_widest_masks_stay_numbers() -> None:
    config = SpecAugmentConfig(time_share=1.0, time_frames=3000, frequency_bins=128, time_masks=5, frequency_masks=5)
    silent = torch.full((2, BINS, FRAMES), -0.5)
    assert torch.equal(spec_augment(silent.clone(), None, torch.tensor([1, 2**63 - 1]), config), silent)
    _, after = masked(config, [1, FRAMES], [1, 2])
    assert after.isfinite().all()
