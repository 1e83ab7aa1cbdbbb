"""Keeps a frozen encoder's output of each clip on disk: computed once, read in every later epoch and run.

An entry's name is a hash of the audio, so repeated ids, mixtures and changed files do no harm. The folder's name is a
hash of the encoder's weights and the way it computes. A clip's frames do not depend on its batch mates, so each clip is
kept by itself and padded again. Ranks and runs share the folder; an entry appears whole.

Entries are computed without dropout, whatever the model's config says: one random draw would be kept for ever.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from data.batches.features import WINDOW_FRAMES, LogMel, visible_frames
from data.utterance import AudioBatch
from modeling.network.encoder import EncoderOutput
from modeling.network.second_recording import HEARD, Heard

from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.device import DTYPES
from .batch import features_of
from .upload import upload

GIB = 2**30
DIGEST_BYTES = 16
STALE_SECONDS = 3600.0  # an entry is written in less than a second: an older partial one is abandoned
# The keys of the model's config that the encoder's output depends on. Not every version of transformers has all.
OF_THE_ENCODER = (
    "activation_function",
    "d_model",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "encoder_layers",
    "encoder_padding",
    "max_source_positions",
    "num_mel_bins",
    "scale_embedding",
)


class States:
    """What a frozen encoder makes of clips, without gradients and dropout.

    Args:
        padding: the model's ``encoder_padding``.
        accelerator: its precision, in which the decoder computes, is that of the states: nothing is lost.
        layers: the layers whose states are wanted, from 1, one beside the other; without them, the encoder's output.
    """

    def __init__(
        self, encoder: Any, log_mel: LogMel, padding: str, *, accelerator: Any, layers: tuple[int, ...] = ()
    ) -> None:
        self.encoder, self.log_mel, self.padding, self.layers = encoder, log_mel, padding, layers
        self.width = encoder.config.d_model * max(1, len(layers))
        self.device, self.autocast = accelerator.device, accelerator.autocast
        self.writers = accelerator.num_processes
        self.dtype = DTYPES.get(accelerator.mixed_precision, torch.float32)

    def frames_of(self, samples: int) -> int:
        """How many frames of a clip are wanted: what decoders see, or what layers are compared in."""
        whole = self.padding == "window" and not self.layers
        return (WINDOW_FRAMES if whole else visible_frames(samples)) // 2

    @torch.no_grad()
    def of_batch(self, audio: torch.Tensor, audio_lengths: torch.Tensor) -> torch.Tensor:
        """[B, N] samples → [B, S, width] on the device.

        Args:
            audio_lengths: int64 [B] on the CPU.
        """
        features, lengths = features_of(audio, audio_lengths, self.log_mel, self.padding, self.device)
        given = {"feature_lengths": None if lengths is None else lengths.tolist()}
        with self.autocast(), evaluating(self.encoder):
            output = self.encoder(features, output_hidden_states=bool(self.layers), return_dict=True, **given)
        states = output.last_hidden_state
        if self.layers:
            states = torch.cat([output.hidden_states[layer] for layer in self.layers], dim=2)
        return states.to(self.dtype)

    def fingerprint(self) -> str:
        """Names the folder of their entries."""
        return fingerprint(self.encoder, self.padding, self.dtype, self.log_mel, self.layers)


class EncoderCache:
    """A frozen encoder that remembers what it made of clips. All processes fill the folder.

    Args:
        folder: made if it is not there.
        limit: bytes of files in it; once they are reached, new clips are computed each time.
        key: of the config, for messages.

    Raises:
        ConfigError: if the folder cannot be made.
    """

    def __init__(self, folder: Path, limit: float, states: States, key: str = "performance.cache_encoder") -> None:
        self.states, self.limit = states, limit
        self.second_recording = states.encoder.config.second_recording
        self.width, self.dtype = states.width, states.dtype
        self.hits = self.misses = 0
        self.folder = folder / states.fingerprint()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{key} is {str(folder)!r}, which cannot be used: {error}") from None
        self.held = bytes_held(folder)

    def outputs(self, audio: AudioBatch) -> EncoderOutput:
        """What the encoder gives for a batch, second recordings included, without gradients: [B, S, width]."""
        second = audio.second if self.second_recording != "none" else None
        recordings = [(audio.audio, audio.audio_lengths)]
        recordings += [] if second is None else [(second.audio, second.audio_lengths)]
        clips = [clip[:n] for samples, lengths in recordings for clip, n in zip(samples, lengths.tolist(), strict=True)]
        found = self.of_clips(clips)
        frames = [len(one) for one in found]
        together = torch.zeros(len(clips), max(frames), self.width, dtype=self.dtype)
        for row, one in enumerate(found):
            together[row, : frames[row]] = one
        device = self.states.device
        lengths = upload(torch.tensor(frames), device) if min(frames) < max(frames) else None
        heard = Heard(upload(together, device), lengths)
        if second is not None:
            heard = HEARD[self.second_recording](heard.states, None if lengths is None else frames, second.rows)
        return EncoderOutput(
            heard.states,
            frame_lengths=heard.lengths,
            secondary_hidden_state=heard.second_states,
            secondary_frame_lengths=heard.second_lengths,
            joined_frames=heard.joined_frames,
        )

    def of_clips(self, clips: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What the encoder gives for clips, float32 [samples] each on the CPU: [frames of each, width], on the CPU."""
        names = [hashlib.blake2b(clip.numpy().tobytes(), digest_size=20).hexdigest() for clip in clips]
        frames = [self.states.frames_of(len(clip)) for clip in clips]
        found = [self.read(name, length) for name, length in zip(names, frames, strict=True)]
        missing = [row for row, one in enumerate(found) if one is None]
        self.hits, self.misses = self.hits + len(clips) - len(missing), self.misses + len(missing)
        if missing:
            samples = pad_sequence([clips[row] for row in missing], batch_first=True)
            lengths = torch.tensor([len(clips[row]) for row in missing])
            for row, whole in zip(missing, self.states.of_batch(samples, lengths).cpu(), strict=True):
                found[row] = own = whole[: frames[row]]
                self.write(names[row], own)
        return [one for one in found if one is not None]  # all are, read or computed

    def describe(self) -> str:
        """In words, what this process has read so far and what it computed."""
        return f"{self.hits} of {self.hits + self.misses} clips' encoder outputs were read from {self.folder}"

    def read(self, name: str, frames: int) -> torch.Tensor | None:
        """An entry [frames, width]; None if there is none, or it is damaged."""
        try:
            content = (self.folder / name).read_bytes()
        except OSError:
            return None
        stored, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if len(stored) != frames * self.width * self.dtype.itemsize or digest != digest_of(stored):
            return None
        return torch.frombuffer(bytearray(stored), dtype=self.dtype).view(frames, self.width)

    def write(self, name: str, states: torch.Tensor) -> None:
        """Write an entry whole. If the limit or the disk does not allow it, it will be computed again."""
        stored = states.contiguous().view(torch.uint8).numpy().tobytes()
        size = (len(stored) + DIGEST_BYTES) * self.states.writers  # the others write as much
        if self.held + size > self.limit:
            return
        # Processes on other nodes or in other containers may have the same number.
        partial = self.folder / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            partial.write_bytes(stored + digest_of(stored))
            partial.replace(self.folder / name)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            return
        self.held += size


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """A context without dropout and gradient checkpointing; each part then gets its mode back."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def bytes_held(folder: Path) -> int:
    """Bytes of the files below a folder that others may be writing to; abandoned partial files are removed."""
    held, now = 0, time.time()
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            with suppress(OSError):  # a partial file may have been renamed meanwhile
                found = path.stat()
                if name.startswith(".") and now - found.st_mtime > STALE_SECONDS:
                    path.unlink()
                else:
                    held += found.st_size
    return held


def digest_of(stored: bytes) -> bytes:
    return hashlib.blake2b(stored, digest_size=DIGEST_BYTES).digest()


def fingerprint(encoder: Any, padding: str, dtype: torch.dtype, log_mel: LogMel, layers: tuple[int, ...] = ()) -> str:
    """A hash of what an entry depends on besides the audio: weights, settings, precision, features and layers."""
    digest = hashlib.blake2b(digest_size=12)
    settings = {name: getattr(encoder.config, name, None) for name in OF_THE_ENCODER}
    depends = (padding, str(dtype), tuple(log_mel.filters.shape), settings, *([layers] if layers else []))
    digest.update(repr(depends).encode())
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def open_encoder_cache(
    config: RunConfig, accelerator: Any, model: Any, log_mel: LogMel, padding: str
) -> EncoderCache | None:
    """The cache that a config asks for; None if it asks for none.

    Raises ConfigError if the model's encoder output cannot be kept, or the folder cannot be made.
    """
    settings = config.performance
    if settings.cache_encoder is None:
        return None
    if getattr(model.config, "secondary_layer", None) is not None:
        raise ConfigError(
            "performance.cache_encoder keeps the encoder's output alone, but the second attentions of "
            f"{config.model.checkpoint} read another layer: take it out"
        )
    if getattr(model.config, "second_recording_layers", 0) or getattr(model.config, "second_recording", "") == "before":
        raise ConfigError(
            "performance.cache_encoder keeps what the encoder makes of one recording, but that of "
            f"{config.model.checkpoint} hears two together (second_recording): take the cache out"
        )
    if model.config.apply_spec_augment:
        raise ConfigError(
            "performance.cache_encoder keeps what the encoder makes of a clip, but the config of "
            f"{config.model.checkpoint} has apply_spec_augment, which masks it anew each time: take one of the two out"
        )
    folder, limit = Path(settings.cache_encoder), settings.cache_encoder_gib * GIB
    return EncoderCache(folder, limit, States(model.model.encoder, log_mel, padding, accelerator=accelerator))
