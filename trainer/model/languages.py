"""Which languages a model can be asked for, and refusing the others before anything is trained."""

from typing import Any

from data.batches.labels import LabelEncoder
from data.sources.languages import CODES, nearest_language

from ..config.reading import ConfigError
from ..config.run import RunConfig


def named_languages(config: RunConfig) -> dict[str, str | None]:
    """The config's languages by their keys."""
    data = config.data
    sources = dict(zip(data.train_names, data.training_sources, strict=True))
    sources |= {f"data.{key}": source for key in ("validation", "test") if (source := getattr(data, key)) is not None}
    return {"data.language": data.language} | {f"{key}.language": source.language for key, source in sources.items()}


def languages_of(config: RunConfig) -> list[str]:
    """The languages that a model trained from nothing must tell apart; English where the config names none."""
    return list(dict.fromkeys(filter(None, named_languages(config).values()))) or ["en"]


def check_language(config: RunConfig) -> None:
    """As :func:`check_spoken`, for the languages that a config names."""
    check_spoken(named_languages(config))


def check_spoken(named: dict[str, str | None]) -> None:
    """Raises: ConfigError: for a language, given by its key, that no Whisper knows; the message names the nearest."""
    for key, language in named.items():
        if language is not None and language not in CODES:
            raise ConfigError(f"{key} is {language!r}, which Whisper does not know{nearest_language(language)}")


def check_known(named: dict[str, str | None], model: Any) -> None:
    """Raises: ConfigError: for a language, given by its key, that the model does not know; names those it knows."""
    known = known_languages(model)
    for key, language in named.items():
        if language is not None and known and language not in known:
            raise ConfigError(f"{key} is {language!r}; the checkpoint knows {', '.join(known)}")


def known_languages(model: Any) -> list[str]:
    """ISO 639-1 codes of the languages that a model can be asked for; empty where it does not say."""
    generation = model.generation_config
    if getattr(generation, "is_multilingual", True) is False:
        return ["en"]
    return [token[2:-2] for token in getattr(generation, "lang_to_id", None) or {}]


def label_encoder(config: RunConfig, model: Any, processor: Any) -> LabelEncoder:
    """The label encoder that fits the model.

    Raises:
        CheckpointError: as :func:`modeling.checkpoint_parts.check_parts`, before anything is trained.
        ConfigError, DataError: if the model does not know the language, or needs one and the config has none.
    """
    from modeling.checkpoint_parts import check_parts  # seconds to import
    from modeling.decoding import is_multilingual

    data = config.data
    language = data.language
    check_parts(config.model.checkpoint or config.model.processor or "model.architecture", model, processor)
    check_known(named_languages(config), model)
    multilingual = is_multilingual(model)
    for key, source in zip(data.train_names, data.training_sources, strict=True):
        if multilingual and not (language or source.language or source.columns.language):
            raise ConfigError(
                f"data.language is missing, and so are {key}.language and {key}.columns.language: this model needs one"
            )
    return LabelEncoder(processor.tokenizer, multilingual, language, data.task, model.config.max_target_positions)
