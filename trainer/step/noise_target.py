"""The noise target: the share of each encoder frame's energy that is noise, which second attentions should look at."""

from typing import Any

import torch

from data.batches.features import SAMPLES_PER_FRAME

from ..config.noise import NoiseConfig

SAMPLES = 2 * SAMPLES_PER_FRAME  # of an encoder frame, 20 ms
LEAST_ENERGY = 1e-9  # mean square, -90 dB of full scale: a quieter frame is silent and holds no noise
SPEECH_DECIBEL = 25.0  # frames of speech this far below its loudest one are pauses


def noise_target(audio: torch.Tensor, noise: torch.Tensor, frames: int, only_in_speech: bool = False) -> torch.Tensor:
    """The share of each encoder frame's energy that is noise: noise / (noise + speech); 0 in silence.

    Frame *s* is the 20 ms around sample 320 s, where the convolutions are centred.

    Args:
        audio: float32 [B, N], 16 kHz, speech and noise.
        noise: float32 [B, N], the part of it that is noise.
        frames: S.
        only_in_speech: 0 also where speech is more than 25 dB below its loudest frame. Noise is surest in pauses, but
            says least about the words there.

    Returns:
        float32 [B, S], in [0, 1].
    """
    of_noise = frame_energy(noise, frames)
    of_speech = frame_energy(audio - noise, frames)
    total = of_noise + of_speech
    counts = total > LEAST_ENERGY
    if only_in_speech:
        counts &= of_speech >= of_speech.amax(dim=1, keepdim=True) * 10 ** (-SPEECH_DECIBEL / 10)
    return torch.where(counts, of_noise / total.clamp(min=LEAST_ENERGY), torch.zeros_like(total))


def frame_energy(samples: torch.Tensor, frames: int) -> torch.Tensor:
    """The mean square of each frame: samples [B, N] to [B, S]."""
    before, wanted = SAMPLES // 2, frames * SAMPLES
    padded = torch.nn.functional.pad(samples, (before, max(0, wanted - before - samples.shape[1])))[:, :wanted]
    return padded.view(len(samples), frames, SAMPLES).square().mean(dim=2)


def noise_arguments(
    config: NoiseConfig, target: torch.Tensor | None, positions: torch.Tensor | None, step: int, noisy: float
) -> dict[str, Any]:
    """The model's arguments for the noise loss at update ``step`` (1 for the first); empty without a target.

    Args:
        target, positions: as in :class:`~trainer.step.batch.Batch`.
        noisy: what the summed noise loss is divided by.
    """
    if target is None:
        return {}
    share = min(1.0, step / config.loss_warmup_steps) if config.loss_warmup_steps else 1.0
    return {
        "noise_target": target,
        "noise_positions": positions,
        "noise_weight": config.loss_weight * share / (noisy or 1.0),
        "noise_layers": config.loss_layers,
        "noise_loss_is_local": config.loss_reach == "attention",
    }
