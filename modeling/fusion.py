"""Two recordings of the same speech, heard by any model without training: their log-probabilities are averaged.

Both recordings are rows of one batch. At each step of ``generate()`` the rows of a pair get the same scores, so that
they take the same token, greedily, with beams and by sampling.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from transformers import LogitsProcessor, LogitsProcessorList

T = TypeVar("T")
LEAST_ENTROPY = 1e-3  # nats; below, a distribution counts as certain
OF_ENTROPY = 2.0  # shares are as this power of the inverse entropies ...
OF_SURENESS = 10.0  # ... and as the exponential of this many times the mean log-probabilities; docs/transcribing.md


@dataclass
class Fusion:
    """Which rows of a batch are second recordings, and how much each recording counts.

    The batch holds the ``clips`` first recordings, then the second ones, in the order of the first.

    Attributes:
        clips: B, first recordings.
        rows: ascending, those of them that have a second one; R in all. The others are decoded as they would be alone.
        share: of the first recording in the average, 0 to 1; None to find it at each token, from how certain either
            recording makes the model (:func:`certainty_share`).
        odds: the logarithm of the odds of the first recording's share, of each pair, float32 [R], from how sure the
            model is of all that it hears in either alone; None until it has heard them (:meth:`weigh`).
        token_shares: of each pair, by the first recording's row: the share at each token of the last call of
            ``generate()``, its end of text included.
    """

    clips: int
    rows: tuple[int, ...]
    share: float | None = None
    odds: torch.Tensor | None = field(default=None, init=False)
    token_shares: dict[int, list[float]] = field(default_factory=dict, init=False)
    # Of each step: tokens so far, int64 [B + R or times the beams, L], and shares, float32 [R or times the beams].
    steps: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list, init=False, repr=False)

    def beside(self, values: Sequence[T]) -> list[T]:
        """One value for each row of the batch, from one for each first recording."""
        return [*values, *(values[row] for row in self.rows)]

    def summed(self, scores: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B, vocabulary], of a pair their sum, from scores [B + R, vocabulary]."""
        log = scores.float().log_softmax(dim=-1)
        rows = torch.tensor(self.rows, device=log.device)
        return log[: self.clips].index_add(0, rows, log[self.clips :])

    def weigh(self, sureness: torch.Tensor) -> None:
        """Set the odds by the mean log-probability of what is heard in each row alone, float32 [B + R]."""
        self.odds = OF_SURENESS * (sureness[list(self.rows)] - sureness[self.clips :])

    def processors(self, temperature: float = 0.0, guides: Sequence[Any] = ()) -> "FusedFirst":
        """What ``generate()`` is to do with the scores of each step; ``guides`` come after Whisper's own."""
        self.steps.clear()
        return FusedFirst([FusedScores(self)], [SameDraw(self, temperature)] if temperature else [], guides)

    def firsts(self, sequences: torch.Tensor, prompt: int) -> torch.Tensor:
        """What ``generate()`` gave for the first recordings, int64 [B, L], without the prompt; notes the shares.

        Args:
            sequences: int64 [B + R, prompt + L].
            prompt: tokens before what was generated.
        """
        self.token_shares = {row: self.shares_of(place, sequences[row]) for place, row in enumerate(self.rows)}
        self.steps.clear()
        return sequences[: self.clips, prompt:]

    def shares_of(self, place: int, sequence: torch.Tensor) -> list[float]:
        """The shares of ``rows[place]``, found in the steps by the tokens before; beams change places at each step."""
        found = []
        for tokens, share in self.steps:
            before = tokens.shape[1]
            beams = tokens.view(self.clips + len(self.rows), -1, before)[self.rows[place]]
            same = (beams == sequence[:before]).all(dim=-1)
            found.append(torch.where(same.any(), share.view(len(self.rows), -1)[place, same.int().argmax()], torch.nan))
        shares = torch.stack(found).tolist() if found else []
        return list(itertools.takewhile(lambda share: not math.isnan(share), shares))


def certainty_share(first: torch.Tensor, second: torch.Tensor, odds: torch.Tensor | float = 0.0) -> torch.Tensor:
    """The first recording's share at a token, [..., 1]: the lower its distribution's entropy, the more.

    Args:
        first, second: log-probabilities [..., vocabulary].
        odds: natural logarithm of the share's odds, [..., 1], where both distributions have the same entropy.
    """
    first_entropy, second_entropy = (
        torch.special.entr(log.exp()).sum(dim=-1, keepdim=True).clamp(min=LEAST_ENTROPY).log()
        for log in (first, second)
    )
    return torch.sigmoid(odds + OF_ENTROPY * (second_entropy - first_entropy))


class Sureness(LogitsProcessor):
    """Changes nothing, and notes how likely the model finds the tokens that it takes greedily.

    ``means``: float32 [rows], the mean log-probability of a row's tokens and its end.
    """

    def __init__(self, end_of_text: int) -> None:
        self.end_of_text = end_of_text
        self.total: torch.Tensor | float = 0.0
        self.count: torch.Tensor | float = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        goes_on = ~(input_ids == self.end_of_text).any(dim=-1)
        self.total = self.total + scores.float().log_softmax(dim=-1).amax(dim=-1) * goes_on
        self.count = self.count + goes_on
        return scores

    @property
    def means(self) -> torch.Tensor:
        return torch.as_tensor(self.total / self.count)


class FusedScores(LogitsProcessor):
    """Both rows of a pair get the weighted mean of their log-probabilities.

    The mean is not normalised: over a text it adds up to the mean of what both recordings say of it, by which beams are
    compared.
    """

    def __init__(self, fusion: Fusion) -> None:
        self.fusion = fusion

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        fusion = self.fusion
        grouped = scores.view(fusion.clips + len(fusion.rows), -1, scores.shape[-1])  # [B + R, beams, vocabulary]
        first, second = (
            part.float().log_softmax(dim=-1) for part in (grouped[list(fusion.rows)], grouped[fusion.clips :])
        )
        if fusion.share is None:
            share = certainty_share(first, second, 0.0 if fusion.odds is None else fusion.odds[:, None, None])
        else:
            share = first.new_full((*first.shape[:2], 1), fusion.share)
        fusion.steps.append((input_ids, share.flatten()))
        least = torch.finfo(torch.float32).min
        # Clamped, since a share of 0 times infinity is no number.
        mean = share * first.clamp(min=least) + (1 - share) * second.clamp(min=least)
        fused = grouped.clone()
        fused[list(fusion.rows)] = fused[fusion.clips :] = mean.to(scores.dtype)
        return fused.view_as(scores)


class SameDraw(LogitsProcessor):
    """One token is drawn for both rows of a pair; the others become impossible. For one beam."""

    def __init__(self, fusion: Fusion, temperature: float) -> None:
        self.fusion, self.temperature = fusion, temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        rows = list(self.fusion.rows)
        drawn = torch.multinomial((scores[rows].float() / self.temperature).softmax(dim=-1), 1)
        only = torch.full_like(scores[rows], -torch.inf).scatter(1, drawn, 0.0)
        fixed = scores.clone()
        fixed[rows] = fixed[self.fusion.clips :] = only
        return fixed


class FusedFirst(LogitsProcessorList):
    """Processors of which fusion stays the first, and drawing the last.

    Whisper's ``generate()`` puts its own before those that it is given (``[its own] + given``). The one that decides
    between text and a timestamp would decide for each recording alone, before they are fused.
    """

    def __init__(self, fused: Iterable[Any], drawing: Iterable[Any], between: Iterable[Any] = ()) -> None:
        self.fused, self.between, self.drawing = list(fused), list(between), list(drawing)
        super().__init__([*self.fused, *self.between, *self.drawing])

    def __radd__(self, others: Iterable[Any]) -> "FusedFirst":
        return FusedFirst(self.fused, self.drawing, [*others, *self.between])
