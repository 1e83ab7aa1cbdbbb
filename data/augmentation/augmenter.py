"""What is done to an utterance before it is trained on: drawn from the seed, the epoch and its id alone.

So it is the same for any number of processes, lanes and workers and after a resume, and another in each epoch.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DataError
from ..utterance import SAMPLING_RATE, Utterance
from .channels import at_rate_of, band_limited, check_codecs, noise_of_coded, through_codec
from .config import AugmentationConfig
from .noise_clips import NoiseClips
from .noise_mixing import LOUDEST, Mixture, mix
from .overlapping_speech import drawn_voices, overlapping_speech
from .reverberation import recorded_response, reverberated, synthetic_response
from .voice_activity import without_speech

TRIES = 4  # noises tried on a clip; one may be silent just where the clip is not


@dataclass(frozen=True)
class OtherSpeech:
    """The utterances that may be laid over one.

    Attributes:
        count: how many.
        read: one's samples; None for one that is not to be taken. Raises DataError for one that cannot be read.
    """

    count: int
    read: Callable[[int], np.ndarray | None]


class Augmenter:
    """Changes utterances as the config says. Threads may share it.

    Args:
        lengths: seconds that an utterance may not fall below and not exceed by being played at another speed.

    Raises:
        DataError: if recordings that the config names cannot be used.
    """

    def __init__(self, config: AugmentationConfig, seed: int, lengths: tuple[float, float]) -> None:
        self.config, self.seed, self.lengths = config, seed, lengths
        self.noises = NoiseClips(config.noise) if config.noise is not None and config.noise_share else None
        self.responses: NoiseClips | None = None
        if config.reverberation_responses is not None and config.reverberation_share:
            key = "data.augmentation.reverberation_responses"
            self.responses = NoiseClips(config.reverberation_responses, key)
        if config.codec_share:
            check_codecs(config.codecs, "data.augmentation.codecs")

    def __call__(self, utterance: Utterance, epoch: int, window: int, others: OtherSpeech) -> tuple[Utterance, int]:
        """The utterance changed, and a number for what is still to be drawn for it on the device.

        Args:
            window: of a mixture, which has no epochs, the window that the utterance comes in; else 0.
        """
        generator = np.random.default_rng((self.seed, epoch, window, number_of(utterance.id)))
        # One for each kind of change: switching one on draws nothing else anew.
        speed, room, overlay, channel, loudness, masks = generator.spawn(6)
        speech = self.in_a_room(self.at_a_speed(utterance.audio, speed), room)
        mixture = self.overlaid(speech, others, overlay)
        audio, noise = (speech, None) if mixture is None else mixture
        if self.config.silence_is_noise:
            own = without_speech(speech if noise is None else audio - noise)
            noise = own if noise is None else noise + own
        audio, noise = self.at_a_level(*self.through_a_channel(audio, noise, channel), loudness)
        return replace(utterance, audio=audio, noise=noise), int(masks.integers(2**63))

    def longest(self, seconds: float) -> float:
        """What a clip of so many seconds may become: seconds."""
        slowest = self.config.speed[0] if self.config.speed_share else 1.0
        return max(seconds, min(seconds / slowest, self.lengths[1]))

    def at_a_speed(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        low, high = self.config.speed
        if low == high == 1.0 or generator.random() >= self.config.speed_share:
            return audio
        shortest, longest = (int(seconds * SAMPLING_RATE) for seconds in self.lengths)
        speed = generator.uniform(low, high)
        if speed < 1.0:
            speed = max(speed, min(1.0, len(audio) / longest))
        else:
            speed = min(speed, max(1.0, len(audio) / max(shortest, 1)))
        if speed == 1.0:
            return audio
        import soxr

        changed = soxr.resample(audio, SAMPLING_RATE * speed, SAMPLING_RATE)
        return changed[: max(longest, len(audio))]  # which rounding may go beyond

    def in_a_room(self, speech: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        if generator.random() >= self.config.reverberation_share:
            return speech
        response = None
        if self.responses is not None and generator.random() < 0.5:
            response = recorded_response(self.responses, generator)
        if response is None:
            response = synthetic_response(generator.uniform(*self.config.reverberation_seconds), generator)
        return reverberated(speech, response)

    def through_a_channel(
        self, audio: np.ndarray, noise: np.ndarray | None, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Audio and its noise through one filter; of a codec's output, noise has the share it had of what went in."""
        config = self.config
        if generator.random() < config.band_share:
            low, high = config.bands[generator.integers(len(config.bands))]
            audio, noise = band_limited(audio, low, high), None if noise is None else band_limited(noise, low, high)
        if generator.random() < config.codec_share:
            codec = config.codecs[generator.integers(len(config.codecs))]
            loudest = float(np.abs(audio).max())
            if loudest > LOUDEST:  # a codec clips
                gain = np.float32(LOUDEST / loudest)
                audio, noise = audio * gain, None if noise is None else noise * gain
            coded = through_codec(audio, codec, generator)
            if noise is not None:  # of what the codec's rate lets through
                noise = noise_of_coded(coded, at_rate_of(audio, codec), at_rate_of(noise, codec))
            audio = coded
        return audio, noise

    def at_a_level(
        self, audio: np.ndarray, noise: np.ndarray | None, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Both louder or quieter, and within [-1, 1]."""
        low, high = self.config.gain
        peak = max(float(np.abs(part).max()) for part in (audio, noise) if part is not None)
        gain = 1.0
        if (low or high) and generator.random() < self.config.gain_share:
            gain = float(10.0 ** (generator.uniform(low, high) / 20.0))
        if gain * peak > 1.0 or (gain > 1.0 and gain * peak > LOUDEST):
            gain = min(gain, LOUDEST / peak)
        if gain == 1.0:
            return audio, noise
        return audio * np.float32(gain), None if noise is None else noise * np.float32(gain)

    def overlaid(self, speech: np.ndarray, others: OtherSpeech, generator: np.random.Generator) -> Mixture | None:
        """Speech with noise, babble or another speaker over it; None where it stays as it is."""
        config, point = self.config, generator.random()
        kinds = (
            (config.noise_share, config.noise_ratio, self.noise),
            (config.babble_share, config.babble_ratio, self.babble),
            (config.competing_share, config.competing_ratio, self.competing),
        )
        for share, ratio, overlay in kinds:
            if point < share:
                decibels = generator.uniform(*ratio)
                for _ in range(TRIES):
                    over = overlay(len(speech), others, generator)
                    if over is None:
                        return None
                    try:
                        return mix(speech, over, decibels)
                    except DataError:  # silence, of the one or the other, has no ratio to anything
                        continue
                return None
            point -= share
        return None

    def noise(self, samples: int, others: OtherSpeech, generator: np.random.Generator) -> np.ndarray | None:
        return None if self.noises is None else self.noises.excerpt(samples, generator)

    def babble(self, samples: int, others: OtherSpeech, generator: np.random.Generator) -> np.ndarray | None:
        low, high = self.config.babble_speakers
        voices = drawn_voices(int(generator.integers(low, high + 1)), others.count, others.read, generator)
        return overlapping_speech(voices, samples, generator) if voices else None

    def competing(self, samples: int, others: OtherSpeech, generator: np.random.Generator) -> np.ndarray | None:
        voices = drawn_voices(1, others.count, others.read, generator)
        return overlapping_speech(voices, samples, generator) if voices else None


def number_of(name: str) -> int:
    """A number of 64 bits for an id, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
