"""A second recording of a clip: one encoder hears both, side by side in the batch, and the decoder reads both.

The encoder's batch has B clips, and after them the second recordings of some of these clips.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .attention import additive

EDGE_FRAMES = 4  # mel frames beyond the longest row, so that the convolutions see the same edge whoever is in the batch


class Heard(NamedTuple):
    """What cross-attentions read, one row for each clip.

    Attributes:
        states: of the one or the first attention, [B, S, width]; S counts the frames of both recordings where they are
            joined.
        lengths: int64 [B], frames of each that may be read; None where all may.
        second_states, second_lengths: likewise, of the second attention; None where it reads what the first one reads.
        joined_frames: int64 [B, 2], how many frames of the first and of the second recording ``states`` joins; None
            where it joins none.
    """

    states: torch.Tensor
    lengths: torch.Tensor | None
    second_states: torch.Tensor | None = None
    second_lengths: torch.Tensor | None = None
    joined_frames: torch.Tensor | None = None


def uploaded(values: Sequence[Any], device: torch.device) -> torch.Tensor:
    """Numbers as an int64 tensor. On a GPU the host does not wait, as it would for memory that is not page-locked."""
    return torch.tensor(values, pin_memory=device.type == "cuda").to(device, non_blocking=True)


def as_rows(features: torch.Tensor, second_rows: Sequence[int], config: Any) -> tuple[torch.Tensor, list[int]]:
    """Features with second recordings as rows of the batch, however they were given.

    Stacked features pass through ``generate()``, which cuts long recordings into windows and repeats rows for beams.

    Args:
        features: [B + R, mel bins, T], or stacked [B, 2 · mel bins, T] with the second recording's below the first's.
            There a clip has no second recording if each frame of the second half has one value in all mel bins, as
            padding has, which ``generate()`` adds at the end.
        second_rows: without stacked features, the clips that the last R rows are second recordings of.

    Returns:
        Features [B + R, mel bins, T], and the clips that the last R rows are second recordings of.

    Raises:
        ValueError: if the model hears one recording, or ``second_rows`` are not clips in ascending order.
    """
    rows = [int(row) for row in second_rows]
    is_stacked = features.shape[1] == 2 * config.num_mel_bins
    if (rows or is_stacked) and config.second_recording == "none":
        raise ValueError("the features have second recordings; this model, with second_recording: none, hears one")
    if rows and is_stacked:
        raise ValueError("the features are stacked, so second_rows are found in them: give one or the other")
    clips = len(features) - len(rows)
    if rows != sorted({*rows}.intersection(range(clips))):
        raise ValueError(f"second_rows {rows} must name some of the {clips} clips, each once and ascending")
    if is_stacked:
        features, second = features.chunk(2, dim=1)
        is_there = (second.amax(dim=1) > second.amin(dim=1)).any(dim=1)
        rows = [row for row, there in enumerate(is_there.tolist()) if there]
        features = torch.cat((features, second[rows]))
    return features, rows


class Behind(NamedTuple):
    """Clips that the encoder hears behind their second recordings, each pair as one recording.

    Attributes:
        features: [B, mel bins, T].
        lengths: mel frames of each row that may be seen, its second recording's and its own.
        begins, frames: where each clip begins in its row, and how long it is, in encoder frames.
    """

    features: torch.Tensor
    lengths: list[int]
    begins: list[int]
    frames: list[int]

    def heard(self, hidden: torch.Tensor) -> Heard:
        """What the decoder reads of the encoder's states [B, S, width]: the clips' own frames."""
        at = torch.arange(max(self.frames), device=hidden.device)
        begins = uploaded(self.begins, hidden.device)[:, None]
        index = (at + begins).clamp(max=hidden.shape[1] - 1)
        states = hidden.gather(1, index[:, :, None].expand(-1, -1, hidden.shape[2]))
        all_alike = min(self.frames) == max(self.frames)
        return Heard(states, None if all_alike else uploaded(self.frames, hidden.device))


def put_behind(features: torch.Tensor, lengths: Sequence[int], rows: Sequence[int], window: int) -> Behind:
    """Each clip behind its second recording, with the half second of silence between that every recording ends with.

    The end of a second recording is cut off where both are longer than the window.

    Args:
        features: [B + R, mel bins, T].
        lengths: mel frames of each row that may be seen, even numbers.
        rows: the clips that the last R rows are second recordings of.
        window: mel frames that the encoder takes at most.
    """
    clips = len(features) - len(rows)
    places = {clip: clips + place for place, clip in enumerate(rows)}
    begins = [min(lengths[places[clip]], window - lengths[clip]) if clip in places else 0 for clip in range(clips)]
    totals = [begin + lengths[clip] for clip, begin in enumerate(begins)]
    longest, length = min(max(totals) + EDGE_FRAMES, window), features.shape[2]
    owns = [min(lengths[clip] + EDGE_FRAMES, length, longest - begin) for clip, begin in enumerate(begins)]
    rows_of = [places.get(clip, clip) for clip in range(clips)]
    begin, own, row, other = uploaded([begins, owns, list(range(clips)), rows_of], features.device)[:, :, None].unbind()
    at = torch.arange(longest, device=features.device)
    # Of each frame in all recordings' frames; -1: silence.
    index = torch.where(at < begin + own, row * length + at - begin, -1)
    index = torch.where(at < begin, other * length + at, index)
    found = features.transpose(1, 2).flatten(0, 1).index_select(0, index.clamp(min=0).flatten())
    together = found.view(clips, longest, -1).transpose(1, 2)
    silence = (features[:clips].amax(dim=(1, 2)) - 8 / 4).clamp(min=(-10 + 4) / 4)
    together = torch.where(index[:, None] < 0, silence[:, None, None], together)
    frames = [length // 2 for length in lengths[:clips]]
    return Behind(together, totals, [begin // 2 for begin in begins], frames)


def heard_by_attentions(hidden: torch.Tensor, frames: Sequence[int] | None, rows: Sequence[int]) -> Heard:
    """What the first and the second attention read: each its recording. A clip without a second one is read by both.

    Args:
        hidden: the encoder's states [B + R, S, width].
        frames: of each row, how many may be read; None for all.
        rows: the clips that the last R rows are second recordings of.
    """
    clips, device = len(hidden) - len(rows), hidden.device
    sources = list(range(clips))
    for place, clip in enumerate(rows):
        sources[clip] = clips + place
    have_all = len(rows) == clips  # then no copy is made
    seconds = hidden[clips:] if have_all else hidden.index_select(0, uploaded(sources, device))
    if frames is None:
        return Heard(hidden[:clips], None, seconds)
    lengths = uploaded([frames[:clips], [frames[source] for source in sources]], device)
    return Heard(hidden[:clips], lengths[0], seconds, lengths[1])


def joined(hidden: torch.Tensor, frames: Sequence[int] | None, rows: Sequence[int]) -> Heard:
    """What one attention reads: the frames of a clip and after them those of its second recording, padding left out.

    Takes what :func:`heard_by_attentions` takes.
    """
    clips, length = len(hidden) - len(rows), hidden.shape[1]
    own = [length] * len(hidden) if frames is None else list(frames)
    parts = [[own[clip], 0] for clip in range(clips)]
    for place, clip in enumerate(rows):
        parts[clip][1] = own[clips + place]
    joined_frames = uploaded(parts, hidden.device)
    if frames is None and len(rows) == clips:
        return Heard(torch.cat((hidden[:clips], hidden[clips:]), dim=1), None, joined_frames=joined_frames)
    places = [torch.arange(clip * length, clip * length + own[clip]) for clip in range(clips)]
    for place, clip in enumerate(rows):
        begin = (clips + place) * length
        places[clip] = torch.cat((places[clip], torch.arange(begin, begin + own[clips + place])))
    sizes = [len(one) for one in places]
    # Padding repeats a clip's own first frame: no row of another clip gets its gradient, which is zero.
    index = torch.stack([torch.cat((one, one[:1].expand(max(sizes) - len(one)))) for one in places])
    index = (index.pin_memory() if hidden.is_cuda else index).to(hidden.device, non_blocking=True)
    states = hidden.flatten(0, 1).index_select(0, index.flatten()).view(clips, max(sizes), -1)
    lengths = joined_frames.sum(dim=1) if min(sizes) < max(sizes) else None
    return Heard(states, lengths, joined_frames=joined_frames)


HEARD = {"attention": heard_by_attentions, "joined": joined}  # by the configuration's second_recording


def apart(weights: torch.Tensor, joined_frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights on joined frames, on those of the first and on those of the second recording.

    Args:
        weights: [B, heads, L, S].
        joined_frames: int64 [B, 2], see :class:`Heard`.

    Returns:
        Twice [B, heads, L, S], from each recording's first frame on, 0 beyond its last.
    """
    first, second = joined_frames[:, None, None].unbind(-1)
    at = torch.arange(weights.shape[3], device=weights.device)
    shifted = (at + first[..., None]).clamp(max=weights.shape[3] - 1)
    of_second = weights.gather(3, shifted.expand_as(weights))
    return weights * (at < first[..., None]), of_second * (at < second[..., None])


class OtherRecording(NamedTuple):
    """For encoder layers that hear both: which row of the batch is the other recording of each row.

    Attributes:
        partners: int64 [B + R]; a clip without a second recording is its own, and sees nothing of it.
        mask: of the frames of each row and then of its partner, [B + R, 1, 1, 2 S], as
            :func:`~modeling.network.attention.attend` takes it; None where all may be seen.
    """

    partners: torch.Tensor
    mask: torch.Tensor | None

    @classmethod
    def of(
        cls, rows: Sequence[int], hidden: torch.Tensor, lengths: torch.Tensor | None, dtype: torch.dtype
    ) -> "OtherRecording":
        """Args:
        rows: the clips that the last R rows of ``hidden`` [B + R, S, width] are second recordings of.
        lengths: int64 [B + R], frames of each row that may be seen; None for all.
        dtype: the mask's.
        """
        clips, frames = len(hidden) - len(rows), hidden.shape[1]
        partners = list(range(clips)) + list(rows)
        for place, clip in enumerate(rows):
            partners[clip] = clips + place
        index = uploaded(partners, hidden.device)
        if lengths is None and len(rows) == clips:
            return cls(index, None)
        own = uploaded([frames] * len(hidden), hidden.device) if lengths is None else lengths
        alone = index == torch.arange(len(hidden), device=hidden.device)
        at = torch.arange(frames, device=hidden.device)
        allowed = torch.cat((at < own[:, None], at < own[index].masked_fill(alone, 0)[:, None]), dim=1)
        return cls(index, additive(allowed[:, None, None], dtype))

    def beside(self, states: torch.Tensor) -> torch.Tensor:
        """Keys or values [B + R, heads, S, head size], and after them those of the other recording: 2 S of them."""
        return torch.cat((states, states.index_select(0, self.partners)), dim=2)
