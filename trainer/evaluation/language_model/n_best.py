"""The best texts that beam search found of an utterance, and what the model and the language model say of each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .opening import LanguageModel


@dataclass(frozen=True)
class Hypothesis:
    """A text with its scores: sums of natural logarithms over the text and its end.

    Attributes:
        score: by which beams are compared, before it is divided by ``tokens``.
        acoustic: the model's part of it.
        language_model: the language model's, with its weights; 0 without one.
        tokens: with the end.
    """

    text: str
    score: float
    acoustic: float
    language_model: float
    tokens: int

    def row(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def hypotheses(
    texts: Sequence[Sequence[list[int]]],
    scores: Sequence[Sequence[float]],
    tokenizer: Any,
    beside: LanguageModel | None,
) -> list[list[Hypothesis]]:
    """What :func:`modeling.decoding.generate_n_best` found, of each clip."""
    return [
        [hypothesis(tokens, score, tokenizer, beside) for tokens, score in zip(*clip, strict=True)]
        for clip in zip(texts, scores, strict=True)
    ]


def hypothesis(tokens: list[int], score: float, tokenizer: Any, beside: LanguageModel | None) -> Hypothesis:
    """One text; what the language model added to it is added up again."""
    text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
    added = 0.0
    if beside is not None:
        scorer = beside.scorer(tokenizer)
        state = scorer.begin
        for token in (*tokens, tokenizer.eos_token_id):
            more, state = scorer.step(state, token)
            added += more
    return Hypothesis(text, score, score - added, added, len(tokens) + 1)
