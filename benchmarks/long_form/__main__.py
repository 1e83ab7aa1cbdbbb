"""Long recordings: made of short utterances, and measured.

python -m benchmarks.long_form recordings --source recordings/validation-*.parquet --noise noise --output long
python -m benchmarks.long_form measure --recordings long --checkpoint plain=openai/whisper-base --output results.json
python -m benchmarks.long_form speed --recordings long --checkpoint openai/whisper-base --output speed.json

ACTION --help says more. By themselves: python -m benchmarks.long_form.silence, .words and .live.
"""

from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("action", choices=("recordings", "measure", "speed"), help="make them, measure errors or speed")
    action = parser.parse_args(arguments[:1]).action
    own = CommandLine(__doc__)
    own.prog = f"{parser.prog} {action}"
    if action == "recordings":
        from .recordings import add_recordings, make_recordings

        add_recordings(own)
        return make_recordings(own.parse_args(arguments[1:]))
    if action == "measure":
        from .measuring import add_measure, measure

        add_measure(own)
        return measure(*own.parse_known_args(arguments[1:]))
    from .speed import add_speed, measure_speed

    add_speed(own)
    return measure_speed(own.parse_args(arguments[1:]))


if __name__ == "__main__":
    run_command(main)
