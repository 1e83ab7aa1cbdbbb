"""A batch of a whole step's utterances as microbatches: rows in their order, which is that of their length."""

import itertools
from dataclasses import replace

from data.batches.labels import IGNORED
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

    Padding of audio stays, since features are cut to the longest clip anyway.
    """
    rows = slice(first, end)
    tensors = {
        name: None if (value := getattr(batch, name)) is None else value[rows]
        for name in ("audio", "audio_lengths", "noise", "decoder_input_ids", "labels", "seeds")
    }
    labels, inputs = tensors["labels"], tensors["decoder_input_ids"]
    if labels is not None and inputs is not None:
        used = (labels != IGNORED).any(dim=0).nonzero()
        length = int(used[-1]) + 1 if len(used) else labels.shape[1]
        tensors |= {"labels": labels[:, :length].contiguous(), "decoder_input_ids": inputs[:, :length].contiguous()}
        if labels.is_pinned():
            tensors |= {name: tensors[name].pin_memory() for name in ("labels", "decoder_input_ids")}
    lists = {name: getattr(batch, name)[rows] for name in ("ids", "texts", "languages")}
    return AudioBatch(**tensors, **lists)
