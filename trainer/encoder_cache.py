"""What a frozen encoder says of each clip, kept on disk: computed once, read in every later epoch and run.

Entries go by the audio itself, so names that repeat, mixtures and changed files do no harm; they lie in a folder that
is named for the encoder's weights and the way it computes. A clip's frames do not depend on the clips beside it, so
each is kept by itself and padded again. Ranks share the folder: an entry comes into being whole.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from data.features import WINDOW_FRAMES, LogMel, visible_frames
from data.utterance import AudioBatch
from modeling.encoder import EncoderOutput

from .batch import features_of
from .config import RunConfig
from .config_file import ConfigError

GIB = 2**30
DIGEST_BYTES = 16


class EncoderCache:
    """A frozen encoder that remembers.

    Args:
        folder: made if it is not there.
        limit: bytes of files in it; once it is full, what is not in it is computed each time.
        model: the bare one; its encoder is frozen and without dropout.
        autocast: gives the context that the model computes in.
        dtype: what entries are stored in. The precision that the decoder's products take them in loses nothing.
        writers: processes that fill the folder.

    Raises:
        ConfigError: if the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        limit: float,
        model: Any,
        log_mel: LogMel,
        padding: str,
        device: torch.device,
        autocast: Callable[[], Any],
        dtype: torch.dtype,
        writers: int = 1,
    ) -> None:
        self.encoder, self.log_mel, self.padding, self.device = model.model.encoder, log_mel, padding, device
        self.autocast, self.dtype, self.writers, self.limit = autocast, dtype, writers, limit
        self.width = model.config.d_model
        self.hits = self.misses = 0
        self.folder = folder / fingerprint(self.encoder, padding, dtype, log_mel)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.held = sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())
        except OSError as error:
            raise ConfigError(f"performance.cache_encoder is {str(folder)!r}, which cannot be used: {error}") from None

    def outputs(self, audio: AudioBatch) -> EncoderOutput:
        """The encoder's output for a batch, as the model's own, without gradients."""
        clips = [clip[:length] for clip, length in zip(audio.audio, audio.audio_lengths.tolist(), strict=True)]
        names = [hashlib.blake2b(clip.numpy().tobytes(), digest_size=20).hexdigest() for clip in clips]
        clip_padding = self.padding == "clip"
        frames = [(visible_frames(len(clip)) if clip_padding else WINDOW_FRAMES) // 2 for clip in clips]
        states = [self.read(name, length) for name, length in zip(names, frames, strict=True)]
        missing = [row for row, found in enumerate(states) if found is None]
        self.hits, self.misses = self.hits + len(clips) - len(missing), self.misses + len(missing)
        if missing:
            computed = self.encode(audio.audio[missing], audio.audio_lengths[missing])
            for row, whole in zip(missing, computed, strict=True):
                states[row] = own = whole[: frames[row]].to(self.dtype)
                self.write(names[row], own)
        together = torch.zeros(len(clips), max(frames), self.width, dtype=self.dtype)
        for row, found in enumerate(states):
            assert found is not None  # read or computed
            together[row, : frames[row]] = found
        lengths = torch.tensor(frames).to(self.device, non_blocking=True) if min(frames) < max(frames) else None
        return EncoderOutput(together.to(self.device, non_blocking=True), frame_lengths=lengths)

    @torch.no_grad()
    def encode(self, audio: torch.Tensor, audio_lengths: torch.Tensor) -> torch.Tensor:
        """[B, N] samples → [B, S, width] on the CPU."""
        features, lengths = features_of(audio, audio_lengths, self.log_mel, self.padding, self.device)
        with self.autocast():
            output = self.encoder(features, feature_lengths=None if lengths is None else lengths.tolist())
        return output.last_hidden_state.cpu()

    def read(self, name: str, frames: int) -> torch.Tensor | None:
        """An entry [frames, width]; None where there is none that is whole."""
        try:
            content = (self.folder / name).read_bytes()
        except OSError:
            return None
        stored, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if len(stored) != frames * self.width * self.dtype.itemsize or digest != digest_of(stored):
            return None
        return torch.frombuffer(bytearray(stored), dtype=self.dtype).view(frames, self.width)

    def write(self, name: str, states: torch.Tensor) -> None:
        """Put an entry in place whole; where the disk or the limit refuses it, it is computed again next time."""
        stored = states.contiguous().view(torch.uint8).numpy().tobytes()
        size = (len(stored) + DIGEST_BYTES) * self.writers  # the others write as much
        if self.held + size > self.limit:
            return
        partial = self.folder / f".{name}.{os.getpid()}"
        try:
            partial.write_bytes(stored + digest_of(stored))
            partial.replace(self.folder / name)
        except OSError:
            partial.unlink(missing_ok=True)
            return
        self.held += size


def digest_of(stored: bytes) -> bytes:
    return hashlib.blake2b(stored, digest_size=DIGEST_BYTES).digest()


def fingerprint(encoder: Any, padding: str, dtype: torch.dtype, log_mel: LogMel) -> str:
    """What an entry depends on beside the audio: the encoder's weights, their order of computation, the features."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(
        repr((padding, str(dtype), tuple(log_mel.filters.shape), encoder.config.encoder_attention_heads)).encode()
    )
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def open_encoder_cache(
    config: RunConfig, accelerator: Any, model: Any, log_mel: LogMel, padding: str
) -> EncoderCache | None:
    """The cache that a config asks for, if it does; the config has refused what it cannot serve.

    Raises:
        ConfigError: as :class:`EncoderCache`.
    """
    settings = config.performance
    if settings.cache_encoder is None:
        return None
    return EncoderCache(
        Path(settings.cache_encoder),
        settings.cache_encoder_gib * GIB,
        model,
        log_mel,
        padding,
        accelerator.device,
        accelerator.autocast,
        {"fp16": torch.float16, "bf16": torch.bfloat16}.get(accelerator.mixed_precision, torch.float32),
        accelerator.num_processes,
    )
