"""Where in a clip noise is, by energy, frame by frame of the encoder: what the second attentions are to look at."""

from typing import Any

import torch

from data.batches.features import SAMPLES_PER_FRAME

from ..config.noise_loss import NoiseConfig

SAMPLES = 2 * SAMPLES_PER_FRAME  # of an encoder frame, 20 ms
LEAST_ENERGY = 1e-9  # mean square, -90 dB of full scale: below it a frame is silent and holds no noise
SPEECH_DECIBEL = 25.0  # below its loudest frame, what of speech still counts as spoken: the sounds, not the pauses


def noise_target(audio: torch.Tensor, noise: torch.Tensor, frames: int, only_in_speech: bool = False) -> torch.Tensor:
    """Of each encoder frame's energy the share that is noise: noise / (noise + speech).

    Frame *s* is the 20 ms around sample 320 s, where the convolutions are centred. Where nothing sounds it is 0.

    Args:
        audio: float32 [B, N], 16 kHz, speech and noise.
        noise: float32 [B, N], the part of it that is noise.
        frames: S.
        only_in_speech: 0 too where the speech is more than 25 dB below its loudest frame: in pauses noise is surest,
            and says least about the words.

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
    """[B, N] to the mean square of each frame, [B, S]."""
    before, wanted = SAMPLES // 2, frames * SAMPLES
    padded = torch.nn.functional.pad(samples, (before, max(0, wanted - before - samples.shape[1])))[:, :wanted]
    return padded.view(len(samples), frames, SAMPLES).square().mean(dim=2)


def noise_arguments(
    config: NoiseConfig, target: torch.Tensor | None, positions: torch.Tensor | None, step: int, noisy: float
) -> dict[str, Any]:
    """What the model is told of noise at update ``step`` (1 the first); nothing where none is known.

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
