"""What a checkpoint can be asked for in transcription; the rest is refused in one line."""

from typing import Any

from data.sources.languages import nearest_language, whisper_code
from modeling.decoding import hears_second, is_multilingual, trained_on_timestamps
from modeling.greedy import unknown_to_the_loop

from ..config.reading import ConfigError
from ..model.languages import known_languages


def fitting_language(model: Any, checkpoint: str, language: str | None, task: str) -> str | None:
    """The language, filled in where there is only one. Raises ConfigError for one, or a task, that is not known."""
    known = known_languages(model)
    language = known[0] if language is None and len(known) == 1 else language and whisper_code(language)
    if language is not None and language not in known:
        right = f": it knows {known[0]} only" if len(known) == 1 else nearest_language(language, known)
        raise ConfigError(f"--language is {language!r}, which {checkpoint} does not know{right}")
    if task == "translate" and not is_multilingual(model):
        raise ConfigError(f"--task is 'translate', but {checkpoint} knows English only")
    return language


def check_hears_second(model: Any, checkpoint: str) -> None:
    """Raises: ConfigError: if the model hears one recording."""
    if not hears_second(model):
        raise ConfigError(
            f"--second is given, but {checkpoint} hears one recording; with --fuse any checkpoint hears both, and "
            "with --subtract any hears one without what leaks into it from the other"
        )


def check_sequential(model: Any, checkpoint: str) -> None:
    """Raises: ConfigError: if the model cannot say where the next window begins."""
    if not trained_on_timestamps(model):
        raise ConfigError(
            f"--windows is 'sequential', but {checkpoint} was not trained on timestamps, which say where the next "
            "window begins; 'pieces' is right"
        )
    wanted = unknown_to_the_loop(model)
    if wanted is not None:
        raise ConfigError(f"--windows is 'sequential', but {checkpoint} asks for {wanted}, which only 'pieces' follow")
