"""What is said when in a recording, from ELAN's .eaf files.

Reads the content of one file; which recording it belongs to is decided elsewhere.
Format: https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
"""

from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ...audio.decoding import one_line
from ...errors import DataError, placed
from .tiers import Annotations, Segment, Tier
from .timeline import parse_interval

MAX_REFERENCES = 50  # from an annotation to the one that has its times


def parse_xml(content: bytes, address: str) -> Element:
    """The root of an XML document. A document type is refused: entities can name files and grow without bound.

    Raises:
        DataError: naming file and line.
    """

    def refuse(*declaration: object) -> NoReturn:
        raise DataError(f"{address}: a document type (DOCTYPE), which ELAN does not write")

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{address}: not XML: {one_line(error)}") from None
    return builder.close()


def read_elan(content: bytes, address: str) -> Annotations:
    """The tiers and the recordings of an ELAN file.

    Usual tiers are those with times of their own and no parent. A tier whose annotations refer to others has their
    times; it is read where it is named. An annotation at a time slot without time is at fault.

    Raises:
        DataError: naming file, tier and annotation, for what is not such a file, and for times that cannot be.
    """
    root = parse_xml(content, address)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise DataError(f"{address} is {root.tag!r}, not ELAN's 'ANNOTATION_DOCUMENT'")
    for header in root.iterfind("HEADER"):
        if header.get("TIME_UNITS", "milliseconds") != "milliseconds":
            raise DataError(f"{address}: its times are in {header.get('TIME_UNITS')!r}; milliseconds are right")
    media = []
    for descriptor in root.iterfind("HEADER/MEDIA_DESCRIPTOR"):
        if descriptor.get("TIME_ORIGIN", "0") not in ("", "0"):
            raise DataError(
                f"{address}: {descriptor.get('MEDIA_URL')} is shifted against the annotations (TIME_ORIGIN); "
                "export it and them with the shift undone"
            )
        media.append((descriptor.get("RELATIVE_MEDIA_URL", ""), descriptor.get("MEDIA_URL", "")))
    times = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iterfind("TIME_ORDER/TIME_SLOT")}
    annotations = {
        annotation.get("ANNOTATION_ID"): annotation
        for tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")
        for annotation in root.iterfind(f"TIER/ANNOTATION/{tag}")
    }
    tiers = [read_tier(tier, times, annotations, address) for tier in root.iterfind("TIER")]
    return Annotations(tiers, media)


def read_tier(
    tier: Element, times: dict[str | None, str | None], annotations: dict[str | None, Element], address: str
) -> Tier:
    """A tier with its annotations as segments.

    Args:
        times: milliseconds of each time slot.
        annotations: of all tiers, by id.
    """
    name, speaker = tier.get("TIER_ID", ""), (tier.get("PARTICIPANT") or "").strip() or None
    segments = []
    for number, annotation in enumerate(tier.iterfind("ANNOTATION/*"), start=1):
        label = f"tier {name!r}, annotation {number}"
        text = " ".join((annotation.findtext("ANNOTATION_VALUE") or "").split())
        with placed(f"{address}: {label}"):
            slots = slots_of(annotation, annotations)
            for slot in slots:
                if slot not in times:
                    raise DataError(f"there is no time slot {slot!r}")
            start, end = (times[slot] for slot in slots)
            if start is None or end is None:
                segments.append(Segment(label, 0.0, 0.0, text, speaker, fault="a time slot without a time"))
                continue
            interval = parse_interval(milliseconds(start), milliseconds(end))
        segments.append(Segment(label, *interval, text, speaker))
    return Tier(name, tuple(segments), usual=tier.get("PARENT_REF") is None)


def slots_of(annotation: Element, annotations: dict[str | None, Element]) -> tuple[str | None, str | None]:
    """The time slots of an annotation, or of the one that it refers to."""
    for _ in range(MAX_REFERENCES):
        if annotation.tag == "ALIGNABLE_ANNOTATION":
            return annotation.get("TIME_SLOT_REF1"), annotation.get("TIME_SLOT_REF2")
        reference = annotation.get("ANNOTATION_REF")
        if reference not in annotations:
            raise DataError(f"it refers to {reference!r}, which is not there")
        annotation = annotations[reference]
    raise DataError("it refers to itself")


def milliseconds(value: str) -> float | str:
    """Seconds; the text itself where it is no number, for the message that refuses it."""
    try:
        return int(value) / 1000
    except ValueError:
        return value
