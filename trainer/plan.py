"""What a run would do, without doing it: the plan of batches, parameter counts and the resolved config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.batches.mixture import mixing_shares
from data.terminal import print_table

from .checks import Inputs, known_rows, stop_at_first
from .config.microbatches import counted_processes, share_of
from .config.reading import dump_config
from .config.run import RunConfig
from .config.training import TrainingConfig
from .engine.accelerator import launched_processes, resolve_precision
from .model.building import planned_model
from .model.parameter_table import parameter_rows

if TYPE_CHECKING:  # seconds to import
    from modeling.parameters import Part

NOT_LOOKED_AT = "on the hub, not looked at"


@dataclass(frozen=True)
class Plan:
    """The figures of a planned run.

    Attributes:
        parts: of the model, what is trained of each; None where only the hub knows.
        processes: started by the launcher.
        lanes: parallel streams of the training data.
        utterances_per_step: on all processes, if every microbatch is full.
        sources: the training data.
        remarks: what will make decoding differ from training, and what of a folder is not used.
        second_recording: what hears second recordings, as ``model.second_recording``; the checkpoint's own where that
            is none.
    """

    parts: list[Part] | None
    processes: int
    lanes: int
    utterances_per_step: int
    sources: tuple[PlannedSource, ...]
    remarks: tuple[str, ...] = ()
    second_recording: str = "none"

    @property
    def parameters(self) -> int | None:
        return None if self.parts is None else sum(part.parameters for part in self.parts)

    @property
    def new_parameters(self) -> int | None:
        """Those that plain Whisper lacks, adapters not counted."""
        from modeling.parameters import NEW_PARTS

        return None if self.parts is None else sum(part.parameters for part in self.parts if part.name in NEW_PARTS)

    @property
    def training_rows(self) -> int | None:
        """Of all sources; None where only reading them all would tell."""
        rows = [source.rows for source in self.sources]
        return None if None in rows else sum(filter(None, rows))

    def epochs(self, steps: int) -> float | None:
        """Passes over the training data; of a mixture, in which every source has its own, over its first source."""
        first = self.sources[0]
        return steps * self.utterances_per_step * first.share / first.rows if first.rows else None


@dataclass(frozen=True)
class PlannedSource:
    """A source of the training data, its share of the utterances, its rows (None as above)."""

    described: str
    share: float
    rows: int | None

    def shown(self, utterances: int) -> str:
        """Its line in the plan of a mixture."""
        rows = "rows not known" if self.rows is None else f"{self.rows:,} rows"
        passes = f", {utterances * self.share / self.rows:.1f} passes" if self.rows else ""
        return f"{self.described}: {self.share:.1%} of the utterances, {rows}{passes}"


def make_plan(config: RunConfig) -> Plan:
    """Check what can be checked without a download or an engine, and count.

    What lies in ``output_dir`` is left out: a plan writes nothing there.

    Raises:
        ConfigError, DataError, CheckpointError: as training would, as far as this machine can tell.
    """
    inputs = Inputs(config, lambda *begun: (planned_model(*begun), None))
    findings = stop_at_first(inputs, without=("output_dir",))
    processes, data, training = launched_processes(), config.data, config.training
    rows = [known_rows(source) for source in inputs.training_sources]
    from modeling.parameters import parameters_by_part

    own = "none" if inputs.model is None else getattr(inputs.model.config, "second_recording", "none")
    heard = config.model.second_recording
    return Plan(
        parts=None if inputs.model is None else parameters_by_part(inputs.model),
        processes=processes,
        lanes=data.lanes or processes * max(1, data.workers),
        utterances_per_step=training.step_utterances or training.microbatch * training.accumulation * processes,
        sources=tuple(
            PlannedSource(source.described, share, known)
            for source, share, known in zip(data.training_sources, mixing_shares(data, rows), rows, strict=True)
        ),
        remarks=tuple(filter(None, (finding.remark for finding in findings))),
        second_recording=own if heard == "none" else heard,
    )


def print_plan(config: RunConfig, verbose: bool = False) -> None:
    """Print the plan and what is trained; where it is asked for, then the resolved config with all its defaults."""
    plan = make_plan(config)
    print_table(("plan", ""), plan_rows(config, plan))
    if plan.parts is not None:
        head, *rows = parameter_rows(plan.parts)
        print_table(head, rows, numbers=frozenset((1, 2, 3)))
    for remark in plan.remarks:
        print(f"note: {remark}")
    if verbose:
        print(dump_config(config))
    else:
        print("--verbose prints the resolved config, too")


def how_split(training: TrainingConfig, processes: int) -> str:
    """How a step's utterances are split over processes and microbatches."""
    if training.step_utterances is None:
        return f" = {training.batch_size} a microbatch x {training.accumulation} x {counted_processes(processes)}"
    share = share_of(training.step_utterances, processes)
    if training.batch_size == "auto":
        split = "microbatches as large as memory allows"
    else:
        number = -(-share // training.microbatch)
        split = f"1 microbatch of {share}" if number == 1 else f"{number} microbatches of at most {training.batch_size}"
    return f" = {share} x {counted_processes(processes)}{', each' if processes > 1 else ''} in {split}"


def second_recordings_row(config: RunConfig, heard: str) -> list[tuple[str, str]]:
    """What hears second recordings, and which data has none; no row where there is nothing to hear.

    Args:
        heard: ``joined``, ``attention`` or ``none``.
    """
    data = config.data
    named = {"train": any(source.has_second for source in data.training_sources)}
    named |= {
        name: source.has_second
        for name, source in (("validation", data.validation), ("test", data.test))
        if source is not None
    }
    if not any(named.values()):
        return []
    if heard == "none":
        return [("second recordings", "in the data, but not heard: model.second_recording is none")]
    without = [f"data.{name}" for name, has_second in named.items() if not has_second]
    lacking = f"; none in {' and '.join(without)}" if without else ""
    return [("second recordings", f"heard: {heard}{lacking}")]


def teacher_row(config: RunConfig) -> list[tuple[str, str]]:
    """Who teaches the encoder, which layers, and where what it gives is kept; no row without a clean teacher."""
    teacher = config.noise.teacher
    if teacher is None:
        return []
    layers = "the encoder's output"
    if teacher.layers is not None:
        layers = f"encoder layers {', '.join(map(str, teacher.layers))}"
    kept = f", kept in {teacher.cache}" if teacher.cache else ""
    return [
        (
            "clean teacher",
            f"{teacher.checkpoint or 'the model before training'}: {layers}, weight {teacher.weight:g}{kept}",
        )
    ]


def plan_rows(config: RunConfig, plan: Plan) -> list[tuple[str, str]]:
    training = config.training
    at_most = "at most " if training.batch_seconds else ""
    count = "{:,}".format
    attention = "with" if config.model.dual_attention else "without"
    zero = f"DeepSpeed ZeRO-{config.engine.zero_stage}" if config.engine.zero_stage else "one process or DDP"
    rows = [
        ("model", config.model.checkpoint or "from nothing"),
        ("strategy", f"{config.model.strategy}, {attention} second attentions"),
        *second_recordings_row(config, plan.second_recording),
        *teacher_row(config),
        ("parameters", NOT_LOOKED_AT if plan.parameters is None else count(plan.parameters)),
        ("of them new", NOT_LOOKED_AT if plan.new_parameters is None else count(plan.new_parameters)),
        ("engine", f"{zero}, {resolve_precision(config.engine.precision)} on this machine"),
        ("processes", f"{plan.processes} (as launched now)"),
        ("utterances a step", f"{at_most}{count(plan.utterances_per_step)}{how_split(training, plan.processes)}"),
    ]
    if training.batch_seconds:
        rows.append(("audio a microbatch", f"at most {training.batch_seconds:g} s, padding included"))
    windows = config.data.windows
    if windows is not None:
        shortest, longest = windows.seconds
        length = f"{longest:g}" if shortest == longest else f"{shortest:g} to {longest:g}"
        timed = f"{windows.timestamps:.0%} of them with timestamps"
        rows.append(("windows", f"{windows.joined:.0%} of the clips share windows of up to {length} s; {timed}"))
    if config.data.non_speech is not None:
        rows.append(
            (
                "without speech",
                f"{config.data.non_speech.share:.0%} of the clips, up to {config.data.non_speech.max_seconds:g} s",
            )
        )
    uneven = "; not a multiple of the processes, some of which will wait" if plan.lanes % plan.processes else ""
    rows.append(("data lanes", f"{plan.lanes}{uneven}"))
    utterances = training.steps * plan.utterances_per_step
    rows.append(("steps", f"{count(training.steps)}, {at_most}{count(utterances)} utterances"))
    if config.data.is_mixture:
        for number, source in enumerate(plan.sources):
            rows.append(("mixture" if number == 0 else "", source.shown(utterances)))
    else:
        hub = config.data.training_sources[0].hub is not None
        unknown = NOT_LOOKED_AT if hub else "not known without reading them all"
        rows.append(("training rows", count(plan.training_rows) if plan.training_rows else unknown))
        epochs = plan.epochs(training.steps)
        at_least = "at least " if windows is not None and windows.joined else ""  # a window is one utterance
        rows.append(("epochs", f"{at_least or at_most}{epochs:.1f}" if epochs else unknown))
    evaluations = -(-training.steps // config.evaluation.every_steps) if config.data.validation else 0
    rows.append(("evaluations", str(evaluations)))
    checkpoint_steps = config.checkpoints.every_steps
    rows.append(("checkpoints", f"every {count(checkpoint_steps)} steps, the last {config.checkpoints.keep} kept"))
    rows.append(("written to", config.output_dir))
    return rows
