"""Sentences to count: of text files, one a line, and the transcripts of any corpus that preparation reads."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import storage
from ..corpora.formats import plan_jobs
from ..corpora.settings import CorpusSettings
from ..errors import DataError
from .arpa import opened

LINES = ("", ".txt", ".text", ".lines")  # suffixes of files of sentences, also before .gz
HELD_OUT = 10  # one of so many different sentences measures the perplexity

Normalize = Callable[[str], str]


def sentences_of(address: str) -> Iterator[str]:
    """The lines of a text file, or the transcripts of a corpus.

    Raises:
        DataError: if there is no such thing, or it cannot be read.
    """
    path = Path(address)
    if not path.is_file() or path.with_suffix("" if path.suffix == ".gz" else path.suffix).suffix not in LINES:
        if not storage.is_remote(address) and not path.exists() and not set("*?[{") & set(address):
            raise DataError(f"{address} is not there: give a text file, one sentence a line, or a corpus")
        for job in plan_jobs(CorpusSettings(input=address)):
            yield from (record.text for record in job.rows.records() if record.text)
        return
    try:
        with opened(path, "r") as file:
            yield from file
    except UnicodeDecodeError:
        raise DataError(f"{address} is no UTF-8 text, one sentence a line") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{address} is damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{address} cannot be read: {error.strerror or error}") from None


def hash_of(words: Sequence[str]) -> int:
    """Of a sentence's words, 64 bits."""
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "little")


def hashes_of(sentences: Iterable[Sequence[str]]) -> NDArray[np.uint64]:
    """Of the different sentences, ascending, uint64 [n]."""
    return np.unique(np.fromiter((hash_of(words) for words in sentences), np.uint64))


def seen_among(hashes: NDArray[np.uint64], sentences: Iterable[Sequence[str]]) -> list[bool]:
    """Of each sentence, whether its hash is among ascending ones; those without words never are."""
    found = list(sentences)
    own = np.array([hash_of(words) for words in found], np.uint64)
    places = np.minimum(np.searchsorted(hashes, own), max(len(hashes) - 1, 0))
    same = hashes[places] == own if len(hashes) else np.zeros(len(own), bool)
    return [bool(one) and bool(words) for one, words in zip(same, found, strict=True)]


def parted(sentences: Iterable[Sequence[str]]) -> tuple[list[Sequence[str]], list[Sequence[str]]]:
    """Sentences to count and those held out, a tenth of the different ones: copies of a sentence stay together."""
    counted: list[Sequence[str]] = []
    held: list[Sequence[str]] = []
    for words in sentences:
        (held if hash_of(words) % HELD_OUT == 0 else counted).append(words)
    return counted, held
