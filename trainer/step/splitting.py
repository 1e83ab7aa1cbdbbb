"""A batch of a whole step's utterances as microbatches: rows in their order, which is that of their length."""

import itertools
from dataclasses import replace

import torch

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

    def of(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor[rows]

    def cut(tokens: torch.Tensor | None) -> torch.Tensor | None:
        if tokens is None:
            return None
        own = tokens[rows, :length].contiguous()
        return own.pin_memory() if tokens.is_pinned() else own

    used = [] if batch.labels is None else (batch.labels[rows] != IGNORED).any(dim=0).nonzero().squeeze(1).tolist()
    length = used[-1] + 1 if used else None
    return replace(
        batch,
        audio=batch.audio[rows],
        audio_lengths=batch.audio_lengths[rows],
        noise=of(batch.noise),
        decoder_input_ids=cut(batch.decoder_input_ids),
        labels=cut(batch.labels),
        ids=batch.ids[rows],
        texts=batch.texts[rows],
        languages=batch.languages[rows],
        seeds=of(batch.seeds),
    )
