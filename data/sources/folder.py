"""Rows of a folder of recordings: a table beside them, or a text beside each."""

import csv
import json
from pathlib import Path
from typing import Any

from ..audio.decoding import one_line
from ..audio.suffixes import is_recording
from ..errors import DataError


def read_folder(folder: Path, name: str, audio_column: str, text_column: str) -> list[dict[str, Any]]:
    """Rows of a folder of recordings: metadata.jsonl or .csv with file_name, or a .txt beside each recording."""
    if not folder.is_dir():
        raise DataError(f"{name}.folder: {folder} is not a folder")
    rows: list[dict[str, Any]] = []
    for metadata in (folder / "metadata.jsonl", folder / "metadata.csv"):
        if not metadata.exists():
            continue
        try:
            with metadata.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin with a byte-order mark
                is_csv = metadata.suffix == ".csv"
                records = csv.DictReader(file) if is_csv else map(json.loads, filter(str.strip, file))
                for number, record in enumerate(records, start=1):
                    rows.append(folder_row(record, f"{metadata}: row {number}", audio_column))
        except (csv.Error, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{metadata}: after row {len(rows)}: {one_line(error)}") from None
        return rows
    for path in sorted(folder.rglob("*")):
        transcript = path.with_suffix(".txt")
        if is_recording(path.name) and transcript.exists():
            relative = path.relative_to(folder)
            try:
                text = transcript.read_text(encoding="utf-8-sig").strip()
            except UnicodeDecodeError as error:
                raise DataError(f"{transcript}: {one_line(error)}") from None
            rows.append({audio_column: str(relative), text_column: text, "id": relative.with_suffix("").as_posix()})
    if not rows:
        raise DataError(f"{name}.folder: {folder} has no metadata.jsonl, no metadata.csv and no recording with a .txt")
    return rows


def folder_row(record: Any, place: str, audio_column: str) -> dict[str, Any]:
    """A row from a line of metadata, its ``file_name`` as audio and, without suffix, as id."""
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
        found = ", ".join(map(str, record)) if isinstance(record, dict) else repr(record)
        raise DataError(f"{place} has no file_name; it has {found}")
    if None in record:
        raise DataError(f"{place} has more fields than the header; a text with a comma wants quotes")
    path = record.pop("file_name")
    return {audio_column: path, "id": Path(path).with_suffix("").as_posix()} | record
