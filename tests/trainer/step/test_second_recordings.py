"""A batch whose clips have second recordings: features, lengths, masks of their own, and the noise that is read."""

import numpy as np
import pytest
import torch

from data.augmentation.config import SpecAugmentConfig
from data.batches.collation import collate
from data.batches.features import LogMel, visible_frames
from data.utterance import AudioBatch, Utterance
from trainer.step.batch import Batch, to_batch
from trainer.step.noise_target import noise_target

LENGTHS, SECOND_LENGTHS = (8000, 7000, 6000), {0: 9000, 2: 3000}


def sound(number: int, samples: int) -> np.ndarray:
    return np.random.default_rng(number).normal(0, 0.1, samples).astype(np.float32)


def three(noisy_seconds: bool = True) -> AudioBatch:
    """Three clips, of which the first and the last have a second recording; noise is in the first two and in the last's
    second one."""
    utterances = []
    for row, samples in enumerate(LENGTHS):
        second, noise = None, None
        if row in SECOND_LENGTHS:
            second = sound(row + 10, SECOND_LENGTHS[row])
            noise = second / 2 if row == 2 and noisy_seconds else None
        first_noise = None if row == 2 else sound(row + 20, samples) / 3
        utterances.append(
            Utterance(f"{row}", sound(row, samples), "a", noise=first_noise, second=second, second_noise=noise)
        )
    tokens = torch.arange(6).view(3, 2)
    return collate(utterances, (tokens, tokens), [5, 6, 7])


def batch_of(
    audio: AudioBatch, padding: str = "clip", masks: SpecAugmentConfig | None = None, second: bool = True
) -> Batch:
    return to_batch(audio, LogMel(80), padding, torch.device("cpu"), masks=masks, hears_second=second)


@pytest.mark.parametrize("padding", ["clip", "window"])
def test_second_recordings_are_rows_after_the_clips(padding: str) -> None:
    batch = batch_of(three(), padding)
    assert batch.second_rows == [0, 2] and len(batch.features) == 5
    if padding == "clip":
        assert batch.length_list == [visible_frames(samples) for samples in (*LENGTHS, *SECOND_LENGTHS.values())]
    alone = collate([Utterance("", sound(row + 10, samples), "a") for row, samples in SECOND_LENGTHS.items()])
    frames = 2 * (min(SECOND_LENGTHS.values()) // 320)
    assert torch.equal(batch.features[3:, :, :frames], batch_of(alone, padding).features[:, :, :frames])
    one = batch_of(three(), padding, second=False)
    assert one.second_rows == [] and len(one.features) == 3
    assert torch.equal(one.features[:, :, :frames], batch.features[:3, :, :frames])


@pytest.mark.parametrize("noisy_seconds", [True, False])
def test_the_noise_target_is_of_what_second_attentions_read(noisy_seconds: bool) -> None:
    audio = three(noisy_seconds)
    batch = batch_of(audio)
    assert batch.noise_target is not None and audio.noise is not None
    frames = max(batch.length_list or []) // 2
    assert batch.noise_target.shape == (3, frames)
    assert torch.equal(batch.noise_target[1], noise_target(audio.audio, audio.noise, frames)[1])
    assert not batch.noise_target[0].any(), "its second recording holds no noise"
    second = torch.from_numpy(sound(12, SECOND_LENGTHS[2]))[None]
    expected = noise_target(second, second / 2, frames)[0]
    assert torch.equal(batch.noise_target[2], expected if noisy_seconds else torch.zeros(frames))
    assert batch.noise_positions is not None
    assert (batch.noise_positions // 2).unique().tolist() == ([1, 2] if noisy_seconds else [1])
    first = batch_of(audio, second=False)
    assert first.noise_target is not None and first.noise_target[0].any() and not first.noise_target[2].any()


def test_a_second_recording_has_masks_of_its_own() -> None:
    clips = [sound(row, 8000) for row in range(2)]
    audio = collate([Utterance(f"{row}", clip, "a", second=clip) for row, clip in enumerate(clips)], seeds=[5, 6])
    masks = SpecAugmentConfig(share=1.0, time_masks=1, time_frames=20, frequency_masks=1, frequency_bins=40)
    plain, both, one = batch_of(audio), batch_of(audio, masks=masks), batch_of(audio, masks=masks, second=False)
    hidden = both.features != plain.features
    assert hidden.flatten(1).any(dim=1).all()
    for row in range(2):
        assert not torch.equal(hidden[row], hidden[row + 2])
    assert torch.equal(both.features[:2], one.features)
