"""What the page says in words and numbers: tiles, notes and the table of tokens."""

from collections.abc import Callable

import numpy as np

from data.inspection.characters import visible

from ..pages.formats import decimal, percent
from ..pages.tables import FigureTable
from .attention_maps import AttentionMaps

BEYOND_WORTH_TELLING = 0.05  # share of the attention after the recording's end from which the page tells it
LONGEST_NAME = 200  # letters


def tiles(maps: AttentionMaps) -> list[tuple[str, str]]:
    """The figures at the top: name and value."""
    mean = np.exp(np.log(np.maximum(maps.probabilities, 1e-9)).mean())
    found = [
        ("language", maps.language),
        ("tokens, with the end", str(len(maps.tokens))),
        ("probability of a token, geometric mean", decimal(mean, 3)),
    ]
    if maps.gates is not None:
        found.append(("mean gate: share of the primary", decimal(maps.gates.mean(), 2)))
    if maps.is_joined:
        frames = [weights.shape[2] for weights in maps.attentions.values()]
        found.append(("of the attention on the second recording", f"{percent(maps.second_share, 0)} %"))
        found.append(("of all frames in the second recording", f"{percent(frames[1] / sum(frames), 0)} %"))
    for number, recording in enumerate(maps.recordings):
        if recording.dominated is not None:
            frames_on_noise = float(recording.dominated[: recording.shown_frames].mean())
            found.append((f"of the frames{of(maps, number)} dominated by noise", f"{percent(frames_on_noise, 0)} %"))
            for kind, share in maps.shares_on_noise.items():
                if maps.number_of(kind) == number:
                    on_those = f"of the {maps.called(kind)} on those (odds {odds(float(share.mean()))})"
                    found.append((on_those, f"{percent(share.mean(), 0)} %"))
    return found


def of(maps: AttentionMaps, number: int) -> str:
    """`` of the first recording``; empty where it is the only one."""
    place = maps.place(number)
    return f" of the {place}" if place else ""


def odds(share: float) -> str:
    """The odds of a share."""
    return decimal(share / (1 - share), 2) if share < 0.9995 else "beyond 1999"


def notes(maps: AttentionMaps) -> list[str]:
    """What a reader should know before the pictures."""
    found = []
    for number, recording in enumerate(maps.recordings):
        excerpt = recording.excerpt
        if number:
            found.append(f"The second recording is {visible(excerpt.name, LONGEST_NAME)}.")
        if excerpt.added is not None:
            where = f"into the {maps.place(number)}" if maps.place(number) else "in"
            found.append(f"Noise was mixed {where}: {excerpt.added}.")
        if excerpt.note:
            found.append(excerpt.note[0].upper() + excerpt.note[1:] + ".")
    if maps.hears_second and len(maps.recordings) == 1:
        found.append("The checkpoint can hear a second recording; none was given, so it hears this one alone.")
    if maps.repeats:
        found.append("The text repeats itself: the decoder is in a loop, and its attention may follow no speech.")
    if not maps.text:
        found.append("No words were heard; the end-of-text token is all there is to see.")
    for number, recording in enumerate(maps.recordings):
        if recording.dominated is not None and not recording.dominated.any():
            where = "here" if len(maps.recordings) == 1 else of(maps, number).strip()
            found.append(f"Noise dominates no frame {where}, so that no attention can fall on it.")
    for kind in maps.attentions:
        beyond = maps.share_beyond(kind).mean()
        if beyond > BEYOND_WORTH_TELLING:
            place = maps.place(maps.number_of(kind)) or "recording"
            part = f"{percent(beyond, 0)} % of the {maps.called(kind)}"
            found.append(f"{part} falls on the padding after the {place}, not shown.")
    return found


def token_table(maps: AttentionMaps) -> FigureTable:
    """A row for each token."""
    columns: dict[str, Callable[[int], str]] = {
        "number": lambda number: str(number + 1),
        "token": lambda number: maps.tokens[number],
    }
    for place, recording in enumerate(maps.recordings):
        name = "peak in the second, s" if place else "peak, s"
        columns[name] = [decimal(recording.excerpt.begin + peak, 2) for peak in maps.peaks(place)].__getitem__
    columns["probability"] = lambda number: decimal(maps.probabilities[number], 3)
    gates, first_shares = maps.gates, maps.first_shares
    if gates is not None:
        columns["gate"] = lambda number: decimal(gates[:, number].mean(), 3)
    if first_shares is not None:
        columns["on the second, %"] = lambda number: percent(1 - first_shares[:, number].mean())
    for kind, share in maps.shares_on_noise.items():
        columns[f"{short(maps, kind)} on noise, %"] = [percent(one) for one in share].__getitem__
    return FigureTable.of("Tokens", range(len(maps.tokens)), columns, {0, *range(2, len(columns))})


def short(maps: AttentionMaps, kind: str) -> str:
    """``primary``, ``secondary``, or ``attention`` where it is the only one; with its part where it has two."""
    name = maps.called(kind).removesuffix(" attention")
    return f"{name}, {maps.place(maps.number_of(kind))}" if maps.is_joined else name


def told(maps: AttentionMaps, number: int) -> str:
    """The line that the page shows for a token."""
    parts = [f"Token {number + 1} of {len(maps.tokens)}, {maps.tokens[number]}"]
    for place, recording in enumerate(maps.recordings):
        where = " in the second recording" if place else ""
        parts.append(f"peak{where} at {decimal(recording.excerpt.begin + maps.peaks(place)[number], 2)} s")
    parts.append(f"probability {decimal(maps.probabilities[number], 3)}")
    if maps.gates is not None:
        parts.append(f"gate {decimal(maps.gates[:, number].mean(), 2)}")
    if maps.first_shares is not None:
        parts.append(f"on the second recording {percent(1 - maps.first_shares[:, number].mean(), 0)} %")
    for kind, share in maps.shares_on_noise.items():
        parts.append(f"{short(maps, kind)} on noise {percent(share[number], 0)} %")
    return "; ".join(parts)
