"""Evaluate: python launch/eval.py --checkpoint runs/medium/best --split test evaluation.columns=[speaker]

In noise: python launch/eval.py --noise-suite configs/noise_suite.yaml --checkpoint runs/medium/best --checkpoint A=DIR
"""

from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        action="append",
        help="a folder or hub name, plain Whisper or dual-attention; with --noise-suite also NAME=PATH, and several",
    )
    parser.add_argument("--config", help="whose data and evaluation sections count; else the checkpoint's run's")
    parser.add_argument("--split", choices=("train", "validation", "test"), help="default: test, else validation")
    parser.add_argument("--output", help="a folder for evaluation.json and predictions.jsonl; else in the run's folder")
    parser.add_argument("--baseline", choices=("plain",), help="beside it, the Whisper that the run began from")
    parser.add_argument(
        "--noise-suite",
        metavar="CONFIG",
        help="error rates by kind of noise and ratio, as docs/noise_suite.md says; --output gets noise_suite.html",
    )
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values over those of the config")
    options = parser.parse_intermixed_args(arguments)
    if options.noise_suite is not None:
        from trainer.noise_suite.command import measure_and_print

        return measure_and_print(options)
    if len(options.checkpoint) > 1:
        parser.error("--checkpoint is given more than once, which goes with --noise-suite")
    from trainer.config.reading import load_config
    from trainer.evaluation.checkpoint import evaluate_beside, output_folder, run_config_of
    from trainer.evaluation.report import print_evaluation

    checkpoint = options.checkpoint[0]
    config = load_config(options.config or run_config_of(checkpoint), options.overrides)
    asked = (config, checkpoint, options.split, options.output)
    found = evaluate_beside(*asked, baseline=options.baseline == "plain")
    if found is not None:
        print_evaluation(checkpoint, *found, folder=output_folder(*asked))


if __name__ == "__main__":
    run_command(main)
