"""A recording's attention maps as one HTML file with sound, pictures and numbers, laid out by ``page.html.j2``.

The page lets its own script run alone, known by its digest; what comes from a recording cannot run.
"""

import base64
import datetime
import hashlib
import io
from typing import Any

import numpy as np
import soundfile
from markupsafe import Markup

from data.utterance import SAMPLING_RATE

from ..pages.charts import Axis
from ..pages.page import rendered, source
from .attention_maps import DOMINATED, FRAME_SECONDS, AttentionMaps, peak_weights
from .excerpt import Excerpt
from .figures import notes, tiles, token_table, told


def attention_page(
    excerpt: Excerpt, maps: AttentionMaps, pictures: dict[str, bytes], command: str, date: datetime.date
) -> str:
    """The content of attention.html.

    Args:
        pictures: PNG files: ``features`` without axes, ``overview``, ``layers``.
        command: the command that made the page.
    """
    script = source("trainer/visualization/page.js")
    axis = Axis(excerpt.begin - FRAME_SECONDS / 2, excerpt.begin + (maps.shown_frames - 0.5) * FRAME_SECONDS)
    return rendered(
        "trainer/visualization/page.html.j2",
        maps=maps,
        name=excerpt.name,
        date=date.isoformat(),
        tiles=tiles(maps),
        notes=notes(excerpt, maps),
        sound=data_address(wave(excerpt.audio), "audio/wav"),
        pictures={name: data_address(png, "image/png") for name, png in pictures.items()},
        kinds={kind: maps.called(kind) for kind in maps.attentions},
        noise=[] if maps.noise is None else maps.noise[: maps.shown_frames].tolist(),
        ticks=[(axis.place(tick), f"{tick:g}") for tick in axis.ticks(12)],
        tokens=token_table(excerpt, maps),
        dominated=DOMINATED,
        command=command,
        data=script_data(excerpt, maps),
        script=script,
        digest="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def data_address(content: bytes, kind: str) -> Markup:
    """A data: address with the file's content."""
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def wave(audio: np.ndarray) -> bytes:
    """A WAV file of 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def script_data(excerpt: Excerpt, maps: AttentionMaps) -> dict[str, Any]:
    """The data of the page's script. Weights are stored as bytes [token, layer, frame] that hold square roots."""
    found: dict[str, Any] = {
        "frames": maps.shown_frames,
        "frame": FRAME_SECONDS,
        "layers": list(maps.layers),
        "peaks": [round(float(peak), 3) for peak in maps.peaks],
        "told": [told(excerpt, maps, number) for number in range(len(maps.tokens))],
    }
    tops = []
    for kind, weights in maps.attentions.items():
        shown = weights[:, :, : maps.shown_frames]
        found[kind], found[f"{kind}_most"] = quantized(shown)
        # The full scale of the lines and of the strips, as in the pictures.
        tops.append(peak_weights(shown.mean(0)))
        found[f"{kind}_strip"] = rounded(np.max([peak_weights(layer) for layer in shown], axis=0))
    found["top"] = rounded(np.max(tops, axis=0))
    if maps.gates is not None:
        found["gates"] = np.round(maps.gates.T.astype(float), 3).tolist()
    return found


def quantized(weights: np.ndarray) -> tuple[str, list[float]]:
    """Weights [layers, L, S] as base64 of bytes [L, layers, S], and the weight that 255 stands for, by token."""
    by_token = weights.transpose(1, 0, 2)
    most = np.maximum(by_token.max(axis=(1, 2)), 1e-9)
    levels = np.round(255 * np.sqrt(by_token / most[:, None, None])).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode(), rounded(most)


def rounded(values: np.ndarray) -> list[float]:
    """Rounded to seven places and at least 1e-7, because the script divides by them."""
    return [max(round(float(value), 7), 1e-7) for value in values]
