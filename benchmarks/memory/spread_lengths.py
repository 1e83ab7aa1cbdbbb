"""Synthetic batches whose recordings differ in length, as those of a stream do."""

import torch

from data.batches.loader import BatchGroup
from data.utterance import AudioBatch, SecondRecordings


def spread_group(group: BatchGroup, least: float, seed: int = 0) -> BatchGroup:
    """A synthetic group in which recordings last between ``least`` and all of the length, the first as long as before.

    Second recordings get lengths of their own; the first ones' do not depend on whether there are any.
    """
    generator = torch.Generator().manual_seed(seed)
    for batch in filter(None, group.batches):
        for recordings in (batch, batch.second):
            if recordings is not None:
                spread(recordings, least, generator)
    return group


def spread(recordings: AudioBatch | SecondRecordings, least: float, generator: torch.Generator) -> None:
    """Shorten recordings in place; what is beyond the new end is silent."""
    lengths, audio = recordings.audio_lengths, recordings.audio
    shares = least + (1 - least) * torch.rand(len(lengths), generator=generator)
    shares[0] = 1.0
    lengths.copy_((shares * int(lengths.max())).long())
    audio.masked_fill_(torch.arange(audio.shape[1])[None] >= lengths[:, None], 0.0)
