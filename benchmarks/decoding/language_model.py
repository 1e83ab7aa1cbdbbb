"""Errors and time of beam search with a language model and without, on synthetic speech of languages of its own.

    python -m benchmarks.decoding.language_model --checkpoint runs/demo/best --data DIR --output FILE

Two languages of Azerbaijani digits, which a run of configs/demo.yaml can hear: a grammar, in which three digits may
follow each, and a Markov chain, in which all may, some of them often. Unheard voices say them, faster or slower by up
to a third, which the model was not trained for. The language model is made of other sentences of the same language, its
weights are found on speech of its own, and the sentences of the report are in no text.
"""

import io
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import soxr

from benchmarks.machine import describe_machine
from benchmarks.written import add_output, table_head, write_result
from data.config import ColumnNames, SourceConfig
from data.digit_speech import DIGIT_WORDS, SAMPLING_RATE, UNSEEN_VOICES, speak_texts
from trainer.command_line import CommandLine, number, run_command
from trainer.config.reading import load_config
from trainer.config.run import RunConfig
from trainer.evaluation.beside import NOTHING, Beside
from trainer.evaluation.checkpoint import evaluate_checkpoint, run_config_of
from trainer.evaluation.intervals import paired_difference
from trainer.evaluation.language_model.making import Asked, make
from trainer.evaluation.language_model.opening import LanguageModel, open_language_model
from trainer.evaluation.language_model.tuning import tune
from trainer.evaluation.result import Evaluation

TEXT = 4000  # sentences
WARP = 0.33
LENGTHS = (3, 4)

Draw = Callable[[random.Random], str]


def grammar(seed: int) -> Draw:
    """Strings in which three digits may follow each, all alike."""
    draw = random.Random(seed)
    after = {word: draw.sample(DIGIT_WORDS, 3) for word in DIGIT_WORDS}

    def drawn(generator: random.Random) -> str:
        words = [generator.choice(DIGIT_WORDS)]
        for _ in range(generator.randint(*LENGTHS) - 1):
            words.append(generator.choice(after[words[-1]]))
        return " ".join(words)

    return drawn


def markov(seed: int) -> Draw:
    """Strings in which each digit follows each, some far more often."""
    shares = np.random.default_rng(seed).dirichlet([0.25] * len(DIGIT_WORDS), len(DIGIT_WORDS))
    chances = dict(zip(DIGIT_WORDS, shares, strict=True))

    def drawn(generator: random.Random) -> str:
        words = [generator.choice(DIGIT_WORDS)]
        for _ in range(generator.randint(*LENGTHS) - 1):
            words += generator.choices(DIGIT_WORDS, chances[words[-1]])
        return " ".join(words)

    return drawn


LANGUAGES: dict[str, Callable[[int], Draw]] = {"grammar": grammar, "Markov chain": markov}


def speak(texts: Sequence[str], seed: int, file: Path) -> None:
    """A Parquet file with the texts as unheard voices say them, each played faster or slower."""
    generator, rows = random.Random(seed), []
    for place, spoken in enumerate(speak_texts(texts, voices=UNSEEN_VOICES, seed=seed)):
        factor = 1 + generator.uniform(-WARP, WARP)
        samples = np.pad(soxr.resample(spoken.samples, SAMPLING_RATE * factor, SAMPLING_RATE), SAMPLING_RATE // 10)
        flac = io.BytesIO()
        soundfile.write(flac, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
        audio = {"bytes": flac.getvalue(), "path": f"{place}.flac"}
        speaker = UNSEEN_VOICES[place % len(UNSEEN_VOICES)]
        rows.append({"id": f"{seed}-{place:05d}", "audio": audio, "text": spoken.text, "speaker": speaker})
    pq.write_table(pa.Table.from_pylist(rows), file)


def material(name: str, folder: Path, options: Any) -> None:
    """Text and speech of a language: sentences of the report are in nothing else."""
    seed: int = options.seed
    draw, generator = LANGUAGES[name](seed), random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    report = [draw(generator) for _ in range(options.report)]
    taken = set(report)
    others = [text for text in (draw(generator) for _ in range(20 * TEXT)) if text not in taken]
    held_out, rest = others[: options.held_out], others[options.held_out :]
    text = [one for one in rest if one not in set(held_out)][:TEXT]
    (folder / "text.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    speak(held_out, seed + 1000, folder / "validation.parquet")
    speak(report, seed + 2000, folder / "test.parquet")


def measure(name: str, folder: Path, options: Any) -> dict[str, Any]:
    """Error rates and seconds with the language model and without, and what it was tuned to."""
    if not (folder / "test.parquet").exists():
        material(name, folder, options)
    asked = Asked((str(folder / "text.txt"),), "az", options.order)
    lines = list(make(asked, folder / "lm.arpa"))
    config = load_config(run_config_of(options.checkpoint), [f"evaluation.beams={options.beams}"])
    columns = ColumnNames(id="id")
    sources = {
        split: SourceConfig(files=str(folder / f"{split}.parquet"), columns=columns) for split in ("validation", "test")
    }
    config = config.model_copy(update={"data": config.data.model_copy(update=sources)})
    beside = open_language_model(str(folder / "lm.arpa"), "az")
    found = tune(beside, lambda model, n_best: decoded(config, options, "validation", Beside(model, n_best)), "auto")
    weights = min(found, key=lambda pair: pair[1])[0]
    beside = beside.with_weights(weights)
    greedy = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"beams": 1})})
    rates = {
        "greedy": decoded(greedy, options, "test", NOTHING),
        "greedy with": decoded(greedy, options, "test", Beside(beside)),
    }
    seconds: dict[str, list[float]] = {"beams": [], "beams with": []}
    processor: dict[str, list[float]] = {"beams": [], "beams with": []}  # which other programs disturb less
    for _ in range(options.repeats):
        for side, given in (("beams", NOTHING), ("beams with", Beside(fresh(beside)))):
            worked = time.process_time()
            rates[side] = decoded(config, options, "test", given)
            seconds[side].append(rates[side].seconds)
            processor[side].append(time.process_time() - worked)
    difference = paired_difference(rates["beams with"].utterances, rates["beams"].utterances, None)
    before, after = (rates[side].rates.word_error_rate for side in ("beams", "beams with"))
    return {
        "text": lines,
        "weights": weights.model_dump(),
        "word_error_rate": {side: one.rates.word_error_rate for side, one in rates.items()},
        "fewer_errors": 1 - after / before,
        "difference": difference.value,
        "difference_interval": difference.interval,
        "utterances": len(rates["beams"].utterances),
        "seconds": seconds,
        "processor_seconds": processor,
        "time_ratio": ratio(seconds),
        "processor_ratio": ratio(processor),
    }


def ratio(seconds: dict[str, list[float]]) -> float:
    """The median of the ratios of each turn."""
    return median(b / a for a, b in zip(seconds["beams"], seconds["beams with"], strict=True))


def decoded(config: RunConfig, options: Any, split: str, given: Beside) -> Evaluation:
    beams = max(config.evaluation.beams, given.n_best)
    own = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"beams": beams})})
    return evaluate_checkpoint(own, options.checkpoint, split, beside=given, writes=False)[0]


def fresh(beside: LanguageModel) -> LanguageModel:
    """The same, which has not seen any text yet."""
    return beside.with_weights(beside.weights)


COLUMNS = (
    "language",
    "greedy",
    "greedy with it",
    "beams",
    "beams with it",
    "fewer errors",
    "difference, points (95 %)",
    "processor time with it",
)


def table(found: dict[str, Any]) -> str:
    """The languages as rows of a Markdown table."""
    rows = []
    for name in LANGUAGES:
        if name not in found:
            continue
        cell = found[name]
        rates = " | ".join(
            f"{100 * cell['word_error_rate'][side]:.1f} %" for side in ("greedy", "greedy with", "beams", "beams with")
        )
        low, high = (100 * end for end in cell["difference_interval"])
        rows.append(
            f"| {name} | {rates} | {100 * cell['fewer_errors']:.0f} % "
            f"| {100 * cell['difference']:.1f} ({low:.1f} to {high:.1f}) | {cell['processor_ratio']:.2f} times |"
        )
    return "\n".join(rows)


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="best/ of a run of configs/demo.yaml")
    add("--data", required=True, type=Path, metavar="FOLDER", help="where speech and text are written, and kept")
    add("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES), metavar="NAME", help="default: both")
    add("--order", type=number(int, 1, 5), default=3)
    add("--beams", type=number(int, 1, 64), default=5)
    add("--seed", type=number(int, 0, 10**6), default=0, help="of the languages and the speech")
    add(
        "--held-out", type=number(int, 10, 10**5), default=200, metavar="N", help="utterances that weights are found on"
    )
    add("--report", type=number(int, 10, 10**5), default=400, metavar="N", help="utterances that errors are counted in")
    add("--repeats", type=number(int, 1, 100), default=3, help="of decoding with beams, for the times")
    add_output(parser)
    options = parser.parse_args(arguments)
    command = " ".join(["python -m benchmarks.decoding.language_model", *arguments])
    result: dict[str, Any] = {"machine": describe_machine(), "command": command}
    print(table_head(COLUMNS), flush=True)
    started = time.perf_counter()
    for name in options.languages:
        result[name] = measure(name, options.data / name.replace(" ", "_") / str(options.seed), options)
        print(table({name: result[name]}), flush=True)
    result["total_seconds"] = time.perf_counter() - started
    write_result(options.output, result)


if __name__ == "__main__":
    run_command(main)
