"""What ``launch/eval.py --recordings`` does: recordings whose words and times are known are transcribed and scored.

Further options are those of ``launch/transcribe.py``, as in
python launch/eval.py --recordings interviews --checkpoint runs/demo/best --segments tokens --batch-size 16
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ...command_line import CommandLine
from ...config.reading import ConfigError
from ...evaluation.language_model.opening import check_seen
from ...record.durable import check_place
from ..command import command_line as transcribing
from ..command import main as transcribe
from .known import Known, read_known
from .report import print_evaluation, write_evaluation
from .results import RecordingsEvaluation, evaluated
from .transcribed import read_written

OUR_OWN = ("--format", "--timestamps", "--live")  # what the transcripts' files are like is decided here


def main(arguments: list[str]) -> int:
    """Evaluate and tell. Raises ConfigError, DataError, CheckpointError: for what the user can correct."""
    options, rest = command_line().parse_known_args(arguments)
    check(rest)
    folder = output_folder(options.recordings, options.checkpoint, options.output)
    if folder is not None:
        check_place(folder, "--output")
    known = read_known(options.recordings, options.audio_root)
    for remark in (*known.remarks, *check_language_model(known, rest, options.allow_seen)):
        print(f"note: {remark}", file=sys.stderr)
    evaluation = evaluate_recordings(known, options.checkpoint, rest, options.normalizer)
    found = write_evaluation(folder, options.checkpoint, evaluation, options=rest, recordings=options.recordings)
    print_evaluation(found, folder)
    return 0


def command_line() -> CommandLine:
    parser = CommandLine(__doc__)
    parser.allow_abbrev = False
    add = parser.add_argument
    add(
        "--recordings",
        required=True,
        metavar="FOLDER",
        help="recordings with segments, as launch/prepare.py reads them",
    )
    add("--checkpoint", required=True, help="a folder or hub name, plain Whisper or dual-attention")
    add("--output", help="folder for the results; default: evaluations/ in the run's folder")
    add("--audio-root", metavar="FOLDER", help="where the recordings lie, if not beside their segments")
    add(
        "--normalizer", choices=("auto", "english", "basic", "none"), default="auto", help="of texts; auto: by language"
    )
    add("--allow-seen", action="store_true", help="even if the language model was made of what is said")
    return parser


def check_language_model(known: Known, rest: Sequence[str], allow_seen: bool) -> list[str]:
    """Remarks on a language model among the options of transcribing. Raises ConfigError: if it was made of segments."""
    options, _ = transcribing().parse_known_args(["recording", "--checkpoint", "checkpoint", *rest])
    if options.language_model is None:
        return []
    texts = [segment.text for one in known.recordings for segment in one.segments]
    seen = check_seen(options.language_model, texts, allow_seen)
    if seen is None:
        return [f"{options.language_model}: nothing tells what sentences it is of, so some may be said here"]
    return [f"{options.language_model}: {seen} of {len(texts)} segments are in its text"] if seen else []


def check(rest: Sequence[str]) -> None:
    """Raises: ConfigError: for options of transcribing that measuring has no use for, and for several processes."""
    for option in rest:
        if option.split("=")[0] in OUR_OWN:
            raise ConfigError(f"{option.split('=')[0]} does not go with --recordings, which chooses it: leave it out")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("--recordings transcribes in one process: start it without a launcher")


def output_folder(recordings: str, checkpoint: str, output: str | None) -> Path | None:
    """The folder of the results: ``output``, or one in the run's folder; None if the checkpoint lies in no run."""
    if output is not None:
        return Path(output)
    folder = Path(checkpoint).resolve()
    if not folder.is_dir() or not (folder.parent / "config.yaml").exists():
        return None
    return folder.parent / "evaluations" / f"{folder.name}_{Path(recordings).stem}"


def evaluate_recordings(
    known: Known, checkpoint: str, options: Sequence[str] = (), normalizer: str = "auto"
) -> RecordingsEvaluation:
    """Transcribe known recordings by ``launch/transcribe.py``'s command, in this process, and score the transcripts.

    The checkpoint is told the language of the segments, if it is one and ``options`` has none.

    Args:
        options: of that command.

    Raises:
        CommandFailed: if a recording could not be transcribed; the command has said why.
    """
    if known.language is not None and not any(option.split("=")[0] == "--language" for option in options):
        options = [*options, "--language", known.language]
    files = [str(one.path) for one in known.recordings]
    started, cpu_started = time.perf_counter(), cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        transcribe([*files, "--checkpoint", checkpoint, *options, "--format", "json", "--output", folder])
        seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu_started
        written = read_written(Path(folder), known.recordings)
    return evaluated(known.recordings, written, normalizer=normalizer, seconds=seconds, cpu_seconds=cpu)


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
