"""What the decoder attends to: python launch/visualize.py --checkpoint runs/demo/best recording.flac

Writes attention.html, attention.png and layers.png into --output. See docs/visualizing.md.
"""

from pathlib import Path

from trainer.command_line import CommandLine, number, run_command


def main(arguments: list[str]) -> None:
    options = command_line().parse_args(arguments)
    from data.audio.decoding import UndecodableAudio
    from trainer.errors import CommandFailed
    from trainer.visualization.command import layer_numbers, visualize
    from trainer.visualization.excerpt import NoiseGiven

    output = options.output or Path("attention") / options.file.stem
    try:
        visualize(
            options.checkpoint,
            options.file,
            output,
            options.language,
            options.text,
            begin=options.begin,
            seconds=options.seconds,
            noise=NoiseGiven(options.noise, options.ratio, options.noise_part),
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
    add("file", type=Path, metavar="FILE", help="a recording; of a long one the first 30 s")
    add("--output", type=Path, metavar="FOLDER", help="default: attention/ and the recording's name")
    add("--language", help="ISO 639-1 code; heard if the checkpoint knows several")
    add("--text", help="what was said: attention is shown for its tokens instead of those heard")
    add("--begin", type=number(float, 0, 1e6), default=0.0, metavar="S", help="where to begin, in seconds (0)")
    add("--seconds", type=number(float, 0.01, 30), metavar="S", help="how many, at most 30")
    add("--noise", type=Path, metavar="FILE", help="mix this noise in")
    add("--ratio", type=number(float, -100, 100), metavar="DB", help="speech over that noise, in dB (0)")
    add("--noise-part", type=Path, metavar="FILE", help="the noise that is in the recording, where it is known")
    add("--layers", metavar="N,N", help="decoder layers from 0 on, such as 0,3-5; all without it")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


if __name__ == "__main__":
    run_command(main)
