"""A step's batch as microbatches: the same utterances in the same order, padded no further than they need."""

from dataclasses import replace

import torch

from data.batches.labels import IGNORED
from data.batches.loader import BatchGroup
from data.utterance import AudioBatch, SecondRecordings
from trainer.step.splitting import split_group


def batch(rows: int, second: SecondRecordings | None = None) -> AudioBatch:
    """Row *r* has *r* + 3 labels, the first two without a loss."""
    labels = torch.full((rows, rows + 2), IGNORED)
    for row in range(rows):
        labels[row, 2 : row + 3] = row
    return AudioBatch(
        audio=torch.arange(rows)[:, None].repeat(1, 5).float(),
        audio_lengths=torch.arange(rows) + 1,
        noise=(torch.arange(rows) % 2)[:, None].repeat(1, 5).float(),
        decoder_input_ids=torch.arange(rows)[:, None].repeat(1, rows + 2),
        labels=labels,
        ids=[str(row) for row in range(rows)],
        texts=[""] * rows,
        languages=[None] * rows,
        seeds=torch.arange(rows),
        second=second,
    )


def test_rows_stay_together_and_in_order() -> None:
    group = BatchGroup([batch(7)], False, rows=9, state={"turn": 3})
    parts = split_group(group, 3)
    assert [one.ids for one in parts.batches if one] == [["0", "1"], ["2", "3"], ["4", "5", "6"]]
    assert (parts.rows, parts.state, parts.target_tokens) == (9, {"turn": 3}, group.target_tokens)
    assert parts.noisy_tokens == group.noisy_tokens
    for part in filter(None, parts.batches):
        rows = [int(one) for one in part.ids]
        assert part.audio[:, 0].tolist() == part.seeds.tolist() == rows  # type: ignore[union-attr]
        assert part.audio_lengths.tolist() == [row + 1 for row in rows]
        assert part.labels is not None and part.decoder_input_ids is not None and part.noise is not None
        assert part.labels.shape == part.decoder_input_ids.shape == (len(rows), rows[-1] + 3)
        assert part.noise.shape == part.audio.shape
        anew = replace(part)  # which searches
        assert part.target_positions is not None and torch.equal(part.target_positions, anew.target_positions)
        assert torch.equal(part.noisy_targets, anew.noisy_targets)


def test_second_recordings_stay_with_their_rows() -> None:
    samples = torch.arange(4)[:, None].repeat(1, 6).float()
    second = SecondRecordings([0, 1, 4, 6], samples, torch.arange(4) + 1, samples % 2)
    whole = batch(7, second)
    parts = [one for one in split_group(BatchGroup([whole], False), 3).batches if one]
    found = [(part.second.rows, part.second.audio[:, 0].tolist()) for part in parts if part.second]
    assert found == [([0, 1], [0, 1]), ([0, 2], [2, 3])]
    assert parts[1].second is None
    for part in parts:
        assert torch.equal(part.noisy_targets, replace(part).noisy_targets)  # which searches
    assert sum(len(part.noisy_targets) for part in parts) == len(whole.noisy_targets)


def test_fewer_rows_than_parts_leave_the_rest_empty() -> None:
    parts = split_group(BatchGroup([batch(2)], False), 4)
    assert [one.ids if one else None for one in parts.batches] == [["0"], ["1"], None, None]
    assert split_group(BatchGroup([None], True), 2).batches == [None, None]


def test_one_part_is_the_batch_itself() -> None:
    group = BatchGroup([batch(3)], False)
    assert split_group(group, 1) is group
