"""Transcribe recordings: python launch/transcribe.py --checkpoint runs/demo/best recording.flac folder/

Subtitles: python launch/transcribe.py --checkpoint runs/demo/best --format srt --output subtitles folder/
Two microphones: python launch/transcribe.py --checkpoint openai/whisper-small child.wav --second room.wav --fuse
While it is spoken: python launch/transcribe.py --checkpoint openai/whisper-base --live microphone
"""

import argparse
import sys
import time
from dataclasses import replace

from ..command_line import CommandLine, complain, number
from ..config.reading import ConfigError
from ..errors import CommandFailed
from ..evaluation.language_model.options import add_options, asked_for, check_n_best, check_options
from .transcripts import FORMATS


def main(arguments: list[str]) -> int:
    options = command_line().parse_args(arguments)
    check(options)
    if options.live:
        from .live.command import check_live, transcribe_live

        check_live(options)
        return transcribe_live(options)
    from . import recordings as named
    from .heard import Silence
    from .prompting import Told, read_hotwords
    from .second.pairing import SecondUse
    from .second.second_recordings import with_second
    from .transcriber import Transcriber
    from .voice.detector import SpeechDetector
    from .work import Untranscribed

    hotwords = () if options.hotwords is None else read_hotwords(options.hotwords)
    voice = SpeechDetector() if options.vad == "silero" else None
    silence = Silence(options.no_speech_threshold, options.logprob_threshold)
    if options.no_fallback:
        silence = replace(silence, temperatures=())
    recordings = named.find_recordings(options.files)
    use = None
    if options.second is not None:
        use = SecondUse(options.second_kind, options.fuse, options.fuse_share, options.subtract)
        recordings = with_second(recordings, options.second, options.files, use)
    named.warn(*named.left_in_folders(options.files))
    several = len(recordings) > 1
    output: named.PrintedTranscripts | named.TranscriptFolder = (
        named.PrintedTranscripts(options.format, options.timestamps, several)
        if options.output is None
        else named.TranscriptFolder(options.output, options.format, options.timestamps, recordings)
    )
    beside = asked_for(options, "en" if options.task == "translate" else options.language)
    language = options.language or (beside.language if beside and options.task != "translate" else None)
    transcriber = Transcriber(
        options.checkpoint,
        language,
        options.task,
        batch_size=options.batch_size,
        beams=options.beams,
        device=options.device,
        dtype=options.dtype,
        timestamps=options.segments if options.timestamps or options.format != "txt" else None,
        piece_seconds=options.piece_seconds,
        voice=voice,
        second=use,
        silence=silence,
        windows=options.windows,
        told=Told(options.prompt, hotwords, options.previous_text),
        words=options.words,
        beside=beside,
        n_best=options.n_best,
    )
    texts: list[str] = []
    code, seconds, started = 0, 0.0, time.perf_counter()
    with named.progress(sys.stderr, recordings) as advance_to:
        for index, result in enumerate(transcriber.transcribe_all(recordings, advance_to)):
            if isinstance(result, Untranscribed):
                error = result.error if result.is_second else CommandFailed(f"{result.file}: {result.error}")
                code = max(code, complain(error))
                continue
            named.warn(*result.warnings)
            seconds += result.duration
            texts.append(result.text)
            try:
                output.write(index, result)
            except OSError as error:
                raise CommandFailed(f"the transcript of {result.file} cannot be written: {error.strerror}") from None
    took = time.perf_counter() - started
    if beside is not None and (remark := beside.remark(texts)):
        named.warn(remark)
    if seconds and (several or options.output is not None):
        print(f"{seconds:.1f} s of audio in {took:.1f} s, real-time factor {took / seconds:.3f}", file=sys.stderr)
    return code


def check(options: argparse.Namespace) -> None:
    """Raises: ConfigError: for options that do not go together."""
    check_windows(options)
    check_options(options)
    check_lists(options)
    of_second = {
        "--fuse": options.fuse,
        "--subtract": options.subtract,
        "--second-kind": options.second_kind != "scene",
    }
    for name, given in of_second.items():
        if given and options.second is None:
            raise ConfigError(f"{name} is of a second recording: --second says which")
    if options.subtract and (options.fuse or options.second_kind == "speaker"):
        other = "--fuse" if options.fuse else "--second-kind speaker"
        raise ConfigError(f"--subtract takes out what leaks from another party's channel, so it excludes {other}")
    if options.fuse_share is not None and not options.fuse:
        raise ConfigError("--fuse-share is of --fuse, which averages what both recordings say")
    if options.fuse and options.second_kind == "speaker":
        raise ConfigError("--fuse averages two recordings of the same words, and a clip of the speaker has others")


def check_lists(options: argparse.Namespace) -> None:
    """Raises: ConfigError: for lists of hypotheses that cannot be had."""
    if not options.n_best:
        return
    if options.format != "json":
        raise ConfigError(f"--n-best goes with --format json, not {options.format}, which has no place for it")
    check_n_best(options.n_best, options.beams)
    if options.fuse:
        raise ConfigError("--n-best excludes --fuse, whose beams are of two recordings")


def check_windows(options: argparse.Namespace) -> None:
    """Raises: ConfigError: for options that are not of the windows that were asked for."""
    if options.windows == "pieces":
        if options.previous_text:
            raise ConfigError("--previous-text is of --windows sequential, where each window follows the one before")
        return
    excluded = {
        "--fuse": options.fuse,
        "--beams": options.beams > 1,
        "--piece-seconds": options.piece_seconds is not None,
        "--segments pauses": options.segments == "pauses",
        "--second": options.second is not None and not options.subtract,
    }
    for name, given in excluded.items():
        if given:
            raise ConfigError(f"--windows sequential excludes {name}, which 'pieces' know")


def command_line() -> CommandLine:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="a folder or hub name, plain Whisper or dual-attention")
    add("--language", help="code or English name, such as tr or Turkish; default: detected in each recording")
    add("--task", choices=("transcribe", "translate"), default="transcribe", help="translate: into English")
    add("--format", choices=FORMATS, default="txt", help="srt and vtt are subtitles; default: txt")
    add("--output", metavar="FOLDER", help="write a file for each recording there; default: standard output")
    add("--timestamps", action="store_true", help="with txt: a line for each segment, with its times")
    add("--words", action="store_true", help="when each word is said: in json, and as karaoke in srt and vtt")
    add("--segments", choices=("auto", "tokens", "pauses"), default="auto", help="times from tokens or from pauses")
    add("--piece-seconds", type=number(float, 2, 30), metavar="S", help="longest piece decoded at once, 2 to 30")
    add(
        "--windows",
        choices=("pieces", "sequential"),
        default="pieces",
        help="pieces: cut at pauses before anything is heard; sequential: each window of 30 s begins at the last "
        "timestamp of the one before, with checkpoints that know timestamps (pieces)",
    )
    add("--previous-text", action="store_true", help="with sequential: the text so far is the prompt of each window")
    add("--prompt", metavar="TEXT", help="a prompt for every piece or window: names, spelling, style")
    add("--hotwords", metavar="FILE", help="words that are likely to be said, one a line, for every prompt")
    add_options(parser)
    add("--n-best", type=number(int, 1, 100), default=0, metavar="N", help="with json: hypotheses of each piece")
    add("--batch-size", type=number(int, 1, 4096), default=8, metavar="N", help="pieces decoded together (8)")
    add("--beams", type=number(int, 1, 100), default=1, metavar="N", help="beams of beam search; 1: greedy (1)")
    add(
        "--no-speech-threshold",
        type=number(float, 0, 1),
        default=0.6,
        metavar="P",
        help="a piece is taken to hold no speech if that is likelier than this (0.6) and its text less likely than "
        "--logprob-threshold; 1: never",
    )
    add(
        "--logprob-threshold",
        type=number(float, -100, 0),
        default=-1.0,
        metavar="L",
        help="mean log-probability of a piece's tokens (-1)",
    )
    add("--no-fallback", action="store_true", help="loops and unlikely windows are not decoded again by sampling")
    add("--vad", choices=("silero", "none"), help="silero: only where somebody speaks is anything decoded (none)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--dtype", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="auto: fp32 on CPUs, bf16 on GPUs")
    add(
        "--second",
        metavar="FILE",
        help="a second recording: a file, a folder of files of the same names, a pattern such as {name}_room.wav, or "
        "channel: the right one of a stereo file, whose left one is transcribed; left_channel: the other way round",
    )
    add(
        "--second-kind",
        choices=("scene", "speaker"),
        default="scene",
        help="scene: recorded at the same time; speaker: a clip of the speaker who is meant, up to 30 s (scene)",
    )
    add(
        "--fuse", action="store_true", help="any checkpoint hears both recordings: their log-probabilities are averaged"
    )
    add(
        "--subtract",
        action="store_true",
        help="the second recording is another party's channel: what of it is heard in the first is taken out, with any "
        "checkpoint",
    )
    add(
        "--fuse-share",
        type=number(float, 0, 1),
        metavar="S",
        help="how much the first recording counts, 0 to 1; default: found at each token",
    )
    add(
        "--live",
        action="store_true",
        help="write words while they are spoken: microphone, or -: 16 kHz samples of 16 bit on standard input",
    )
    add("files", nargs="+", metavar="FILE_OR_FOLDER", help="recordings or folders; -: standard input")
    return parser
