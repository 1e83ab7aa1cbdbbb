"""Objects between processes: the same object arrives, and it is noticed when the other end is gone."""

import os

import pytest
import torch

from data.batches.passing import ALIGNMENT, IS_POSSIBLE, connected, receive, send
from data.utterance import AudioBatch

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="Linux only")


def test_an_object_with_tensors_arrives_as_it_was() -> None:
    ours, theirs = connected()
    audio = torch.randn(3, 1001)
    batch = AudioBatch(
        audio=audio,
        audio_lengths=torch.tensor([1001, 7, 0]),
        noise=None,
        decoder_input_ids=torch.empty(3, 0, dtype=torch.int64),
        labels=torch.arange(6).view(2, 3).T,  # not contiguous
        ids=["a", "b", "ç"],
        texts=["x" * 300_000, "", "z"],  # more than a socket holds
        languages=["az", None, None],
    )
    sent = {"batch": batch, "flags": torch.tensor([True, False]), "scalar": torch.tensor(2.5), "rest": [1, None]}
    with ours, theirs:
        send(ours, sent)
        got, handles = receive(theirs)
    assert handles == [] and got["rest"] == [1, None]
    assert torch.equal(got["flags"], sent["flags"]) and torch.equal(got["scalar"], sent["scalar"])
    for name, value in vars(batch).items():
        arrived = getattr(got["batch"], name)
        if isinstance(value, torch.Tensor):
            assert arrived.dtype == value.dtype and torch.equal(arrived, value)
            assert arrived.is_contiguous() and (not value.numel() or arrived.data_ptr() % ALIGNMENT == 0)
        else:
            assert arrived == value
    got["batch"].audio.zero_()
    assert audio.any(), "a copy"


def test_descriptors_are_handed_over_and_none_is_left_open() -> None:
    ours, theirs = connected()
    before = len(os.listdir("/proc/self/fd"))
    with ours, theirs:
        reading, writing = os.pipe()
        send(ours, "here", [writing])
        os.close(writing)
        value, (handle,) = receive(theirs)
        os.write(handle, b"x")
        assert value == "here" and os.read(reading, 1) == b"x"
        os.close(handle)
        os.close(reading)
        assert len(os.listdir("/proc/self/fd")) == before


def test_an_end_that_is_gone_is_noticed() -> None:
    ours, theirs = connected()
    ours.close()
    with theirs, pytest.raises(EOFError):
        receive(theirs)
    with pytest.raises(EOFError):
        receive(theirs)  # closed by another thread of this process
