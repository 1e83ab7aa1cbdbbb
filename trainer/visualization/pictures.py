"""Attention maps as PNG pictures, drawn with matplotlib and without a display; knows no model and no file.

Every picture is 1200 pixels wide. Time runs to the right in seconds of the recording, tokens run down.
"""

import io
import textwrap
import warnings
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from .attention_maps import DOMINATED, FRAME_SECONDS, AttentionMaps, HeardRecording

WIDTH, DOTS = 12.0, 100  # inches, dots per inch
TOKEN_INCHES = 0.165  # of a row whose name is shown
LOWEST, HIGHEST = 1.6, 12.0  # inches of a panel
ALL_LAYERS_INCHES = 70.0  # of the picture of every layer
LONGEST_NAME = 18
LONGEST_LINE = 110  # letters of a line of the title
BAR_ASPECT = 18  # height over width of a colour bar, for each inch of its panel
MOST_WRITTEN_GATES = 600  # cells whose value is written into them
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 10}  # of a panel
COLORS = {"primary": "#0072b2", "secondary": "#d55e00"}
NOISE = "#7a3b16"
MAPS = {"primary": "Blues", "secondary": "Oranges"}
GATE_MAP = LinearSegmentedColormap.from_list("gate", [COLORS["secondary"], "#f7f7f7", COLORS["primary"]])
# For scripts that matplotlib's own font lacks; used if they are installed.
FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Noto Sans Devanagari", "Noto Sans Thai")


class TokenAxis:
    """Token names along an axis: only some if rows are too low, and a number for a name whose letters no font has."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        known = {font.name: font.fname for font in font_manager.fontManager.ttflist}
        self.fonts = [name for name in FONTS if name in known]
        drawable = {code for name in self.fonts for code in font_manager.get_font(known[name]).get_charmap()}
        self.names = [
            short(name) if all(ord(letter) in drawable for letter in name) else f"#{number}"
            for number, name in enumerate(tokens, 1)
        ]

    def label(self, axes: Axes, inches: float) -> None:
        step = max(1, round(0.12 * len(self.names) / inches + 0.49))
        places = range(0, len(self.names), step)
        axes.set_yticks(list(places), [self.names[place] for place in places])
        for text in axes.get_yticklabels():
            text.set(fontsize=8 if step == 1 and inches / len(self.names) > 0.15 else 6.5, fontfamily=self.fonts)
            text.set_parse_math(False)  # a $ begins no formula


def short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def headline(title: str) -> str:
    """The title in lines that fit the picture; the middle of a very long one is left out."""
    if len(title) > 2 * LONGEST_LINE:
        title = f"{title[: LONGEST_LINE - 2]} … {title[-LONGEST_LINE + 2 :]}"
    return "\n".join(textwrap.wrap(title, LONGEST_LINE))


def panel_inches(tokens: int) -> float:
    return min(max(TOKEN_INCHES * tokens, LOWEST), HIGHEST)


def overview(maps: AttentionMaps, title: str) -> bytes:
    """For each recording its log-mel features, its noise, and the attentions to it as means over the layers.

    Beside them the gates, or the share of the first recording where one attention reads both, and what falls on noise.
    """
    height, count = panel_inches(len(maps.tokens)), len(maps.recordings)
    kinds = [[kind for kind in maps.attentions if maps.number_of(kind) == number] for number in range(count)]
    heights = []
    for recording, readers in zip(maps.recordings, kinds, strict=True):
        heights += [1.5, *([0.7] if recording.noise is not None else []), *(height for _ in readers)]
    axis_titles = 0.3 * (count - 1)
    inches = sum(heights) + 0.55 * len(heights) + 0.6 + axis_titles
    figure = Figure(figsize=(WIDTH, inches), dpi=DOTS, layout="constrained")
    figure.suptitle(headline(title), fontsize=11).set_parse_math(False)
    mix, scale = maps.gates is not None or maps.is_joined, maps.full_scale()
    beside = mix or bool(maps.shares_on_noise)
    wide = min(0.55 + 0.03 * len(maps.layers), 0.9)
    grid = figure.add_gridspec(
        len(heights), 2 if beside else 1, height_ratios=heights, width_ratios=[3, wide][: 1 + beside]
    )
    names, row = TokenAxis(maps.tokens), 0
    for number, recording in enumerate(maps.recordings):
        first = figure.add_subplot(grid[row, 0])
        draw_features(first, recording, maps.place(number))
        over_time = [first]
        if recording.noise is not None:
            over_time.append(figure.add_subplot(grid[row + 1, 0], sharex=first))
            draw_noise(over_time[-1], recording)
        for kind in kinds[number]:
            place = row + len(over_time)
            axes = figure.add_subplot(grid[place, 0], sharex=first)
            over_time.append(axes)
            image = draw_attention(axes, maps.shown(kind).mean(0), recording, kind, scale[kind])
            names.label(axes, height)
            axes.set_title(f"{capital(maps.title(kind))}, mean over heads and {described_layers(maps)}", **TITLE)
            color_bar(figure, image, axes, height)
            if kind == kinds[number][0]:
                times = recording.excerpt.begin + maps.peaks(number)
                axes.plot(times, range(len(maps.tokens)), ".", color="#111", markersize=3.5, label="peak")
                axes.legend(loc="upper right", fontsize=7.5, framealpha=0.8, handlelength=0.8)
            if mix and kind == "primary":
                draw_mix(figure, figure.add_subplot(grid[place, 1], sharey=axes), maps)
            elif maps.shares_on_noise and kind == list(maps.attentions)[-1]:
                draw_shares(figure.add_subplot(grid[place, 1], sharey=axes), maps)
        for axes in over_time[:-1]:
            axes.tick_params(labelbottom=False)
        over_time[-1].set_xlabel(time_label(maps, number))
        row += len(over_time)
    return written(figure)


def every_layer(maps: AttentionMaps, title: str) -> bytes:
    """The attentions of each layer side by side."""
    count, columns = len(maps.layers), len(maps.attentions)
    height = max(min(panel_inches(len(maps.tokens)), ALL_LAYERS_INCHES / count), LOWEST)
    figure = Figure(figsize=(WIDTH, count * (height + 0.5) + 0.9), dpi=DOTS, layout="constrained")
    figure.suptitle(headline(title), fontsize=11).set_parse_math(False)
    grid = figure.subplots(count, columns, squeeze=False, sharex="col", sharey=True)
    names = TokenAxis(maps.tokens)
    for row, layer in enumerate(maps.layers):
        scale = maps.full_scale(row)
        for column, kind in enumerate(maps.attentions):
            axes, number = grid[row, column], maps.number_of(kind)
            image = draw_attention(axes, maps.shown(kind)[row], maps.recordings[number], kind, scale[kind])
            axes.set_title(f"Layer {layer}{layer_part(maps, row, kind)}", loc="left", fontsize=9.5)
            color_bar(figure, image, axes, height)
            axes.tick_params(labelbottom=True)
            if row == count - 1:
                axes.set_xlabel(time_label(maps, number))
        names.label(grid[row, 0], height)
    return written(figure)


def layer_part(maps: AttentionMaps, row: int, kind: str) -> str:
    """What follows the layer's number in the title of a panel: which attention, and its mean gate or share."""
    if maps.first_shares is not None:
        share = float(maps.first_shares[row].mean())
        share = 1 - share if kind == "secondary" else share
        return f", {maps.place(maps.number_of(kind))} ({100 * share:.0f} % of the attention)"
    if len(maps.attentions) == 1:
        return ""
    place = maps.place(maps.number_of(kind))
    named = f", {kind}, {place}" if place else f", {kind}"
    if kind == "secondary" and maps.gates is not None:
        named += f" (mean gate {maps.gates[row].mean():.2f})"
    return named


def features_picture(recording: HeardRecording) -> bytes:
    """The log-mel features without axes; the page draws its own over them."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, recording.features[:, : 2 * recording.shown_frames], cmap="magma", origin="lower", format="png")
    return file.getvalue()


def capital(text: str) -> str:
    """The text with a capital at its start, and the rest as it is."""
    return text[:1].upper() + text[1:]


def time_label(maps: AttentionMaps, number: int) -> str:
    return f"time in the {maps.place(number) or 'recording'}, seconds"


def described_layers(maps: AttentionMaps) -> str:
    if len(maps.layers) == 1:
        return f"layer {maps.layers[0]} alone"
    return f"{len(maps.layers)} layers"


def extent(recording: HeardRecording, rows: int) -> tuple[float, float, float, float]:
    half, begin = FRAME_SECONDS / 2, recording.excerpt.begin
    return begin - half, begin + recording.shown_frames * FRAME_SECONDS - half, rows - 0.5, -0.5


def draw_features(axes: Axes, recording: HeardRecording, place: str) -> None:
    shown = recording.features[:, : 2 * recording.shown_frames]
    left, right, _, _ = extent(recording, 1)
    axes.imshow(shown, cmap="magma", origin="lower", aspect="auto", extent=(left, right, 0, len(shown)))
    axes.set_ylabel("mel bin")
    axes.set_title(f"Log-mel features, what the encoder hears{' of the ' if place else ''}{place}", **TITLE)


def draw_noise(axes: Axes, recording: HeardRecording) -> None:
    assert recording.noise is not None
    noise = recording.noise[: recording.shown_frames]
    edges = recording.excerpt.begin + FRAME_SECONDS * (np.arange(len(noise) + 1) - 0.5)
    axes.stairs(noise, edges, fill=True, color=NOISE, alpha=0.35)
    axes.stairs(noise, edges, color=NOISE, linewidth=0.8)
    axes.axhline(DOMINATED, color="#555", linewidth=0.8, linestyle="--")
    axes.set(ylim=(0, 1), yticks=[0, 0.5, 1], ylabel="share")
    axes.set_title("Noise, share of each frame's energy (dashed: above it, noise dominates)", **TITLE)


def draw_attention(axes: Axes, shown: np.ndarray, recording: HeardRecording, kind: str, darkest: float) -> Any:
    """Weights [L, shown frames] as a heat map; darkness is the square root of a weight, so that small ones are visible.

    Args:
        darkest: the weight that is drawn darkest, see :meth:`AttentionMaps.full_scale`.
    """
    return axes.imshow(
        shown,
        cmap=MAPS[kind],
        norm=PowerNorm(0.5, 0.0, darkest, clip=True),
        aspect="auto",
        interpolation="nearest",
        extent=extent(recording, len(shown)),
    )


def color_bar(figure: Figure, image: Any, axes: Axes, inches: float) -> None:
    """A colour bar beside a panel, as high as the panel is in ``inches``."""
    aspect = BAR_ASPECT * inches
    bar = figure.colorbar(image, ax=axes, pad=0.01, fraction=0.025, aspect=aspect, extend="max", extendfrac=0.03)
    # Quarters of the bar's height: its scale is that of square roots.
    places = [image.norm.vmax * share**2 for share in (0, 0.25, 0.5, 0.75, 1)]
    bar.set_ticks(places, labels=[f"{place:.2g}" for place in places])
    bar.set_label("share in 20 ms", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)


def draw_mix(figure: Figure, axes: Axes, maps: AttentionMaps) -> None:
    """Gates, or how much of one attention falls on the first recording."""
    mix = maps.first_shares if maps.gates is None else maps.gates
    assert mix is not None
    gates = mix.T
    image = axes.imshow(gates, cmap=GATE_MAP, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    step = -(-len(maps.layers) // 10)
    axes.set_xticks(range(0, len(maps.layers), step), [str(layer) for layer in maps.layers[::step]], fontsize=8)
    axes.tick_params(labelleft=False)
    axes.set_xlabel("layer")
    axes.set_title("Gate (1: primary)" if maps.first_shares is None else "Share of the first", **TITLE)
    if gates.size <= MOST_WRITTEN_GATES and len(maps.layers) <= 8 and len(gates) * TOKEN_INCHES <= HIGHEST:
        for (row, column), gate in np.ndenumerate(gates):
            color = "white" if abs(gate - 0.5) > 0.32 else "#222"
            axes.text(column, row, f"{gate:.2f}", ha="center", va="center", fontsize=6.5, color=color)
    bar = figure.colorbar(image, ax=axes, pad=0.03, fraction=0.06, aspect=BAR_ASPECT * panel_inches(len(gates)))
    bar.ax.tick_params(labelsize=7)


def draw_shares(axes: Axes, maps: AttentionMaps) -> None:
    """How much of each token's attention falls on frames that noise dominates."""
    drawn = maps.shares_on_noise
    thick = 0.8 / len(drawn)
    for number, (kind, share) in enumerate(drawn.items()):
        places = np.arange(len(share)) + thick * (number - (len(drawn) - 1) / 2)
        axes.barh(places, share, thick, color=COLORS[kind])
    axes.tick_params(labelleft=False)
    axes.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    named = "first, orange second recording" if maps.is_joined else "primary, orange secondary"
    colors = "" if len(drawn) == 1 else f"\n(blue {named})"
    axes.set_xlabel(f"share on frames that\nnoise dominates{colors}", fontsize=8.5)
    axes.set_title("Attention on noise", **TITLE)


def written(figure: Figure) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a file's name; drawn as boxes
        figure.savefig(file, format="png")
    return file.getvalue()
