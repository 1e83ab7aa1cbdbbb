"""Decodes a source and counts errors, shared out over ranks: under every engine, in training and from a checkpoint."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from data.batches.evaluation_rows import EvaluationRows, check_reported_columns
from data.batches.features import LogMel
from data.batches.labels import PROMPT_TOKENS
from data.errors import DataError
from data.sources.source import Source
from data.utterance import AudioBatch
from modeling.decoding import (
    complete_languages,
    encode,
    encoder_padding,
    generate_n_best,
    generate_tokens,
    hears_second,
    is_multilingual,
)
from modeling.fusion import Fusion

from ..config.evaluation import EvaluationConfig
from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.accelerator import bare_model, gather_objects, parameters_are_spread
from ..engine.device import exact_kernels
from ..model.languages import known_languages
from ..step.agreement import any_rank
from ..step.batch import silent_batch, to_batch
from .language_model.n_best import Hypothesis, hypotheses
from .language_model.opening import LanguageModel
from .normalizers import build_normalizer
from .result import Evaluation, Share, joined

MOST_ROWS = 2048  # that evaluation.max_seconds is spent on, if there is no evaluation.utterances


class Interrupted(Exception):
    """A stop was asked for while evaluating; all ranks give the evaluation up."""


class Evaluator:
    """Decodes a source, greedily or by beam search, and counts its errors.

    Args:
        accelerator: from :func:`trainer.engine.accelerator.build_accelerator`.
        processor: the model's.
        language: for utterances that carry none.
        config: its ``utterances`` and ``max_seconds`` apply only if ``in_training``.

    Attributes:
        fuses: second recordings are rows of the batch like the first ones, and what the model makes of either is
            averaged at each token; whether the model hears second recordings itself or not.
        fused_share: of the first recording in that average; None to find it at each token.
        language_model: its scores of words count beside the model's.
        n_best: hypotheses that are noted of each utterance, of its beams; in one process alone.
        hypotheses: of each utterance by its id, the best first.
    """

    def __init__(
        self,
        accelerator: Any,
        processor: Any,
        source: Source,
        *,
        language: str | None,
        task: str,
        config: EvaluationConfig,
        in_training: bool,
    ) -> None:
        self.accelerator, self.processor, self.source = accelerator, processor, source
        self.language, self.task, self.config = language, task, config
        self.normalizer_of = lru_cache(lambda own: build_normalizer(config.normalizer, own))
        self.log_mel = LogMel(processor.feature_extractor.feature_size, accelerator.device)
        self.known: Sequence[str] = ()
        self.in_training = in_training
        self.fuses = False
        self.fused_share: float | None = None
        self.language_model: LanguageModel | None = None
        self.n_best = 0
        self.hypotheses: dict[str, list[Hypothesis]] = {}
        self.budget = config.max_seconds if in_training else None
        subset = config.utterances or (MOST_ROWS if config.max_seconds else None)
        self.rows = EvaluationRows(
            source,
            config.batch_size,
            columns=[*config.columns, *([config.cluster] if config.cluster else [])],
            check=self.check_language,
            subset=subset if in_training else None,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
        )

    def check_language(self, language: str | None) -> None:
        """Look at a row's language.

        Raises:
            DataError: if the model does not know it; in training, also if the normaliser does not fit it.
            ConfigError: if the normaliser does not fit it, outside training.
        """
        language = language or self.language
        if language is not None and self.known and language not in self.known:
            raise DataError(f"its language is {language!r}, which the checkpoint does not know")
        try:
            self.normalizer_of(language)
        except ConfigError as error:
            if not self.in_training:
                raise
            raise DataError(str(error)) from None  # one row must not end the run

    def run(
        self,
        model: Any,
        stop_asked: Callable[[], bool] = lambda: False,
        rows: int | None = None,
        first_batch_alone: bool = False,
    ) -> Evaluation:
        """Decode everything; all ranks must call it, and get the same result.

        Under ZeRO-3 all ranks must take part in each forward pass; those without a batch decode silence.

        Args:
            rows: decode this many rows of the subset, as an earlier evaluation did (``Evaluation.rows``), whatever the
                budget of time.
            first_batch_alone: end after the first turn in which any rank had something to decode.

        Raises:
            Interrupted: if a stop is asked for on any rank.
            ConfigError: as :meth:`check_language`.
            DataError: if no utterance could be evaluated.
        """
        accelerator, bare = self.accelerator, bare_model(model)
        spread = parameters_are_spread(accelerator)
        self.known = known_languages(bare)
        language = self.language if is_multilingual(bare) else self.language or "en"
        was_training = bare.training
        bare.eval()
        rows = rows if self.budget is not None else None
        budget = self.budget if rows is None else None
        share, taken = Share(), 0
        start = time.perf_counter()
        try:
            for turn in self.rows.turns(rows):
                if any_rank(accelerator, stop_asked()):
                    raise Interrupted
                texts: list[str] = []
                if turn.audio is not None or spread:
                    texts = self.decode(bare, turn.audio, spread)
                if turn.audio is not None and turn.audio.second is not None and self.hears_second(bare):
                    share.with_second |= {turn.audio.ids[row] for row in turn.audio.second.rows}
                share.add(turn, texts, language, time.perf_counter() - start)
                if first_batch_alone and any_rank(accelerator, bool(share.predictions)):
                    break
                if turn.rows is not None:
                    taken = turn.rows
                    if budget is not None and any_rank(accelerator, share.seconds >= budget):
                        break
        finally:
            bare.train(was_training)
        shares = gather_objects(accelerator, share)
        return joined(shares, self.source.name, self.config, self.normalizer_of, rows=taken)

    @exact_kernels()
    def decode(self, bare: Any, audio: AudioBatch | None, spread: bool = False) -> list[str]:
        """The transcripts of a batch.

        Args:
            bare: the model without its engine.
            audio: None for silence, whose transcript counts nowhere.
            spread: parameters are spread over ranks. If one rank must detect a language, which takes a forward pass,
                all ranks do.
        """
        languages = self.languages_of(audio)
        batch = to_batch(
            audio or silent_batch([0]),
            self.log_mel,
            encoder_padding(bare),
            self.accelerator.device,
            hears_second=self.hears_second(bare),
        )
        rows, fused = batch.second_rows, None
        if self.fuses and rows:
            fused, rows = Fusion(len(batch.ids), tuple(rows), self.fused_share), []
        guides = []
        if self.language_model is not None:
            guides.append(self.language_model.processor(self.processor.tokenizer, self.config.beams))
        with torch.no_grad(), self.accelerator.autocast():
            encoded = encode(bare, batch.features, batch.length_list, rows)
            detect = spread and is_multilingual(bare) and any_rank(self.accelerator, not all(languages))
            asked = encoded, complete_languages(bare, encoded, languages, detect, fused), self.task
            most, beams = self.config.max_new_tokens, self.config.beams
            if self.n_best and audio is not None:
                found = generate_n_best(bare, *asked, most, beams=beams, n_best=self.n_best, guides=guides)
                listed = hypotheses(*found, self.processor.tokenizer, self.language_model)
                self.hypotheses |= dict(zip(audio.ids, listed, strict=True))
                return [best[0].text for best in listed]
            tokens = generate_tokens(bare, *asked, most, beams=beams, synced_gpus=spread, fused=fused, guides=guides)
        return [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]

    def hears_second(self, bare: Any) -> bool:
        return self.fuses or hears_second(bare)

    def languages_of(self, audio: AudioBatch | None) -> list[str | None]:
        """The language of each utterance, None if it must be detected. For silence any language will do."""
        if audio is None:
            return [self.language or next(iter(self.known), "en")]
        return [own or self.language for own in audio.languages]


def build_evaluator(
    config: RunConfig, accelerator: Any, processor: Any, source: Source, in_training: bool = True
) -> Evaluator:
    """The evaluator of a source as a run's config says: in the source's language, else the data's."""
    return Evaluator(
        accelerator,
        processor,
        source,
        language=source.config.language or config.data.language,
        task=config.data.task,
        config=config.evaluation,
        in_training=in_training,
    )


def check_evaluation(config: RunConfig, source: Source, columns_too: bool = True) -> None:
    """Check that the evaluation section fits a source. Without ``columns_too`` the source is not opened.

    Raises ConfigError if the normaliser does not fit the language, DataError if a column is missing.
    """
    build_normalizer(config.evaluation.normalizer, source.config.language or config.data.language)
    if not columns_too:
        return
    cluster = config.evaluation.cluster
    named = [("evaluation.columns", column) for column in config.evaluation.columns]
    check_reported_columns(source, [*named, ("evaluation.cluster", cluster)] if cluster else named)


def check_positions(config: EvaluationConfig, model: Any) -> None:
    """Raises: ConfigError: if the model has fewer positions than ``max_new_tokens`` and the prompt take."""
    most = model.config.max_target_positions - PROMPT_TOKENS
    if config.max_new_tokens > most:
        raise ConfigError(
            f"evaluation.max_new_tokens is {config.max_new_tokens}; the model has places for {most}, and for the prompt"
        )
