"""Compare runs: python launch/compare.py runs/full runs/lora --cluster speaker

Or run strategies first: python launch/compare.py --config configs/small.yaml --strategies plain full lora dual:full
Writes comparison.html and comparison.md into --output. See docs/comparing.md.
"""

from pathlib import Path

from trainer.command_line import CommandLine, number, run_command


def main(arguments: list[str]) -> int:
    parser = command_line()
    options = parser.parse_intermixed_args(arguments)
    planned = options.config is not None or options.plan is not None
    if options.config is not None and options.plan is not None:
        parser.error("--config and --plan are two ways to say the same: give one")
    if (options.config is not None) != (options.strategies is not None):
        parser.error("--config and --strategies go together")
    if options.launcher is not None and not planned:
        parser.error("--launcher is for the training of --config or --plan; folders of runs are trained already")
    if options.plan is not None and (options.split or options.cluster):
        parser.error("with --plan, split and cluster are keys of the plan file")
    if not planned and not options.given:
        parser.error("name the folders of runs, or --config and --strategies, or --plan")
    from trainer.comparison.command import print_comparison, run_and_write, write_comparison

    if not planned:
        folders = [Path(folder) for folder in options.given]
        comparison = write_comparison(
            folders,
            options.output,
            arguments,
            split=options.split,
            cluster=options.cluster,
            price_per_hour=options.price_per_hour,
        )
        print_comparison(comparison, options.output)
        return 0
    from trainer.comparison.planning import Plan, plan_of_strategies, read_plan

    overrides = [*options.given, *(word for word in options.strategies or () if "=" in word)]
    strategies = [word for word in options.strategies or () if "=" not in word]
    plan = (
        read_plan(options.plan, Plan)
        if options.plan is not None
        else plan_of_strategies(options.config, strategies, options.split, options.cluster)
    )
    return run_and_write(
        plan,
        options.output,
        arguments,
        overrides=overrides,
        launcher=options.launcher,
        price_per_hour=options.price_per_hour,
    )


def command_line() -> CommandLine:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("given", nargs="*", metavar="RUN", help="run or evaluation folders; with --config or --plan, key.path=value")
    add("--split", choices=("test", "validation"), help="default: test, or else validation")
    add("--cluster", metavar="COLUMN", help="column, such as speaker, to resample by instead of utterances")
    add("--price-per-hour", type=number(float, 0, 1e6), metavar="DOLLARS", help="of a run's machines, to show its cost")
    add("--output", type=Path, default=Path("comparison"), metavar="FOLDER", help="default: comparison")
    add("--config", type=Path, help="train and evaluate --strategies on this config first")
    add("--strategies", nargs="+", metavar="STRATEGY", help="plain (untrained), full, lora, dual:lora, plain:full, ...")
    add("--plan", type=Path, metavar="FILE", help="train and evaluate what a plan file lists first")
    add("--launcher", metavar="COMMAND", help='command that starts the training, such as "accelerate launch"')
    return parser


if __name__ == "__main__":
    run_command(main)
