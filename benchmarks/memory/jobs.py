"""What a process is told that measures one cell."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.config.reading import merge, nested
from trainer.config.run import RunConfig
from trainer.memory.cells import Cell, cell_of, with_settings

Data = Literal["synthetic", "stream"]
MOST = 65_536  # utterances; a measured batch is no larger


@dataclass(frozen=True)
class Job:
    """A cell to be measured.

    Attributes:
        config: the run's config as plain values.
        batch_size, seconds, tokens: in place of the config's worst case; None leaves it.
        processes: ranks, one a GPU.
        data: tensors of the worst case, or the config's own stream.
        warmup, steps: optimizer steps that are not timed, and that are.
        limit_gib: memory that each process may have, where the system can limit it; None for no limit.
        threads: of torch in each process; None leaves it to torch.
        on_cpu: GPUs are hidden from the processes.
    """

    config: dict[str, Any]
    batch_size: int | None = None
    seconds: float | None = None
    tokens: int | None = None
    processes: int = 1
    data: Data = "synthetic"
    warmup: int = 1
    steps: int = 3
    limit_gib: float | None = None
    threads: int | None = None
    on_cpu: bool = False

    def run_config(self) -> RunConfig:
        """The config with the job's batch size, by which engines decide on buffers too."""
        config = RunConfig.model_validate(self.config)
        return config if self.batch_size is None else with_settings(config, "training", batch_size=self.batch_size)

    def cell(self, precision: str) -> Cell:
        """The step in the terms of the prediction, at the precision that it is computed in."""
        shape: Any = {"seconds": self.seconds, "tokens": self.tokens, "processes": self.processes}
        return cell_of(self.run_config(), precision=precision, **shape)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def whisper_config(settings: Mapping[str, Any]) -> RunConfig:
    """A config of whisper-tiny in float32 with these dotted keys; its data is never opened."""
    values: dict[str, Any] = {
        "output_dir": "unused",
        "model": {"checkpoint": "openai/whisper-tiny"},
        "data": {"language": "en", "train": {"files": "unused.parquet"}},
        "training": {"steps": 10},
        "engine": {"precision": "fp32"},
    }
    return RunConfig.model_validate(merge(values, nested(settings)))
