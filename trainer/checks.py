"""The checks that a config passes before a run: one ordered list for training, for ``--check`` and for the doctor.

A check raises the error that would end the run, and may yield findings. Training and ``--check`` stop at the first
error (:func:`stop_at_first`); the doctor turns each error into a finding and goes on (:func:`collect_all`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

from data.audio.decoding import UndecodableAudio
from data.augmentation.noise_clips import NoiseClips
from data.batches.collation import row_id
from data.batches.mixture import mixture_lines
from data.batches.non_speech import NON_SPEECH_SOUNDS
from data.batches.second_recordings import decoded, header_seconds
from data.batches.windows.plan import SILENCE_SOUNDS
from data.batches.windows.texts import own_segments
from data.errors import DataError
from data.opening import source_of, synthesize
from data.sources.filters import values_not_there
from data.sources.source import Source
from modeling.checkpoint_files import Checkpoint

from .config.microbatches import settled
from .config.run import RunConfig
from .engine.accelerator import check_engine, launched_processes, resolve_precision
from .engine.optimizer import check_optimizer, optimizer_name
from .evaluation.decoding_limits import planned_remarks
from .evaluation.evaluator import check_evaluation, check_positions
from .model.building import starting_checkpoint
from .model.languages import check_language
from .record.resuming import Start, look_at_folder

State = Literal["good", "note", "lacks"]
REMARKS = (
    "decoding",
    "folder",
    "keep and drop",
    "second recording",
)  # findings that whoever trains wants to know, whether or not the doctor is called


@dataclass(frozen=True)
class Finding:
    """A line of the doctor's report.

    Attributes:
        name: what was looked at.
        state: good; note: it works, but not as well as it could, or could not be told; lacks: a run would fail.
        found: what is there, with its figures.
        remedy: what to do about it, empty where nothing.
    """

    name: str
    state: State
    found: str
    remedy: str = ""

    @property
    def remark(self) -> str | None:
        """The finding as a line beside a plan, or at the beginning of a run; None where it is worth none."""
        return self.found if self.name in REMARKS else None


def judged(bad: bool, name: str, found: str, remedy: str, state: State = "note") -> Finding:
    """A good finding; where it is bad, one of another state, with its remedy."""
    return Finding(name, state, found, remedy) if bad else Finding(name, "good", found)


@dataclass
class Inputs:
    """A config and what it names. Each thing is opened when it is first wanted, and then kept.

    Attributes:
        open_model: takes the config and :attr:`checkpoint`, returns the model and its processor. The model may be on
            the meta device, or None where only the hub knows its shape; the processor may be None.
        resume: the run goes on in ``output_dir``.
        fetches: sources that are not on this machine are downloaded or synthesised; otherwise they are not looked at.
    """

    config: RunConfig
    open_model: Callable[[RunConfig, Checkpoint | None], tuple[Any, Any]]
    resume: bool = False
    fetches: bool = False

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The sources by their keys, those of the training data first."""
        data = self.config.data
        named = dict(zip(data.train_names, data.training_sources, strict=True))
        named |= {f"data.{key}": one for key in ("validation", "test") if (one := getattr(data, key)) is not None}
        return {name: source_of(source, name) for name, source in named.items()}

    @property
    def training_sources(self) -> list[Source]:
        return [self.sources[name] for name in self.config.data.train_names]

    @property
    def validation(self) -> Source | None:
        return self.sources.get("data.validation")

    @cached_property
    def start(self) -> Start:
        return look_at_folder(self.config, self.resume)

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """What the run begins from, each of its files read once; None for a model from nothing."""
        return starting_checkpoint(self.config)

    @cached_property
    def opened(self) -> tuple[Any, Any]:
        return self.open_model(self.config, self.checkpoint)

    @property
    def model(self) -> Any:
        return self.opened[0]


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        name: of the thing, as in the doctor's report.
        look: raises what would end a run; returns findings, or None where there is nothing to say.
        needs: checks without whose success this one makes no sense.
    """

    name: str
    look: Callable[[Any], Iterable[Finding] | None]
    needs: Collection[str] = ()


def checks_of(inputs: Inputs) -> list[Check]:
    """The checks of a config in their order: the quick ones first, the model last."""
    evaluates, is_mixture = inputs.validation is not None, inputs.config.data.is_mixture
    learned_from = inputs.sources.keys() - {"data.test"}
    return [
        Check("precision", precision_is_there),
        Check("engine", engine_is_there),
        Check("optimizer", optimizer_is_there),
        Check("language", lambda inputs: check_language(inputs.config)),
        Check("output_dir", folder_is_fit),
        *(Check(name, partial(source_opens, name=name)) for name in inputs.sources),
        *([Check("data.train", mixture_is_weighed, needs=inputs.config.data.train_names)] if is_mixture else []),
        *([Check("evaluation", evaluation_fits, needs=("language", "data.validation"))] if evaluates else []),
        Check("data.augmentation", recordings_open),
        Check("model", model_opens),
        *([Check("evaluation.max_new_tokens", tokens_fit, needs=("model",))] if evaluates else []),
        Check("decoding", decoding_limits, needs=("model", *learned_from)),
    ]


def stop_at_first(inputs: Inputs, without: Collection[str] = ()) -> list[Finding]:
    """Go through the checks of a config, but for those named; returns their findings.

    Raises:
        ConfigError, DataError, CheckpointError: of the first check that fails.
    """
    checks = (check for check in checks_of(inputs) if check.name not in without)
    return [finding for check in checks for finding in check.look(inputs) or ()]


def collect_all(checks: Sequence[Check], subject: Any) -> list[Finding]:
    """The findings of all checks; one that fails is a finding itself, whatever the machine is like."""
    findings: list[Finding] = []
    failed: set[str] = set()
    for check in checks:
        if failed.intersection(check.needs):
            failed.add(check.name)
            continue
        try:
            for finding in check.look(subject) or ():  # what it found before it failed counts
                findings.append(finding)
        except (Exception, SystemExit) as error:  # any: a machine may be odd in any way; the other checks still count
            failed.add(check.name)
            findings.append(failure(check.name, error))
    return findings


def failure(name: str, error: BaseException) -> Finding:
    """A check that failed: what an error of this project says (:mod:`trainer.errors`), or that another came up."""
    if hasattr(error, "exit_code"):
        said = getattr(error, "found", str(error))
        return Finding(name, "lacks", " ".join(said.split()), getattr(error, "remedy", ""))
    said = next(filter(None, map(str.strip, str(error).splitlines())), "")
    return Finding(name, "note", f"could not be checked: {type(error).__name__}{': ' if said else ''}{said}")


def precision_is_there(inputs: Inputs) -> Iterator[Finding]:
    wanted = inputs.config.engine.precision
    precision = resolve_precision(wanted)
    yield Finding(
        "precision", "good", precision + ("" if wanted == precision else f" (engine.precision is {wanted!r})")
    )


def engine_is_there(inputs: Inputs) -> Iterator[Finding]:
    check_engine(inputs.config)
    settled(inputs.config, launched_processes())
    stage = inputs.config.engine.zero_stage
    yield Finding("engine", "good", f"ZeRO-{stage}" if stage else "one process or DDP")


def optimizer_is_there(inputs: Inputs) -> Iterator[Finding]:
    check_optimizer(inputs.config)
    yield Finding("optimizer", "good", optimizer_name(inputs.config))


def folder_is_fit(inputs: Inputs) -> Iterator[Finding]:
    folder, is_free = inputs.config.output_dir, inputs.start.was_empty
    found = f"{folder}, free for a run" if is_free else f"{folder} holds a run"
    yield judged(not is_free, "output_dir", found, "add --resume to go on with it, or choose another")


def source_opens(inputs: Inputs, name: str) -> Iterator[Finding]:
    source = inputs.sources[name]
    if inputs.fetches:
        if source.config.digits is not None:
            synthesize(source.config.digits)
        source.check_columns()
        yield from remarks_on(source)
    elif source.config.hub is not None:
        yield Finding(name, "note", f"{source.config.hub} is on the hub, not looked at")
    else:
        rows = known_rows(source)
        yield Finding(name, "good", source.config.described + ("" if rows is None else f", {rows:,} rows"))
        yield from remarks_on(source)


def remarks_on(source: Source) -> Iterator[Finding]:
    """What of a source is not trained on, how it was understood, and what it is asked for and has not."""
    for line in source.remarks:
        yield Finding("folder", "note", f"{source.name}.folder: {line}")
    for line in values_not_there(source):
        yield Finding("keep and drop", "note", line)
    if source.config.channels[1] is not None:
        try:
            decoded(source.first_row()[source.config.columns.audio], source, source.config.channels[1])
        except UndecodableAudio as error:
            yield Finding("second recording", "note", f"{source.name}: of its first recording: {error}")
    columns = source.config.columns
    if columns.segments or columns.previous_text:
        row = source.first_row()
        try:
            own_segments(row, source, header_seconds(row[columns.audio], source))
        except DataError as error:
            raise DataError(f"{source.name}: its first row, {row_id(row, source)}: {error}") from None


def known_rows(source: Source) -> int | None:
    """Rows of a source where that is known, its columns checked; nothing is downloaded or synthesised."""
    config = source.config
    if config.hub is not None:
        return None
    if config.digits is not None:
        every = None if config.keep or config.drop else config.digits.utterances
        return min(every, config.max_utterances or every) if every else None
    source.check_columns()
    return source.row_count()


def mixture_is_weighed(inputs: Inputs) -> Iterator[Finding]:
    """The shares of the sources, where their sizes are known if they count."""
    yield Finding("data.train", "good", "; ".join(mixture_lines(inputs.config.data, counted_rows(inputs))))


def counted_rows(inputs: Inputs) -> list[int | None]:
    """Rows of the training sources, where they are known; not counted where they do not matter."""
    if inputs.config.data.mixing_temperature is None:
        return [None] * len(inputs.training_sources)
    return [known_rows(source) for source in inputs.training_sources]


def evaluation_fits(inputs: Inputs) -> None:
    assert inputs.validation is not None
    settings = inputs.validation.config
    is_here = settings.hub is None and settings.digits is None
    check_evaluation(inputs.config, inputs.validation, columns_too=inputs.fetches or is_here)


def recordings_open(inputs: Inputs) -> None:
    """The recordings of ``data.augmentation``, ``data.windows`` and ``data.non_speech``, except those of the hub."""
    augmentation, windows = inputs.config.data.augmentation, inputs.config.data.windows
    named = {f"data.augmentation.{key}": one for key, one in augmentation.recordings.items()} if augmentation else {}
    if windows is not None and windows.silence_sounds is not None:
        named[SILENCE_SOUNDS] = windows.silence_sounds
    non_speech = inputs.config.data.non_speech
    if non_speech is not None and non_speech.sounds is not None:
        named[NON_SPEECH_SOUNDS] = non_speech.sounds
    for key, source in named.items():
        if source.dataset is None or source.dataset.hub is None:
            NoiseClips(source, key)


def model_opens(inputs: Inputs) -> Iterator[Finding]:
    model = inputs.model
    if model is not None:
        whole = sum(parameter.numel() for parameter in model.parameters())
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        name = inputs.config.model.checkpoint or "from nothing"
        yield Finding("model", "good", f"{name}: {whole / 1e6:.1f} M parameters, {trained / 1e6:.1f} M trained")


def tokens_fit(inputs: Inputs) -> None:
    if inputs.model is not None:
        check_positions(inputs.config.evaluation, inputs.model)


def decoding_limits(inputs: Inputs) -> Iterator[Finding]:
    """What the generation config forbids and local texts hold."""
    for remark in planned_remarks(inputs.config, inputs.checkpoint):
        yield Finding("decoding", "note", remark)
