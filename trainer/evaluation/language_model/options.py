"""The options of commands that decode with a language model."""

import argparse
from typing import TYPE_CHECKING

from ...command_line import CommandLine, number
from ...config.reading import ConfigError

if TYPE_CHECKING:
    from .opening import LanguageModel


def add_options(parser: CommandLine) -> None:
    """The options of commands that decode."""
    add = parser.add_argument
    add("--language-model", metavar="FILE", help="an ARPA file, such as launch/ngram.py makes, to decode with")
    add("--lm-weight", type=number(float, 0, 10), metavar="W", help="of its words' log-probabilities (tuned, or 0.5)")
    add("--lm-word-bonus", type=number(float, -20, 20), metavar="B", help="added for each word (tuned, or 0.5)")


def check_options(options: argparse.Namespace) -> None:
    """Raises: ConfigError: for weights of no language model."""
    for name, value in (("--lm-weight", options.lm_weight), ("--lm-word-bonus", options.lm_word_bonus)):
        if value is not None and options.language_model is None:
            raise ConfigError(f"{name} is of a language model: --language-model says which")


def check_n_best(number: int, beams: int) -> None:
    """Raises: ConfigError: for lists of more hypotheses than beam search has, or without it."""
    if number and (number > beams or beams == 1):
        raise ConfigError(
            f"--n-best is {number}, and beams are {beams}: a list is of beam search, so give --beams {max(number, 2)}"
        )


def asked_for(options: argparse.Namespace, language: str | None) -> "LanguageModel | None":
    """The language model, if one is asked for. Raises ConfigError, as :func:`.opening.open_language_model`."""
    check_options(options)
    if options.language_model is None:
        return None
    from .opening import open_language_model

    return open_language_model(
        options.language_model, language, weight=options.lm_weight, word_bonus=options.lm_word_bonus
    )
