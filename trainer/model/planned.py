"""The model that a config asks for, on the meta device: shapes and what is trained, without weights or a download."""

from typing import Any

from ..config.model import NEW_SHAPE
from ..config.reading import ConfigError
from ..config.run import RunConfig
from .languages import languages_of


def planned_model(config: RunConfig, checkpoint: Any = None) -> Any:
    """The model with its strategy applied; None where only the hub knows its shape.

    Args:
        checkpoint: of :func:`trainer.model.building.starting_checkpoint`, where it has been looked at already.

    Raises:
        ConfigError, CheckpointError: as building the model would, as far as this machine can tell.
    """
    from modeling.byte_processor import build_byte_processor  # seconds to import, as is what follows
    from modeling.checkpoint_files import check_name
    from modeling.checkpoint_parts import check_stored_parts
    from modeling.checkpoints import check_structure
    from modeling.published import model_without_weights, published_shape

    from .building import apply_strategy, architecture_arguments, starting_checkpoint

    settings = config.model
    checkpoint = checkpoint or starting_checkpoint(config)
    name, own = "model.architecture", {}
    if settings.architecture is not None:
        if settings.processor is not None:
            check_name(settings.processor)
            return None
        vocabulary = len(build_byte_processor(languages_of(config)).tokenizer)
        stored = shape = architecture_arguments(settings.architecture, vocabulary)
    else:
        check_stored_parts(checkpoint)
        whole = checkpoint.whole
        name = whole.name
        if whole.is_folder:
            if whole.has_second_attentions and not settings.dual_attention:
                raise ConfigError(
                    f"model.dual_attention is false, but model.checkpoint, {name!r}, has second attentions, "
                    "which would be left out"
                )
            shape = whole.shape
            stored = whole.config | shape
            own = {key: stored[key] for key in NEW_SHAPE if key != "gate_bias" and stored.get(key)}
        else:
            published = published_shape(name)
            if published is None:
                return None
            stored = shape = published
    check_structure(name, stored, settings.decoder_values)
    model = model_without_weights(shape, **own | settings.decoder_values)
    apply_strategy(model, config, checkpoint)
    return model
