"""Mixes noise into utterances; a mixture depends on the suite's seed, the kind of noise and the utterance's id alone.

So every checkpoint hears the same mixtures, with the same noise at every ratio, whatever the batch size and the ranks.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from data.audio.cutting import speech_region
from data.augmentation.noise_mixing import SILENT_POWER, added, fitted, mix, power
from data.batches.evaluation_rows import hash_of
from data.errors import DataError
from data.utterance import Utterance

from .conditions import CLEAN, NON_SPEECH, Condition
from .speech import Noises, Talker

ATTEMPTS = 8  # draws until a noise can be mixed; one cannot if it is silent during the speech or far louder elsewhere
COMMON_RATIO = 0.0  # at which noises are tried, so that all ratios get the same noise


@dataclass(frozen=True)
class Mixer:
    """Makes the mixtures of all conditions.

    Attributes:
        noises: for the kind ``noise``.
        talkers, speakers: for ``babble`` and ``competing``: who may be heard, and who speaks in each utterance; nobody
            is heard beside themselves, as long as there are enough others.
        babble_speakers: talkers of a babble.
    """

    seed: int
    noises: Noises | None
    talkers: list[Talker]
    speakers: dict[str, str]
    babble_speakers: int

    @cached_property
    def of_speakers(self) -> Counter[str]:
        """How many talkers' utterances each speaker has."""
        return Counter(one.speaker for one in self.talkers)

    def change_for(self, condition: Condition) -> Callable[[Utterance], Utterance] | None:
        """The change of each utterance before it is decoded under a condition; None for no change."""
        if condition.kind == NON_SPEECH:
            return None
        return lambda utterance: replace(self.mixed(utterance, condition), noise=None)  # only training needs it

    def mixed(self, utterance: Utterance, condition: Condition) -> Utterance:
        """The utterance in the condition's noise; a clean one is only checked, so that all conditions have the same.

        Raises:
            DataError: at every ratio, if the utterance is silent or no noise is found for it.
        """
        speech = utterance.audio
        begin, end = speech_region(speech) if len(speech) else (0, 0)
        if power(speech[begin:end]) < SILENT_POWER:
            raise DataError("the speech is silence, to which no ratio can be had")
        if condition.kind == CLEAN:
            return utterance
        assert condition.ratio is not None
        name = int.from_bytes(hash_of(utterance.id))
        generator = np.random.default_rng((self.seed, int.from_bytes(hash_of(condition.kind)), name))
        fault: DataError | None = None
        for _ in range(ATTEMPTS):
            noise = self.drawn(condition.kind, utterance, generator)
            try:
                mix(speech, noise, COMMON_RATIO)
            except DataError as error:
                fault = error
                continue
            mixture = mix(speech, noise, condition.ratio)
            return replace(utterance, audio=mixture.audio, noise=mixture.noise)
        raise DataError(f"{ATTEMPTS} draws of {condition.kind}, none of which can be mixed; the last: {fault}")

    def drawn(self, kind: str, utterance: Utterance, generator: np.random.Generator) -> np.ndarray:
        """A noise as long as the utterance, not yet scaled."""
        samples = len(utterance.audio)
        if kind == "noise":
            assert self.noises is not None
            return self.noises.excerpt(samples, generator)
        number = self.voices(kind)
        others = self.others_than(utterance.id, number)
        chosen = [others[index] for index in generator.permutation(len(others))[:number].tolist()]
        parts = [fitted(one.speech, samples, int(generator.integers(len(one.speech)))) for one in chosen]
        return added(parts)

    def others_than(self, name: str, number: int) -> list[Talker]:
        """Who may be heard beside an utterance: other speakers, or other utterances where those are too few."""
        speaker = self.speakers.get(name)
        others = [one for one in self.talkers if one.id != name]
        strangers = [one for one in others if not speaker or one.speaker != speaker]
        return strangers if len(strangers) >= number else others

    def voices(self, kind: str) -> int:
        """How many are heard beside an utterance."""
        return self.babble_speakers if kind == "babble" else 1

    def lacks_strangers(self, name: str, kind: str) -> bool:
        """Whether an utterance's own speaker may be heard beside it, since there are too few others."""
        speaker = self.speakers.get(name, "")
        return bool(speaker) and len(self.talkers) - self.of_speakers[speaker] < self.voices(kind)
