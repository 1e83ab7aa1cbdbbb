"""Finds a language model's weights on held-out speech: n-best lists are made once and put in order for each trial.

The best weights of the trials are tried in decoding itself, beside none, and the best of those are kept.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.ngram.beside import CARD, Card, Weights, write_card

from ...config.reading import ConfigError
from ...config.run import RunConfig
from ...errors import CommandFailed, SaveError
from ..beside import Beside
from ..checkpoint import evaluate_checkpoint
from ..error_rates import Prediction, score
from ..normalizers import build_normalizer
from ..result import Evaluation
from .n_best import Hypothesis
from .opening import LanguageModel

TRIALS = 300
LISTED = 5  # hypotheses of an utterance, from as many beams
VERIFIED = 2  # best weights that are tried in decoding
RANGES = {"weight": (0.0, 3.0), "word_bonus": (-3.0, 6.0), "unknown": (0.0, 10.0)}

Decode = Callable[[LanguageModel | None, int], Evaluation]  # with a language model or none, and so many hypotheses


@dataclass(frozen=True)
class Listed:
    """The hypotheses of all utterances, each a row; what makes up their scores, and their errors.

    Attributes:
        first: the row of each utterance's first one.
        parts: float64 [rows, 4]: the model's score, the language model's log-probability, words, unknown words.
        tokens: by which scores are divided.
        errors: in words, beside the reference.
    """

    first: NDArray[np.int64]
    parts: NDArray[np.float64]
    tokens: NDArray[np.int64]
    errors: NDArray[np.int64]
    words: int

    def error_rate(self, weights: Weights) -> float:
        """Of the hypotheses that are best by these weights."""
        factors = np.array([1.0, weights.weight, weights.word_bonus, -weights.weight * weights.unknown])
        means = self.parts @ factors / self.tokens
        best = np.maximum.reduceat(means, self.first)
        counts = np.diff(np.append(self.first, len(means)))
        is_best = means >= np.repeat(best, counts)
        errors = np.minimum.reduceat(np.where(is_best, self.errors, np.iinfo(np.int64).max), self.first)
        return float(errors.sum() / max(self.words, 1))


def listed(evaluations: Sequence[Evaluation], beside: LanguageModel, normalizer: str) -> Listed:
    """The different hypotheses of all evaluations of the same utterances."""
    rows: list[Prediction] = []
    parts, tokens, first = list[tuple[float, ...]](), list[int](), list[int]()
    for one in evaluations[0].utterances:
        found: dict[str, Hypothesis] = {}
        for evaluation in evaluations:
            for hypothesis in evaluation.n_best[one.id]:
                found.setdefault(hypothesis.text, hypothesis)
        first.append(len(rows))
        for hypothesis in found.values():
            said = beside.of_text(hypothesis.text)
            parts.append((hypothesis.acoustic, said.likely, said.words, said.unknown))
            tokens.append(hypothesis.tokens)
            name = f"{len(rows):09d}"
            rows.append(Prediction(name, one.prediction.reference, hypothesis.text, one.prediction.language))
    errors = [one.words.errors for one in score(rows, lambda own: build_normalizer(normalizer, own))]
    words = sum(one.words.tokens for one in evaluations[0].utterances)
    return Listed(np.array(first), np.array(parts), np.array(tokens), np.array(errors), words)


def best_weights(lists: Listed, trials: int = TRIALS, seed: int = 0) -> list[tuple[float, Weights]]:
    """Error rates and weights of all trials of optuna's search, the best first."""
    try:
        import optuna
    except ImportError:
        raise CommandFailed("weights are found by optuna, which is missing: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(Weights().model_dump())
    has_unknown = bool(lists.parts[:, 3].any())

    def rate(trial: "optuna.Trial") -> float:
        usual = Weights().model_dump()
        names = [name for name in RANGES if name != "unknown" or has_unknown]
        return lists.error_rate(Weights(**usual | {name: trial.suggest_float(name, *RANGES[name]) for name in names}))

    study.optimize(rate, n_trials=trials)
    usual = Weights().model_dump()
    found = [(float(trial.value), Weights(**usual | trial.params)) for trial in study.trials if trial.value is not None]
    return sorted(found, key=lambda pair: pair[0])


def tune(beside: LanguageModel, decode: Decode, normalizer: str) -> list[tuple[Weights, float]]:
    """Weights and their error rates in decoding, the best first; the last are those of no language model (0)."""
    plain = decode(None, LISTED)
    lists = listed([plain, decode(beside, LISTED)], beside, normalizer)
    trials = best_weights(lists)
    lowest = trials[0][0]
    # Of weights that are as good, those in the middle of them hold best for other speech.
    equal = [weights for rate, weights in trials if rate <= lowest + 1e-9]
    chosen = [middle(equal), *(weights for _, weights in trials)][:VERIFIED]
    rates = [(weights, decode(beside.with_weights(weights), 0).rates.word_error_rate) for weights in chosen]
    none = Weights(weight=0.0, word_bonus=0.0)
    return [*sorted(rates, key=lambda pair: pair[1]), (none, plain.rates.word_error_rate)]


def middle(weights: Sequence[Weights]) -> Weights:
    """The medians of each of the weights."""
    return Weights(**{name: float(np.median([getattr(one, name) for one in weights])) for name in RANGES})


def tune_and_print(config: RunConfig, checkpoint: str, options: argparse.Namespace) -> None:
    """Find the weights on a split, ``data.validation`` if none is named, and write them beside the language model.

    Raises:
        ConfigError: without a language model, with weights or outputs that are given, and for several processes.
    """
    if options.language_model is None:
        raise ConfigError("--tune-language-model finds weights: --language-model says of what")
    if options.lm_weight is not None or options.lm_word_bonus is not None:
        raise ConfigError(
            "--tune-language-model finds the weights that --lm-weight and --lm-word-bonus give: leave them out"
        )
    for name in ("baseline", "n_best", "output"):
        if getattr(options, name):
            raise ConfigError(f"--tune-language-model writes weights alone: leave --{name.replace('_', '-')} out")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("--tune-language-model is of one process: start it without a launcher")
    options.split = options.split or "validation"
    beside = Beside.asked(options, config).language_model
    assert beside is not None

    def decode(model: LanguageModel | None, n_best: int) -> Evaluation:
        beams = max(LISTED, config.evaluation.beams) if n_best else max(5, config.evaluation.beams)
        own = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"beams": beams})})
        asked = Beside(model, n_best, options.allow_seen)
        return evaluate_checkpoint(own, checkpoint, options.split, beside=asked, writes=False)[0]

    found = tune(beside, decode, config.evaluation.normalizer)
    for weights, rate in found:
        print(f"word error rate {rate:.2%} with {shown(weights)}")
    weights, rate = min(found, key=lambda pair: pair[1])
    if not weights.weight:
        print("the language model does not help: its weight is 0")
    name = f"data.{options.split} of {checkpoint}"
    card = beside.card or Card(language=beside.language, order=0, sentences=0, words=0, vocabulary=0)
    try:
        write_card(beside.path, card.model_copy(update={"weights": weights, "tuned_on": name}))
    except OSError as error:
        raise SaveError(f"{beside.path}{CARD} cannot be written: {error.strerror or error}") from None
    print(f"written to {beside.path}{CARD}")


def shown(weights: Weights) -> str:
    return f"weight {weights.weight:.2f}, word bonus {weights.word_bonus:.2f}, unknown {weights.unknown:.2f}"
