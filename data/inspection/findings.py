"""What an inspection found: what would fail in training, and what deserves a look before it.

Tables and pages show findings in the order given here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..sources.languages import nearest_language
from .characters import visible
from .counts import Example
from .kinds import Kind
from .rows import judged_rows, wrong_languages
from .tally import RATES, Inspection, language_digest

Severity = Literal["fails", "look"]

ROWS_TO_JUDGE = 100  # the share of broken rows is taken of at least so many, as training takes it
FEW_HOURS = 1.0
ONE_SPEAKER = 0.9  # share of the hours
FOREIGN_LETTERS = 0.01  # share of the letters, below which a script is foreign to the corpus
QUIET_EDGES = 0.25  # share of the hours before and after speech
LANGUAGES_NAMED = 5  # of those that Whisper does not know
LEFT_NAMED = 20  # files that nobody uses, of each kind
LEFT = "They lie in the corpus's folder, and nothing was read from them."
NARROWBAND = 16_000  # hertz, below which half of what Whisper hears is missing


@dataclass(frozen=True)
class Finding:
    """Something to know before training.

    Attributes:
        severity: ``fails`` where training would skip rows as broken, or stop; ``look`` for a person to judge.
        title: what it is, a few words.
        count: how many clips, or what ``unit`` names.
        meaning: what it does to training, or what to do about it.
        examples: the worst few.
        share: of all clips; None where it is no share of them.
        measured: shown instead of the count.
    """

    severity: Severity
    title: str
    count: int
    meaning: str
    examples: tuple[Example, ...] = ()
    share: float | None = None
    unit: str = "clips"
    measured: str = ""

    @property
    def amount(self) -> str:
        """``12 clips (0.3 %)``."""
        if self.measured:
            return self.measured
        unit = self.unit.removesuffix("s") if self.count == 1 else self.unit
        return f"{self.count:,} {unit}" + ("" if self.share is None else f" ({percent(self.share)})")


FAILING = {
    Kind.FAULT: "The row says nothing usable about its audio or text. Training skips it.",
    Kind.UNDECODABLE: "Training skips them as broken.",
    Kind.NOT_UNICODE: "No tokenizer takes such text. Training skips them as broken.",
    Kind.OTHER_DURATION: "The corpus claims another length than the audio has: cut short, or the wrong file. "
    "Preparation leaves them out, and so does training where columns.duration names the claim.",
    Kind.NO_CHANNEL: "Both channels of stereo recordings were asked for. Preparation and training leave them out.",
    Kind.SECOND_UNDECODABLE: "Preparation and training leave the rows out: mend the files, or take them away.",
    Kind.SECOND_SILENT: "A microphone that was off. Preparation and training leave the rows out: take the files away.",
    Kind.MISSING: "The transcript is null. Training and evaluation skip such rows as broken.",
    Kind.EMPTY: "Nothing to learn: training skips them as broken. Evaluation takes them for silence, where each word "
    "heard is an error.",
    Kind.SPECIAL: "A tokenizer takes them for tokens of Whisper's own, not for words, and training with timestamps is "
    "not supported. Training, evaluation and preparation leave the rows out as broken: write the words alone.",
    Kind.LONG_LABEL: "Prompt and text do not fit the decoder's {max_tokens} positions. Training skips them as broken.",
}
WORTH_A_LOOK = {
    Kind.UNJUDGED_LABEL: "More than {text_tokens} bytes: whether they are more tokens than the decoder takes is known "
    "only with --checkpoint.",
    Kind.SUPPRESSED: "The checkpoint's generation_config.json forbids it. Training lifts the limits that its texts "
    "break; evaluated unchanged, the checkpoint gets each of these texts wrong.",
    Kind.TOO_LONG: "Training leaves clips of more than {max_seconds:g} s out.",
    Kind.TOO_SHORT: "Training leaves clips of less than {min_seconds:g} s out.",
    Kind.NO_SOUND: "Not a sound in them. A model trained on silence with text writes text into silence.",
    Kind.LITTLE_SOUND: "Sound in less than a tenth of the clip.",
    Kind.QUIET: "Below −50 dBFS over the whole clip: little more than the microphone's own noise.",
    Kind.CLIPPED: "More than 0.1 % of the samples at full scale: recorded too loud.",
    Kind.OFFSET: "The samples' mean is more than 1 % of full scale off zero: a fault of the recording.",
    Kind.OUT_OF_PHASE: "Their mean is all but silent. One of them is kept, in preparation and training, too.",
    Kind.SECOND_ABSENT: "These clips have one recording only. They are kept, and read as clips of one recording.",
    Kind.SECOND_BEYOND: "The second recording began later or ended earlier. They are kept with one recording.",
    Kind.CHANNEL_SILENT: "A party that said nothing, or a microphone that was off. Preparation keeps such clips "
    "without them.",
    Kind.SECOND_FAR: "More than twice, or less than half, as long as the first: perhaps another's. Preparation keeps "
    "them up to its longest clip.",
    Kind.SECOND_OTHER: "The first recording is not heard in them, within 5 s: files that do not belong together, or "
    "one of them all noise. As it should be for the other party's channel without leakage and a clip of the speaker.",
    Kind.SECOND_COPY: "The same signal as the first, at the same moment: there is no second microphone. It tells a "
    "model nothing.",
    Kind.OTHER_RATE: "The corpus claims another rate than the file's header.",
    Kind.CONTROL: "Line breaks, tabs or worse. The model learns to write them.",
    Kind.INVISIBLE: "Characters without width, or that turn the direction of writing. The model learns to write them.",
    Kind.REPLACEMENT: "� stands where a letter was lost on the way.",
    Kind.UNASSIGNED: "Characters that Unicode has not assigned.",
    Kind.MIXED: "Letters that look alike but are others, such as а and a: the same word has two spellings.",
    Kind.MISREAD: "UTF-8 that was read as another encoding: Ã¼ where ü was meant.",
    Kind.MARKUP: "The model learns to write them.",
    Kind.DECOMPOSED: "Not in Unicode's composed form (NFC): the same letter is other tokens than elsewhere.",
}


REPEATED = {
    "id": ("duplicate ids", "Ids must be unique, or results of one clip are taken for another's."),
    "audio": ("duplicate audio", "The same samples more than once: they weigh more in training than others."),
    "text": ("duplicate text", "The same sentence more than once; usual where speakers read the same prompts."),
}
# Things of a column that come with several values of another: both columns, title, unit, meaning.
SHARED = (
    ("audio", "text", "one recording, several transcripts", "recordings",
     "The same samples with different text: at most one of them can be right."),
    ("audio", "split", "audio in several splits", "recordings",
     "Evaluation on training data: the error rate is too low."),
    ("speaker", "split", "speakers in several splits", "speakers",
     "The error rate on known voices is lower than on new ones."),
    ("text", "split", "text in several splits", "texts",
     "Evaluation on sentences seen in training: the error rate may be too low."),
)  # fmt: skip


def problems(inspection: Inspection) -> list[Finding]:
    """Everything found, what fails in training first, each group with the most clips first."""
    found = [*failures(inspection), *kind_findings(inspection, WORTH_A_LOOK, "look"), *left_lying(inspection)]
    for judge in (repeated, shared, unusual_rates, unusual_letters, one_sided) if inspection.clips else ():
        found += judge(inspection)
    return sorted(found, key=lambda finding: (finding.severity != "fails", finding.unit != "rows", -finding.count))


def left_lying(inspection: Inspection) -> Iterator[Finding]:
    """Files of the corpus's folder that look like sound or text and belong to no row."""
    for kind, names in inspection.census.left.items():
        examples = tuple(Example(name) for name in names[:LEFT_NAMED])
        yield Finding("look", f"not used: {kind}", len(names), LEFT, examples, unit="files")


def would_fail(findings: Iterable[Finding]) -> bool:
    """Whether training would skip rows as broken, or stop."""
    return any(finding.severity == "fails" for finding in findings)


def kind_findings(inspection: Inspection, kinds: dict[Kind, str], severity: Severity) -> list[Finding]:
    settings = inspection.settings
    values = {name: getattr(settings, name) for name in ("max_tokens", "text_tokens", "min_seconds", "max_seconds")}
    return [
        of_clips(inspection, str(kind), examples.count, meaning.format(**values), examples.listed, severity=severity)
        for kind, meaning in kinds.items()
        if (examples := inspection.shown[kind]).count
    ]


def of_clips(
    inspection: Inspection,
    title: str,
    count: int,
    meaning: str,
    examples: Iterable[Example] = (),
    *,
    severity: Severity = "look",
    unit: str = "clips",
    measured: str = "",
) -> Finding:
    """A finding with its share of all clips."""
    share = count / inspection.clips
    return Finding(severity, title, count, meaning, tuple(examples), share=share, unit=unit, measured=measured)


def failures(inspection: Inspection) -> list[Finding]:
    """What fails in training."""
    if not inspection.clips:
        return [Finding("fails", "no clips", 0, "There is nothing to train on.")]
    found = [*kind_findings(inspection, FAILING, "fails"), *language_failures(inspection)]
    rows, limit = judged_rows(inspection), inspection.settings.max_skipped_share
    if not rows.usable:
        meaning = f"{rows.broken:,} are broken, {inspection.left_out:,} of a length that training does not take."
        found.append(of_clips(inspection, "nothing usable", inspection.clips, meaning, severity="fails", unit="rows"))
    elif rows.broken > limit * max(inspection.clips, ROWS_TO_JUDGE):
        meaning = f"More than data.max_skipped_share, {100 * limit:g} %, allows: training stops."
        found.append(of_clips(inspection, "broken rows", rows.broken, meaning, severity="fails", unit="rows"))
    return found


def language_failures(inspection: Inspection) -> Iterator[Finding]:
    """Rows without a language where others have one, and languages that Whisper does not know."""
    wrong = wrong_languages(inspection)
    if not wrong:
        return
    counts = inspection.usable_clips
    for language in wrong[:LANGUAGES_NAMED]:
        meaning = f"Whisper does not know it{nearest_language(language)}. Training skips them."
        title = f"language {visible(language, 30)!r}"
        if not language:
            title = "no language"
            meaning = "Other rows name theirs, and a multilingual model needs one for each: training skips them."
        known = inspection.language_clips.of([language_digest(language)])
        examples = [Example(name) for names in known for name in names]
        yield of_clips(inspection, title, counts[language], meaning, examples, severity="fails")
    if others := wrong[LANGUAGES_NAMED:]:
        count = sum(counts[language] for language in others)
        meaning = "Whisper does not know them either. Training skips their rows."
        yield of_clips(inspection, f"{len(others):,} other languages", count, meaning, severity="fails")


def repeated(inspection: Inspection) -> Iterator[Finding]:
    """Ids, texts and audio that several clips have."""
    for column, (title, meaning) in REPEATED.items():
        repeats = inspection.table.repeats(column)
        if repeats.surplus:
            examples = [named(column, names, f"{count:,} times") for count, names in repeats.most]
            yield of_clips(inspection, title, repeats.surplus, meaning, examples)


def shared(inspection: Inspection) -> Iterator[Finding]:
    """Recordings with several transcripts, and what is in more than one split."""
    for column, other, title, unit, meaning in SHARED:
        count, several = inspection.table.with_several(column, other)
        if count:
            examples = tuple(named(column, names) for names in several)
            yield Finding("look", title, count, meaning, examples, unit=unit)


def named(column: str, names: tuple[str, ...], detail: str = "") -> Example:
    """An example of a text, or of what has clips' ids or speakers as names."""
    return Example(text=names[0], detail=detail) if column == "text" else Example(", ".join(names), detail=detail)


def unusual_rates(inspection: Inspection) -> Iterator[Finding]:
    """Transcripts that are too long or too short for their audio."""
    usual = inspection.usual_rates()
    if usual is None:
        return
    low, high = usual
    rates = inspection.rates
    median = rates.quantile(0.5) or 0
    for title, count, compared, limit, worst in (
        ("too much text for the audio", sum(rates.counts[high + 1 :]), "more", high + 1, inspection.fast),
        ("too little text for the audio", sum(rates.counts[:low]), "fewer", low, inspection.slow),
    ):
        if count:
            meaning = (
                f"{RATES.edge(limit):.2g} characters a second or {compared}, where {median:.2g} are the median: "
                "transcripts that belong to other audio, or leave words out."
            )
            yield of_clips(inspection, title, count, meaning, worst.listed[:count])


def unusual_letters(inspection: Inspection) -> Iterator[Finding]:
    """Letters of scripts that are rare in the corpus."""
    letters = inspection.letters()
    every = sum(letters.values())
    for script, count in letters.items():
        if count < FOREIGN_LETTERS * every and script in inspection.scripts:
            examples = inspection.scripts[script]
            usual = next(iter(letters)).title()
            meaning = f"{count:,} of {every:,} letters; the corpus is written in {usual}."
            yield of_clips(inspection, f"{script.title()} letters", examples.count, meaning, examples.listed)


def one_sided(inspection: Inspection) -> Iterator[Finding]:
    """How much there is, of whom, and recorded how."""
    clips = inspection.part_clips
    rows = judged_rows(inspection)
    hours = rows.usable_seconds / 3600
    if rows.usable and hours < FEW_HOURS:
        meaning = "Audio that training can use: enough for a trial, little to learn a language from."
        yield of_clips(inspection, "little audio", rows.usable, meaning, measured=f"{60 * hours:.0f} minutes")
    name, samples = next((top for top in inspection.part_samples["speaker"].top() if top[0]), ("", 0))
    if samples > ONE_SPEAKER * inspection.samples:
        measured = f"{percent(samples / inspection.samples)} of the audio"
        meaning = f"Most is spoken by {visible(name, 40)}: the model will recognise others less well."
        yield of_clips(inspection, "one speaker", clips["speaker"][name], meaning, measured=measured)
    rates = {int(rate): count for rate, count in clips["sampling rate"].top() if rate}
    if len(rates) > 1:
        listed = ", ".join(f"{rate:,} Hz" for rate in sorted(rates))
        meaning = f"{listed}. All become 16,000 Hz; a source may sound unlike another."
        yield of_clips(inspection, "several sampling rates", sum(rates.values()) - max(rates.values()), meaning)
    if narrow := sum(count for rate, count in rates.items() if rate < NARROWBAND):
        meaning = "Below 16,000 Hz, as on the telephone: high sounds such as s and f are missing."
        yield of_clips(inspection, "narrow band", narrow, meaning)
    if inspection.quiet_samples > QUIET_EDGES * inspection.samples:
        measured = f"{percent(inspection.quiet_samples / inspection.samples)} of the audio"
        meaning = "It lies before the first sound or after the last; --trim-silence cuts it off."
        yield of_clips(inspection, "quiet around the speech", inspection.decoded, meaning, measured=measured)
    if not any(name for name, _ in clips["language"].top()) and inspection.settings.language is None:
        meaning = "No row names its language. A multilingual model needs data.language in the config."
        yield of_clips(inspection, "no language", inspection.clips, meaning)


def percent(share: float) -> str:
    """``0.3 %``, with enough digits to be told from nothing."""
    value = 100 * share
    if value >= 10 or value == 0:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 1 else f"{value:.2g} %" if value >= 0.01 else "< 0.01 %"
