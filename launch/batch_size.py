"""Which batch fits a GPU, without one: python launch/batch_size.py --config configs/medium_zero2.yaml --gpu "A100 40GB"

The same as python -m benchmarks.memory predict.
"""

from trainer.command_line import run_command


def main(arguments: list[str]) -> int:
    from trainer.memory.command import main as predict

    return predict(arguments)


if __name__ == "__main__":
    run_command(main)
