"""Which files are sound, by their suffix: what soundfile reads, and what only ffmpeg does."""

import posixpath

from .decoders import ffmpeg

SOUNDFILE_SUFFIXES = frozenset(
    (".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".nist", ".oga", ".ogg", ".opus", ".rf64", ".snd",
     ".sph", ".w64", ".wav", ".wave")
)  # fmt: skip
FFMPEG_SUFFIXES = frozenset(
    (".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2",
     ".mp4", ".mpeg", ".mpg", ".ogv", ".ra", ".ts", ".webm", ".wma", ".wmv", ".wv")
)  # fmt: skip
ALL_SUFFIXES = SOUNDFILE_SUFFIXES | FFMPEG_SUFFIXES


def suffix_of_path(path: str) -> str:
    """The suffix in small letters, with its point; empty where there is none."""
    return posixpath.splitext(path)[1].lower()


def readable_suffixes() -> frozenset[str]:
    """The suffixes of recordings that can be decoded on this machine."""
    return ALL_SUFFIXES if ffmpeg.is_installed() else SOUNDFILE_SUFFIXES


def is_recording(path: str) -> bool:
    """Whether a file can be decoded on this machine, by its suffix."""
    return suffix_of_path(path) in readable_suffixes()


def is_sound(path: str) -> bool:
    """Whether a file is a recording or a film, by its suffix, whether or not it can be decoded here."""
    suffix = suffix_of_path(path)
    return suffix in SOUNDFILE_SUFFIXES or suffix in FFMPEG_SUFFIXES
