"""Which languages a model can be asked for, and refusing the others before anything is trained."""

from typing import Any

from data.errors import nearest
from data.labels import LabelEncoder

from .config import RunConfig
from .config_file import ConfigError


def check_language(config: RunConfig) -> None:
    """Refuse a language that no Whisper knows.

    Raises:
        ConfigError: naming the nearest.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    language = config.data.language
    if language is not None and language not in LANGUAGES:
        raise ConfigError(f"data.language is {language!r}, which Whisper does not know{nearest(language, LANGUAGES)}")


def known_languages(model: Any) -> list[str]:
    """ISO 639-1 codes of the languages that a model can be asked for; empty where it does not say."""
    generation = model.generation_config
    if getattr(generation, "is_multilingual", True) is False:
        return ["en"]
    return [token[2:-2] for token in getattr(generation, "lang_to_id", None) or {}]


def label_encoder(config: RunConfig, model: Any, processor: Any) -> LabelEncoder:
    """The label encoder that fits the model.

    Raises:
        ConfigError, DataError: if the model does not know the language, or needs one and the config has none.
    """
    language, known = config.data.language, known_languages(model)
    if language is not None and known and language not in known:
        raise ConfigError(f"data.language is {language!r}; the checkpoint knows {', '.join(known)}")
    default = model.config.vocab_size >= 51_865
    multilingual = bool(getattr(model.generation_config, "is_multilingual", default))
    if multilingual and language is None and config.data.train.columns.language is None:
        raise ConfigError("data.language is missing, and so is data.train.columns.language: this model needs one")
    return LabelEncoder(
        processor.tokenizer, multilingual, language, config.data.task, model.config.max_target_positions
    )
