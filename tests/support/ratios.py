"""The ratio of speech to noise as a listener would measure it."""

import numpy as np

from data.audio.cutting import speech_region
from data.augmentation.noise_mixing import power


def ratio_in_decibel(speech: np.ndarray, noise: np.ndarray) -> float:
    """Power of speech over that of noise, both in the speech region."""
    begin, end = speech_region(speech)
    return 10.0 * float(np.log10(power(speech[begin:end]) / power(noise[begin:end])))
