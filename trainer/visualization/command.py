"""What launch/visualize.py does: reads a recording and a checkpoint, writes the pictures and the page."""

import datetime
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..config.reading import ConfigError
from ..transcription.recordings import make_writable
from .excerpt import Excerpt, NoiseGiven, SecondGiven, read_excerpts

PAGE, OVERVIEW, LAYERS = "attention.html", "attention.png", "layers.png"


def layer_numbers(text: str) -> tuple[int, ...]:
    """``0,3-5`` → 0, 3, 4, 5.

    Raises:
        ConfigError: if the text has another form.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if high < low:
            raise ConfigError(f"--layers is {text!r}; it must look like 0,3-5")
        found += range(low, high + 1)
    return tuple(dict.fromkeys(found))


def visualize(
    checkpoint: str,
    file: Path,
    output: Path,
    *,
    language: str | None = None,
    text: str | None = None,
    begin: float = 0.0,
    seconds: float | None = None,
    noise: NoiseGiven | None = None,
    second: SecondGiven | None = None,
    layers: Sequence[int] | None = None,
    device: str = "auto",
    command: Sequence[str] = (),
) -> None:
    """Write ``attention.html``, ``attention.png`` and ``layers.png`` into ``output``, and print what was heard.

    Args:
        language: ISO 639-1; heard where it is None and the checkpoint knows several.
        text: what was said; without it, attention is shown for the tokens that the model says.
        begin, seconds: the part of the recording, at most 30 s long.
        layers: numbers of decoder layers; all if None.
        noise: what is mixed in, or known to be in the recording.
        second: a recording that the model hears beside this one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        command: arguments of the command, for the page to name.

    Raises:
        UndecodableAudio: if a file is no audio, or holds silence only.
        DataError, ConfigError, CheckpointError: for mistakes of the user, if possible before a model is opened.
    """
    excerpt, other = read_excerpts(file, begin, seconds, noise or NoiseGiven(), second or SecondGiven())
    make_writable(output)  # before minutes are spent
    from .attention_reader import AttentionReader

    reader = AttentionReader(checkpoint, language, layers, device)
    maps = reader.read(excerpt, text, other)
    excerpts = [recording.excerpt for recording in maps.recordings]
    for note in filter(None, (one.note for one in excerpts)):
        print(f"note: {note}", file=sys.stderr)
    if maps.repeats:
        print(f"warning: {file}: parts of the text repeat themselves", file=sys.stderr)

    from .page import attention_page
    from .pictures import every_layer, features_picture, overview

    title = " and ".join(map(titled, excerpts))
    pictures = {f"features_{number}": features_picture(heard) for number, heard in enumerate(maps.recordings)}
    pictures |= {"overview": overview(maps, title), "layers": every_layer(maps, title)}
    again = shlex.join(("python", "launch/visualize.py", *command))
    page = attention_page(maps, pictures, again, datetime.date.today())
    (output / OVERVIEW).write_bytes(pictures["overview"])
    (output / LAYERS).write_bytes(pictures["layers"])
    (output / PAGE).write_text(page, encoding="utf-8", errors="replace")
    print(maps.text)
    print(f"{output / PAGE}, {OVERVIEW} and {LAYERS} written", file=sys.stderr)


def titled(excerpt: Excerpt) -> str:
    """What pictures call an excerpt."""
    name = os.fsencode(os.path.basename(excerpt.name)).decode("utf-8", "replace")
    return name if excerpt.added is None else f"{name} with {excerpt.added}"
