"""What a run writes while it trains: metrics.jsonl, TensorBoard, the quarantine and a progress bar."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.utterance import Skipped

from .durable import write_text


class Journal:
    """Metrics by step. A resume first drops what was written after the step that it resumes from.

    Args:
        folder: the run's.
        is_main: whether this is rank 0; the others write only their batches and skipped rows.
        from_step: the step that the run resumes from, or 0.
        evaluated: that step's evaluation counts too; otherwise it will be made again.
    """

    def __init__(
        self,
        folder: Path,
        *,
        is_main: bool,
        rank: int,
        total_steps: int,
        from_step: int,
        record_batches: bool,
        evaluated: bool = True,
    ) -> None:
        self.folder, self.is_main, self.rank = folder, is_main, rank
        self.from_step, self.record_batches = from_step, record_batches
        self.batches = folder / f"batches_rank{rank}.jsonl"
        if record_batches:
            drop_after(self.batches, from_step)
        named = whole_rows(folder / "quarantine.jsonl")
        self.quarantined: set[Any] = {(row.get("id"), row.get("reason")) for row in named}
        if is_main:
            again = None if evaluated else {"step": from_step, "kind": "validation"}
            drop_after(folder / "metrics.jsonl", from_step, again)
            self.progress = ProgressLine(total_steps, from_step)
        self.writer: Any = None

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """One line of metrics.jsonl, and every number of it as a TensorBoard scalar; of a list one for each layer."""
        if not (self.is_main and values):
            return
        append(self.folder / "metrics.jsonl", {"step": step, "kind": kind, **values})
        scalars = {f"{kind}/{name}": value for name, value in values.items()}
        for name, value in values.items():
            if isinstance(value, list):
                scalars |= {f"{kind}_{name}/layer_{layer:02d}": figure for layer, figure in enumerate(value)}
        for name, figure in scalars.items():
            if isinstance(figure, (int, float)):
                self.tensorboard().add_scalar(name, figure, step)
        self.tensorboard().flush()

    def texts(self, step: int, samples: Sequence[tuple[str, str, str]]) -> None:
        """Id, reference and hypothesis of some utterances: one text each in TensorBoard."""
        if self.is_main and samples:
            for name, said, heard in samples:
                text = f"    reference:  {said}\n    hypothesis: {heard}"  # indented: Markdown shows it as it is
                self.tensorboard().add_text(f"validation/{name}", text, step)
            self.tensorboard().flush()

    def tensorboard(self) -> Any:
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter  # a second to import

            self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.from_step + 1)
        return self.writer

    def batch(self, step: int, ids: list[list[str]]) -> None:
        """Write the ids that this rank trained on in a step, a list for each microbatch, if the config wants it."""
        if self.record_batches:
            append(self.batches, {"step": step, "ids": ids})

    def quarantine(self, skipped: Iterable[Skipped]) -> None:
        """Write rows that could not be used into quarantine.jsonl, each once over all epochs and starts."""
        for row in skipped:
            if (row.id, row.reason) not in self.quarantined:
                self.quarantined.add((row.id, row.reason))
                append(self.folder / "quarantine.jsonl", asdict(row))

    def show(self, step: int, values: dict[str, float]) -> None:
        """Move the progress bar on, with these figures beside it."""
        if self.is_main:
            self.progress.show(step, values)

    def say(self, text: str) -> None:
        """Print a line above the progress bar, on rank 0."""
        if self.is_main:
            self.progress.say(text)

    def close(self) -> None:
        """Stop the progress bar and write what TensorBoard still holds."""
        if self.is_main:
            self.progress.close()
        if self.writer is not None:
            self.writer.close()


class ProgressLine:
    """rich's progress bar on a terminal; elsewhere a line each time figures are shown."""

    def __init__(self, total_steps: int, from_step: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=False)
        self.total = total_steps
        self.started, self.from_step = time.perf_counter(), from_step
        self.bar: Any = None
        if self.console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console)
            self.task = self.bar.add_task("", total=total_steps, completed=from_step)
            self.bar.start()

    def show(self, step: int, values: dict[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self.bar is not None:
            self.bar.update(self.task, completed=step, description=shown)
            return
        per_step = (time.perf_counter() - self.started) / max(1, step - self.from_step)
        left = time.strftime("%H:%M:%S", time.gmtime(per_step * (self.total - step)))
        print(f"step {step}/{self.total}  {shown}  left {left}", flush=True)

    def say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)  # which breaks no path
        else:
            print(text, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def append(path: Path, row: dict[str, Any]) -> None:
    """Append a line to a JSONL file, in one write."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:  # a failed write does not name its file
        raise OSError(error.errno, error.strerror, str(path)) from error


def drop_after(path: Path, step: int, again: dict[str, Any] | None = None) -> None:
    """Drop the rows of a JSONL file that are of a later step, hold all of ``again``, or were cut off by a kill."""
    if not path.exists():
        return
    counted = (row for row in whole_rows(path) if row.get("step", 0) <= step)
    kept = [row for row in counted if not (again and again.items() <= row.items())]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file, without a line that a kill cut off; empty if there is no file."""
    rows = []
    # As bytes: a line may be cut within a character, and ids may contain what str.splitlines() takes for a line's end.
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
