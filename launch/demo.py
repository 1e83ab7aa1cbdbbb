"""Show everything once, in about five minutes on two CPU cores: make speech, prepare and inspect it, train, evaluate on
unseen voices, transcribe, and compare two ways of adapting the model to other voices."""

import time
from pathlib import Path

from trainer.command_line import CommandLine, run_command

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values in place of those in demo.yaml")
    parser.add_argument("--adapt", nargs="+", default=[], metavar="key.path=value", help="the same for demo_adapt.yaml")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    from data.opening import open_source
    from trainer.config.reading import load_config
    from trainer.demonstration import compare_strategies, inspect_speech
    from trainer.record.folder import next_free_folder

    config = load_config(CONFIGS / "demo.yaml", options.overrides)
    folder = next_free_folder(Path(config.output_dir))
    config = config.model_copy(update={"output_dir": str(folder)})
    speech = open_source(config.data.training_sources[0], "data.train").files
    found, page = inspect_speech(speech)
    print(f"{len(speech)} shards of speech prepared and inspected in {time.perf_counter() - started:.0f} s: {found}")
    from trainer.run import train

    summary = train(config)
    from data.digit_speech import UNSEEN_VOICES, synthesize_clip
    from trainer.evaluation.checkpoint import evaluate_checkpoint
    from trainer.transcription.transcriber import Transcriber

    best = folder / "best"
    (evaluation,) = evaluate_checkpoint(config, str(best), "test")
    clip, spoken = synthesize_clip(folder, voice=UNSEEN_VOICES[0], seed=7)
    heard = Transcriber(str(best), config.data.language).transcribe(clip).text
    compared = compare_strategies(CONFIGS / "demo_adapt.yaml", config, options.adapt)
    rows = {
        "speech made, trained, evaluated in": f"{time.perf_counter() - started:.0f} s",
        "training": f"{summary['steps']} steps, {summary['utterances_per_second']:.0f} utterances a second",
        "parameters": f"{summary['parameters']:,}",
        "word error rate, unseen voices": f"{evaluation.rates.word_error_rate:.1%}",
        "character error rate, unseen voices": f"{evaluation.rates.character_error_rate:.1%}",
        "a new clip says": spoken,
        "the model hears": heard,
        "the clip": str(clip),
        "the model (Hugging Face folder)": str(best),
        "what is in the training data": str(page),
        "word error rate, other throats": ", ".join(
            f"{result.arm.name} {result.word_error_rate:.1%}" for result in compared.results
        ),
        "what adapting to them took": str(folder / "comparison" / "comparison.html"),
        "curves": f"tensorboard --logdir {folder}",
        "your own recording": f"python launch/transcribe.py --checkpoint {best} FILE",
    }
    width = max(map(len, rows))  # no table: it would break paths, which are there to be copied
    print("\n" + "\n".join(f"{name:<{width}}   {value}" for name, value in rows.items()))


if __name__ == "__main__":
    run_command(main)
