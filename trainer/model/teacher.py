"""The encoder that a clean teacher hears with: the model's own before training, or another checkpoint's."""

import copy
from typing import Any

from modeling.checkpoint_files import Checkpoint, CheckpointError
from modeling.checkpoints import open_model
from modeling.frozen import hold_frozen
from modeling.published import published_shape

from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.accelerator import resolve_precision
from ..engine.device import DTYPES

SHAPE = "d_model", "encoder_layers", "max_source_positions"  # what teacher and model have in common


def teacher_layers(config: RunConfig, encoder_layers: int) -> tuple[int, ...]:
    """The encoder layers that are compared, from 1.

    Raises:
        ConfigError: if the encoder has no such layer.
    """
    assert config.noise.teacher is not None
    layers = config.noise.teacher.layers or (encoder_layers,)
    for layer in layers:
        if layer > encoder_layers:
            raise ConfigError(f"noise.teacher.layers holds {layer}; the encoder has layers 1 to {encoder_layers}")
    return layers


def check_teacher(config: RunConfig, model_config: Any) -> None:
    """Refuse a teacher that does not fit the model, as far as this machine can tell; nothing is loaded.

    Raises:
        ConfigError: naming the key at fault.
        CheckpointError: if the teacher's checkpoint cannot be looked at.
    """
    teacher = config.noise.teacher
    if teacher is None:
        return
    teacher_layers(config, model_config.encoder_layers)
    if model_config.second_recording != "none":
        raise ConfigError(
            f"noise.teacher hears one recording, but {config.model.checkpoint} was trained to hear two "
            f"(second_recording: {model_config.second_recording}): take it out"
        )
    if teacher.checkpoint is None:
        return
    whole = Checkpoint(teacher.checkpoint).whole
    shape = whole.shape if whole.is_folder else published_shape(whole.name)
    if shape is not None:
        refuse_other_shape(teacher.checkpoint, shape, model_config)


def check_taught(config: RunConfig, model: Any) -> None:
    """Refuse layers whose states nothing can change, once it is chosen what is trained.

    Raises:
        ConfigError: naming the layer.
    """
    if config.noise.teacher is None:
        return
    encoder = model.model.encoder
    for layer in teacher_layers(config, len(encoder.layers)):
        last = layer == len(encoder.layers)
        parts = [encoder] if last else [encoder.conv1, encoder.conv2, *encoder.layers[:layer]]
        if not any(parameter.requires_grad for part in parts for parameter in part.parameters()):
            raise ConfigError(
                f"noise.teacher.layers holds {layer}, and nothing up to that encoder layer is trained "
                f"(model.strategy is {config.model.strategy!r}): name higher layers, or leave it out"
            )


def refuse_other_shape(name: str, shape: dict[str, Any], model_config: Any) -> None:
    """Raises: ConfigError: if an encoder of this shape gives other states than the model's."""
    for key in SHAPE:
        ours = getattr(model_config, key)
        if shape.get(key, ours) != ours:
            raise ConfigError(
                f"noise.teacher.checkpoint is {name!r}, whose {key} is {shape[key]}; the model's is {ours}: name one "
                "of the same shape, or leave it out"
            )


def teacher_encoder(config: RunConfig, model: Any) -> Any:
    """A frozen encoder, in the precision that the run computes in; the model's own is copied.

    Args:
        model: as it is before training, not prepared by an engine yet.

    Raises:
        ConfigError, CheckpointError: as :func:`check_teacher`, and if the checkpoint cannot be opened.
    """
    check_teacher(config, model.config)
    assert config.noise.teacher is not None
    name = config.noise.teacher.checkpoint
    if name is None:
        encoder = copy.deepcopy(model.model.encoder)
    else:
        checkpoint = Checkpoint(name)
        try:
            other = open_model(
                checkpoint,
                lift=True,
                encoder_padding=model.config.encoder_padding,
                dual_attention=checkpoint.whole.has_second_attentions,
            )
        except CheckpointError as error:
            raise CheckpointError(f"noise.teacher.checkpoint: {error}") from None
        refuse_other_shape(name, other.config.to_dict(), model.config)
        encoder = other.model.encoder
    freeze(encoder)
    precision = resolve_precision(config.engine.precision)
    if config.engine.zero_stage:
        encoder.to(DTYPES[precision])  # DeepSpeed has no autocast
    elif precision != "fp32":
        hold_frozen(encoder, DTYPES[precision], keep=False)
    return encoder


def freeze(encoder: Any) -> None:
    """Nothing is learned in it, and no layer is computed twice or with dropout."""
    encoder.requires_grad_(False)
    encoder.checkpoint_layers(False)
    encoder.eval()
