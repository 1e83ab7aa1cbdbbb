"""Measures one checkpoint under all conditions. Results are kept at once, and kept results are not measured again."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.accelerator import gather_objects
from ..evaluation.decoding_limits import evaluation_remarks
from ..evaluation.error_rates import Prediction, ScoredUtterance, corpus_rates, score
from ..evaluation.evaluator import Evaluator, check_positions
from ..evaluation.normalizers import build_normalizer
from ..memory.out_of_memory import ExplainOutOfMemory, evaluation_of
from ..model.languages import check_known
from .attention_odds import attention_odds, condition_for
from .checkpoints import NamedCheckpoint
from .conditions import CLEAN, MEANT_SPEAKER, MICROPHONES, NON_SPEECH, ONE_VOICE, OTHER_PARTY, PAIRED, Condition
from .config import SYNTHETIC
from .heard import without_clip
from .materials import Materials
from .mixing import Said
from .results import Measured, keep, keep_figures, kept, kept_figures

ODDS = "attention_odds.json"
FORMAT = 2  # of kept results; raise it when the same settings give other mixtures

Say = Callable[[str], None]


@dataclass(eq=False)
class Subject:
    """A checkpoint that is measured; all ranks must do the same with it.

    Attributes:
        identity: of its weights.
        place: the folder of its predictions.
        tell: is given a line whenever something is measured.
        remarks: those that were told.
    """

    accelerator: Any
    checkpoint: NamedCheckpoint
    identity: str
    materials: Materials
    place: Path
    tell: Say
    remarks: set[str] = field(default_factory=set)

    @cached_property
    def files(self) -> Any:
        from modeling.checkpoint_files import Checkpoint

        return Checkpoint(self.checkpoint.path)

    @cached_property
    def model(self) -> Any:
        """The model on its device; opened only if a result is not kept.

        Raises:
            CheckpointError: if it cannot be opened, or its parts do not fit each other.
            ConfigError: if it does not know the language, or has too few places for tokens.
        """
        from modeling.checkpoint_parts import check_parts
        from modeling.checkpoints import open_model

        model = open_model(self.files)
        check_parts(self.checkpoint.path, model, self.processor)
        check_known({"language": self.materials.language}, model)
        check_positions(self.materials.evaluation, model)
        return model.to(self.accelerator.device).eval()

    @cached_property
    def processor(self) -> Any:
        return self.files.processor

    @cached_property
    def of_speech(self) -> Evaluator:
        return self.evaluator(self.materials.speech.source)

    @cached_property
    def of_noise_alone(self) -> Evaluator:
        assert self.materials.non_speech is not None
        return self.evaluator(self.materials.non_speech)

    def evaluator(self, source: Any) -> Evaluator:
        return Evaluator(
            self.accelerator,
            self.processor,
            source,
            language=self.materials.language,
            task=self.materials.run.data.task,
            config=self.materials.evaluation,
            in_training=False,
        )

    def measured(self) -> dict[str, Measured]:
        """By the conditions' names."""
        return {condition.name: self.under(condition) for condition in self.materials.suite.conditions}

    def under(self, condition: Condition) -> Measured:
        normalizer, name = self.materials.evaluation.normalizer, f"{self.checkpoint.name}: {condition.name}"
        settings = settings_of(condition, self.identity, self.materials, self.accelerator.mixed_precision)
        old = None
        if self.accelerator.is_main_process:
            old = kept(self.place, condition.name, settings, lambda own: build_normalizer(normalizer, own))
        old = gather_objects(self.accelerator, old)[0]  # processes may not share a disk: the first one looks
        if old is not None:
            self.tell(f"{name}: {headline(condition, old)}, known already")
            return old
        evaluator = self.of_noise_alone if condition.kind == NON_SPEECH else self.of_speech
        suite = self.materials.suite
        said: dict[str, Said] = {}
        evaluator.rows.change = self.materials.mixer.change_for(condition, suite.heard, said)
        evaluator.fuses, evaluator.fused_share = suite.heard == "fused", suite.fused_share
        run = self.materials.run.model_copy(update={"evaluation": self.materials.evaluation})
        with ExplainOutOfMemory(evaluation_of(run, self.checkpoint.path, self.model), self.accelerator):
            outcome = evaluator.run(self.model)
        for share in gather_objects(self.accelerator, said):
            said |= share
        scored = outcome.utterances
        if suite.heard == "before":
            scored = score([after_clip(one, said) for one in scored], evaluator.normalizer_of)
        found = Measured(
            scored,
            normalizer=outcome.normalizer,
            skipped=outcome.skipped,
            seconds=outcome.seconds,
            real_time_factor=outcome.real_time_factor,
            settings=settings,
            noises_unreadable=self.unreadable(condition),
            others={one.id: said[one.id].other for one in scored if one.id in said and condition.kind in ONE_VOICE},
        )
        if self.accelerator.is_main_process:
            keep(self.place, condition.name, found)
        self.tell(f"{name}: {headline(condition, found)} in {found.seconds:.1f} s")
        if self.accelerator.is_main_process:
            for remark in evaluation_remarks(outcome, self.model, self.processor.tokenizer):
                if remark not in self.remarks:  # not for each condition anew
                    self.remarks.add(remark)
                    self.tell(f"note: {self.checkpoint.name}: {remark}")
        return found

    def unreadable(self, condition: Condition) -> list[dict[str, str]]:
        """Recordings of noise that any process has found unusable so far, for a condition that takes from them."""
        skipped = getattr(self.materials.noises, "skipped", []) if takes_noise(condition) else []
        shares = gather_objects(self.accelerator, [{"id": one.id, "reason": one.reason} for one in skipped])
        return sorted({one["id"]: one for share in shares for one in share}.values(), key=lambda one: one["id"])

    def attention_odds(self) -> dict[str, Any] | None:
        """As :func:`.attention_odds.attention_odds`; None for a checkpoint of one attention, and without mixtures.

        None, too, where second recordings are not given as the checkpoint hears them.
        """
        from modeling.checkpoint_files import DUAL

        suite = self.materials.suite
        condition = condition_for(suite.conditions)
        if condition is None or not suite.attention_utterances or self.files.kind != DUAL or suite.heard != "both":
            return None
        settings = settings_of(condition, self.identity, self.materials, self.accelerator.mixed_precision)
        settings["attention_utterances"] = suite.attention_utterances
        known = kept_figures(self.place / ODDS, settings) if self.accelerator.is_main_process else None
        known = gather_objects(self.accelerator, known)[0]
        if known is not None:
            return known.get("figures")
        if not getattr(self.model.config, "dual_attention", False):
            return None
        mixer = self.materials.mixer
        found = attention_odds(self.model, self.of_speech, mixer, condition, suite.attention_utterances)
        if self.accelerator.is_main_process:
            keep_figures(self.place / ODDS, {"settings": settings, "figures": found})
        if found is not None:
            shares = f"{found['primary_share']:.1%} of the primary and {found['secondary_share']:.1%} of the secondary"
            self.tell(f"{self.checkpoint.name}: {condition.name}: {shares} attention falls on noise")
        return found


def after_clip(one: ScoredUtterance, said: dict[str, Said]) -> Prediction:
    """A prediction without the words of the clip that was heard before the utterance."""
    prediction = one.prediction
    clip = said[one.id].clip if one.id in said else ""
    return replace(prediction, hypothesis=without_clip(prediction.hypothesis, clip)) if clip else prediction


def takes_noise(condition: Condition) -> bool:
    """Whether the suite's noises are heard under a condition."""
    return condition.kind in ("noise", MICROPHONES, NON_SPEECH)


def headline(condition: Condition, found: Measured) -> str:
    """The main figure of a condition, for a line of progress."""
    if condition.kind == NON_SPEECH:
        return f"words in {np.mean([one.words.insertions > 0 for one in found.scored]):.1%} of clips"
    skipped = f", {len(found.skipped)} skipped" if found.skipped else ""
    other = sum(map(found.words_of_other, found.scored))
    heard = f", {other} words of the other voice" if condition.kind in ONE_VOICE else ""
    return f"word error rate {corpus_rates(found.scored).word_error_rate:.2%}{heard}{skipped}"


def settings_of(condition: Condition, identity: str, materials: Materials, precision: str) -> dict[str, Any]:
    """Everything that the results of a condition depend on, as JSON."""
    suite, evaluation = materials.suite, materials.evaluation
    settings: dict[str, Any] = {
        "format": FORMAT,
        "weights": identity,
        "condition": condition.name,
        "language": materials.language,
        "task": materials.run.data.task,
        "precision": precision,
        "max_new_tokens": evaluation.max_new_tokens,
        "beams": evaluation.beams,
        "normalizer": evaluation.normalizer,
        "columns": sorted({*evaluation.columns, *([evaluation.cluster] if evaluation.cluster else [])}),
    }
    if condition.kind != CLEAN:
        settings["seed"] = suite.seed
    if takes_noise(condition) and materials.noises is not None:
        noise = suite.noise if suite.noise == SYNTHETIC else suite.model_dump(mode="json")["noise"]
        settings["noise"] = {"source": noise, "names": materials.noises.names}
    if condition.kind == NON_SPEECH:
        return settings | {"non_speech": suite.model_dump(mode="json")["non_speech"]}
    if condition.kind == "babble" or condition.kind in ONE_VOICE:
        settings["talkers"] = [talker.id for talker in materials.speech.talkers]
    if condition.kind in ONE_VOICE:
        settings["others"] = "with transcripts"
    if condition.kind == OTHER_PARTY and suite.leak_room is not None:
        settings["leak_room"] = suite.leak_room
    if condition.kind == MEANT_SPEAKER:
        settings["speakers"] = evaluation.cluster
    if condition.kind in PAIRED or materials.speech.source.config.has_second:
        settings |= {"heard": suite.heard, "fused_share": suite.fused_share}
    if condition.kind == "babble":
        settings["babble_speakers"] = suite.babble_speakers
    source = materials.speech.source.config.model_dump(mode="json")
    return settings | {"speech": source, "utterances": suite.utterances, "ids": materials.speech.ids}
