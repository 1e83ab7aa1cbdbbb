"""A recording's attention maps as one HTML file that needs nothing else: sound, pictures and numbers stand in it.

Names and texts come from outside: every one goes through :func:`escaped`, and data for the script are no markup.
"""

import base64
import datetime
import io
import json
from typing import Any

import numpy as np
import soundfile

from data.preparation.inspection_page import escaped, section
from data.preparation.inspection_style import STYLE
from data.utterance import SAMPLING_RATE

from ..comparison.drawing import Axis, x_labels
from .attention_maps import FRAME_SECONDS, AttentionMaps, peak_weights
from .excerpt import Excerpt
from .page_script import POLICY, SCRIPT
from .page_style import PAGE_STYLE
from .page_table import definitions, notes, tiles, token_table

STRIP_PIXELS = 12  # a layer's row


def attention_page(
    excerpt: Excerpt, maps: AttentionMaps, pictures: dict[str, bytes], command: str, date: datetime.date
) -> str:
    """The page.

    Args:
        pictures: PNG files: ``features`` without axes, ``overview``, ``layers``.
        command: what makes the page again.
    """
    named = escaped(excerpt.name, 200)
    heard = "text given" if maps.is_given else "heard"
    said = escaped(maps.text, 4000) or "no words"
    tiled = "".join(f"<div><b>{escaped(value)}</b><span>{escaped(name)}</span></div>" for value, name in tiles(maps))
    noted = "".join(f"<li>{escaped(note, 600)}</li>" for note in notes(excerpt, maps))
    listed = "".join(
        f"<div><dt>{escaped(term)}</dt><dd>{escaped(told, 900)}</dd></div>" for term, told in definitions(maps)
    )
    overview, layers = (
        picture(pictures[name], told) for name, told in (("overview", "Mean over layers"), ("layers", "Each layer"))
    )
    parts = [
        f'<header><p class="kind">Attention, {heard} · {date.isoformat()}</p><h1>{named}</h1>'
        f'<p class="verdict said" dir="auto" lang="{escaped(maps.language)}">{said}</p></header>',
        f'<section class="tiles">{tiled}</section>',
        f'<ul class="notes">{noted}</ul>' if noted else "",
        section("Token by token", looker(excerpt, maps, pictures["features"])),
        section("All tokens", overview),
        section("Layer by layer", layers),
        section("Tokens with times", f'<div class="card">{token_table(excerpt, maps)}</div>'),
        section("What the figures mean", f"<dl>{listed}</dl>"),
        section("To get this page again", f"<pre>{escaped(command, 4000)}</pre>"),
    ]
    data = json.dumps(script_data(excerpt, maps)).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{named} – attention</title>\n<style>{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + f'\n</main>\n<script type="application/json" id="maps">{data}</script>\n<script>{SCRIPT}</script>\n'
        "</body>\n</html>\n"
    )


def picture(png: bytes, told: str) -> str:
    return f'<div class="card picture"><img src="{data_address(png, "image/png")}" alt="{escaped(told)}"></div>'


def data_address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def wave(audio: np.ndarray) -> bytes:
    """A WAV file of 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def looker(excerpt: Excerpt, maps: AttentionMaps, features: bytes) -> str:
    """Sound to play, tokens to choose, and what the chosen one attends to; the script fills it."""
    buttons = "".join(
        f'<button type="button" data-token="{number}" dir="auto">{escaped(name, 40)}</button>'
        for number, name in enumerate(maps.tokens)
    )
    kinds = ["primary"] if maps.secondary is None else ["primary", "secondary"]
    called = {"primary": "attention" if len(kinds) == 1 else "primary attention", "secondary": "secondary attention"}
    lines = "".join(f'<polyline id="line-{kind}"/>' for kind in kinds)
    ends = f"{maps.layers[0]} at the top" + (f", {maps.layers[-1]} at the bottom" if len(maps.layers) > 1 else "")
    strips = "".join(
        f'<p>{called[kind].capitalize()}, layer {ends}</p><canvas id="strip-{kind}" '
        f'style="height:{STRIP_PIXELS * len(maps.layers)}px" aria-hidden="true"></canvas>'
        for kind in kinds
    )
    legend = "".join(f'<li><i style="background:var(--{kind})"></i>{called[kind]}</li>' for kind in kinds)
    if maps.noise is not None:
        legend += (
            '<li><i style="background:var(--noise);opacity:.4"></i>noise, share of the energy (to the top: all)</li>'
        )
    legend += '<li><i style="background:#19d3a2"></i>peak</li><li><i style="background:#ff4d6d"></i>what plays</li>'
    legend += '<li>full height: <span id="top">0</span> of the attention in 20 ms; frames of all tokens go beyond</li>'
    gates = ""
    if maps.gates is not None:
        bars = "".join(f"<li>layer {layer}<span><i></i></span><b></b></li>" for layer in maps.layers)
        gates = (
            f'<div class="strips"><p>Gate: how much of the primary (blue) is taken</p></div><ul id="gates">{bars}</ul>'
        )
    frames = maps.shown_frames
    return (
        f'<div class="card"><audio id="audio" controls src="{data_address(wave(excerpt.audio), "audio/wav")}"></audio>'
        '<noscript><p class="hint">Choosing tokens needs scripts; the pictures below show the same.</p></noscript>'
        '<div id="looker" hidden><p class="hint">Point at a token for what it attends to, click to keep it and to move '
        "the sound there; arrow keys go on. Click the picture to move the sound.</p>"
        f'<div class="tokens">{buttons}</div><p id="said" aria-live="polite"></p>'
        f'<div id="view"><img src="{data_address(features, "image/png")}" alt="Log-mel features">'
        f'<svg class="lay" viewBox="0 0 {frames} 100" preserveAspectRatio="none" aria-hidden="true">'
        f"{noise_area(maps)}{lines}</svg>"
        f'<svg id="marks" viewBox="0 0 {frames} 100" preserveAspectRatio="none" aria-hidden="true">'
        '<line id="peak" y1="0" y2="100"/><line id="playing" y1="0" y2="100"/></svg></div>'
        f'{time_labels(excerpt, maps)}<p class="x-title">time in the recording, seconds</p>'
        f'<ul class="legend">{legend}</ul>{gates}<div class="strips">{strips}</div></div></div>'
    )


def noise_area(maps: AttentionMaps) -> str:
    if maps.noise is None:
        return ""
    steps = " ".join(
        f"{at},{100 - 100 * share:.1f} {at + 1},{100 - 100 * share:.1f}" for at, share in shown_noise(maps)
    )
    return f'<polygon class="noise" points="0,100 {steps} {maps.shown_frames},100"/>'


def shown_noise(maps: AttentionMaps) -> list[tuple[int, float]]:
    assert maps.noise is not None
    return [(at, float(share)) for at, share in enumerate(maps.noise[: maps.shown_frames])]


def time_labels(excerpt: Excerpt, maps: AttentionMaps) -> str:
    axis = Axis(excerpt.begin - FRAME_SECONDS / 2, excerpt.begin + (maps.shown_frames - 0.5) * FRAME_SECONDS)
    return x_labels([(axis.place(tick), f"{tick:g}") for tick in axis.ticks(12)])


def script_data(excerpt: Excerpt, maps: AttentionMaps) -> dict[str, Any]:
    """What the script needs; weights as bytes that hold square roots, by token, layer and frame."""
    found: dict[str, Any] = {
        "frames": maps.shown_frames,
        "frame": FRAME_SECONDS,
        "layers": list(maps.layers),
        "peaks": [round(float(peak), 3) for peak in maps.peaks],
        "told": [told(excerpt, maps, number) for number in range(len(maps.tokens))],
    }
    tops = []
    for kind, weights in (("primary", maps.primary), ("secondary", maps.secondary)):
        if weights is not None:
            shown = weights[:, :, : maps.shown_frames]
            found[kind], found[f"{kind}_most"] = quantized(shown)
            # What the lines' and the strips' full scale is, as in the pictures.
            tops.append(peak_weights(shown.mean(0)))
            found[f"{kind}_strip"] = rounded(np.max([peak_weights(layer) for layer in shown], axis=0))
    found["top"] = rounded(np.max(tops, axis=0))
    if maps.gates is not None:
        found["gates"] = np.round(maps.gates.T.astype(float), 3).tolist()
    return found


def quantized(weights: np.ndarray) -> tuple[str, list[float]]:
    """[layers, L, S] to base64 of bytes [L, layers, S], and what 255 stands for in each token."""
    by_token = weights.transpose(1, 0, 2)
    most = np.maximum(by_token.max(axis=(1, 2)), 1e-9)
    levels = np.round(255 * np.sqrt(by_token / most[:, None, None])).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode(), rounded(most)


def rounded(values: np.ndarray) -> list[float]:
    """To seven places, and never nothing: they are divided by."""
    return [max(round(float(value), 7), 1e-7) for value in values]


def told(excerpt: Excerpt, maps: AttentionMaps, number: int) -> str:
    """A token in a line."""
    parts = [
        f"Token {number + 1} of {len(maps.tokens)}, {maps.tokens[number]}",
        f"peak at {excerpt.begin + maps.peaks[number]:.2f} s",
        f"probability {maps.probabilities[number]:.3f}",
    ]
    if maps.gates is not None:
        parts.append(f"gate {maps.gates[:, number].mean():.2f}")
    for kind, weights in (("primary", maps.primary), ("secondary", maps.secondary)):
        share = maps.share_on_noise(weights)
        if share is not None:
            name = "attention" if maps.secondary is None else kind
            parts.append(f"{name} on noise {100 * share[number]:.0f} %")
    return "; ".join(parts)
