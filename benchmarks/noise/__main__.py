"""Does a second attention help in noise?

python -m benchmarks.noise run --plan benchmarks/results/noise/plan.yaml --output runs/noise
python -m benchmarks.noise summary --plan benchmarks/results/noise/plan.yaml
"""

from pathlib import Path

from trainer.command_line import CommandLine, run_command

from .plan import read_plan


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("action", choices=("run", "summary"), help="run: what is not done yet; then the summary")
    parser.add_argument("--plan", required=True, help="results are written beside it")
    parser.add_argument("--output", default="runs/noise", help="where runs are kept (runs/noise)")
    options = parser.parse_args(arguments)
    path = Path(options.plan)
    plan = read_plan(path)
    from .queue import run_queue
    from .summary import write_summary

    failed = run_queue(plan, path.parent, Path(options.output)) if options.action == "run" else {}
    print(write_summary(plan, path.parent))
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
