"""Show what the decoder attends to: python launch/visualize.py --checkpoint runs/demo/best recording.flac

Writes attention.html, attention.png and layers.png into --output. See docs/visualizing.md.
"""

from pathlib import Path

from trainer.command_line import CommandLine, number, run_command


def main(arguments: list[str]) -> None:
    options = command_line().parse_args(arguments)
    from data.audio.decoding import UndecodableAudio
    from trainer.errors import CommandFailed
    from trainer.visualization.command import layer_numbers, visualize
    from trainer.visualization.excerpt import NoiseGiven, SecondGiven

    second_noise = NoiseGiven(options.second_noise, options.second_ratio, prefix="--second-")
    output = options.output or Path("attention") / options.file.stem
    try:
        visualize(
            options.checkpoint,
            options.file,
            output,
            language=options.language,
            text=options.text,
            begin=options.begin,
            seconds=options.seconds,
            noise=NoiseGiven(options.noise, options.ratio, options.noise_part),
            second=SecondGiven(options.second, options.second_begin, second_noise),
            layers=None if options.layers is None else layer_numbers(options.layers),
            device=options.device,
            command=arguments,
        )
    except UndecodableAudio as error:
        raise CommandFailed(str(error)) from None


def command_line() -> CommandLine:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="a folder or hub name: dual-attention, plain Whisper or an adapter")
    add("file", type=Path, metavar="FILE", help="a recording; without --begin and --seconds its first 30 s")
    add("--output", type=Path, metavar="FOLDER", help="default: attention/NAME, after the recording")
    add("--language", help="code or English name, such as tr or Turkish; default: detected in the recording")
    add("--text", help="show attention for this text instead of the decoded one")
    add("--begin", type=number(float, 0, 1e6), default=0.0, metavar="S", help="start, in seconds (0)")
    add("--seconds", type=number(float, 0.01, 30), metavar="S", help="length, at most 30 seconds")
    add("--noise", type=Path, metavar="FILE", help="noise to add to the recording")
    add("--ratio", type=number(float, -100, 100), metavar="DB", help="with --noise: decibels of speech over noise (0)")
    add("--noise-part", type=Path, metavar="FILE", help="the noise that the recording already contains, as a file")
    second = "a second recording, heard beside FILE; of a stereo FILE `channel`, the right one, or `left_channel`"
    add("--second", metavar="FILE2", help=second)
    add("--second-begin", type=number(float, 0, 1e6), metavar="S", help="start in it, in seconds (that of FILE)")
    add("--second-noise", type=Path, metavar="FILE", help="noise to add to it")
    add("--second-ratio", type=number(float, -100, 100), metavar="DB", help="with --second-noise, as --ratio (0)")
    add("--layers", metavar="N,N", help="decoder layers, counted from 0, such as 0,3-5; default: all")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


if __name__ == "__main__":
    run_command(main)
