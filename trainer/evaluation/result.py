"""What an evaluation found, put together from what each rank decoded. Knows nothing of models."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.batches.evaluation_rows import Turn, hash_of
from data.errors import DataError
from data.utterance import SAMPLING_RATE, Skipped

from ..config.evaluation import EvaluationConfig
from .error_rates import ErrorRates, Prediction, ScoredUtterance, corpus_rates, score
from .language_model.n_best import Hypothesis
from .normalizers import Normalizer


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; the same on all ranks.

    Attributes:
        utterances: with their errors, sorted by id; each id once.
        rates: of all utterances together.
        normalizer: ``english``, ``basic``, ``none``, or ``mixed`` if it differs between languages.
        columns: the data set's columns that error rates are broken down by.
        cluster: the column whose values are drawn for intervals; None for utterances.
        seconds: decoding time of the slowest rank.
        audio_seconds: length of what was decoded.
        real_time_factor: decoding time over audio time, below 1 if faster than speech. Each rank's first batch, which
            warms up, counts only if there is no other.
        skipped: id and reason of rows that could not be evaluated.
        repeated: rows left out because an earlier row has the same id.
        rows: rows looked at.
        with_second: utterances of which the model heard a second recording, too.
        language_model: which one was beside the model, its weights, and how many sentences it was made of; None
            without.
        n_best: the best hypotheses of each utterance by its id, where they were asked for.
    """

    utterances: list[ScoredUtterance] = field(repr=False)
    rates: ErrorRates
    normalizer: str
    beams: int
    columns: tuple[str, ...]
    cluster: str | None
    seconds: float
    audio_seconds: float
    real_time_factor: float
    skipped: list[dict[str, str]] = field(default_factory=list)
    repeated: int = 0
    rows: int = 0
    with_second: int = 0
    language_model: dict[str, Any] | None = None
    n_best: dict[str, list[Hypothesis]] = field(default_factory=dict, repr=False)

    def metrics(self) -> dict[str, float]:
        """What metrics.jsonl holds of it."""
        rates = ("word_error_rate", "character_error_rate", "raw_word_error_rate", "raw_character_error_rate")
        return {name: getattr(self.rates, name) for name in (*rates, "substitutions", "deletions", "insertions")} | {
            "seconds": self.seconds,
            "real_time_factor": self.real_time_factor,
            "utterances": self.rates.utterances,
            "skipped": len(self.skipped),
        }

    def samples(self, number: int) -> list[tuple[str, str, str]]:
        """Id, reference and hypothesis of some utterances; of the same data always the same ones."""
        chosen = sorted(self.utterances, key=lambda one: hash_of(one.id))[:number]
        return [(one.id, one.prediction.reference, one.prediction.hypothesis) for one in chosen]


@dataclass
class Share:
    """What one rank has decoded, and how long that took; the warm-up is its first batch.

    ``with_second`` are the ids of utterances of which the model heard a second recording, too.
    """

    predictions: list[Prediction] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    repeated: int = 0
    with_second: set[str] = field(default_factory=set)
    seconds: float = 0.0
    audio_seconds: float = 0.0
    warm_up_seconds: float = 0.0
    warm_up_audio_seconds: float = 0.0

    def add(self, turn: Turn, texts: Sequence[str], language: str | None, seconds: float) -> None:
        """Add a turn and its transcripts.

        Args:
            language: for utterances that carry none.
            seconds: from the beginning of the first turn to the end of this one.
        """
        audio, is_first = turn.audio, self.seconds == 0
        self.seconds = seconds
        self.skipped += turn.skipped
        self.repeated += turn.repeated
        if audio is not None:
            lengths = [samples / SAMPLING_RATE for samples in audio.audio_lengths.tolist()]
            self.audio_seconds += sum(lengths)
            self.predictions += [
                Prediction(
                    id=audio.ids[row],
                    reference=audio.texts[row],
                    hypothesis=text,
                    language=audio.languages[row] or language,
                    seconds=lengths[row],
                    columns=turn.columns[row],
                )
                for row, text in enumerate(texts)
            ]
        if is_first:
            self.warm_up_seconds, self.warm_up_audio_seconds = self.seconds, self.audio_seconds


def real_time_factor(shares: Sequence[Share]) -> float:
    """Decoding time over audio time of all ranks, each rank's first batch left out unless there is no other."""
    audio_seconds = sum(share.audio_seconds - share.warm_up_audio_seconds for share in shares)
    if audio_seconds > 0:
        return max(share.seconds - share.warm_up_seconds for share in shares) / audio_seconds
    return max(share.seconds for share in shares) / sum(share.audio_seconds for share in shares)


def joined(
    shares: list[Share],
    source: str,
    config: EvaluationConfig,
    normalizer_of: Callable[[str | None], Normalizer],
    *,
    rows: int,
) -> Evaluation:
    """The evaluation that all ranks' shares make up.

    Args:
        source: its name, for messages.
        normalizer_of: the normaliser of a language.
        rows: looked at by all ranks together.

    Raises:
        DataError: if no utterance could be evaluated.
    """
    skipped = [{"id": row.id, "reason": row.reason} for share in shares for row in share.skipped]
    predictions = {one.id: one for share in shares for one in share.predictions}
    if not predictions:
        why = f"; the first: {skipped[0]['id']}: {skipped[0]['reason']}" if skipped else ""
        raise DataError(f"{source}: no utterance could be evaluated{why}")
    scored = score(predictions.values(), normalizer_of)
    kinds = {one.normalizer.kind for one in scored}
    return Evaluation(
        utterances=scored,
        rates=corpus_rates(scored),
        normalizer=kinds.pop() if len(kinds) == 1 else "mixed",
        beams=config.beams,
        columns=config.columns,
        cluster=config.cluster,
        seconds=max(share.seconds for share in shares),
        audio_seconds=math.fsum(one.prediction.seconds for one in scored),
        real_time_factor=real_time_factor(shares),
        skipped=sorted(skipped, key=lambda row: (row["id"], row["reason"])),
        repeated=sum(share.repeated for share in shares),
        rows=rows,
        with_second=len(set().union(*(share.with_second for share in shares))),
    )
