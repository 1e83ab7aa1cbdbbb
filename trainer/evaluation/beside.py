"""What an evaluation is given beside the checkpoint: a language model, and how many hypotheses to note."""

import argparse
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.sources.source import Source

from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..record.durable import write_text
from .language_model.opening import LanguageModel
from .language_model.options import asked_for, check_n_best

if TYPE_CHECKING:
    from .evaluator import Evaluator
    from .result import Evaluation

ALL = 10**9
N_BEST = "n_best.jsonl"


@dataclass(frozen=True)
class Beside:
    """What :func:`.checkpoint.evaluate_checkpoint` decodes with.

    Attributes:
        allow_seen: sentences of the language model's text may be among those to evaluate on.
        seen: how many are; None where that is not known.
        sentences: how many there are.
    """

    language_model: LanguageModel | None = None
    n_best: int = 0
    allow_seen: bool = False
    seen: int | None = None
    sentences: int = 0

    @classmethod
    def asked(cls, options: argparse.Namespace, config: RunConfig) -> "Beside":
        """As the options of ``launch/eval.py`` say. Raises ConfigError if the language model cannot be used."""
        source = getattr(config.data, options.split or ("test" if config.data.test else "validation"))
        language = getattr(source, "language", None) or config.data.language
        return cls(asked_for(options, language), options.n_best, options.allow_seen)

    def checked(self, source: Source, config: RunConfig) -> "Beside":
        """The same, once the source's texts were looked at.

        Raises:
            ConfigError: as :meth:`.language_model.opening.LanguageModel.check_references`, and for n-best lists of more
                hypotheses than beams, or by several processes.
        """
        check_n_best(self.n_best, config.evaluation.beams)
        if self.n_best and os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError("--n-best is of one process: start it without a launcher")
        if self.language_model is None:
            return self
        from .decoding_limits import first_texts

        texts = list(first_texts(source, ALL))
        seen = self.language_model.check_references(texts, self.allow_seen)
        return replace(self, seen=seen, sentences=len(texts))

    def prepare(self, evaluator: "Evaluator") -> None:
        """Let an evaluator decode with it."""
        evaluator.language_model, evaluator.n_best = self.language_model, self.n_best

    def noted(self, evaluation: "Evaluation", evaluator: "Evaluator") -> "Evaluation":
        """The evaluation, which says what it was made with, and has the hypotheses."""
        evaluation = replace(evaluation, n_best=evaluator.hypotheses)
        if self.language_model is None:
            return evaluation
        weights = self.language_model.weights.model_dump()
        noted = {"file": self.language_model.path, **weights, "seen": self.seen, "sentences": self.sentences}
        return replace(evaluation, language_model=noted)


def write_n_best(folder: Path, evaluation: "Evaluation") -> None:
    """Write a line for each utterance, if lists were asked for."""
    if not evaluation.n_best:
        return
    lines = []
    for one in evaluation.utterances:
        listed = [found.row() for found in evaluation.n_best.get(one.id, [])]
        lines.append({"id": one.id, "reference": one.prediction.reference, "hypotheses": listed})
    write_text(folder / N_BEST, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


NOTHING = Beside()
