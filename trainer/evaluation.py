"""Decode a source and count errors, shared out over ranks, under every engine, in training and from a checkpoint."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from data.errors import DataError
from data.evaluation import evaluation_batches
from data.features import LogMel
from data.sources import Source
from data.utterance import SAMPLING_RATE, AudioBatch, Skipped
from modeling.decoding import encoder_padding, greedy_decode

from .agreement import agree
from .batch import silent_batch, to_batch
from .engine import bare_model
from .error_rates import ErrorRates, build_normalizer, error_rates


class Interrupted(Exception):
    """A stop was asked for while evaluating; the evaluation is given up on all ranks."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        rates: error rates, each id counted once.
        seconds, audio_seconds: decoding time, and the time of what was decoded.
        predictions: id, reference and hypothesis of every utterance, sorted by id.
        skipped: id and reason of rows that could not be evaluated.
        repeated: rows whose id another row bears.
    """

    rates: ErrorRates
    seconds: float
    audio_seconds: float
    predictions: list[dict[str, str]] = field(repr=False)
    skipped: list[dict[str, str]] = field(default_factory=list)
    repeated: int = 0

    @property
    def real_time_factor(self) -> float:
        """Decoding time over audio time; below 1 is faster than speech."""
        return self.seconds / self.audio_seconds if self.audio_seconds else 0.0


class Evaluator:
    """Greedy decoding of a source.

    Args:
        accelerator: what :func:`trainer.engine.build_accelerator` gave.
        processor: the model's.
        language: for utterances that carry none.
        normalizer: as in :class:`trainer.config.EvaluationConfig`.
    """

    def __init__(
        self,
        accelerator: Any,
        processor: Any,
        source: Source,
        *,
        language: str | None,
        task: str,
        batch_size: int,
        max_new_tokens: int,
        normalizer: str,
    ) -> None:
        self.accelerator, self.processor, self.source = accelerator, processor, source
        self.language, self.task = language, task
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.normalize = build_normalizer(normalizer, language)
        self.log_mel = LogMel(processor.feature_extractor.feature_size, accelerator.device)

    def run(self, model: Any, stop_asked: Callable[[], bool] = lambda: False) -> Evaluation:
        """Decode everything; all ranks must call it, and get the same result.

        Ranks with fewer batches decode silence until all are done, since the parameters may be spread over ranks.

        Raises:
            Interrupted: if a stop is asked for on any rank.
            DataError: if no utterance could be evaluated.
        """
        accelerator = self.accelerator
        bare = bare_model(model)
        spread = parameters_are_spread(accelerator)
        was_training = bare.training
        bare.eval()
        items = evaluation_batches(
            self.source, self.batch_size, accelerator.process_index, accelerator.num_processes
        )
        start = time.perf_counter()
        found: list[dict[str, str]] = []
        skipped: list[dict[str, str]] = []
        audio_seconds = 0.0
        try:
            while True:
                audio = next_batch(items, skipped)
                verdict = agree(accelerator, exhausted=audio is None, stop=stop_asked())
                if verdict.stop:
                    raise Interrupted
                if verdict.exhausted:
                    break
                if audio is None:
                    if spread:
                        self.decode(bare, silent_batch([0]), spread)
                else:
                    texts = self.decode(bare, audio, spread)
                    audio_seconds += float(audio.audio_lengths.sum()) / SAMPLING_RATE
                    decoded = zip(audio.ids, audio.texts, texts, strict=True)
                    found += [{"id": i, "reference": r, "hypothesis": h} for i, r, h in decoded]
        finally:
            bare.train(was_training)
        seconds = time.perf_counter() - start
        parts = gather_objects(accelerator, (found, skipped, audio_seconds))
        rows = [row for part, _, _ in parts for row in part]
        rows_skipped = [row for _, part, _ in parts for row in part]
        predictions = {row["id"]: row for row in rows}
        if not predictions:
            why = f"; the first: {rows_skipped[0]['id']}: {rows_skipped[0]['reason']}" if rows_skipped else ""
            raise DataError(f"{self.source.name}: no utterance could be evaluated{why}")
        references = {key: row["reference"] for key, row in predictions.items()}
        hypotheses = {key: row["hypothesis"] for key, row in predictions.items()}
        return Evaluation(
            rates=error_rates(references, hypotheses, self.normalize),
            seconds=seconds,
            audio_seconds=sum(part for _, _, part in parts),
            predictions=[predictions[key] for key in sorted(predictions)],
            skipped=rows_skipped,
            repeated=len(rows) - len(predictions),
        )

    def decode(self, bare: Any, audio: AudioBatch, spread: bool = False) -> list[str]:
        """The transcripts of a batch."""
        batch = to_batch(audio, self.log_mel, encoder_padding(bare), self.accelerator.device)
        with torch.no_grad(), self.accelerator.autocast():
            tokens = greedy_decode(
                bare,
                batch.features,
                batch.length_list,
                [language or self.language for language in audio.languages],
                self.task,
                self.max_new_tokens,
                synced_gpus=spread,
            )
        return [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]


def parameters_are_spread(accelerator: Any) -> bool:
    """Whether every rank must take part in every forward pass (ZeRO-3)."""
    if accelerator.distributed_type.name != "DEEPSPEED" or accelerator.num_processes == 1:
        return False
    return accelerator.state.deepspeed_plugin.zero_stage == 3


def next_batch(items: Any, skipped: list[dict[str, str]]) -> AudioBatch | None:
    for item in items:
        if not isinstance(item, Skipped):
            return item
        skipped.append({"id": item.id, "reason": item.reason})
    return None


def gather_objects(accelerator: Any, value: Any) -> list[Any]:
    """``value`` of every rank, in rank order."""
    if accelerator.num_processes == 1:
        return [value]
    values: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(values, value)
    return values
