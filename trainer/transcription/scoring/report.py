"""What came of scoring a corpus: the clips whose transcripts fit least, in the terminal and as a page."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from data import storage
from data.inspection.characters import visible
from data.preparation.leaving_out.misfits import DOUBTFUL_EDGE, DOUBTFUL_EVIDENCE, EVIDENCE_BIN, JudgedClip, ScoreReport
from data.terminal import print_table

from ...evaluation.error_rates import Alignment, Prediction, score
from ...evaluation.normalizers import build_normalizer
from ...pages.charts import Bars
from ...pages.formats import NONE, counted, decimal, minus, percent
from ...pages.page import rendered

MOST_PRINTED = 10
SHOWN = (-8.0, 16.0)  # nats of evidence in the distribution; what is beyond is in the first and last bar
TICKS = (-8, -4, 0, 4, 8, 12, 16)
FIGURES = {
    "evidence": ("evidence", decimal, 2),
    "edge_evidence": ("at an edge", decimal, 2),
    "word_error_rate": ("errors, %", percent, 0),
    "no_speech_probability": ("no speech, %", percent, 0),
    "mean_log_probability": ("log-probability", decimal, 2),
    "compression_ratio": ("compression", decimal, 1),
}
OF_GIVEN = ("evidence", "edge_evidence", "word_error_rate", "no_speech_probability")
PRINTED_OF_GIVEN = OF_GIVEN[:3]  # a terminal has room for no more
OF_PSEUDO = ("mean_log_probability", "no_speech_probability", "compression_ratio")


def tell_scores(report: ScoreReport, page: str, console: Console | None = None) -> None:
    """Print what came of scoring and the worst clips, and write the page (any address).

    Raises:
        StorageError: if the page cannot be written.
    """
    console = console or Console(highlight=False)
    for clips, columns, title in ((report.worst, PRINTED_OF_GIVEN, "transcripts that fit least"),
                                  (report.unsure, OF_PSEUDO, "pseudo-labels that are least sure")):  # fmt: skip
        if clips:
            print_clips(clips[:MOST_PRINTED], columns, title, console)
    for line in told(report):
        console.print(Text(line), soft_wrap=True)
    storage.write_bytes(page, score_page(report).encode("utf-8", "replace"))
    console.print(Text(f"the worst as a page: {page}"), soft_wrap=True)


def print_clips(clips: Sequence[JudgedClip], columns: Sequence[str], title: str, console: Console) -> None:
    """Print clips as a table, with what the model hears where that is not their text."""
    cells = {"id": [visible(clip.row["id"], 60) for clip in clips]}
    for place, column in enumerate(columns):
        cells[FIGURES[column][0]] = [figures(clip, columns)[place] for clip in clips]
    cells["text"] = [visible(clip.row["text"], 60) for clip in clips]
    if not clips[0].is_pseudo:
        cells["the model hears"] = [visible(clip.row["hypothesis"], 60) for clip in clips]
    if any(clip.left_out for clip in clips):
        cells[""] = ["left out" if clip.left_out else "" for clip in clips]
    numbers = frozenset(range(1, 1 + len(columns)))
    print_table(tuple(cells), list(zip(*cells.values(), strict=True)), numbers=numbers, title=title, console=console)


def figures(clip: JudgedClip, columns: Sequence[str]) -> list[str]:
    """A clip's figures as text."""
    found = []
    for column in columns:
        value, (_, written, digits) = clip.row[column], FIGURES[column]
        found.append(NONE if value is None else written(value, digits))
    return found


def told(report: ScoreReport) -> list[str]:
    """What a user should know, one line each."""
    lines = []
    if report.given:
        doubtful = f"{report.doubtful:,} of {counted(report.given, 'clip')} with a transcript have evidence below"
        lines.append(f"{doubtful} {DOUBTFUL_EVIDENCE:g}: most likely the transcript is of something else")
        if report.doubtful and report.limits.min_evidence is None:
            lines.append(
                f"the same command with --min-evidence {DOUBTFUL_EVIDENCE:g} leaves them out, decoding nothing"
            )
    if report.partial:
        lacking = f"{counted(report.partial, 'more clip')} with less than {minus(f'{DOUBTFUL_EDGE:g}')} at an edge"
        lines.append(f"{lacking}: most likely words are missing there (--min-edge-evidence {DOUBTFUL_EDGE:g})")
    if report.pseudo:
        lines.append(f"{counted(report.pseudo, 'clip')} without a transcript got what {report.checkpoint} hears")
    if report.unscored:
        clips, verb = counted(report.unscored, "clip"), "was" if report.unscored == 1 else "were"
        lines.append(f"{clips} of a language that {report.checkpoint} does not know {verb} not scored")
    if report.left_out:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in report.left_out.most_common())
        lines.append(f"left out: {kinds}; quarantine.jsonl names each with its figure")
    return lines


def score_page(report: ScoreReport) -> str:
    """The page of a report."""
    return rendered(
        "trainer/transcription/scoring/scores.html.j2",
        checkpoint=report.checkpoint,
        lines=told(report),
        tiles=[
            ("clips with a transcript", f"{report.given:,}"),
            ("of them doubtful", f"{report.doubtful:,}"),
            *([("pseudo-labels", f"{report.pseudo:,}")] if report.pseudo else []),
            ("left out", f"{sum(report.left_out.values()):,}"),
        ],
        distribution=evidence_bars(report) if report.evidence else None,
        parts_of=[
            (title, hint, [(clip, facts(clip, columns), difference(clip)) for clip in clips])
            for title, hint, columns, clips in (
                (
                    "Transcripts that fit least",
                    "What the model hears, with what differs from the transcript.",
                    OF_GIVEN,
                    report.worst,
                ),
                ("Pseudo-labels that are least sure", "The text is what the model hears.", OF_PSEUDO, report.unsure),
            )
            if clips
        ],
    )


def facts(clip: JudgedClip, columns: Sequence[str]) -> list[str]:
    """A clip's figures with their names, and why it was left out."""
    named = [f"{FIGURES[column][0]} {figure}" for column, figure in zip(columns, figures(clip, columns), strict=True)]
    return [*named, *([f"left out: {clip.left_out}"] if clip.left_out else [])]


def difference(clip: JudgedClip) -> Alignment:
    """The transcript and what the model hears, word by word; empty for a pseudo-label."""
    if clip.is_pseudo:
        return []
    row = clip.row
    language = row["language"]
    prediction = Prediction("", row["text"], row["hypothesis"], language)
    return score([prediction], lambda own: build_normalizer("auto", own))[0].alignment


def evidence_bars(report: ScoreReport) -> Bars:
    """The distribution of evidence."""
    first, last = (int(edge / EVIDENCE_BIN) for edge in SHOWN)
    counts = [0] * (last - first)
    for number, count in report.evidence.items():
        counts[min(max(number, first), last - 1) - first] += count
    edges = [SHOWN[0] + EVIDENCE_BIN * number for number in range(len(counts))]
    bars = [
        (minus(f"{edge:g} to {edge + EVIDENCE_BIN:g} nats"), count) for edge, count in zip(edges, counts, strict=True)
    ]
    limit = DOUBTFUL_EVIDENCE if report.limits.min_evidence is None else report.limits.min_evidence
    marks = [(place(limit), "something else")] if SHOWN[0] < limit < SHOWN[1] else []
    return Bars("Evidence, nats a token", bars, [(place(tick), minus(str(tick))) for tick in TICKS], marks)


def place(value: float) -> float:
    """Where a value stands on the distribution's axis, as a share of its width."""
    return (value - SHOWN[0]) / (SHOWN[1] - SHOWN[0])
