"""A batch of a whole step's utterances as microbatches: rows in their order, which is that of their length."""

import copy
import itertools
from dataclasses import replace
from typing import Any

from data.batches.loader import BatchGroup
from data.utterance import AudioBatch


def split_group(group: BatchGroup, parts: int) -> BatchGroup:
    """The same group, each of its batches split into ``parts`` microbatches as even as they can be.

    A batch of fewer utterances than that gives None for the rest, as a rank without data does.
    """
    if parts == 1:
        return group
    batches: list[AudioBatch | None] = []
    for batch in group.batches:
        count = 0 if batch is None else len(batch.ids)
        bounds = [count * part // parts for part in range(parts + 1)]
        for first, end in sorted(itertools.pairwise(bounds), key=lambda rows: rows[0] == rows[1]):
            batches.append(None if batch is None or first == end else rows_of(batch, first, end))
    return replace(group, batches=batches)


def rows_of(batch: AudioBatch, first: int, end: int) -> AudioBatch:
    """Some utterances of a batch, their labels padded no further than they need; samples are shared with it.

    Padding of audio stays, since features are cut to the longest clip anyway. Targets are not searched again, which is
    done where a batch is made, in a thread that reads ahead. What is new is page-locked if the batch is.
    """
    rows = slice(first, end)
    own: dict[str, Any] = {
        name: None if value is None else value[rows]
        for name, value in vars(batch).items()
        if name not in ("second", "noisy_rows")
    }
    noisy_rows = batch.noisy_rows
    own["noisy_rows"] = noisy_rows[(noisy_rows >= first) & (noisy_rows < end)] - first
    own["second"] = None if batch.second is None else batch.second.part(first, end)
    if batch.labels is not None and batch.target_positions is not None:
        width = batch.labels.shape[1]
        targets, noisy = (
            positions[(positions >= first * width) & (positions < end * width)] - first * width
            for positions in (batch.target_positions, batch.noisy_targets)
        )
        length = int((targets % width).max()) + 1 if len(targets) else width
        new = {name: own[name][:, :length].contiguous() for name in ("decoder_input_ids", "labels")}
        new["target_positions"], new["noisy_targets"] = (
            positions // width * length + positions % width for positions in (targets, noisy)
        )
        pinned = batch.labels.is_pinned()
        own |= {name: tensor.pin_memory() if pinned else tensor for name, tensor in new.items()}
    part = copy.copy(batch)
    for name, value in own.items():
        object.__setattr__(part, name, value)
    return part
