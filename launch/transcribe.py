"""Transcribe recordings: python launch/transcribe.py --checkpoint runs/demo/best recording.flac folder/

Subtitles: python launch/transcribe.py --checkpoint runs/demo/best --format srt --output subtitles folder/
"""

import sys
import time

from trainer.command_line import CommandLine, complain, number, run_command
from trainer.transcription.transcripts import FORMATS


def main(arguments: list[str]) -> int:
    options = command_line().parse_args(arguments)
    from trainer.errors import CommandFailed
    from trainer.transcription import recordings as named
    from trainer.transcription.transcriber import Transcriber, Untranscribed

    recordings = named.find_recordings(options.files)
    named.warn(*named.unreadable(options.files))
    several = len(recordings) > 1
    output: named.PrintedTranscripts | named.TranscriptFolder = (
        named.PrintedTranscripts(options.format, options.timestamps, several)
        if options.output is None
        else named.TranscriptFolder(options.output, options.format, options.timestamps, recordings)
    )
    transcriber = Transcriber(
        options.checkpoint,
        options.language,
        options.task,
        batch_size=options.batch_size,
        beams=options.beams,
        device=options.device,
        dtype=options.dtype,
        timestamps=options.segments if options.timestamps or options.format != "txt" else None,
        piece_seconds=options.piece_seconds,
    )
    failed, seconds, started = 0, 0.0, time.perf_counter()
    with named.progress(sys.stderr, recordings) as advance_to:
        for index, result in enumerate(transcriber.transcribe_all(recordings, advance_to)):
            if isinstance(result, Untranscribed):
                failed += 1
                complain(CommandFailed(f"{result.file}: {result.error}"))
                continue
            named.warn(*result.warnings)
            seconds += result.duration
            try:
                output.write(index, result)
            except OSError as error:
                raise CommandFailed(f"the transcript of {result.file} cannot be written: {error.strerror}") from None
    took = time.perf_counter() - started
    if seconds and (several or options.output is not None):
        print(f"{seconds:.1f} s of audio in {took:.1f} s, real-time factor {took / seconds:.3f}", file=sys.stderr)
    return 1 if failed else 0


def command_line() -> CommandLine:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="a folder or hub name, plain Whisper or dual-attention")
    add("--language", help="ISO 639-1 code; default: detected in each recording")
    add("--task", choices=("transcribe", "translate"), default="transcribe", help="translate: into English")
    add("--format", choices=FORMATS, default="txt", help="srt and vtt are subtitles; default: txt")
    add("--output", metavar="FOLDER", help="write a file for each recording there; default: standard output")
    add("--timestamps", action="store_true", help="with txt: a line for each segment, with its times")
    add("--segments", choices=("auto", "tokens", "pauses"), default="auto", help="times from tokens or from pauses")
    add("--piece-seconds", type=number(float, 2, 30), metavar="S", help="longest piece decoded at once, 2 to 30")
    add("--batch-size", type=number(int, 1, 4096), default=8, metavar="N", help="pieces decoded together (8)")
    add("--beams", type=number(int, 1, 100), default=1, metavar="N", help="beams of beam search; 1: greedy (1)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--dtype", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="auto: fp32 on CPUs, bf16 on GPUs")
    add("files", nargs="+", metavar="FILE_OR_FOLDER", help="recordings or folders; -: standard input")
    return parser


if __name__ == "__main__":
    run_command(main)
