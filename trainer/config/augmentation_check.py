"""The recordings that augmentation needs, looked at before a model is loaded for nothing."""

from data.augmentation.noise_clips import NoiseClips
from data.config import DataConfig


def check_augmentation(config: DataConfig) -> None:
    """Open the recordings of ``data.augmentation``, except those of the hub.

    Raises:
        DataError: naming the key, where none of them can be used.
    """
    for key, source in config.augmentation.recordings.items() if config.augmentation else ():
        if source.dataset is None or source.dataset.hub is None:
            NoiseClips(source, f"data.augmentation.{key}")
