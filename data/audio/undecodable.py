"""What is raised of audio that cannot be used."""

from ..errors import DataError


class UndecodableAudio(DataError):
    """Audio that cannot be used; the message is the reason."""


class MissingChannel(UndecodableAudio):
    """A recording lacks the channel that is wanted."""


class BeyondRecording(UndecodableAudio):
    """A segment lies outside its recording."""


def one_line(error: Exception | str) -> str:
    """A message without line breaks, and without soundfile's mention of the file object."""
    return " ".join(str(getattr(error, "error_string", error)).split()) or type(error).__name__
