"""Mixes noise into utterances; a mixture depends on the suite's seed, the kind of noise and the utterance's id alone.

So every checkpoint hears the same mixtures, with the same noise at every ratio, whatever the batch size and the ranks.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from data.augmentation.changes.reverberation import synthetic_response
from data.augmentation.noise_mixing import SILENT_POWER, added, fitted, mix, spoken_power
from data.batches.evaluation_rows import hash_of
from data.errors import DataError
from data.utterance import Utterance

from .conditions import (
    CLEAN,
    CLEAN_PAIR,
    MEANT_SPEAKER,
    MICROPHONES,
    NON_SPEECH,
    ONE_VOICE,
    OTHER_PARTY,
    PAIRED,
    Condition,
)
from .heard import given
from .pairs import Recordings, meant_and_competing, microphones, mixable, two_parties
from .speech import Clips, Noises, Talker


@dataclass(frozen=True)
class Said:
    """What is said beside an utterance: by the one other voice, and in a clip of the speaker; empty without them."""

    other: str = ""
    clip: str = ""


@dataclass(frozen=True)
class Mixer:
    """Makes the mixtures of all conditions.

    Attributes:
        noises: for the kind ``noise`` and for microphones.
        talkers, speakers: for ``babble``, ``competing`` and other parties: who may be heard, and who speaks in each
            utterance; nobody is heard beside themselves, as long as there are enough others.
        babble_speakers: talkers of a babble.
        clips: other utterances of each speaker; for ``meant_speaker``.
        leak_room: seconds of the room through which another party leaks; None for a fainter copy.
    """

    seed: int
    noises: Noises | None
    talkers: list[Talker]
    speakers: dict[str, str]
    babble_speakers: int
    clips: Clips | None = None
    leak_room: float | None = None

    @cached_property
    def of_speakers(self) -> Counter[str]:
        """How many talkers' utterances each speaker has."""
        return Counter(one.speaker for one in self.talkers)

    def change_for(
        self, condition: Condition, heard: str = "both", said: dict[str, Said] | None = None
    ) -> Callable[[Utterance], Utterance] | None:
        """The change of each utterance before it is decoded under a condition; None for no change.

        Args:
            heard: how a second recording is given (:data:`.heard.WAYS`).
            said: gets by the utterances' ids what is said beside them, where something is.
        """
        if condition.kind == NON_SPEECH:
            return None

        def change(utterance: Utterance) -> Utterance:
            mixture, beside = self.mixture(utterance, condition)
            if said is not None and beside != Said():
                said[utterance.id] = beside
            # Only training needs to know what is noise.
            return replace(given(mixture, condition, heard), noise=None, second_noise=None)

        return change

    def mixed(self, utterance: Utterance, condition: Condition) -> Utterance:
        """The utterance of :meth:`mixture`."""
        return self.mixture(utterance, condition)[0]

    def mixture(self, utterance: Utterance, condition: Condition) -> tuple[Utterance, Said]:
        """The utterance in the condition's noise, and what is said beside it.

        A clean one is only checked, so that all conditions have the same.

        Raises:
            DataError: at every ratio, if the utterance is silent or no noise is found for it.
        """
        speech = utterance.audio
        if not len(speech) or spoken_power(speech) < SILENT_POWER:
            raise DataError("the speech is silence, to which no ratio can be had")
        if condition.kind == CLEAN:
            return utterance, Said()
        if condition.kind in PAIRED:
            return self.paired(utterance, condition)
        assert condition.ratio is not None
        kind, generator, voices = condition.kind, self.generator_for(condition.kind, utterance), [""]

        def draw() -> np.ndarray:
            noise, voices[0] = self.drawn(kind, utterance, generator)
            return noise

        mixture = mix(speech, mixable(speech, draw, kind), condition.ratio)
        return replace(utterance, audio=mixture.audio, noise=mixture.noise), Said(voices[0])

    def generator_for(self, kind: str, utterance: Utterance) -> np.random.Generator:
        """Random numbers of nothing but the seed, the kind and the utterance's id."""
        name = int.from_bytes(hash_of(utterance.id))
        return np.random.default_rng((self.seed, int.from_bytes(hash_of(kind)), name))

    def paired(self, utterance: Utterance, condition: Condition) -> tuple[Utterance, Said]:
        """The utterance with a second recording, under one of the conditions that have one."""
        speech, kind, ratio = utterance.audio, condition.kind, condition.ratio
        if kind in (CLEAN_PAIR, MICROPHONES):
            ratios = None if ratio is None else (ratio, condition.second_ratio or 0.0)
            generator = self.generator_for(MICROPHONES, utterance)
            return with_recordings(utterance, microphones(speech, ratios, self.noise, generator)), Said()
        assert ratio is not None
        generator = self.generator_for(kind, utterance)
        other = self.chosen(kind, utterance, generator)[0]
        if kind == OTHER_PARTY:
            room = None
            if self.leak_room is not None:
                room = synthetic_response(self.leak_room, self.generator_for("leak_room", utterance))
            found = two_parties(speech, other.speech, ratio, generator, room)
            return with_recordings(utterance, found), Said(other.text)
        assert kind == MEANT_SPEAKER and self.clips is not None
        found = meant_and_competing(speech, other.speech, ratio, generator)
        clip, text = self.clips.drawn(self.speakers.get(utterance.id, ""), utterance.id, generator)
        return with_recordings(utterance, found._replace(second=clip)), Said(other.text, text)

    def noise(self, samples: int, generator: np.random.Generator) -> np.ndarray:
        assert self.noises is not None
        return self.noises.excerpt(samples, generator)

    def drawn(self, kind: str, utterance: Utterance, generator: np.random.Generator) -> tuple[np.ndarray, str]:
        """A noise as long as the utterance, not yet scaled, and what the voice in it says, if it is a single one."""
        samples = len(utterance.audio)
        if kind == "noise":
            return self.noise(samples, generator), ""
        chosen = self.chosen(kind, utterance, generator)
        parts = [fitted(one.speech, samples, int(generator.integers(len(one.speech)))) for one in chosen]
        return added(parts), chosen[0].text if kind in ONE_VOICE else ""

    def chosen(self, kind: str, utterance: Utterance, generator: np.random.Generator) -> list[Talker]:
        """Who is heard beside an utterance."""
        number = self.voices(kind)
        others = self.others_than(utterance.id, number)
        return [others[index] for index in generator.permutation(len(others))[:number].tolist()]

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


def with_recordings(utterance: Utterance, found: Recordings) -> Utterance:
    return replace(utterance, **found._asdict())
