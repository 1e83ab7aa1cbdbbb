"""Which annotation file belongs to which recording, and which is read where a recording has several.

Knows the names of files; looks into a file only where its suffix does not tell what it is.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ... import storage
from ...audio.decoding import UndecodableAudio, seconds_of
from ...audio.suffixes import suffix_of_path
from ...errors import DataError, some_of
from ..annotations.elan import read_elan
from ..annotations.subtitles import read_subtitles
from ..annotations.text_kinds import Appearance, appearance, read_text
from ..annotations.textgrid import read_text_grid
from ..annotations.tiers import Annotations
from ..annotations.transcript_json import is_transcript, read_transcript
from ..census import Census
from ..places import relative
from ..settings import CorpusSettings
from .found_files import ANNOTATION_SUFFIXES, SUBTITLES, FoundFiles, Recordings, without_suffix

ANNOTATIONS: dict[str, Callable[[bytes, str], Annotations]] = {
    ".eaf": read_elan,
    ".textgrid": lambda content, file: Annotations(read_text_grid(content, file)),
    ".srt": read_subtitles,
    ".vtt": read_subtitles,
    ".sbv": read_subtitles,
    ".json": read_transcript,
    ".txt": read_text,
}
OF_OTHERS_TOO = (".json", ".txt")  # a file with this suffix may be something else, such as a readme
OWN_SUFFIXES = tuple(suffix for suffix in ANNOTATION_SUFFIXES if suffix not in OF_OTHERS_TOO)
FORMATS = tuple(".TextGrid" if suffix == ".textgrid" else suffix for suffix in ANNOTATION_SUFFIXES)  # for messages
LONGEST_CLIP = 30.0  # seconds: what Whisper hears at once
LONG_CODES = ("haw", "yue")  # of Whisper's languages
DECIDE = "--kind folder takes it for the words of a whole recording, --kind segments for what is said when"


class Undecided(DataError):
    """Texts of which it cannot be told whether they say when."""


@dataclass(frozen=True)
class Beside:
    """An annotation file that is to be read.

    Attributes:
        recording: that it belongs to, by name; ELAN's may name another. None where there is none.
        language: as its name says, or None.
        is_plain: it is the transcript of the whole recording.
        is_empty: it is a text without lines.
    """

    file: str
    recording: str | None
    language: str | None = None
    is_plain: bool = False
    is_empty: bool = False

    @property
    def code(self) -> str | None:
        """The language, if it is a code that rows may have; ``eng`` is none."""
        return self.language if self.language in LONG_CODES or len(self.language or "") == 2 else None

    @property
    def rank(self) -> int:
        """The place of its format among those that may be read."""
        return ANNOTATION_SUFFIXES.index(suffix_of_path(self.file)) + self.is_plain


@dataclass
class Pairs:
    """The annotation files of a corpus and its recordings.

    Attributes:
        chosen: one for each recording, sorted by the files' paths.
        others: those of recordings for which another was chosen, by why.
        doubly: recordings with subtitles, or a transcript with segments, and a transcript without times.
        faults: what keeps them from being read.
    """

    recordings: Recordings
    chosen: list[Beside] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    doubly: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_segmented(self) -> bool:
        """Whether there are segments, and no transcripts without times of the same recordings; beside transcripts of
        others, the segments must have a recording. Subtitles go before transcripts that are too long to be heard."""
        some_plain = any(one.is_plain for one in self.chosen)
        timed = [one for one in self.chosen if not one.is_plain and (one.recording or not some_plain)]
        if any((length(recording) or 0) > LONGEST_CLIP for recording in self.doubly):
            return True
        return bool(timed) and (not self.others["plain"] or any(suffix_of_path(one.file) == ".txt" for one in timed))

    def notices(self, root: str) -> Iterator[str]:
        """What to say of files that were not read, and of such as were read in another way than most."""
        plain = [one.file for one in self.chosen if one.is_plain]
        whole = "beside segments: .txt files without times, each the transcript of a whole recording"
        for why, files in (
            (whole, plain),
            (f"not read, as of a recording's files the first of {', '.join(FORMATS)} is read", self.others["format"]),
            ("not read, as the recording has a file with times, too: .txt files without", self.others["plain"]),
            ("not read, as --language chooses among subtitles", self.others["language"]),
        ):
            if files:
                yield f"{why}: {some_of([relative(file, root) for file in sorted(files)])}"


def pair_files(found: FoundFiles, settings: CorpusSettings) -> Pairs:
    """The annotation files to read.

    A .txt says when where ``settings.kind`` says so or a single file is asked for; else its lines tell. A .json is one
    if it is a transcript with segments. Both need a recording of their name.

    Raises:
        Undecided: where it cannot be told whether a .txt says when.
    """
    pairs = Pairs(Recordings(found, settings))
    groups: dict[str, list[Beside]] = defaultdict(list)
    texts = []
    for file in found.files:
        suffix = suffix_of_path(file)
        if suffix not in ANNOTATIONS:
            continue
        one = Beside(file, *pairs.recordings.beside(file))
        if suffix in OF_OTHERS_TOO and found.below and one.recording is None:
            continue
        if suffix == ".json" and not is_transcript(storage.read_bytes(file)):
            continue
        if suffix == ".txt" and found.is_folder and settings.kind == "auto":
            texts.append(one)
        else:
            groups[one.recording or without_suffix(file)].append(one)
    for one in judged(texts):
        groups[one.recording or ""].append(one)
    for several in groups.values():
        choose(several, pairs, settings.language)
    pairs.chosen.sort(key=lambda one: (without_suffix(one.file), one.file))
    return pairs


def judged(texts: list[Beside]) -> Iterator[Beside]:
    """The .txt files of a folder, each as what it is.

    Raises:
        Undecided: where that cannot be told.
    """
    looks = {
        one.file: appearance(storage.read_bytes(one.file), functools.partial(length, one.recording)) for one in texts
    }
    of_kind: dict[str, list[str]] = defaultdict(list)
    for file, look in looks.items():
        of_kind[look.kind].append(file)
    if of_kind["unsure"]:
        raise undecided(of_kind["unsure"][0], looks[of_kind["unsure"][0]])
    doubtful = [*of_kind["numbers"], *of_kind["beyond"]]
    many = len(doubtful) > 1 and all(looks[file].decimals for file in doubtful)
    if of_kind["numbers"] and (of_kind["plain"] or of_kind["beyond"] or not (of_kind["timed"] or many)):
        raise undecided(of_kind["numbers"][0], looks[of_kind["numbers"][0]])
    all_begin_so = len(doubtful) > 1 and not of_kind["plain"]
    for file in of_kind["beyond"]:
        if of_kind["timed"] or all_begin_so or looks[file].from_zero:
            raise undecided(file, looks[file])
    for one in texts:
        kind = looks[one.file].kind
        is_plain = kind in ("plain", "beyond") or (kind == "nothing" and not (of_kind["timed"] or of_kind["numbers"]))
        yield Beside(one.file, one.recording, one.language, is_plain, is_empty=kind == "nothing")


def notice_annotations(files: Iterable[str], transcripts: Mapping[str, str], census: Census) -> None:
    """Tell the census of annotation files that are not read, as their recordings have transcripts without times.

    Args:
        transcripts: those, by path without suffix.
    """
    unread = [file for file in files if suffix_of_path(file) in OWN_SUFFIXES and without_suffix(file) in transcripts]
    if unread:
        census.notice(
            "recordings with a .txt without times, which is read, and annotations, which are not: "
            f"{len(unread):,}, such as {unread[0]}; --kind segments reads those"
        )


def undecided(file: str, look: Appearance) -> Undecided:
    """The error for a text that may say when."""
    beyond = ", which in seconds lie beyond the recording's end; are they samples?" if look.kind == "beyond" else ";"
    return Undecided(f"{file}: line {look.line}: {look.shown!r} may begin with times, or with numbers{beyond} {DECIDE}")


def length(recording: str | None) -> float | None:
    """Seconds of a recording by its header; None where they cannot be known without much reading."""
    if recording is None or storage.is_remote(recording):
        return None
    try:
        return seconds_of(recording)
    except (UndecodableAudio, OSError):
        return None


def choose(several: list[Beside], pairs: Pairs, language: str | None) -> None:
    """Choose one of the files of a recording, and say in ``pairs`` why not the others, or that nothing chooses."""
    several = sorted(several, key=lambda one: (one.rank, one.file))
    best = several[0]
    if suffix_of_path(best.file) in SUBTITLES:
        subtitles = [one for one in several if suffix_of_path(one.file) in SUBTITLES]
        if len({one.language for one in subtitles}) > 1:
            wanted = [one for one in subtitles if one.language == language] if language else []
            wanted = wanted or [one for one in subtitles if one.language is None and language]
            if not wanted:
                pairs.faults.append(
                    f"{subtitles[0].file} and {subtitles[1].file} are subtitles of {best.recording} in two languages; "
                    "--language chooses"
                )
                wanted = subtitles
            pairs.others["language"] += [one.file for one in subtitles if one not in wanted]
            several = wanted + [one for one in several if one not in subtitles]
            best = several[0]
    for one in several[1:]:
        if suffix_of_path(one.file) == suffix_of_path(best.file):
            what = f"{best.file} and {one.file} are both of {best.recording or 'one recording'}; keep one of them"
            pairs.faults.append(what)
        pairs.others["plain" if one.is_plain and not one.is_empty else "format"].append(one.file)
        if one.is_plain and one.recording and suffix_of_path(best.file) in (*SUBTITLES, ".json"):
            pairs.doubly.append(one.recording)
    pairs.chosen.append(best)
