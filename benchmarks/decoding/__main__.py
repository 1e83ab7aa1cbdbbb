"""``python -m benchmarks.decoding``: seconds and memory of a token."""

from benchmarks.decoding.tokens import main
from trainer.command_line import run_command

if __name__ == "__main__":
    run_command(main)
