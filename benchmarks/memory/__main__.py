"""Memory and speed of training steps.

python -m benchmarks.memory predict --config configs/medium_zero2.yaml --gpu "A100 40GB" --gpus 8
python -m benchmarks.memory measure --config configs/medium_zero2.yaml
python -m benchmarks.memory COMMAND --help
"""

import importlib

from trainer.command_line import run_command

COMMANDS = {
    "predict": "trainer.memory.command",
    "predictions": "benchmarks.memory.predictions_command",
    "measure": "benchmarks.memory.measure_command",
    "check": "benchmarks.memory.check_command",
    "report": "benchmarks.memory.report.command",
    "bench": "benchmarks.memory.bench_command",
    "recipes": "benchmarks.memory.recipes_command",
}


def main(arguments: list[str]) -> int | None:
    """The command that the first argument names."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(__doc__)
        return 0
    if name not in COMMANDS:
        from trainer.config.reading import ConfigError

        raise ConfigError(f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}")
    command = importlib.import_module(COMMANDS[name])
    code: int | None = command.main(arguments[1:])
    return code


if __name__ == "__main__":
    run_command(main)
