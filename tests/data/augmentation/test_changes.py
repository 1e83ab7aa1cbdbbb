"""The table of changes: found by itself, in the order of their places, each with random numbers of its own."""

import numpy as np

from data.augmentation.augmenter import MASKS_STREAM
from data.augmentation.config import CHANGES, AugmentationConfig, SpecAugmentConfig

# A change's stream is for good: with another number every clip of a resumed run would be drawn anew.
STREAMS = {"Speed": 0, "Reverberation": 1, "Overlay": 2, "Channel": 3, "Gain": 4}


def test_changes_have_places_and_streams_of_their_own() -> None:
    assert [kind.__name__ for kind in CHANGES if kind.__name__ in STREAMS] == list(STREAMS)
    assert {kind.__name__: kind.stream for kind in CHANGES}.items() >= STREAMS.items() and MASKS_STREAM == 5
    streams = [kind.stream for kind in CHANGES] + [MASKS_STREAM]
    assert len(set(streams)) == len(streams)
    assert len({kind.place for kind in CHANGES}) == len(CHANGES) and CHANGES[-1].__name__ == "Gain"  # which limits


def test_a_streams_numbers_are_those_of_numpys_spawned_generators() -> None:
    entropy = 7, 3, 0, 2**63 + 5
    for stream, spawned in enumerate(np.random.default_rng(entropy).spawn(6)):
        own = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(stream,)))
        assert own.integers(2**63) == spawned.integers(2**63)


def test_every_key_is_described_and_stands_in_one_change() -> None:
    own = [key for kind in CHANGES for key in kind.fields.model_fields]
    assert len(set(own)) == len(own)
    assert list(AugmentationConfig.model_fields) == [*own, "spec_augment"]
    for section in (AugmentationConfig, SpecAugmentConfig):
        assert all(field.description for field in section.model_fields.values())
    for kind in CHANGES:
        for share, keys in kind.of_shares.items():
            assert {share, *keys} <= set(kind.fields.model_fields)
