"""Train: accelerate launch launch/train.py --config configs/medium_zero2.yaml training.steps=2000"""

import shlex

from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--config", required=True, help="a YAML file, or the name of a recipe in configs/")
    parser.add_argument("--resume", action="store_true", help="go on from the latest checkpoint, if there is one")
    parser.add_argument("--check", action="store_true", help="check the config, print the plan and train nothing")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values in place of those in the config")
    options = parser.parse_intermixed_args(arguments)
    from trainer.config.reading import load_config

    config = load_config(options.config, options.overrides)
    if options.check:
        from trainer.memory.verdict import verdict_here
        from trainer.plan import print_plan

        print_plan(config, options.verbose)
        print(f"batch: {verdict_here(config, shlex.join([options.config, *options.overrides]))}")
        return
    from trainer.record.closing_words import closing_words
    from trainer.run import train

    summary = train(config, resume=options.resume)
    if summary:  # on one process only
        print("\n" + closing_words(config, summary, arguments))


if __name__ == "__main__":
    run_command(main)
