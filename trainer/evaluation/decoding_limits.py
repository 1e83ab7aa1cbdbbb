"""Finds what a generation config forbids although the data contain it, and takes the limit out while training.

The texts of a stream cannot all be read beforehand. So what labels need is noted as they are trained on. Before each
evaluation and each save, the ranks join their notes and all change the generation config in the same way.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data import storage
from data.batches.collation import text_of
from data.batches.generation_limits import GenerationLimits, Needs, joined, unlike_training, without
from data.batches.labels import IGNORED
from data.errors import DataError
from data.opening import source_of
from data.sources.config import SourceConfig
from data.sources.parquet_rows import ParquetRows
from data.sources.source import Source
from data.utterance import AudioBatch
from modeling.checkpoint_files import GENERATION_CONFIG, Checkpoint
from modeling.checkpoint_parts import stored_parts
from modeling.checkpoints import SUPPRESSING, set_generation_config

from ..config.run import RunConfig
from ..engine.accelerator import bare_model, gather_objects
from ..record.checkpoints import BLUEPRINT, RunState
from ..record.durable import write_text
from ..record.journal import Journal
from .result import Evaluation

TEXTS_LOOKED_AT = 1000  # of a source, before a run


class DecodingLimits:
    """The limits of a model in training; all ranks must call :meth:`lift` together.

    Args:
        processor: the model's; None if labels are no texts, which then have no limits.
        state: ``lifted_limits`` holds what was taken out, over all starts of the run.
        journal: gets each remark once. The run's blueprint, in the journal's folder, is changed too.
    """

    def __init__(self, accelerator: Any, model: Any, processor: Any, state: RunState, journal: Journal) -> None:
        self.accelerator, self.state, self.journal = accelerator, state, journal
        self.model = bare_model(model)
        self.seen: Needs = {}
        self.looked_at_references = False
        if processor is None:
            self.limits = GenerationLimits({}, end_of_text=-1)
            return
        self.tokenizer = processor.tokenizer
        self.limits = limits_of(self.model.generation_config, self.tokenizer)
        self.take_out({key: set(needed) for key, needed in state.lifted_limits.items()})
        if remark := unlike_remark(generation_values(self.model)):
            journal.say(f"note: {remark}")

    def see(self, batches: Iterable[AudioBatch | None]) -> None:
        """Note what the labels of a step need."""
        for batch in batches:
            if batch is None or batch.labels is None:
                continue
            for row in batch.labels.tolist():
                prompt = 1 + next(place for place, token in enumerate(row) if token != IGNORED)
                text = [token for token in row if token != IGNORED][:-1]
                if needs := self.limits.needs(text, prompt):
                    self.seen = joined([self.seen, needs])

    def lift(self) -> None:
        """Take out of the generation config what labels on any rank needed, unless it was taken out before."""
        lifted = {key: set(needed) for key, needed in self.state.lifted_limits.items()}
        new = without(joined(gather_objects(self.accelerator, self.seen)), lifted)
        if not new:
            return
        self.state.lifted_limits = {key: sorted(needed) for key, needed in joined([lifted, new]).items()}
        self.take_out(new)
        self.journal.say(
            f"step {self.state.step}: the training data hold what {GENERATION_CONFIG} forbids, "
            f"{described(self.limits, [new], self.tokenizer)}: taken out of it, here and in best/ and final/"
        )

    def take_out(self, needs: Needs) -> None:
        """Change the model's generation config, and that of the blueprint on the first process."""
        if not needs:
            return
        generation = self.model.generation_config
        values = generation.to_dict()
        for key, value in self.limits.lifted(values, needs, self.model.config.max_target_positions).items():
            setattr(generation, key, value)
        set_generation_config(self.model, generation)
        if self.accelerator.is_main_process:
            rewrite_generation_config(self.model, self.journal.folder / BLUEPRINT)

    def look_at_references(self, evaluation: Evaluation) -> None:
        """Tell the user, once in a run, if references contain what cannot be decoded."""
        if self.accelerator.is_main_process and not self.looked_at_references:
            self.looked_at_references = True  # later evaluations have the same texts, and limits only become fewer
            if remark := references_remark(evaluation, self.model, self.tokenizer):
                self.journal.say(f"note: data.validation: {remark}")


def limits_of(generation: Any, tokenizer: Any) -> GenerationLimits:
    return GenerationLimits(generation.to_dict(), tokenizer.eos_token_id)


def take_out_ignored(model: Any) -> str | None:
    """Unset generation values that decoding ignores, such as a temperature without sampling.

    Some releases of transformers refuse to save a model that has them. Returns a line that names them, or None.
    """
    generation = model.generation_config
    try:
        generation.validate(strict=True)
    except ValueError as error:
        found = {key: getattr(generation, key, None) for key in re.findall(r"^- `(\w+)`:", str(error), re.MULTILINE)}
        for key in found:
            setattr(generation, key, None)
        return f"note: {GENERATION_CONFIG} has {listed(found)}: ignored in decoding, and taken out"
    return None


def generation_values(model: Any) -> dict[str, Any]:
    """A model's generation values. If they have no forced tokens, those of the model's config count."""
    values = model.generation_config.to_dict()
    forced = values.get("forced_decoder_ids") or getattr(model.config, "forced_decoder_ids", None)
    return values | {"forced_decoder_ids": forced}


def listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value, default=str)}" for key, value in values.items())


def described(limits: GenerationLimits, needs: list[Needs], tokenizer: Any) -> str:
    """In words, what a generation config forbids of what is needed."""

    def written(tokens: Sequence[int]) -> str:
        text = tokenizer.decode(list(tokens))  # bytes of a letter are no text, but their tokens have names
        return " ".join(tokenizer.convert_ids_to_tokens(list(tokens))) if "\ufffd" in text or not text else text

    return limits.described(joined(needs), written)


def rewrite_generation_config(model: Any, blueprint: Path) -> None:
    """Write a model's generation values into a run's blueprint, if there is one: checkpoints are exported with it."""
    if not blueprint.is_dir():
        return
    write_text(blueprint / GENERATION_CONFIG, model.generation_config.to_json_string())
    config = blueprint / "config.json"  # an adapter's has none
    if config.exists():
        values = json.loads(config.read_text(encoding="utf-8"))
        values |= {key: getattr(model.config, key, None) for key in SUPPRESSING if key in values}
        write_text(config, json.dumps(values, indent=2, sort_keys=True) + "\n")


def evaluation_remarks(evaluation: Evaluation, model: Any, tokenizer: Any) -> list[str]:
    """Lines on generation values that make a checkpoint decode otherwise than it was trained."""
    remarks = unlike_remark(generation_values(model)), references_remark(evaluation, model, tokenizer)
    return [remark for remark in remarks if remark]


def unlike_remark(values: dict[str, Any]) -> str | None:
    """A line if generation values make decoding choose other tokens than training teaches; else None."""
    unlike = unlike_training(values)
    if not unlike:
        return None
    return f"{GENERATION_CONFIG} has {listed(unlike)}: decoding chooses other tokens than training teaches"


def references_remark(evaluation: Evaluation, model: Any, tokenizer: Any) -> str | None:
    """A line if references contain what the generation config forbids; else None."""
    texts = [one.prediction.reference for one in evaluation.utterances]
    needs = needs_of(texts, model.generation_config, tokenizer)
    if not needs:
        return None
    what = described(limits_of(model.generation_config, tokenizer), needs, tokenizer)
    return (
        f"{len(needs):,} of {len(texts):,} references cannot be decoded as they are: {GENERATION_CONFIG} forbids {what}"
    )


def needs_of(texts: Iterable[str], generation: Any, tokenizer: Any) -> list[Needs]:
    """For each text that cannot be decoded: what it needs. An empty text needs end-of-text as the first token."""
    limits = limits_of(generation, tokenizer)
    prompt = 4 if getattr(generation, "is_multilingual", True) is not False else 2
    found = []
    for text in map(str.strip, texts):
        ids = tokenizer(f" {text}", add_special_tokens=False).input_ids if text else []
        needs = limits.needs(ids, prompt)
        needs.pop("max_length", None)  # evaluation.max_new_tokens counts in its place
        if needs:
            found.append(needs)
    return found


def planned_remarks(config: RunConfig, checkpoint: Checkpoint | None) -> tuple[str, ...]:
    """Lines on limits that a run will meet, as far as its checkpoint and the first texts of local data show."""
    parts = None if checkpoint is None else stored_parts(checkpoint)
    if parts is None:
        return ()
    generation, tokenizer, data = parts.generation, parts.processor.tokenizer, config.data
    limits = limits_of(generation, tokenizer)
    remarks = list(filter(None, [unlike_remark(generation.to_dict())]))
    taught: Needs = {}
    named = [*zip(data.train_names, data.training_sources, strict=True), ("data.validation", data.validation)]
    for name, source in named:
        if source is None or not is_here(source):
            continue
        texts = list(first_texts(source_of(source, name)))
        needs = needs_of((text for text in texts if text.strip() or name == "data.validation"), generation, tokenizer)
        is_training = name != "data.validation"
        untaught = needs if is_training else [left for one in needs if (left := without(one, taught))]
        if untaught:
            what = described(limits, untaught, tokenizer)
            outcome = "training takes it out" if is_training else "it counts as errors unless training texts hold it"
            remarks.append(
                f"{name}: {len(untaught):,} of the first {len(texts):,} texts cannot be decoded as they are: "
                f"{GENERATION_CONFIG} forbids {what}; {outcome}"
            )
        if is_training:
            taught = joined([taught, *needs])
    return tuple(remarks)


def is_here(source: SourceConfig) -> bool:
    """Whether a source's texts can be read without downloading or synthesising anything."""
    files = [source.files] if isinstance(source.files, str) else source.files or []
    return source.hub is None and source.digits is None and not any(map(storage.is_remote, files))


def first_texts(source: Source, most: int = TEXTS_LOOKED_AT) -> Iterator[str]:
    """The transcripts of a source's first rows. Of Parquet files, only the columns that it takes are read."""
    text = source.columns.text
    if source.parquet is None:
        rows = source.rows()
    else:
        wanted = sorted({text, *source.config.keep, *source.config.drop})
        rows = source.read(ParquetRows(source.parquet, source.parquet.pieces(), wanted))
    for row in itertools.islice(rows, min(most, source.config.max_utterances or most)):
        try:
            yield text_of(row[text])
        except DataError:
            continue
