"""What a single clip can show, and what of it fails in training."""

from enum import StrEnum


class Kind(StrEnum):
    """What a single clip can show; the values are headings."""

    FAULT = "rows that cannot be read"
    UNDECODABLE = "audio that cannot be decoded"
    NOT_UNICODE = "text that is not Unicode"
    MISSING = "missing text"
    EMPTY = "empty text"
    SPECIAL = "special tokens in the text"
    LONG_LABEL = "text too long for the decoder"
    UNJUDGED_LABEL = "text perhaps too long for the decoder"
    SUPPRESSED = "text that the checkpoint's decoding forbids"
    TOO_LONG = "longer than training takes"
    TOO_SHORT = "shorter than training takes"
    NO_SOUND = "digital silence"
    LITTLE_SOUND = "hardly any sound"
    QUIET = "very quiet"
    CLIPPED = "clipped"
    OFFSET = "DC offset"
    OUT_OF_PHASE = "channels out of phase"
    NO_CHANNEL = "no second channel"
    SECOND_UNDECODABLE = "second recordings that cannot be decoded"
    SECOND_ABSENT = "second recordings that are not there"
    SECOND_BEYOND = "segments outside the second recording"
    SECOND_SILENT = "second recordings without a sound"
    CHANNEL_SILENT = "silent second channels, or parts of second recordings"
    SECOND_FAR = "second recordings of another length"
    SECOND_OTHER = "second recordings of something else"
    SECOND_COPY = "second recordings that are copies"
    OTHER_DURATION = "duration other than the corpus says"
    OTHER_RATE = "sampling rate other than the corpus says"
    CONTROL = "control characters"
    INVISIBLE = "invisible characters"
    REPLACEMENT = "replacement characters"
    UNASSIGNED = "unassigned or private characters"
    MIXED = "words that mix scripts"
    MISREAD = "text read in the wrong encoding"
    MARKUP = "tags in the text"
    DECOMPOSED = "letters and marks written apart"


LEFT_OUT = (Kind.TOO_LONG, Kind.TOO_SHORT)
TEXT_FAILURES = (Kind.NOT_UNICODE, Kind.MISSING, Kind.EMPTY, Kind.SPECIAL, Kind.LONG_LABEL)
FAILURES = (*TEXT_FAILURES, Kind.OTHER_DURATION, Kind.NO_CHANNEL, Kind.SECOND_UNDECODABLE, Kind.SECOND_SILENT)
