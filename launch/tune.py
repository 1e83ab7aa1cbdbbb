"""Which learning rate? python launch/tune.py --config my_language.yaml --minutes 60

Trains the config several times with other rates, options of its strategy and augmentation, compares the trials on
data.validation, and says what to write into the config. The test is left alone. See docs/tuning.md.
"""

from pathlib import Path

from trainer.command_line import CommandLine, number, run_command


def main(arguments: list[str]) -> int:
    options = command_line().parse_intermixed_args(arguments)
    from trainer.comparison.tuning.command import tune

    return tune(options, arguments)


def command_line() -> CommandLine:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key.path=value", help="values in place of those in the config")
    add("--config", type=Path, required=True, help="a YAML file, or the name of a recipe in configs/")
    add("--trials", type=number(int, 1, 10_000), metavar="N", help="in all; default: 12, or as --minutes allow")
    add("--minutes", type=number(float, 0, 1e6), metavar="M", help="no trial is begun that would end later")
    add(
        "--space", type=Path, metavar="FILE", help="what is searched; default: rates, the strategy's keys, augmentation"
    )
    add("--output", type=Path, default=Path("tuning"), metavar="FOLDER", help="default: tuning")
    add("--launcher", metavar="COMMAND", help='command that starts the training, such as "accelerate launch"')
    return parser


if __name__ == "__main__":
    run_command(main)
