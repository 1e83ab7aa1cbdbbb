"""Error rates of a checkpoint: python launch/eval.py --checkpoint runs/medium/best evaluation.columns=[speaker]

In noise: python launch/eval.py --noise-suite configs/noise_suite.yaml --checkpoint runs/medium/best --checkpoint A=DIR
On long recordings: python launch/eval.py --recordings interviews/ --checkpoint runs/medium/best
See docs/evaluation.md, docs/noise_suite.md and docs/long_form.md.
"""

from trainer.command_line import CommandLine, number, run_command


def main(arguments: list[str]) -> int | None:
    if any(word.split("=")[0] == "--recordings" for word in arguments):
        from trainer.transcription.long_form.command import main as measure_recordings

        return measure_recordings(arguments)
    from trainer.evaluation.language_model.options import add_options, check_options

    parser = CommandLine(__doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        action="append",
        help="a folder or hub name, plain Whisper or dual-attention; with --noise-suite also NAME=PATH, and several",
    )
    parser.add_argument("--config", help="with data and evaluation sections; default: that of the checkpoint's run")
    parser.add_argument("--split", choices=("train", "validation", "test"), help="default: test, or else validation")
    parser.add_argument("--output", help="folder for the results; default: evaluations/ in the run's folder")
    parser.add_argument("--baseline", choices=("plain",), help="also evaluate the Whisper that the run began from")
    parser.add_argument(
        "--noise-suite",
        metavar="CONFIG",
        help="measure error rates by kind of noise and ratio instead; --output gets noise_suite.html",
    )
    parser.add_argument(
        "--recordings",
        metavar="FOLDER",
        help="transcribe long recordings whose segments are known, and measure errors and times; further options "
        "are those of launch/transcribe.py",
    )
    parser.add_argument("--beams", type=number(int, 1, 64), metavar="N", help="in place of evaluation.beams")
    parser.add_argument("--n-best", type=number(int, 1, 64), default=0, metavar="N", help="of each utterance, as JSON")
    parser.add_argument(
        "--allow-seen", action="store_true", help="even if the language model was made of the references"
    )
    parser.add_argument("--tune-language-model", action="store_true", help="find its weights on data.validation")
    add_options(parser)
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values in place of those in the config")
    options = parser.parse_intermixed_args(arguments)
    check_options(options)
    if options.noise_suite is not None:
        from trainer.noise_suite.command import measure_and_print

        measure_and_print(options)
        return None
    if len(options.checkpoint) > 1:
        parser.error("--checkpoint is given more than once, which goes with --noise-suite")
    from trainer.config.reading import load_config
    from trainer.evaluation.beside import Beside
    from trainer.evaluation.checkpoint import evaluate_checkpoint, output_folder, run_config_of
    from trainer.evaluation.report import print_evaluation

    checkpoint = options.checkpoint[0]
    beams = [] if options.beams is None else [f"evaluation.beams={options.beams}"]
    config = load_config(options.config or run_config_of(checkpoint), [*options.overrides, *beams])
    if options.tune_language_model:
        from trainer.evaluation.language_model.tuning import tune_and_print

        tune_and_print(config, checkpoint, options)
        return None
    asked = (config, checkpoint, options.split, options.output)
    beside = Beside.asked(options, config)
    found = evaluate_checkpoint(*asked, baseline=options.baseline == "plain", beside=beside)
    if found:
        print_evaluation(checkpoint, *found, folder=output_folder(*asked))
    return None


if __name__ == "__main__":
    run_command(main)
