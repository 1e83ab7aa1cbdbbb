"""What this machine has and lacks for a run: python launch/doctor.py --config configs/medium_zero2.yaml

Start it as the run would be, with torchrun or accelerate launch, to have the processes' exchange measured too.
"""

import os
import shlex

from trainer.command_line import CommandLine, run_command
from trainer.errors import CommandFailed


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("--config", help="whose needs count; without one, what any run needs")
    parser.add_argument("--json", action="store_true", help="for machines instead of people")
    parser.add_argument("--no-measuring", action="store_true", help="time no products, copies and writes")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values over those of the config")
    options = parser.parse_intermixed_args(arguments)
    if options.overrides and options.config is None:
        parser.error("settings such as training.steps=1000 go with --config")
    try:
        from trainer.config.reading import load_config
        from trainer.doctor.report import as_json, exit_code, look, print_table
    except (ImportError, OSError) as error:  # OSError: of a torch whose own libraries are missing
        raise CommandFailed(f"cannot be imported: {error}; pip install -e . -c constraints.txt") from None
    config = load_config(options.config, options.overrides) if options.config else None
    asked = shlex.join([str(options.config), *options.overrides])
    findings = look(config, asked, measure=not options.no_measuring)
    if os.environ.get("RANK", "0") != "0":
        return 0  # rank 0 reports; if another rank failed, launchers would end it
    if options.json:
        print(as_json(findings, options.config))
    else:
        print_table(findings, options.config)
    return exit_code(findings)


if __name__ == "__main__":
    run_command(main)
