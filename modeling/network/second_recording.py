"""A second recording of a clip: one encoder hears both, side by side in the batch, and the decoder reads both.

The encoder's batch has B clips, and after them the second recordings of some of these clips.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .attention import additive


class Heard(NamedTuple):
    """What cross-attentions read, one row for each clip.

    Attributes:
        states: of the one or the first attention, [B, S, width]; S counts the frames of both recordings where they are
            joined.
        lengths: int64 [B], frames of each that may be read; None where all may.
        second_states, second_lengths: likewise, of the second attention; None where it reads what the first one reads.
    """

    states: torch.Tensor
    lengths: torch.Tensor | None
    second_states: torch.Tensor | None = None
    second_lengths: torch.Tensor | None = None


def uploaded(values: Sequence[int], device: torch.device) -> torch.Tensor:
    """Numbers as an int64 tensor. On a GPU the host does not wait, as it would for memory that is not page-locked."""
    return torch.tensor(values, pin_memory=device.type == "cuda").to(device, non_blocking=True)


def unstacked(features: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """Features of both recordings, one below the other on the axis of mel bins, as rows of a batch.

    So they pass through ``generate()``, which cuts long recordings into windows and repeats rows for beams.

    Args:
        features: [B, 2 · mel bins, T]. A clip has no second recording where each frame of the second half has one
            value in all mel bins, as padding has, which ``generate()`` adds at the end.

    Returns:
        Features [B + R, mel bins, T], and the clips that the last R rows are second recordings of.
    """
    first, second = features.chunk(2, dim=1)
    is_there = (second.amax(dim=1) > second.amin(dim=1)).any(dim=1)
    rows = [row for row, there in enumerate(is_there.tolist()) if there]
    return torch.cat((first, second[rows])), rows


def heard_by_attentions(
    hidden: torch.Tensor, lengths: torch.Tensor | None, frames: Sequence[int] | None, rows: Sequence[int]
) -> Heard:
    """What the first and the second attention read: each its recording. A clip without a second one is read by both.

    Args:
        hidden: the encoder's states [B + R, S, width].
        lengths, frames: of each row the frames that may be read, on the device and on the host; None for all.
        rows: the clips that the last R rows are second recordings of.
    """
    clips = len(hidden) - len(rows)
    if list(rows) == list(range(clips)):  # each has one: no copies
        seconds = hidden[clips:]
        second_lengths = None if lengths is None else lengths[clips:]
    else:
        sources = list(range(clips))
        for place, clip in enumerate(rows):
            sources[clip] = clips + place
        index = uploaded(sources, hidden.device)
        seconds = hidden.index_select(0, index)
        second_lengths = None if lengths is None else lengths.index_select(0, index)
    return Heard(hidden[:clips], None if lengths is None else lengths[:clips], seconds, second_lengths)


def joined(
    hidden: torch.Tensor, lengths: torch.Tensor | None, frames: Sequence[int] | None, rows: Sequence[int]
) -> Heard:
    """What one attention reads: the frames of a clip and after them those of its second recording, padding left out.

    Takes what :func:`heard_by_attentions` takes.
    """
    clips, length = len(hidden) - len(rows), hidden.shape[1]
    if frames is None and list(rows) == list(range(clips)):
        return Heard(torch.cat((hidden[:clips], hidden[clips:]), dim=1), None)
    own = [length] * len(hidden) if frames is None else list(frames)
    pieces = [[torch.arange(clip * length, clip * length + own[clip])] for clip in range(clips)]
    for place, clip in enumerate(rows):
        begin = (clips + place) * length
        pieces[clip].append(torch.arange(begin, begin + own[clips + place]))
    places = [torch.cat(parts) for parts in pieces]
    sizes = [len(one) for one in places]
    # Padding repeats a clip's own first frame: no row of another clip gets its gradient, which is zero.
    index = torch.stack([torch.cat((one, one[:1].expand(max(sizes) - len(one)))) for one in places])
    index = (index.pin_memory() if hidden.is_cuda else index).to(hidden.device, non_blocking=True)
    states = hidden.flatten(0, 1).index_select(0, index.flatten()).view(clips, max(sizes), -1)
    return Heard(states, uploaded(sizes, hidden.device) if min(sizes) < max(sizes) else None)


HEARD = {"attention": heard_by_attentions, "joined": joined}  # by the configuration's second_recording


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
