"""Check whether this machine can do a run: python launch/doctor.py --config configs/medium_zero2.yaml

Start it with torchrun or accelerate launch, like the run, to measure the exchange between processes, too. Exit code 1
means that something is missing.
"""

import os
import shlex

from trainer.command_line import CommandLine, run_command
from trainer.errors import CommandFailed


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("--config", help="the run's config; without it, check what every run needs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--no-measuring", action="store_true", help="skip the two seconds of speed measurements")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values in place of those in the config")
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
