"""Whether ``keep`` and ``drop`` name values that are there: a speaker who is misspelled in ``drop`` is trained on."""

import pyarrow as pa
import pyarrow.parquet as pq

from .. import storage
from ..errors import nearest
from .class_labels import named_value, wanted_names
from .parquet_rows import ParquetRows
from .source import Source, as_text


def values_not_there(source: Source) -> list[str]:
    """A line for each value of ``keep`` and ``drop`` that no row has.

    Looks at folders and at local Parquet files, of which it reads these columns alone; elsewhere nothing is told.
    """
    lines = []
    for key in ("keep", "drop"):
        for column, values in getattr(source.config, key).items():
            there = values_of(source, column)
            if there is not None:
                names = source.classes.get(column, ())
                absent = [value for value in map(str, values) if not wanted_names([value], names) <= there]
                lines += [
                    f"{source.name}.{key}: no row has {column} {one!r}{nearest(one, sorted(there))}" for one in absent
                ]
    return lines


def values_of(source: Source, column: str) -> set[str] | None:
    """All values of a column, as text, classes by their names; None where that would take long."""
    if source.config.hub or source.config.digits:
        return None
    if source.held_rows is not None:
        return {str(row.get(column)) for row in source.held_rows}
    if source.parquet is None or any(map(storage.is_remote, source.parquet.addresses)):
        return None
    found: set[str] = set()
    for address, classes in zip(source.parquet.addresses, source.parquet.classes, strict=True):
        names = classes.get(column)
        try:
            with pq.ParquetFile(address) as file:
                for batch in file.iter_batches(2**16, columns=[column]):
                    values = batch.column(0).unique().to_pylist()
                    found |= {as_text(value if names is None else named_value(value, names)) for value in values}
        except (pa.ArrowException, OSError, KeyError, IndexError):  # said when its rows are read
            return None
    return found


def speakers_of(source: Source) -> set[str] | None:
    """Who speaks in the rows that ``keep`` and ``drop`` let through; None where that is not known, or takes long.

    Looks where :func:`values_not_there` does, with ``columns.speaker``, at these columns alone.
    """
    column = source.columns.speaker
    if column is None or source.config.hub or source.config.digits:
        return None
    if source.held_rows is not None:
        return {str(row[column]) for row in source.read(source.held_rows) if row.get(column) is not None}
    if source.parquet is None or any(map(storage.is_remote, source.parquet.addresses)):
        return None
    wanted = sorted({column, *source.config.keep, *source.config.drop})
    rows = source.read(ParquetRows(source.parquet, source.parquet.pieces(), wanted))
    return {as_text(row[column]) for row in rows if row[column] is not None}
