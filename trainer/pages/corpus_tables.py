"""The figures of an inspection as text, shared by the terminal and the page, and how they are printed."""

import re
import unicodedata
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from data.inspection.characters import JOINERS, character_name, code_point, oddity_of, script_of, visible
from data.inspection.findings import Finding, percent, problems, would_fail
from data.inspection.rows import judged_rows
from data.inspection.tally import PARTS, Inspection
from data.preparation.summary import duration
from data.terminal import print_table
from data.utterance import SAMPLING_RATE

from .formats import NONE, counted, minus
from .tables import FigureTable

MOST_ROWS = {"speaker": 20, "words": 40, "characters": 400}
NOT_SAID = "not said"


def verdict(findings: Sequence[Finding]) -> str:
    """The result of the inspection in one sentence."""
    failing = sum(finding.severity == "fails" for finding in findings)
    looks = len(findings) - failing
    look = f"{counted(looks, 'thing')} deserve{'s' * (looks == 1)} a look" if looks else "nothing is odd"
    if would_fail(findings):
        return f"{counted(failing, 'thing')} would fail in training; {look}."
    return f"Nothing here would fail in training; {look}."


def headline(inspection: Inspection) -> list[tuple[str, str]]:
    """The most important figures: name and value."""
    speakers = names_said(inspection, "speaker")
    middle = inspection.lengths.quantile(0.5)
    return [
        ("clips", f"{inspection.clips:,}"),
        ("of audio", duration(inspection.seconds)),
        ("usable in training", f"{judged_rows(inspection).usable:,}"),
        ("speakers", f"{speakers:,}" if speakers else NOT_SAID),
        ("median length", f"{middle:.1f} s" if middle is not None else NONE),
        ("words", f"{inspection.word_count:,}"),
    ]


def figures(inspection: Inspection) -> list[tuple[str, str]]:
    """All single figures: name and value."""
    settings, lengths, levels = inspection.settings, inspection.lengths, inspection.levels
    at_least = "at least " if inspection.words.was_cut else ""
    clips, judged = inspection.clips, judged_rows(inspection)
    rows = [
        ("clips", f"{clips:,}"),
        ("audio", duration(inspection.seconds)),
        ("usable in training", f"{judged.usable:,} clips, {duration(judged.usable_seconds)}"),
        ("broken", share_of(judged.broken, clips)),
        (
            "left out for their length",
            f"{share_of(inspection.left_out, clips)}; {settings.min_seconds:g} to {settings.max_seconds:g} s are taken",
        ),
    ]
    if inspection.decoded:
        mean = inspection.seconds / inspection.decoded
        averages = f"median {lengths.quantile(0.5):.1f} s, mean {mean:.2f} s"
        rows += [
            ("length", f"{lengths.smallest:.2f} to {lengths.largest:.2f} s, {averages}"),
            ("level (RMS)", f"median {levels.quantile(0.5):.0f} dBFS, a tenth below {levels.quantile(0.1):.0f} dBFS"),
        ]
    rows += second_figures(inspection)
    if inspection.samples:
        quiet = inspection.quiet_samples
        share = percent(quiet / inspection.samples)
        rows.append(("before the first and after the last sound", f"{duration(quiet / SAMPLING_RATE)} ({share})"))
    if inspection.rates.total:
        low, middle, high = (inspection.rates.quantile(share) for share in (0.05, 0.5, 0.95))
        rows.append(("characters a second", f"median {middle:.1f}; nine tenths from {low:.1f} to {high:.1f}"))
    letters = inspection.letters()
    rows += [
        ("words", f"{inspection.word_count:,}, {at_least}{inspection.words.distinct:,} different"),
        ("characters", f"{inspection.characters.total():,}, {len(inspection.characters):,} different"),
        ("scripts", ", ".join(f"{script.title()} {count:,}" for script, count in letters.items()) or "no letters"),
    ]
    for column, name in (("text", "duplicate text"), ("audio", "duplicate audio"), ("id", "duplicate ids")):
        rows.append((name, share_of(inspection.table.repeats(column).surplus, clips)))
    return rows


def second_figures(inspection: Inspection) -> list[tuple[str, str]]:
    """How many clips have a second recording, and how it differs from the first."""
    if not inspection.with_second:
        return []
    rows = [("with a second recording", f"{inspection.with_second:,} of {inspection.clips:,} clips")]
    if (delays := inspection.delays).total:
        low, middle, high = (1000 * (delays.quantile(share) or 0.0) for share in (0.05, 0.5, 0.95))
        said = f"median {middle:+.0f} ms; nine tenths from {low:+.0f} to {high:+.0f} ms; {delays.total:,} clips"
        rows.append(("the second hears the same later by", minus(said)))
    if (levels := inspection.differences).total:
        low, middle, high = (levels.quantile(share) or 0.0 for share in (0.05, 0.5, 0.95))
        said = f"median {middle:+.1f} dB; nine tenths from {low:+.1f} to {high:+.1f} dB"
        rows.append(("the second is louder by", minus(said)))
    return rows


def tables(inspection: Inspection) -> list[FigureTable]:
    """Everything that is counted by name: languages, splits, speakers and so on, words, characters."""
    found = [part_table(inspection, part) for part in PARTS if names_said(inspection, part)]
    return [*found, *([word_table(inspection), character_table(inspection)] if inspection.characters else [])]


def part_table(inspection: Inspection, part: str) -> FigureTable:
    """Clips and hours of each language, split, speaker ..., the most hours first."""
    clips, samples = inspection.part_clips[part], inspection.part_samples[part]
    ranked = sorted(clips.top(), key=lambda item: (-samples[item[0]], -item[1], item[0]))
    listed = ranked[: MOST_ROWS.get(part, 50)]
    rows = [
        (visible(name, 60) or NOT_SAID, f"{count:,}", duration(samples[name] / SAMPLING_RATE),
         percent(samples[name] / inspection.samples if inspection.samples else 0.0))
        for name, count in listed
    ]  # fmt: skip
    if part == "sampling rate":
        rows = [(f"{int(row[0]):,} Hz" if row[0].isdigit() else row[0], *row[1:]) for row in rows]
    note = f"and {len(ranked) - len(listed):,} more" if len(ranked) > len(listed) else ""
    title, columns = f"{part.removesuffix('s')}s", (part, "clips", "audio", "share")
    weights = tuple(float(samples[name]) for name, _ in listed)
    return FigureTable(title, columns, rows, weights=weights, numbers=frozenset((1, 2, 3)), note=note)


def word_table(inspection: Inspection) -> FigureTable:
    """The most frequent words."""
    top = inspection.words.top(MOST_ROWS["words"])
    rows = [(visible(word, 40), f"{count:,}", percent(count / inspection.word_count)) for word, count in top]
    more = inspection.words.distinct - len(top)
    note = f"and {more:,} more" if more > 0 else ""
    weights = tuple(float(count) for _, count in top)
    return FigureTable("words", ("word", "count", "share"), rows, weights=weights, numbers=frozenset((1, 2)), note=note)


def character_table(inspection: Inspection) -> FigureTable:
    """Characters by count; of a large alphabet only the most frequent and the rarest, which are suspicious."""
    ranked = sorted(inspection.characters.items(), key=lambda item: (-item[1], item[0]))
    most = MOST_ROWS["characters"]
    listed = ranked if len(ranked) <= most else ranked[: most // 2] + ranked[-most // 2 :]
    left_out = len(ranked) - len(listed)
    note = f"{left_out:,} between the most frequent and the rarest left out" if left_out else ""
    rows = [
        (shown_character(character), code_point(character), character_name(character).capitalize(),
         (script_of(character) or "").title(), f"{count:,}")
        for character, count in listed
    ]  # fmt: skip
    columns = ("character", "code point", "name", "script", "count")
    weights = tuple(float(count) for _, count in listed)
    return FigureTable("characters", columns, rows, weights=weights, numbers=frozenset((4,)), note=note)


def shown_character(character: str) -> str:
    """A character in visible form: combining marks on a circle; spaces and zero-width characters by code point."""
    if character == " ":
        return "␣"
    if unicodedata.combining(character):
        return f"◌{character}"
    if character in JOINERS or (oddity_of(character) and character != "\ufffd") or character.isspace():
        return f"⟨{code_point(character)}⟩"
    return character


def names_said(inspection: Inspection, part: str) -> int:
    """How many languages, speakers ... the corpus names."""
    return inspection.part_clips[part].distinct - (inspection.part_clips[part][""] > 0)


def share_of(count: int, clips: int) -> str:
    """``12 clips (0.3 %)``."""
    return counted(count, "clip") + (f" ({percent(count / clips)})" if count else "")


def public_address(address: str) -> str:
    """An address without passwords and signatures, safe to show."""
    if "://" not in address:
        return address
    return re.sub(r"://[^/@]*@", "://", address.split("?", 1)[0])


def reading(inspection: Inspection) -> list[str]:
    """How the corpus was understood: columns taken and unused, and notices. What was left lying is a finding."""
    census = inspection.census
    return [visible(line, 4000) for line in (census.column_line, *census.notices) if line]


def print_inspection(inspection: Inspection, address: str, console: Console | None = None) -> None:
    """Print figures, findings and short tables. Control characters of transcripts are made visible."""
    console = console or Console(highlight=False)
    findings = problems(inspection)
    rows: list[tuple[str | Text, ...]] = list(figures(inspection))
    for table in tables(inspection):
        if table.title in ("words", "characters"):
            named = ", ".join(f"{row[0]} {row[-1 if table.title == 'characters' else 1]}" for row in table.rows[:12])
        else:
            named = ", ".join(f"{row[0]} {row[2]}" for row in table.rows[:6])
        rows.append((f"{'most frequent ' * (table.title in ('words', 'characters'))}{table.title}", named))
    print_table((visible(public_address(address), 100), ""), rows, console=console)
    if findings:
        styles = {"fails": "red", "look": "yellow"}
        rows = [
            (Text(one.severity, styles[one.severity]), one.title, one.amount, one.meaning, first_example(one))
            for one in findings
        ]
        print_table(("", "found", "how many", "what it means", "for example"), rows, console=console)
    for line in reading(inspection):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(verdict(findings), "bold red" if would_fail(findings) else "bold green"))


def first_example(finding: Finding) -> str:
    """The first example of a finding in one line."""
    if not finding.examples:
        return ""
    shown = finding.examples[0]
    parts = (visible(shown.id, 100), visible(shown.detail, 80), visible(shown.text, 60))
    return ": ".join(part for part in parts if part)
