"""Does a second attention help in noise?

python -m benchmarks.noise run --plan benchmarks/results/noise/plan.yaml --output runs/noise
python -m benchmarks.noise summary --plan benchmarks/results/noise/plan.yaml
"""

from pathlib import Path

from trainer.command_line import CommandLine, run_command
from trainer.comparison.planning import read_plan
from trainer.comparison.running import run_arms

from .measuring import NoiseSuites
from .plan import NoisePlan, planned_arms
from .summary import write_summary


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("action", choices=("run", "summary"), help="run: what is not done yet; then the summary")
    parser.add_argument("--plan", required=True, help="results are written beside it")
    parser.add_argument("--output", default="runs/noise", help="where runs are kept (runs/noise)")
    parser.add_argument(
        "--share", default="1/1", metavar="I/N", help="of N queues at once, each with its own arms, this one"
    )
    options = parser.parse_args(arguments)
    share = options.share.split("/")
    if len(share) != 2 or not all(part.isdecimal() for part in share) or not 1 <= int(share[0]) <= int(share[1]):
        parser.error(f"--share is {options.share!r}; write it like 1/2")
    path = Path(options.plan)
    plan = read_plan(path, NoisePlan)
    failed = {}
    if options.action == "run":
        output = Path(options.output)
        suites = NoiseSuites(plan, path.parent)
        failed = run_arms(planned_arms(plan, output), output, suites, share=(int(share[0]), int(share[1])))
    print(write_summary(plan, path.parent))
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
