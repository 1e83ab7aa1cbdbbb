"""The ``data.augmentation`` section, put together from the fields of every kind of change in ``changes/``."""

import importlib
import pkgutil
from typing import Any

from pydantic import Field, model_validator

from ..sources.config import Section
from ..utterance import SecondKind
from . import changes
from .change import Change
from .fields import NoiseSourceConfig


def found_changes() -> tuple[type[Change[Any]], ...]:
    """The kinds of change that the modules of ``changes/`` define, in the order in which they are applied."""
    for module in pkgutil.iter_modules(changes.__path__):
        importlib.import_module(f"{changes.__name__}.{module.name}")
    return tuple(sorted(Change.__subclasses__(), key=lambda kind: kind.place))


CHANGES = found_changes()


class SpecAugmentConfig(Section):
    """Masks over the log-mel features of training clips (Park et al., arXiv 1904.08779); its defaults are its LD policy
    for clips of 10 s or more."""

    share: float = Field(1.0, ge=0, le=1, description="probability that an utterance is masked")
    time_masks: int = Field(2, ge=0, le=20, description="how many stretches of time are masked")
    time_frames: int = Field(100, ge=0, le=3000, description="the widest of them, in frames of 10 ms")
    time_share: float = Field(0.2, ge=0, le=1, description="of an utterance's own frames, at most, under one of them")
    frequency_masks: int = Field(2, ge=0, le=20, description="how many bands of frequency are masked")
    frequency_bins: int = Field(27, ge=0, le=128, description="the widest of them, in mel bins, of 80 or 128")


class AugmentationConfig(*(kind.fields for kind in reversed(CHANGES))):  # type: ignore[misc]
    """What training clips are changed by, drawn anew for each utterance in each epoch; see docs/augmentation.md.

    A ``share`` is the probability that an utterance is changed so, a ratio the power of speech over that of what is
    laid over it, in decibels, drawn evenly between two numbers. Changes are applied in the order of this table.
    """

    spec_augment: SpecAugmentConfig | None = Field(None, description="masks over the features of a clip")

    @model_validator(mode="after")
    def nothing_for_a_share_of_0(self) -> "AugmentationConfig":
        """A run's own config.yaml names every key, so a value equal to the default is no error."""
        for share, keys in self.of_shares().items():
            for key in keys if not getattr(self, share) else ():
                given = getattr(self, key)
                if key in self.model_fields_set and given != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is given, but {share} is 0: set it, or take {key} out")
        return self

    @staticmethod
    def of_shares() -> dict[str, tuple[str, ...]]:
        """Keys that mean nothing while a share is 0, by that share."""
        return {share: keys for kind in CHANGES for share, keys in kind.of_shares.items()}

    def kind_of(self, second: SecondKind) -> SecondKind:
        """What a second recording counts as: where recordings leak into each other, a microphone is another party's."""
        return "party" if second == "microphone" and self.leakage_share else second

    def keys_of_second(self) -> dict[str, tuple[SecondKind, ...]]:
        """Keys that are given and mean something for second recordings alone, and for which kinds of them."""
        keys = {key: kinds for kind in CHANGES for key, kinds in kind.of_second.items()}
        return {key: kinds for key, kinds in keys.items() if getattr(self, key) != type(self).model_fields[key].default}

    @property
    def knows_noise(self) -> bool:
        """Whether anything becomes a known part of the audio that is noise."""
        return any(kind.knows_noise(self) for kind in CHANGES)

    @property
    def only_adds_noise(self) -> bool:
        """Whether a clip without its noise is the recording, at another level at most; masks are no matter of it."""
        keys = [key for kind in CHANGES if not kind.only_adds for key in kind.fields.model_fields]
        return all(getattr(self, key) == type(self).model_fields[key].default for key in keys)

    @property
    def recordings(self) -> dict[str, NoiseSourceConfig]:
        """The sources of recordings that are drawn from, by their keys."""
        keys = [key for share, keys in self.of_shares().items() if getattr(self, share) for key in keys]
        return {key: found for key in keys if isinstance(found := getattr(self, key), NoiseSourceConfig)}
