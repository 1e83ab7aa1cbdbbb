"""Evaluate: python launch/eval.py --checkpoint runs/medium/best --config configs/medium.yaml --split test"""

from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--checkpoint", required=True, help="a folder or hub name, plain Whisper or dual-attention")
    parser.add_argument("--config", help="whose data and evaluation sections count; else the checkpoint's run's")
    parser.add_argument("--split", choices=("train", "validation", "test"), help="default: test, else validation")
    parser.add_argument("--output", help="a folder for evaluation.json and predictions.jsonl")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values over those of the config")
    options = parser.parse_intermixed_args(arguments)
    from trainer.config_file import load_config
    from trainer.evaluate_checkpoint import evaluate_checkpoint, print_evaluation, run_config_of

    config = load_config(options.config or run_config_of(options.checkpoint), options.overrides)
    evaluation = evaluate_checkpoint(config, options.checkpoint, options.split, options.output)
    if evaluation is not None:
        print_evaluation(options.checkpoint, evaluation)


if __name__ == "__main__":
    run_command(main)
