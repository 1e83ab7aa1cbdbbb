"""Whisper's log-mel features in batches, with torch, on the device of the audio."""

import torch

SAMPLES_PER_FRAME = 160
WINDOW_FRAMES = 3000
MARGIN_FRAMES = 50  # 0.5 s of silence that the model may see after each clip
EDGE_FRAMES = 4  # beyond the longest clip, so that the convolutions see the same edge whoever is in the batch
GPU_FRAMES = 64  # on GPUs batches have a multiple of it: for each new length cuDNN chooses its convolutions anew


def visible_frames(samples: int) -> int:
    """Mel frames of a clip that the model may see: its own and the margin, made even, at most 3000."""
    frames = -(-samples // SAMPLES_PER_FRAME) + MARGIN_FRAMES
    return min(frames + frames % 2, WINDOW_FRAMES)


def padded_frames(feature_lengths: list[int], on_gpu: bool = False) -> int:
    """Mel frames of a batch of clips padded only as far as the longest needs; on a GPU to a multiple of 64.

    Only log-mel and the convolutions work on the frames beyond the longest clip: the encoder then cuts them off.
    """
    frames = max(feature_lengths) + EDGE_FRAMES
    return min(-(-frames // GPU_FRAMES) * GPU_FRAMES if on_gpu else frames, WINDOW_FRAMES)


class LogMel:
    """Log-mel features equal to transformers' WhisperFeatureExtractor (hop 10 ms, window 25 ms, up to 8 kHz)."""

    def __init__(self, num_mel_bins: int, device: torch.device | str = "cpu") -> None:
        from transformers.audio_utils import mel_filter_bank

        filters = mel_filter_bank(201, num_mel_bins, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
        self.filters = torch.from_numpy(filters).to(device=device, dtype=torch.float32)
        self.window = torch.hann_window(400, device=device)

    def of_recording(self, audio: torch.Tensor) -> torch.Tensor:
        """Features of a whole recording of any length, in parts of a minute, so that memory holds no long spectrum.

        What is quiet is cut off below the loudest of all of it. Whisper's authors cut windows of 30 s out of these.

        Args:
            audio: float32 [N], 16 kHz.

        Returns:
            float32 [mel bins, ceil(N / 160)].
        """
        frames = -(-len(audio) // SAMPLES_PER_FRAME)
        pad = torch.nn.functional.pad
        padded = pad(audio, (0, frames * SAMPLES_PER_FRAME - len(audio) + 200))
        begin = torch.flip(pad(audio, (0, max(0, 201 - len(audio))))[1:201], dims=[0])  # mirrored, as torch.stft does
        padded = torch.cat((begin, padded))
        parts = []
        for first in range(0, frames, 2 * WINDOW_FRAMES):
            last = min(first + 2 * WINDOW_FRAMES, frames)
            part = padded[first * SAMPLES_PER_FRAME : (last - 1) * SAMPLES_PER_FRAME + 400]
            spectrum = torch.stft(part, 400, SAMPLES_PER_FRAME, window=self.window, center=False, return_complex=True)
            parts.append((self.filters.T @ (spectrum.abs() ** 2)).clamp(min=1e-10).log10())
        log_mel = torch.cat(parts, dim=1)
        return (torch.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0

    def __call__(self, audio: torch.Tensor, frames: int) -> torch.Tensor:
        """Features of clips cut or padded with silence to ``frames`` frames of 10 ms.

        Args:
            audio: float32 [B, N], 16 kHz, silence beyond each clip.

        Returns:
            float32 [B, mel bins, frames].
        """
        samples = frames * SAMPLES_PER_FRAME
        audio = torch.nn.functional.pad(audio, (0, max(0, samples - audio.shape[1])))[:, :samples]
        spectrum = torch.stft(audio, 400, SAMPLES_PER_FRAME, window=self.window, return_complex=True)
        power = spectrum[..., :-1].abs() ** 2
        log_mel = (self.filters.T @ power).clamp(min=1e-10).log10()
        log_mel = torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log_mel + 4.0) / 4.0
