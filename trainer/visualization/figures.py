"""What the page says in words and numbers: tiles, notes, the table of tokens, and what each figure means."""

import numpy as np

from ..pages.formats import decimal, percent
from ..pages.tables import FigureTable
from .attention_maps import DOMINATED, AttentionMaps
from .excerpt import Excerpt

BEYOND_WORTH_TELLING = 0.05  # share of the attention after the recording's end


def kinds(maps: AttentionMaps) -> list[tuple[str, np.ndarray]]:
    """The attentions with the names that the page uses."""
    if maps.secondary is None:
        return [("attention", maps.primary)]
    return [("primary", maps.primary), ("secondary", maps.secondary)]


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
        for name, weights in kinds(maps):
            share = maps.share_on_noise(weights)
            assert share is not None
            called = "the attention" if name == "attention" else f"the {name} attention"
            on_those = f"of {called} on those (odds {odds(float(share.mean()))})"
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
    for name, weights in kinds(maps):
        beyond = float(maps.share_beyond(weights).mean())
        if beyond > BEYOND_WORTH_TELLING:
            called = "attention" if name == "attention" else f"{name} attention"
            found.append(f"{percent(beyond, 0)} % of the {called} falls on the padding after the recording, not shown.")
    return found


def token_table(excerpt: Excerpt, maps: AttentionMaps) -> FigureTable:
    """A row for each token."""
    heads = ["number", "token", "peak, s", "probability"] + (["gate"] if maps.gates is not None else [])
    on_noise = [(name, maps.share_on_noise(weights)) for name, weights in kinds(maps)]
    known = [(name, share) for name, share in on_noise if share is not None]
    heads += [f"{name} on noise, %" for name, _ in known]
    rows = []
    for number, name in enumerate(maps.tokens):
        cells = [decimal(excerpt.begin + maps.peaks[number], 2), decimal(maps.probabilities[number], 3)]
        cells += [] if maps.gates is None else [decimal(maps.gates[:, number].mean(), 3)]
        cells += [percent(share[number]) for _, share in known]
        rows.append((str(number + 1), name, *cells))
    return FigureTable("Tokens", tuple(heads), rows, numbers=frozenset(range(len(heads))) - {1})


def told(excerpt: Excerpt, maps: AttentionMaps, number: int) -> str:
    """The line that the page shows for a token."""
    parts = [
        f"Token {number + 1} of {len(maps.tokens)}, {maps.tokens[number]}",
        f"peak at {decimal(excerpt.begin + maps.peaks[number], 2)} s",
        f"probability {decimal(maps.probabilities[number], 3)}",
    ]
    if maps.gates is not None:
        parts.append(f"gate {decimal(maps.gates[:, number].mean(), 2)}")
    for name, weights in kinds(maps):
        share = maps.share_on_noise(weights)
        if share is not None:
            parts.append(f"{name} on noise {percent(share[number], 0)} %")
    return "; ".join(parts)


def definitions(maps: AttentionMaps) -> list[tuple[str, str]]:
    """Terms of this page and what they mean."""
    found = [
        ("token", "What the decoder says at a step; ␣ is a space, 1/2 and 2/2 share a character. The last is the end."),
        ("attention", "Weights of a cross-attention over encoder frames of 20 ms, mean over heads; they sum to 1."),
        (
            "peak",
            "The frame that tells the token's primary attention w, mean over layers, most from that of all tokens: "
            "where w · log(w / mean over tokens) is largest. It is near where the token is said where the decoder "
            "aligns, and anywhere else where it does not.",
        ),
        ("frames of all tokens", "Upright stripes: frames that every token looks at, whatever it says. No alignment."),
        ("probability", "Of the token given the sound and the tokens before it."),
    ]
    if maps.gates is not None:
        found.append(("gate", "α in α · primary + (1 − α) · secondary, for each token and layer."))
    if maps.noise is not None:
        found.append(
            (
                "on noise",
                f"Share of the attention, mean over layers, on frames where noise has more than "
                f"{percent(DOMINATED, 0)} % of the energy; its odds are share / (1 − share).",
            )
        )
    return found
