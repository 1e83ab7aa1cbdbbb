"""Long recordings: made of short utterances, and measured.

python -m benchmarks.long_form recordings --source recordings/validation-*.parquet --noise noise --output long
"""

from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("action", choices=("recordings",), help="recordings: make them")
    action = parser.parse_args(arguments[:1]).action
    own = CommandLine(__doc__)
    own.prog = f"{parser.prog} {action}"
    if action == "recordings":
        from .recordings import add_recordings, make_recordings

        add_recordings(own)
        return make_recordings(own.parse_args(arguments[1:]))
    raise AssertionError(action)


if __name__ == "__main__":
    run_command(main)
