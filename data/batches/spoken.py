"""What is said in a window, and when."""

from dataclasses import dataclass, replace
from typing import NamedTuple


class Said(NamedTuple):
    """A segment in seconds of its window; its end is None where that lies beyond the window, and its text empty."""

    start: float
    end: float | None
    text: str


@dataclass(frozen=True)
class WindowText:
    """What a window's labels are made of.

    Attributes:
        said: in order, without overlap; nothing where nobody speaks.
        timestamps: whether the text has them.
        before: the prompt's text.
        learns_speech: the language token is learned, and where nobody speaks ``<|nospeech|>`` in its place.
    """

    said: tuple[Said, ...]
    timestamps: bool
    before: str = ""
    learns_speech: bool = False

    @property
    def text(self) -> str:
        """All that is said, on one line."""
        return " ".join(one.text for one in self.said if one.text)

    def slower(self, factor: float) -> "WindowText":
        """The same in a recording that was made longer by a factor."""
        if factor == 1.0:
            return self
        said = [Said(a * factor, None if b is None else b * factor, text) for a, b, text in self.said]
        return replace(self, said=tuple(said))
