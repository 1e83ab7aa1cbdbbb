"""Turns an `AudioBatch` from the data into a `Batch` on the training device: features, shapes and noise targets."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad

from data.augmentation.config import SpecAugmentConfig
from data.batches.features import WINDOW_FRAMES, LogMel, padded_frames, visible_frames
from data.utterance import SAMPLING_RATE, AudioBatch

from .noise_target import noise_target
from .spec_augment import spec_augment
from .upload import upload

OTHER_MASKS = 0x5EC0  # a second recording's masks are drawn from its clip's seed, changed by this


@dataclass(frozen=True)
class Batch:
    """What the model takes.

    Attributes:
        features: float32 [B + R, mel bins, T] on the device, T even and at most 3000; the last R rows are of second
            recordings. Empty if the encoder's output is known.
        feature_lengths: int64 [B + R] on the CPU, since they decide shapes; None for 30 s windows, where nothing is
            masked.
        decoder_input_ids, labels: int64 [B, L] on the device, labels -100 where there is no loss; None without text.
        target_positions: int64 [N] on the device, positions in the flattened labels with a loss; None without text.
        noise_target: float32 [B, S] on the device, the share of noise in the energy of each encoder frame that second
            attentions read; None if no noise is known.
        noise_positions: int64 [N] on the device, targets of noisy utterances in the flattened labels; None likewise.
        ids: one for each utterance.
        second_rows: the clips that the last R rows of the features are second recordings of.
    """

    features: torch.Tensor
    feature_lengths: torch.Tensor | None
    decoder_input_ids: torch.Tensor | None
    labels: torch.Tensor | None
    target_positions: torch.Tensor | None
    noise_target: torch.Tensor | None
    noise_positions: torch.Tensor | None
    ids: list[str]
    second_rows: list[int] = field(default_factory=list)

    @property
    def length_list(self) -> list[int] | None:
        """``feature_lengths`` as the model takes them."""
        return None if self.feature_lengths is None else self.feature_lengths.tolist()


def features_of(
    audio: torch.Tensor, audio_lengths: torch.Tensor, log_mel: LogMel, encoder_padding: str, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Features of samples [B, N] with lengths [B] on the CPU, and the features' lengths, both as in `Batch`."""
    lengths = None
    frames = WINDOW_FRAMES
    if encoder_padding == "clip":
        visible = [visible_frames(n) for n in audio_lengths.tolist()]
        lengths, frames = torch.tensor(visible), padded_frames(visible, on_gpu=device.type == "cuda")
    return log_mel(audio.to(device, non_blocking=True), frames), lengths


def to_batch(
    audio: AudioBatch,
    log_mel: LogMel | None,
    encoder_padding: str,
    device: torch.device,
    *,
    masks: SpecAugmentConfig | None = None,
    needs_noise: bool = False,
    noise_in_speech: bool = False,
    hears_second: bool = False,
) -> Batch:
    """Move a batch to the device and compute its features there. The host waits for no copy from page-locked memory.

    Args:
        log_mel: None for a batch without features, if the encoder's output is known.
        masks: SpecAugment's settings.
        needs_noise: make a noise target even if no noise is known. Under ZeRO-3 all ranks must run the same modules,
            whatever their utterances.
        noise_in_speech: the noise target is 0 in pauses.
        hears_second: the model hears second recordings; otherwise they are left out.
    """

    def moved(values: Any) -> Any:
        return None if values is None else values.to(device, non_blocking=True)

    second = audio.second if hears_second and log_mel is not None else None
    features, lengths, target, noisy = audio.audio.new_empty(0), None, None, None
    if log_mel is not None:
        clips, sample_lengths, seeds = moved(audio.audio), audio.audio_lengths, audio.seeds
        samples = clips
        if second is not None:
            samples = one_below_the_other(clips, moved(second.audio))
            sample_lengths = torch.cat((sample_lengths, second.audio_lengths))
            seeds = None if seeds is None else torch.cat((seeds, seeds[second.rows] ^ OTHER_MASKS))
        features, lengths = features_of(samples, sample_lengths, log_mel, encoder_padding, device)
        if masks is not None and seeds is not None:
            features = spec_augment(features, None if lengths is None else lengths.tolist(), seeds, masks)
        noise, second_noise = moved(audio.noise), None if second is None else moved(second.noise)
        if noise is not None or second_noise is not None or needs_noise:
            frames = features.shape[2] // 2 if lengths is None else int(lengths.max()) // 2
            noise = torch.zeros_like(clips) if noise is None else noise
            if second is not None:  # what second attentions read
                rows = upload(torch.tensor(second.rows), device)
                given = torch.zeros_like(samples[len(clips) :]) if second_noise is None else second_noise
                clips = with_rows(clips, rows, samples[len(clips) :])
                noise = with_rows(noise, rows, given)
            target = noise_target(clips, noise, frames, noise_in_speech)
            noisy = audio.noisy_targets
    return Batch(
        features=features,
        feature_lengths=lengths,
        decoder_input_ids=moved(audio.decoder_input_ids),
        labels=moved(audio.labels),
        target_positions=moved(audio.target_positions),
        noise_target=target,
        noise_positions=moved(noisy),
        ids=audio.ids,
        second_rows=[] if second is None else second.rows,
    )


def one_below_the_other(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """[B, N] and [R, M] as [B + R, max(N, M)], padded with zeros."""
    length = max(first.shape[1], second.shape[1])
    return torch.cat([pad(rows, (0, length - rows.shape[1])) for rows in (first, second)])


def with_rows(samples: torch.Tensor, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """[B, N] with the rows of that number (int64 [R]) taken from [R, M]; [B, max(N, M)]."""
    length = max(samples.shape[1], others.shape[1])
    padded = pad(samples, (0, length - samples.shape[1]))
    return padded.index_copy(0, rows, pad(others, (0, length - others.shape[1])))


def silent_batch(prompt: list[int]) -> AudioBatch:
    """A tenth of a second of silence with one target, for a rank without data."""
    ids = torch.tensor([prompt])
    labels = torch.full_like(ids, -100)
    labels[0, -1] = prompt[-1]
    samples = SAMPLING_RATE // 10
    return AudioBatch(
        audio=torch.zeros(1, samples),
        audio_lengths=torch.tensor([samples]),
        noise=None,
        decoder_input_ids=ids,
        labels=labels,
        ids=["silence"],
        texts=[""],
        languages=[None],
    )
