"""``python -m benchmarks.communication``."""

from benchmarks.communication.command import main
from trainer.command_line import run_command

if __name__ == "__main__":
    run_command(main)
