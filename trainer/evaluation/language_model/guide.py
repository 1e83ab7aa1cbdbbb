"""Adds a language model's scores to those of the decoder's next tokens: in beam search, greedily, and by sampling."""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from .words import State, WordScorer

CANDIDATES = 24  # likeliest tokens of each row that the language model is asked for ...
MARGIN = 12.0  # ... if they are at most so much less likely than the first, as natural logarithms


class Guide:
    """Rows of tokens so far and their scores to scores with the language model's.

    The language model is asked for the likeliest tokens of each row. What is less likely gets the least that it added
    to one of them. Tokens after the end of text, such as timestamps, get the same all, so their order stays.

    For one call of ``generate()`` or of the greedy loop; texts so far are known from the step before.
    """

    def __init__(self, scorer: WordScorer, candidates: int = CANDIDATES) -> None:
        self.scorer, self.candidates = scorer, candidates
        self.known: dict[tuple[int, ...], State] = {}

    def __call__(self, tokens: Sequence[Sequence[int]], scores: torch.Tensor) -> torch.Tensor:
        """Scores [n, vocabulary], float; n rows of tokens, without the prompt."""
        step, other = self.scorer.step, self.scorer.end + 1
        texts = [tuple(row) for row in tokens]
        states = [self.state_of(text) for text in texts]
        self.known = dict(zip(texts, states, strict=True))
        values, ids = scores.topk(min(self.candidates, scores.shape[-1]), dim=-1)
        near = (values >= values[:, :1] - MARGIN).sum(dim=-1, keepdim=True)
        added = []
        for state, (asked, *row) in zip(states, torch.cat((near, ids), dim=-1).tolist(), strict=True):
            own = [step(state, token)[0] for token in row[:asked]] or [0.0]
            least = min(own)
            added.append([step(state, other)[0], least, *own, *[least] * (len(row) - len(own))])
        more = torch.tensor(added, dtype=scores.dtype, device=scores.device)
        guided = scores + more[:, 1:2]
        guided.scatter_(1, ids, values + more[:, 2:])
        guided[:, other:] = scores[:, other:] + more[:, :1]
        return guided

    def state_of(self, text: tuple[int, ...]) -> State:
        if text in self.known:
            return self.known[text]
        before = self.known.get(text[:-1])
        if before is not None:
            return self.scorer.step(before, text[-1])[1]
        state = self.scorer.begin
        for token in text:
            state = self.scorer.step(state, token)[1]
        return state


class GuidedBeams(LogitsProcessor):
    """A :class:`Guide` as ``generate()`` takes it; of its first call it learns how long the prompt is."""

    def __init__(self, guide: Guide) -> None:
        self.guide = guide
        self.prompt: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        if self.prompt is None:
            self.prompt = input_ids.shape[1]
        return self.guide(input_ids[:, self.prompt :].tolist(), scores)
