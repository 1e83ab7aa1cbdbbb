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
from .attention_maps import DOMINATED, FRAME_SECONDS, AttentionMaps
from .figures import notes, tiles, token_table, told


def attention_page(maps: AttentionMaps, pictures: dict[str, bytes], command: str, date: datetime.date) -> str:
    """The content of attention.html.

    Args:
        pictures: PNG files: ``overview``, ``layers``, and without axes ``features_0`` and, of a second recording,
            ``features_1``.
        command: the command that made the page.
    """
    script = source("trainer/visualization/page.js")
    addresses = {name: data_address(png, "image/png") for name, png in pictures.items()}
    return rendered(
        "trainer/visualization/page.html.j2",
        maps=maps,
        name=maps.recordings[0].excerpt.name,
        date=date.isoformat(),
        tiles=tiles(maps),
        notes=notes(maps),
        views=[view(maps, number, addresses[f"features_{number}"]) for number in range(len(maps.recordings))],
        pictures=addresses,
        kinds={kind: maps.title(kind) for kind in maps.attentions},
        tokens=token_table(maps),
        dominated=DOMINATED,
        command=command,
        data=script_data(maps),
        script=script,
        digest="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def view(maps: AttentionMaps, number: int, features: Markup) -> dict[str, Any]:
    """What the template shows of a recording."""
    recording = maps.recordings[number]
    begin, frames = recording.excerpt.begin, recording.shown_frames
    axis = Axis(begin - FRAME_SECONDS / 2, begin + (frames - 0.5) * FRAME_SECONDS)
    return {
        "place": maps.place(number),
        "name": recording.excerpt.name,
        "sound": data_address(wave(recording.excerpt.audio), "audio/wav"),
        "features": features,
        "frames": frames,
        "noise": [] if recording.noise is None else recording.noise[:frames].tolist(),
        "kinds": {kind: maps.called(kind) for kind in maps.attentions if maps.number_of(kind) == number},
        "ticks": [(axis.place(tick), f"{tick:g}") for tick in axis.ticks(12)],
    }


def data_address(content: bytes, kind: str) -> Markup:
    """A data: address with the file's content."""
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def wave(audio: np.ndarray) -> bytes:
    """A WAV file of 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def script_data(maps: AttentionMaps) -> dict[str, Any]:
    """The data of the page's script. Weights are stored as bytes [token, layer, frame] that hold square roots."""
    found: dict[str, Any] = {
        "frame": FRAME_SECONDS,
        "layers": list(maps.layers),
        "views": [
            {"frames": recording.shown_frames, "peaks": [round(float(peak), 3) for peak in maps.peaks(number)]}
            for number, recording in enumerate(maps.recordings)
        ],
        "told": [told(maps, number) for number in range(len(maps.tokens))],
    }
    tops, strips = [], {}
    for kind in maps.attentions:
        shown = maps.shown(kind)
        found[kind], most = quantized(shown)
        found[f"{kind}_most"], found[f"{kind}_view"] = most, maps.number_of(kind)
        # The full scale of the lines and of the strips, as in the pictures.
        tops.append(maps.peak_weights(shown.mean(0)))
        strips[kind] = np.max([maps.peak_weights(layer) for layer in shown], axis=0)
    if maps.is_joined:
        strips = dict.fromkeys(strips, np.max(list(strips.values()), axis=0))
    found |= {f"{kind}_strip": rounded(scale) for kind, scale in strips.items()}
    found["top"] = rounded(np.max(tops, axis=0))
    if maps.gates is not None:
        found["gates"] = np.round(maps.gates.T.astype(float), 3).tolist()
        found["gate_means"] = np.round(maps.gates.mean(1).astype(float), 4).tolist()
    if maps.first_shares is not None:
        found["first_shares"] = np.round(maps.first_shares.T.astype(float), 3).tolist()
        found["second_shares"] = np.round(1 - maps.first_shares.mean(1).astype(float), 4).tolist()
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
