"""The rows of one of Lhotse's cuts: what is said in it and when, and where its recording lies."""

import math
from collections.abc import Iterator
from typing import Any

from ...errors import DataError
from ...sources.languages import whisper_code
from ...storage import is_remote

COLUMNS = ("audio", "text", "id", "speaker", "language", "start", "end", "duration", "sampling_rate", "gender")
TOLERANCE = 0.05  # seconds by which a supervision may reach beyond its cut: Lhotse rounds
SAME = 0.001  # seconds within which a segment is the whole recording
SAMPLES_UNCHANGED = ("Resample",)  # whatever the rate, what is read is resampled


def rows_of_cut(cut: dict[str, Any], place: str, is_packed: bool) -> Iterator[dict[str, Any]]:
    """A row for each supervision of a cut; a row with a ``fault`` for a cut that cannot be used.

    Args:
        place: the manifest, for messages.
        is_packed: the recording lies beside the manifest, in a tar file.

    Raises:
        DataError: for a recording that a command would make.
    """
    name = cut.get("id")
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "MultiCut", "Cut"):
        yield {"id": name, "fault": f"a {kind}, put together of several cuts or of silence; save its audio first"}
        return
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        what = "features alone" if "features" in cut else "no recording"
        yield {"id": name, "fault": f"no audio: the cut has {what}"}
        return
    said = cut.get("supervisions")
    if not isinstance(said, list) or not said:
        yield {"id": name, "fault": "no supervision, and so no text"}
        return
    for one in said:
        if not isinstance(one, dict):
            yield {"id": name, "fault": f"a supervision is {type(one).__name__}, not an object"}
            continue
        try:
            yield row_of(one, cut, recording, "" if is_packed else None)
        except ValueError as error:
            yield {"id": one.get("id") or name, "text": one.get("text"), "fault": str(error)}
        except CommandError as error:
            raise DataError(
                f"{place}: recording {recording.get('id')} is made by a command, {str(error)!r}; no command of a "
                "corpus is run: run it first and write the path of what comes out"
            ) from None


class CommandError(Exception):
    """A recording that a command would make, which is the message."""


def row_of(said: dict[str, Any], cut: dict[str, Any], recording: dict[str, Any], audio: str | None) -> dict[str, Any]:
    """Columns and values of a supervision.

    Args:
        audio: where the recording lies, if that is known.

    Raises:
        ValueError: saying why it cannot be used.
        CommandError: for a recording that a command would make.
    """
    changes = [str(change.get("name")) for change in recording.get("transforms") or () if isinstance(change, dict)]
    changes = [change for change in changes if change not in SAMPLES_UNCHANGED]
    if changes:
        raise ValueError(f"its recording is to be changed ({', '.join(changes)}), which is not done; save its audio")
    begin, length = seconds(cut, "start"), seconds(said, "duration")
    offset = seconds(said, "start", least=-math.inf)
    if cut.get("duration") is not None:
        whole = seconds(cut, "duration")
        if offset < -TOLERANCE or offset + length > whole + TOLERANCE:
            raise ValueError(
                f"its text is of {offset:g} s to {offset + length:g} s of the cut, which is 0 s to {whole:g} s"
            )
        offset, length = max(0.0, offset), min(length, whole - max(0.0, offset))
    start, end = max(0.0, begin + offset), begin + offset + length
    if length <= 0:
        raise ValueError(f"it lasts {length:g} s")
    total = seconds(recording, "duration")
    custom = said.get("custom")
    row = dict(custom) if isinstance(custom, dict) else {}
    row |= {
        "audio": address_of(recording, said.get("channel", cut.get("channel"))) if audio is None else audio,
        "id": said.get("id") or cut.get("id"),
        "text": said.get("text"),
        "speaker": said.get("speaker"),
        "language": whisper_code(str(said["language"])) if said.get("language") is not None else None,
        "gender": said.get("gender"),
        "start": start,
        "end": end,
        "duration": None,
        "sampling_rate": None if recording.get("transforms") else recording.get("sampling_rate"),
    }
    if start < SAME and abs(end - total) < SAME:
        row |= {"start": None, "end": None, "duration": total}
    return row


def seconds(item: dict[str, Any], key: str, least: float = 0.0) -> float:
    """A time of an item.

    Raises:
        ValueError: if it is none.
    """
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1e9:
        raise ValueError(f"{key} is {str(value)[:80]!r}, not a number of seconds")
    return float(value)


def address_of(recording: dict[str, Any], channel: Any) -> str:
    """Where a recording's channels lie.

    Args:
        channel: the number of a channel, or a list of such; None for all.

    Raises:
        ValueError: if that is no file of these channels alone.
        CommandError: if a command would make it.
    """
    sources = [source for source in recording.get("sources") or () if isinstance(source, dict)]
    wanted = set(channel if isinstance(channel, list) else () if channel is None else (channel,))
    fitting = [source for source in sources if not wanted or wanted & set(source.get("channels") or ())]
    if len(fitting) != 1:
        raise ValueError(f"its channels lie in {len(fitting)} files; one is right")
    kind, path = fitting[0].get("type"), fitting[0].get("source")
    if kind == "command":
        raise CommandError(path)
    if kind not in ("file", "url") or not isinstance(path, str) or (kind == "url" and not is_remote(path)):
        raise ValueError(f"no audio: its source is of type {kind!r}; a file or an address is right")
    there = set(fitting[0].get("channels") or ())
    if wanted and wanted != there:
        raise ValueError(
            f"it is channel {', '.join(map(str, sorted(wanted)))} of a file of {len(there)}; channels are not taken "
            "apart: save each as a file"
        )
    return path
