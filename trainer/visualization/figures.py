"""What the page says in words and numbers: tiles, notes and the table of tokens."""

from collections.abc import Callable

import numpy as np

from ..pages.formats import decimal, percent
from ..pages.tables import FigureTable
from .attention_maps import AttentionMaps
from .excerpt import Excerpt

BEYOND_WORTH_TELLING = 0.05  # share of the attention after the recording's end from which the page tells it


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
    if maps.dominated is not None:
        frames = float(maps.dominated[: maps.shown_frames].mean())
        found.append(("of the frames dominated by noise", f"{percent(frames, 0)} %"))
        for kind, share in maps.shares_on_noise.items():
            on_those = f"of the {maps.called(kind)} on those (odds {odds(float(share.mean()))})"
            found.append((on_those, f"{percent(share.mean(), 0)} %"))
    return found


def odds(share: float) -> str:
    """The odds of a share."""
    return decimal(share / (1 - share), 2) if share < 0.9995 else "beyond 1999"


def notes(excerpt: Excerpt, maps: AttentionMaps) -> list[str]:
    """What a reader should know before the pictures."""
    found = [] if excerpt.added is None else [f"Noise was mixed in: {excerpt.added}."]
    if excerpt.note:
        found.append(excerpt.note[0].upper() + excerpt.note[1:] + ".")
    if maps.repeats:
        found.append("The text repeats itself: the decoder is in a loop, and its attention may follow no speech.")
    if not maps.text:
        found.append("No words were heard; the end-of-text token is all there is to see.")
    if maps.dominated is not None and not maps.dominated.any():
        found.append("Noise dominates no frame here, so that no attention can fall on it.")
    for kind, weights in maps.attentions.items():
        beyond = f"{percent(maps.share_beyond(weights).mean(), 0)} % of the {maps.called(kind)}"
        if maps.share_beyond(weights).mean() > BEYOND_WORTH_TELLING:
            found.append(f"{beyond} falls on the padding after the recording, not shown.")
    return found


def token_table(excerpt: Excerpt, maps: AttentionMaps) -> FigureTable:
    """A row for each token."""
    columns: dict[str, Callable[[int], str]] = {
        "number": lambda number: str(number + 1),
        "token": lambda number: maps.tokens[number],
        "peak, s": lambda number: decimal(excerpt.begin + maps.peaks[number], 2),
        "probability": lambda number: decimal(maps.probabilities[number], 3),
    }
    gates = maps.gates
    if gates is not None:
        columns["gate"] = lambda number: decimal(gates[:, number].mean(), 3)
    for kind, share in maps.shares_on_noise.items():
        columns[f"{short(maps, kind)} on noise, %"] = [percent(one) for one in share].__getitem__
    return FigureTable.of("Tokens", range(len(maps.tokens)), columns, {0, *range(2, len(columns))})


def short(maps: AttentionMaps, kind: str) -> str:
    """``primary``, ``secondary``, or ``attention`` where it is the only one."""
    return maps.called(kind).removesuffix(" attention")


def told(excerpt: Excerpt, maps: AttentionMaps, number: int) -> str:
    """The line that the page shows for a token."""
    parts = [
        f"Token {number + 1} of {len(maps.tokens)}, {maps.tokens[number]}",
        f"peak at {decimal(excerpt.begin + maps.peaks[number], 2)} s",
        f"probability {decimal(maps.probabilities[number], 3)}",
    ]
    if maps.gates is not None:
        parts.append(f"gate {decimal(maps.gates[:, number].mean(), 2)}")
    shares = maps.shares_on_noise.items()
    return "; ".join(
        [*parts, *(f"{short(maps, kind)} on noise {percent(share[number], 0)} %" for kind, share in shares)]
    )
