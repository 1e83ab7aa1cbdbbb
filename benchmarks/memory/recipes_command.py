"""The lines `# Predicted on N GPUs` of the recipes, written anew: what batch_size auto finds on the GPUs they name.

    python -m benchmarks.memory recipes                  (all of configs/; minutes the first time)
    python -m benchmarks.memory recipes configs/small.yaml

A GPU stands with utterances of a microbatch x microbatches of a step.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.command_line import CommandLine
from trainer.config.microbatches import settled
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.memory.cells import cell_of
from trainer.memory.decoding_peak import evaluation_bytes
from trainer.memory.finding import Found, found_on, headroom_of
from trainer.memory.gpus import Gpu, find_gpu
from trainer.memory.needs import Needs, kept_predictions
from trainer.memory.prediction import COLLECTIVES_BYTES, CONTEXT_BYTES
from trainer.memory.verdict import precision_on

FOLDER = Path(__file__).resolve().parents[2] / "configs"
LINE = re.compile(r"^( *)# Predicted on (\d+) GPUs?:(.*)$")
FOUND = re.compile(r"(.+) (\d+) x (\d+)")
EXAMPLE = "# Predicted on 1 GPU: A100 40GB 16 x 4, 80 GB 32 x 2"
ENGINE = re.compile(r"^  (\w+): \{\}$")


@dataclass(frozen=True)
class Said:
    """A line of a recipe.

    Attributes:
        number: of the line in its file, from 0.
        config: the recipe's path, by which it is loaded; with an engine's name where the line is of one.
        gpus: how many there are.
        found: by each kind of GPU, the utterances of a microbatch and the microbatches of a step on each.
    """

    number: int
    indent: str
    config: Path
    gpus: int
    found: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        told = ", ".join(f"{gpu} {size} x {times}" for gpu, (size, times) in self.found.items())
        return f"{self.indent}# Predicted on {self.gpus} GPU{'' if self.gpus == 1 else 's'}: {told}"


def lines_of(path: Path) -> Iterator[Said]:
    """The lines of a size's file. Those of an engine stand above its key.

    Raises:
        ConfigError: if the file cannot be read, or a line is not as :class:`Said` writes it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from None
    for number, line in enumerate(lines):
        if (told := LINE.match(line)) is None:
            continue
        engine = next((f"_{one[1]}" for below in lines[number:] if (one := ENGINE.match(below))), "") if told[1] else ""
        gpus = told[3].strip().split(", ")
        found = {one[1]: (int(one[2]), int(one[3])) for one in map(FOUND.fullmatch, gpus) if one}
        if len(found) < len(gpus) or told[2].strip("0") == "":
            raise ConfigError(f"{path}, line {number + 1}: {line.strip()!r} is no such line as {EXAMPLE!r}")
        yield Said(number, told[1], path.with_stem(f"{path.stem}{engine}"), int(told[2]), found)


def predicted(said: Said) -> Said:
    """The same line with what is predicted now.

    Raises:
        ConfigError: where a GPU that it names has no room for training and evaluation.
    """
    config = load_config(said.config)
    needs: dict[str, Needs] = {}
    found = {}
    for name in said.found:
        gpu = find_gpu(name)
        precision = precision_on(config, gpu)
        if precision not in needs:
            cell = cell_of(settled(config, said.gpus), precision=precision, processes=said.gpus)
            needs[precision] = Needs(cell, kept=kept_predictions())
        one = room_for(config, needs[precision], gpu)
        if one is None:
            raise ConfigError(f"{said.config.stem}: {name} has no room for it: take it out of the line")
        found[name] = (one.size, one.accumulation)
    return Said(said.number, said.indent, said.config, said.gpus, found)


def room_for(config: RunConfig, needs: Needs, gpu: Gpu) -> Found | None:
    """What is found on a GPU, if an evaluation has room there too."""
    free = headroom_of(config)
    beside = CONTEXT_BYTES + (COLLECTIVES_BYTES if needs.cell.processes > 1 else 0)
    evaluation = needs.kept("evaluation", lambda: evaluation_bytes(needs.cell))
    fits = evaluation + beside <= gpu.memory_bytes * (1 - free)
    return found_on(needs, gpu, free) if fits else None


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="of configs/; all that have such lines, if not given")
    options = parser.parse_args(arguments)
    for path in options.files or sorted(FOLDER.glob("*.yaml")):
        there = list(lines_of(path))
        if not there and options.files:
            print(f"{path} has no line such as {EXAMPLE!r}", file=sys.stderr)
        lines = path.read_text(encoding="utf-8").splitlines()
        for said in there:
            lines[said.number] = str(predicted(said))
            print(f"{said.config.stem}: {lines[said.number].strip()}", file=sys.stderr, flush=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0
