"""The recordings that augmentation needs, looked at before a model is loaded for nothing."""

from data.augmentation.noise_clips import NoiseClips
from data.config import DataConfig


def check_augmentation(config: DataConfig) -> None:
    """Open the noises and rooms of ``data.augmentation``; those of the hub are not looked at.

    Raises:
        DataError: naming the key, where nothing of them can be used.
    """
    settings = config.augmentation
    if settings is None:
        return
    wanted = {
        "noise": (settings.noise, settings.noise_share),
        "reverberation_responses": (settings.reverberation_responses, settings.reverberation_share),
    }
    for key, (source, share) in wanted.items():
        if source is not None and share and (source.dataset is None or source.dataset.hub is None):
            NoiseClips(source, f"data.augmentation.{key}")
