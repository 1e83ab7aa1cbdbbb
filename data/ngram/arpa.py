"""ARPA files: n-grams with log10 of probabilities and back-off weights, as all toolkits write and read them."""

import gzip
import itertools
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import DataError
from .levels import END, NEVER, SPECIAL, UNKNOWN, Level, Ngrams

COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
LONGEST = 10  # n-grams that are read


def opened(path: str | Path, mode: str) -> IO[Any]:
    """A UTF-8 text file, ``mode`` r or w; packed by gzip where its name ends with .gz."""
    if str(path).endswith(".gz"):
        packed: IO[Any] = gzip.open(path, f"{mode}t", encoding="utf-8")  # type: ignore[assignment]  # noqa: SIM115
        return packed
    return open(path, mode, encoding="utf-8", newline="\n")


def write_arpa(path: str | Path, ngrams: Ngrams) -> None:
    """Write a model as an ARPA file. Raises OSError if it cannot be written."""
    names = [*ngrams.words, *SPECIAL]
    with opened(path, "w") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {length}={len(level.keys)}\n" for length, level in enumerate(ngrams.levels, 1))
        for number, level in enumerate(ngrams.levels):
            file.write(f"\n\\{number + 1}-grams:\n")
            last = number + 1 == ngrams.order
            rows = zip(level.log10.tolist(), ngrams.ids(number).tolist(), level.backoff.tolist(), strict=True)
            for log10, words, backoff in rows:
                text = " ".join(map(names.__getitem__, words))
                file.write(f"{log10:.7g}\t{text}\n" if last else f"{log10:.7g}\t{text}\t{backoff:.7g}\n")
        file.write("\n\\end\\\n")


def read_arpa(path: str | Path, longest: int = LONGEST) -> Ngrams:
    """Read an ARPA file, also one that is packed by gzip.

    Args:
        longest: the n-grams that are read; with 1 only words, and the file is not checked further.

    Raises:
        DataError: if there is no such file, or it is empty, damaged or no ARPA file.
    """
    try:
        with opened(path, "r") as file:
            return read_lines(enumerate(file, 1), str(path), longest)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no UTF-8 text, and so no ARPA file; of a binary of KenLM's give the ARPA") from None


def read_lines(lines: Iterator[tuple[int, str]], path: str, longest: int = LONGEST) -> Ngrams:
    """The n-grams of up to ``longest`` words in the numbered lines of an ARPA file."""
    start = next((line for _, line in lines if line.strip()), None)
    if start is None:
        raise DataError(f"{path} is empty; launch/ngram.py writes an ARPA file")
    if start.strip() != "\\data\\":
        start = next((line for _, line in itertools.islice(lines, 1000) if line.strip() == "\\data\\"), None)
    if start is None:
        raise DataError(f"{path} is no ARPA file: it has no line \\data\\")
    counts: list[int] = []
    for _, line in lines:
        if found := COUNT.match(line):
            counts.append(int(found[2]))
        elif line.strip():
            break
    if not counts or len(counts) > LONGEST or not counts[0]:
        raise DataError(f"{path} is no ARPA file that can be used: it has n-grams of {len(counts)} lengths")
    ngrams: Ngrams | None = None
    for length, number in enumerate(counts, 1):
        if line.strip() != f"\\{length}-grams:":
            raise DataError(f"{path} is damaged: \\{length}-grams: should follow, not {line.strip()[:40]!r}")
        rows, line = section(lines, length, path)
        if len(rows[1]) != number:
            raise DataError(f"{path} is damaged: it has {len(rows[1])} of {number} n-grams of length {length}")
        ngrams = first_level(*rows, path) if ngrams is None else with_level(ngrams, length, *rows, path=path)
        if length == longest:
            return ngrams
    if line.strip() != "\\end\\":
        raise DataError(f"{path} is damaged: \\end\\ should follow, not {line.strip()[:40]!r}")
    assert ngrams is not None
    if ngrams.levels[0].log10[-1] <= NEVER:
        raise DataError(f"{path} gives {END}, the end of a sentence, no probability: no text would end with it")
    return ngrams


Rows = tuple[list[float], list[list[str]], list[float]]


def section(lines: Iterator[tuple[int, str]], length: int, path: str) -> tuple[Rows, str]:
    """The n-grams of one length, and the line after them."""
    logs, words, backoffs = list[float](), list[list[str]](), list[float]()
    for number, line in lines:
        fields = line.replace("\t", " ").split(" ") if "  " not in line else line.split()
        fields[-1] = fields[-1].strip()
        if len(fields) == 1:
            if not fields[0]:
                continue
            return (logs, words, backoffs), line
        try:
            logs.append(float(fields[0]))
            backoffs.append(float(fields[length + 1]) if len(fields) == length + 2 else 0.0)
        except ValueError:
            raise DataError(f"{path} is damaged: line {number} has no number where one should be") from None
        if not length + 1 <= len(fields) <= length + 2 or not all(fields[1:]):
            raise DataError(f"{path} is damaged: line {number} has {len(fields)} fields in \\{length}-grams:")
        if logs[-1] > 1e-3 or not math.isfinite(logs[-1] + backoffs[-1]):
            raise DataError(f"{path} is damaged: line {number} has {fields[0]}, no logarithm of a probability")
        words.append(fields[1 : length + 1])
    return (logs, words, backoffs), ""


def first_level(logs: list[float], words: list[list[str]], backoffs: list[float], path: str) -> Ngrams:
    """A model of single words."""
    ordered = sorted({row[0] for row in words} - set(SPECIAL))
    numbers = {word: number for number, word in enumerate([*ordered, *SPECIAL])}
    if not ordered:
        raise DataError(f"{path} has no words")
    log10, backoff = np.full(len(numbers), NEVER, np.float32), np.zeros(len(numbers), np.float32)
    # Of models without a probability of unknown words.
    log10[numbers[UNKNOWN]] = min((log for log in logs if log > NEVER), default=NEVER)
    places = [numbers[row[0]] for row in words]
    log10[places], backoff[places] = logs, backoffs
    return Ngrams(ordered, [Level(np.arange(len(numbers)), log10, backoff)])


def with_level(
    ngrams: Ngrams, length: int, logs: list[float], words: list[list[str]], backoffs: list[float], *, path: str
) -> Ngrams:
    """The model with its next level."""
    numbers = {word: number for number, word in enumerate([*ngrams.words, *SPECIAL])}
    try:
        ids = np.array([[numbers[word] for word in row] for row in words], np.int64).reshape(-1, length)
    except KeyError as error:
        raise DataError(f"{path} is damaged: {error.args[0]!r} is in n-grams of {length} words, but no word") from None
    places = ids[:, 0]
    for level, column in zip(ngrams.levels[1:], ids[:, 1:].T, strict=False):
        keys = places * ngrams.size + column
        places = np.minimum(np.searchsorted(level.keys, keys), max(len(level.keys) - 1, 0))
        if len(keys) and (not len(level.keys) or (level.keys[places] != keys).any()):
            raise DataError(f"{path} is damaged: n-grams of {length} words begin with ones that it lacks")
    keys = places * ngrams.size + ids[:, -1]
    order = np.argsort(keys)
    if (np.diff(keys[order]) == 0).any():
        raise DataError(f"{path} is damaged: an n-gram of {length} words is there twice")
    made = Level(keys[order], np.array(logs, np.float32)[order], np.array(backoffs, np.float32)[order])
    return Ngrams(ngrams.words, [*ngrams.levels, made])
