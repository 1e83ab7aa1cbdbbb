"""The command line of a preparation, and the settings that it says."""

import argparse
import os
from typing import Any, TypeVar

from pydantic import ValidationError

from .corpora.formats import KINDS
from .corpora.settings import FIELDS, CorpusSettings
from .errors import DataError
from .inspection.facts import InspectionSettings
from .preparation.scores import FOR_PSEUDO_LABELS, ScoreLimits, ScoreSettings
from .preparation.settings import ClipSettings, PrepareSettings
from .preparation.splits.shares import parse_shares
from .sources.config import Section

Settings = TypeVar("Settings", bound=Section)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``launch/prepare.py``."""
    add = parser.add_argument
    add("input", help="file, folder, glob, archive, address (s3://...), or with --kind hub the name of a dataset")
    add("--kind", choices=KINDS, default="auto", help="kind of the input; default: recognised")
    add("--output", help="folder or address for the shards and manifest.json")
    add("--layout", choices=("parquet", "audiofolder"), default="parquet", help="audiofolder: audio files and a table")
    add("--inspect", action="store_true", help="only write a report; exit code 1 if something would fail in training")
    add("--report", help="the page of --inspect (inspection.html) or of --score (scores.html in the output)")
    add("--checkpoint", help="with --inspect: count tokens as this model does; a folder or hub name")
    reading = parser.add_argument_group("reading")
    add = reading.add_argument
    add("--columns", nargs="+", default=[], metavar="OURS=THEIRS", help="the corpus's names of the columns "
        f"{', '.join(FIELDS)}; nothing after = ignores the column")  # fmt: skip
    add("--keep-columns", nargs="+", default=[], metavar="NAME", dest="extra_columns",
        help="more columns to keep, as text")  # fmt: skip
    add("--audio-root", help="folder that audio paths are relative to and must stay within")
    add("--second", metavar="PATTERN", help='the second recording of each: files by the name of the first, '
        '"{name}_room.wav" or "room/{name}.flac"; channel: the right one of stereo recordings, whose left one is the '
        "first; left_channel: the other way round; or a column's name")  # fmt: skip
    add("--language", help="code or English name for rows without a language")
    add("--hub-name", help="the hub dataset's configuration, often a language")
    add("--hub-revision", help="the hub dataset's branch, tag or commit")
    add("--hub-splits", nargs="+", default=["train"], metavar="SPLIT", help="splits of the hub dataset (train)")
    add("--cache", help="folder for unpacked archives and hub files")
    add("--tiers", nargs="+", default=[], help="tiers of TextGrid and ELAN files; default: all")
    add("--allow-overlaps", action="store_true", help="accept segments that overlap, as in conversations")
    add("--max-samples", type=int, metavar="N", help="read no more than N rows")
    clips = parser.add_argument_group("clips")
    add = clips.add_argument
    add("--min-seconds", type=float, default=0.1, help="leave out shorter clips (0.1)")
    add("--max-seconds", type=float, default=30.0, help="leave out longer clips (30)")
    add("--check", choices=("decode", "headers"), default="decode", help="headers: faster, misses damaged audio")
    add("--reencode", action="store_true", help="write 16 kHz mono FLAC; segments of long recordings always are")
    add("--trim-silence", action="store_true", help="cut off silence at both ends")
    add("--normalize", choices=("none", "peak", "rms"), default="none", help="bring all clips to one level")
    add("--paths-only", action="store_true", help="write paths instead of audio, which stays where it is")
    add("--windows", type=float, metavar="S", help="long recordings become windows of up to S seconds, 30 at most, of "
        "consecutive segments with their times, for data.windows; default: each segment is a clip")  # fmt: skip
    splits = parser.add_argument_group("splits")
    add = splits.add_argument
    add("--split", metavar="NAME=SHARE,...", help="train=0.9,validation=0.05,test=0.05; default: the corpus's own")
    add("--split-by", choices=("id", "speaker", "recording"), default="id", help="speaker: no speaker is in two "
        "splits; recording: no part of a long recording is in another split than the rest of it")  # fmt: skip
    add("--split-method", choices=("hash", "balanced"), default="hash", help="hash: new data moves nothing that was "
        "there; balanced: splits come as near their shares of the audio as whole speakers (recordings, ids) allow, "
        "for one more reading of the corpus")  # fmt: skip
    add("--split-seed", type=int, default=0, help="another number gives other splits (0)")
    scoring = parser.add_argument_group("scoring")
    add = scoring.add_argument
    add("--score", metavar="CHECKPOINT", help="decode each clip with this model and write beside it what it hears, its "
        "error rate, and how well the transcript fits; a folder or hub name")  # fmt: skip
    add("--min-evidence", type=float, metavar="E", help="leave out clips for whose transcript the audio speaks "
        "less, in nats a token; 1 finds transcripts of something else")  # fmt: skip
    add("--min-edge-evidence", type=float, metavar="E", help="likewise by the first token or the end alone; -0.3 finds "
        "transcripts that lack words at the beginning or end")  # fmt: skip
    add("--max-word-error-rate", type=float, metavar="R", help="leave out clips with more, as a fraction")
    add("--max-no-speech", type=float, metavar="P", help="leave out clips without speech by this probability")
    add("--split-long", action="store_true", help="segments longer than --max-seconds are cut at quiet places, and "
        "their transcripts where what the model hears tells where")  # fmt: skip
    add("--pseudo-label", action="store_true", help="audio without a transcript gets what the model hears as its text")
    add("--min-log-probability", type=float, metavar="L", help="leave out pseudo-labels below this mean a token (-1)")
    add("--max-compression-ratio", type=float, metavar="C", help="leave out pseudo-labels that repeat themselves (2.4)")
    add("--score-device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--score-batch", type=int, default=8, metavar="N", help="clips decoded together (8)")
    running = parser.add_argument_group("running")
    add = running.add_argument
    add("--workers", type=int, help="processes; 0: only this one; default: one a processor; with --score as many as "
        "memory has room for, or one a GPU")  # fmt: skip
    add("--cluster", metavar="tcp://HOST:PORT", help="use the workers of this Dask scheduler instead")
    add("--job-rows", type=int, default=2000, metavar="N", help="rows in a job and in a shard (2000)")
    add("--max-skipped-share", type=float, help=f"share of broken rows above which the preparation stops "
        f"({PrepareSettings.model_fields['max_skipped_share'].default:g}); with --inspect, above which training would "
        f"({InspectionSettings.model_fields['max_skipped_share'].default:g})")  # fmt: skip
    add("--overwrite", action="store_true", help="first remove what an earlier preparation wrote to this output")


def corpus_settings(options: argparse.Namespace) -> CorpusSettings:
    """How the input is read.

    Raises:
        DataError: naming the option that is wrong.
    """
    columns: dict[str, str | None] = {}
    for pair in options.columns:
        ours, equals, theirs = pair.partition("=")
        if not equals:
            raise DataError(f"--columns has {pair!r}; right is OURS=THEIRS, as in text=sentence")
        columns[ours] = theirs or None
    if not 0 <= worker_count(options) <= 1024:
        raise DataError(f"--workers is {options.workers}; 0 to 1024 is right")
    return checked(CorpusSettings, options, columns=columns, without_text=options.pseudo_label)


def worker_count(options: argparse.Namespace) -> int:
    """The processes asked for, or one a processor."""
    return (os.cpu_count() or 1) if options.workers is None else options.workers


def preparation_settings(options: argparse.Namespace) -> PrepareSettings:
    """What is prepared and how.

    Raises:
        DataError: naming the option that is wrong.
    """
    if options.checkpoint:
        raise DataError("--checkpoint says nothing without --inspect; --score CHECKPOINT scores clips")
    if options.report and not options.score:
        raise DataError("--report says nothing without --inspect or --score")
    if not options.output:
        raise DataError("--output is missing: a folder, or an address such as s3://bucket/prepared")
    corpus = corpus_settings(options)
    clips = checked(ClipSettings, options)
    shares = parse_shares(options.split) if options.split else None
    embed_audio = not options.paths_only
    score, limits = score_settings(options)
    more = {"embed_audio": embed_audio, "score": score, "limits": limits}
    return checked(PrepareSettings, options, corpus=corpus, clips=clips, shares=shares, **more)


def score_settings(options: argparse.Namespace) -> tuple[ScoreSettings | None, ScoreLimits]:
    """How clips are scored, but for the weights, and which are left out.

    Raises:
        DataError: naming an option that says nothing without another, or is out of range.
    """
    named = {name: getattr(options, name) is not None for name in ScoreLimits.model_fields}
    named["pseudo_label"] = options.pseudo_label
    for name, is_given in named.items():
        option = f"--{name.replace('_', '-')}"
        if is_given and not options.score:
            raise DataError(f"{option} says nothing without --score CHECKPOINT")
        if is_given and name in FOR_PSEUDO_LABELS and not options.pseudo_label:
            raise DataError(f"{option} is of pseudo-labels: it says nothing without --pseudo-label")
    if not options.score:
        return None, ScoreLimits()
    if not 1 <= options.score_batch <= 4096:
        raise DataError(f"--score-batch is {options.score_batch}; 1 to 4096 is right")
    score = ScoreSettings(checkpoint=options.score, weights="", pseudo_label=options.pseudo_label)
    return score, checked(ScoreLimits, options)


def inspection_settings(options: argparse.Namespace) -> tuple[CorpusSettings, InspectionSettings]:
    """What is inspected, and what training will ask of it."""
    for name in (
        "output",
        "split",
        "paths_only",
        "overwrite",
        "reencode",
        "windows",
        "split_long",
        "score",
        "pseudo_label",
    ):
        if getattr(options, name):
            raise DataError(f"--inspect writes no shards: leave --{name.replace('_', '-')} out, or --inspect")
    return corpus_settings(options), checked(InspectionSettings, options, tokenizer=options.checkpoint)


def checked(kind: type[Settings], options: argparse.Namespace, **values: Any) -> Settings:
    """Settings of a kind: the options that have its fields' names, and these values.

    Raises:
        DataError: pydantic's complaint in one line, with the option's name.
    """
    given = {name: value for name, value in vars(options).items() if name in kind.model_fields and value is not None}
    try:
        return kind(**given | values)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_pattern_mismatch":
            message = "two or three small letters are right, such as az (ISO 639-1)"
        if not first["loc"]:
            raise DataError(message) from None
        raise DataError(
            f"--{'-'.join(map(str, first['loc'])).replace('_', '-')} is {first['input']!r}: {message}"
        ) from None
