"""What lies beside an ARPA file: whose language it is, what it was made of, weights, and hashes of its sentences."""

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ..errors import DataError
from ..sources.config import Section

CARD, HASHES = ".json", ".sentences.npy"  # after the name of the ARPA file


class Weights(Section):
    """How much a language model counts beside what is heard. Probabilities are natural logarithms."""

    weight: float = Field(0.5, ge=0, le=10, description="of each word's log-probability")
    word_bonus: float = Field(
        0.5, ge=-20, le=20, description="for each word: the model's scores alone prefer few words"
    )
    unknown: float = Field(5.0, ge=0, le=100, description="taken off the log-probability of a word the model lacks")


class Card(Section):
    """What is known of a language model.

    Attributes:
        language: ISO 639-1, by whose rules its sentences were normalised.
        perplexity: of a tenth of the sentences, which the model that found it was not made of; None of too few.
        weights: found on held-out speech.
        tuned_on: which speech that was.
    """

    language: str
    order: int
    sentences: int
    words: int
    vocabulary: int
    texts: tuple[str, ...] = ()
    prune: int = 0
    discounts: tuple[tuple[float, float, float], ...] = ()
    perplexity: float | None = None
    weights: Weights | None = None
    tuned_on: str | None = None


def read_card(arpa: str | Path) -> Card | None:
    """What lies beside an ARPA file; None if nothing does. Raises DataError if it is damaged."""
    path = Path(f"{arpa}{CARD}")
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is damaged: {where + ': ' if where else ''}{first['msg']}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def write_card(arpa: str | Path, card: Card) -> None:
    """Write it, whole or not at all. Raises OSError."""
    path = Path(f"{arpa}{CARD}")
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(card.model_dump(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_hashes(arpa: str | Path) -> NDArray[np.uint64] | None:
    """Of the sentences that a model was made of, ascending; None where they are not kept. Raises DataError."""
    path = Path(f"{arpa}{HASHES}")
    try:
        found = np.load(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    if found.dtype != np.uint64 or found.ndim != 1:
        raise DataError(f"{path} is damaged: it holds no hashes")
    return found


def write_hashes(arpa: str | Path, hashes: NDArray[np.uint64]) -> None:
    np.save(f"{arpa}{HASHES}", hashes)
