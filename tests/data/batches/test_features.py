"""Features equal transformers' own, at 30 s and at clip length, and do not depend on batch mates."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from data.batches.collation import read_utterance
from data.batches.features import EDGE_FRAMES, MARGIN_FRAMES, LogMel, padded_frames, visible_frames
from data.config import SourceConfig
from data.sources.source import Source


@pytest.fixture(scope="module")
def clips(corpus: Path) -> list[np.ndarray]:
    """Speech, a tone, noise, near silence and a single sample."""
    source = Source(SourceConfig(files=str(corpus / "validation-*.parquet")), "validation")
    speech = [read_utterance(row, source).audio for row in source.rows()][:3]
    generator = np.random.default_rng(0)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(20_000) / 16_000)
    others = [tone, generator.normal(0, 0.2, 31_234).clip(-1, 1), generator.normal(0, 1e-6, 5_000), np.ones(1)]
    return [*speech, *(samples.astype(np.float32) for samples in others)]


def padded(clips: list[np.ndarray]) -> torch.Tensor:
    audio = torch.zeros(len(clips), max(map(len, clips)))
    for row, samples in enumerate(clips):
        audio[row, : len(samples)] = torch.from_numpy(samples)
    return audio


def expected_features(clips: list[np.ndarray], mel_bins: int, frames: int) -> torch.Tensor:
    extractor = WhisperFeatureExtractor(feature_size=mel_bins)
    output = extractor(
        clips,
        sampling_rate=16_000,
        return_tensors="pt",
        padding="max_length",
        truncation=True,
        max_length=frames * 160,
    )
    return output.input_features


@pytest.mark.parametrize("mel_bins", [80, 128])
@pytest.mark.parametrize("length", ["window", "clip"])
def test_equal_to_transformers(clips: list[np.ndarray], mel_bins: int, length: str) -> None:
    longest = max(map(len, clips))
    frames = 3000 if length == "window" else padded_frames([visible_frames(longest)])
    features = LogMel(mel_bins)(padded(clips), frames)
    assert features.shape == (len(clips), mel_bins, frames) and features.dtype == torch.float32
    torch.testing.assert_close(features, expected_features(clips, mel_bins, frames), atol=1e-4, rtol=0)


def test_clips_longer_than_the_frames_are_cut(clips: list[np.ndarray]) -> None:
    long = np.concatenate([clips[4]] * 2)
    frames = len(long) // 160 - 30
    torch.testing.assert_close(
        LogMel(80)(padded([long]), frames), expected_features([long], 80, frames), atol=1e-4, rtol=0
    )


def test_features_do_not_depend_on_batch_mates(clips: list[np.ndarray]) -> None:
    log_mel = LogMel(80)
    frames = padded_frames([visible_frames(len(samples)) for samples in clips])
    together = log_mel(padded(clips), frames)
    for row, samples in enumerate(clips):
        torch.testing.assert_close(together[row : row + 1], log_mel(padded([samples]), frames), atol=1e-6, rtol=0)


def test_the_model_finds_the_margins_that_training_gave() -> None:
    from modeling.network import encoder

    assert (encoder.MARGIN_FRAMES, encoder.EDGE_FRAMES) == (MARGIN_FRAMES, EDGE_FRAMES)


def test_visible_frames_are_the_clip_s_and_half_a_second() -> None:
    assert visible_frames(16_000) == 100 + 50
    assert visible_frames(16_001) == visible_frames(16_160) + 0 == 152
    assert visible_frames(1) == 52
    assert visible_frames(30 * 16_000) == visible_frames(29_600 * 16) == visible_frames(40 * 16_000) == 3000
    for samples in range(0, 31 * 16_000, 997):
        frames = visible_frames(samples)
        assert frames % 2 == 0 and frames <= 3000
        assert 0 <= frames * 160 - samples - 8_000 < 2 * 160 or frames == 3000


def test_a_batch_has_an_edge_beyond_its_longest_clip() -> None:
    assert EDGE_FRAMES >= 4
    assert padded_frames([152, 300, 60]) == 300 + EDGE_FRAMES
    assert padded_frames([2998]) == padded_frames([3000]) == 3000
    assert padded_frames([52]) % 2 == 0


def test_on_gpus_batches_have_few_lengths() -> None:
    assert [padded_frames([n], on_gpu=True) for n in (52, 60, 62, 300, 2940, 3000)] == [64, 64, 128, 320, 2944, 3000]
