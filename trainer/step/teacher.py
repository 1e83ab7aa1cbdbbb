"""The clean teacher: what a frozen encoder makes of noisy clips without their noise, for the loss on encoder states.

The encoder is outside the model that an engine prepares. So it is whole on every rank, also under ZeRO-3, and in no
checkpoint.
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from data.batches.features import LogMel
from data.batches.loader import noisy_frames
from data.utterance import AudioBatch
from modeling.decoding import encoder_padding
from modeling.network.losses import CleanStates

from ..config.noise import TeacherConfig
from ..config.run import RunConfig
from ..model.teacher import teacher_encoder, teacher_layers
from .encoder_cache import GIB, EncoderCache, States
from .upload import upload


class CleanTeacher:
    """Gives the states that those of noisy clips are to come near to.

    Args:
        encoder: frozen, on the accelerator's device.
        layers: whose states are compared, from 1.
        padding: as the model's ``encoder_padding``.

    Raises:
        ConfigError: if the folder of the cache cannot be made.
    """

    def __init__(
        self, config: TeacherConfig, encoder: Any, layers: tuple[int, ...], *, accelerator: Any, padding: str
    ) -> None:
        self.config, self.layers, self.device = config, layers, accelerator.device
        self.width = encoder.config.d_model
        log_mel = LogMel(encoder.config.num_mel_bins, self.device)
        self.states = States(encoder, log_mel, padding, accelerator=accelerator, layers=layers)
        self.cache: EncoderCache | None = None
        if config.cache is not None:
            folder, limit = Path(config.cache), config.cache_gib * GIB
            self.cache = EncoderCache(folder, limit, self.states, key="noise.teacher.cache")

    def arguments(self, audio: AudioBatch, step: int, frames: float) -> dict[str, Any]:
        """The model's arguments for the loss at update ``step``, 1 for the first. Nothing is waited for.

        Args:
            frames: what the summed loss is divided by.
        """
        share = min(1.0, step / self.config.warmup_steps) if self.config.warmup_steps else 1.0
        lengths = upload(torch.tensor(noisy_frames(audio), dtype=torch.int64), self.device)
        states = CleanStates(self.of(audio), self.layers, upload(audio.noisy_rows, self.device), lengths)
        return {"clean_states": states, "clean_weight": self.config.weight * share / (frames or 1.0)}

    def of(self, audio: AudioBatch) -> tuple[torch.Tensor, ...]:
        """Of each layer the states of the noisy rows without their noise, [R, S, width]."""
        rows = audio.noisy_rows
        if not len(rows):
            return (torch.zeros(0, 1, self.width, device=self.device),) * len(self.layers)
        assert audio.noise is not None  # there are noisy rows
        lengths = audio.audio_lengths[rows]
        clean = audio.audio[rows] - audio.noise[rows] if audio.clean is None else audio.clean[rows]
        if self.cache is not None:
            clips = [clip[:samples] for clip, samples in zip(clean, lengths.tolist(), strict=True)]
            found = pad_sequence(self.cache.of_clips(clips), batch_first=True)
            together = upload(found, self.device)
        else:
            together = self.states.of_batch(upload(clean, self.device), lengths)
        return together.split(self.width, dim=2)


def open_teacher(config: RunConfig, accelerator: Any, model: Any) -> CleanTeacher | None:
    """The teacher that a config asks for, None if it asks for none.

    Args:
        model: as it is before training, not prepared by the engine yet, and no checkpoint of the run loaded into it.

    Raises:
        ConfigError, CheckpointError: if the teacher does not fit the model, cannot be opened or has no folder.
    """
    settings = config.noise.teacher
    if settings is None:
        return None
    encoder = teacher_encoder(config, model).to(accelerator.device)
    layers = teacher_layers(config, encoder.config.encoder_layers)
    return CleanTeacher(settings, encoder, layers, accelerator=accelerator, padding=encoder_padding(model))
