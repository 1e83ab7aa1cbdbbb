"""The loss of a microbatch: audio to features, through the wrapped model, to one number."""

from contextlib import nullcontext
from typing import Any

import torch

from data.batches.features import LogMel
from data.utterance import AudioBatch
from modeling.decoding import encoder_padding, hears_second

from ..config.run import RunConfig
from ..engine.accelerator import bare_model
from .agreement import Targets
from .attention_watch import AttentionWatch
from .batch import silent_batch, to_batch
from .encoder_cache import open_encoder_cache
from .noise_target import noise_arguments
from .offload import OffloadedActivations
from .teacher import CleanTeacher


class TrainingLoss:
    """Computes losses of a run.

    Args:
        model: prepared by the engine.
        watch: told of each output.
        teacher: the clean teacher, where the config has one.

    Attributes:
        parts: what the engine divides losses by: ranks times microbatches of a step.

    Raises:
        ConfigError: if the encoder's outputs cannot be cached as the config asks.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Any,
        model: Any,
        watch: AttentionWatch,
        teacher: CleanTeacher | None = None,
    ) -> None:
        self.config, self.model, self.device, self.watch = config, model, accelerator.device, watch
        assert (teacher is None) == (config.noise.teacher is None)
        self.teacher = teacher
        self.parts = accelerator.num_processes * config.training.accumulation
        bare = bare_model(model)
        self.padding, self.hears_second = encoder_padding(bare), hears_second(bare)
        self.log_mel = LogMel(bare.config.num_mel_bins, self.device)
        silence = silent_batch([bare.config.decoder_start_token_id])
        self.silence = silence.pinned() if self.device.type == "cuda" else silence
        self.offload = OffloadedActivations(bare.parameters()) if config.performance.offload_activations else None
        self.encoder_cache = open_encoder_cache(config, accelerator, bare, self.log_mel, self.padding)

    def __call__(self, audio: AudioBatch | None, targets: Targets, step: int) -> torch.Tensor:
        """A scalar: summed token loss over the step's tokens, plus weighted noise loss over its noisy tokens, plus
        weighted distance from the teacher's states over its noisy clips' frames.

        All are multiplied by :attr:`parts`, so that the engine's division leaves the mean over the whole step.

        Args:
            audio: None for a rank without data, which takes part with silence at weight zero.
            targets: of the whole step, on all ranks.
            step: the update, 1 for the first.
        """
        config, cache = self.config, self.encoder_cache
        batch = to_batch(
            audio or self.silence,
            self.log_mel if cache is None else None,
            self.padding,
            self.device,
            masks=config.data.masks,
            needs_noise=config.noise.loss_weight > 0,
            noise_in_speech=config.noise.loss_frames == "speech",
            hears_second=self.hears_second,
        )
        noisy = targets.noisy / self.parts
        noise = noise_arguments(config.noise, batch.noise_target, batch.noise_positions, step, noisy)
        clean: dict[str, Any] = {}
        if self.teacher is not None:
            clean = self.teacher.arguments(audio or self.silence, step, targets.noisy_frames / self.parts)
        with self.offload or nullcontext():
            output = self.model(
                batch.features,
                feature_lengths=batch.length_list,
                second_rows=batch.second_rows,
                encoder_outputs=cache.outputs(audio or self.silence) if cache else None,
                decoder_input_ids=batch.decoder_input_ids,
                labels=batch.labels,
                target_positions=batch.target_positions,
                num_items_in_batch=targets.tokens / self.parts,
                label_smoothing=config.training.label_smoothing,
                loss_only=True,
                **noise,
                **clean,
            )
        if audio is None:
            return output.loss * 0.0
        self.watch.add_losses(output, batch, noise.get("noise_weight", 0.0), clean)
        self.watch.add(output, batch)
        return output.loss
