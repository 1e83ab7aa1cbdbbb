"""SpecAugment: stretches of time and bands of frequency hidden from the model (Park et al., arXiv 1904.08779).

The masks are drawn on the CPU from each utterance's own seed. Their places are computed on the device, without waiting
for it.
"""

import numpy as np
import torch

from data.augmentation.config import SpecAugmentConfig

from .upload import upload


def spec_augment(
    features: torch.Tensor, feature_lengths: list[int] | None, seeds: torch.Tensor, config: SpecAugmentConfig
) -> torch.Tensor:
    """Features with masks over them, in place; under a mask each holds the mean of its utterance's own frames.

    Padding, the silence beyond a clip's last sound, is neither masked nor part of the mean.

    Args:
        features: float [B, mel bins, T], as :class:`data.batches.features.LogMel` gives them.
        feature_lengths: frames of each that the model sees; None for all.
        seeds: int64 [B] on the CPU.
    """
    batch, bins, frames = features.shape
    draws = np.zeros((batch, 2, config.time_masks + config.frequency_masks), np.float32)
    for row, seed in enumerate(seeds.tolist()):
        generator = np.random.default_rng(seed)
        chosen = generator.random() < config.share
        draws[row, 0] = generator.random(draws.shape[2]) if chosen else -1.0  # -1: a mask of no width
        draws[row, 1] = generator.random(draws.shape[2])
    drawn = upload(torch.from_numpy(draws), features.device)
    widths, places = drawn[:, 0, :, None], drawn[:, 1, :, None]

    own = own_frames(features)
    if feature_lengths is not None:
        own = torch.minimum(own, upload(torch.tensor(feature_lengths), features.device))
    length = own[:, None, None].float()
    widest = (length * config.time_share).clamp(max=config.time_frames)
    time = masked(widths[:, : config.time_masks], places[:, : config.time_masks], widest, length, frames)
    total = torch.full_like(length, bins)
    widest = torch.full_like(length, min(config.frequency_bins, bins))
    frequency = masked(widths[:, config.time_masks :], places[:, config.time_masks :], widest, total, bins)

    inside = torch.arange(frames, device=features.device) < own[:, None]
    mean = (features * inside[:, None]).sum(dim=(1, 2)) / (own * bins)
    hidden = (time[:, None, :] | frequency[:, :, None]) & inside[:, None]
    return features.copy_(torch.where(hidden, mean[:, None, None].to(features.dtype), features))


def masked(
    widths: torch.Tensor, places: torch.Tensor, widest: torch.Tensor, length: torch.Tensor, size: int
) -> torch.Tensor:
    """Where any of an utterance's masks lies: bool [B, size].

    Args:
        widths, places: [B, masks, 1], from 0 to 1: of the widths and places that there are; a width below 0 is none.
        widest, length: [B, 1, 1], the widest that a mask may be, and where the last must end.
    """
    width = (widths * (widest.floor() + 1)).floor()
    begin = (places * (length - width + 1)).floor()
    position = torch.arange(size, device=widths.device)
    return ((position >= begin) & (position < begin + width)).any(dim=1)


def own_frames(features: torch.Tensor) -> torch.Tensor:
    """Frames up to the last in which anything is above the utterance's floor, at least 1: int64 [B]."""
    heard = (features > features.amin(dim=(1, 2), keepdim=True)).any(dim=1)
    position = torch.arange(1, features.shape[2] + 1, device=features.device)
    return (heard * position).amax(dim=1).clamp(min=1)
