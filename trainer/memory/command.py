"""Which batch fits a GPU: a training step's peak memory, predicted from fake tensors, without a GPU and a download.

python launch/batch_size.py --config configs/medium_zero2.yaml --gpu "A100 40GB" --gpus 8
python launch/batch_size.py --config configs/small.yaml            (every common GPU)
python launch/batch_size.py --config configs/small.yaml --gpu "24 GB" training.batch_size=32

python -m benchmarks.memory predict is the same command.
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..command_line import CommandLine, number
from ..config.microbatches import settled
from ..config.reading import load_config
from .cells import DECODER_POSITIONS, PROMPT_TOKENS, cell_of
from .gpus import GIB, GPUS, Gpu, find_gpu
from .verdict import precision_on

ALLOCATOR_MARGIN = 1.05  # of an evaluation, for rounding and gaps


def parse(arguments: list[str]) -> Any:
    parser = CommandLine(__doc__)
    parser.add_argument("--config", required=True, help="a run's config")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings in place of the config's")
    parser.add_argument("--gpu", help="a GPU's name or memory, as 'A100 40GB' or '40 GiB'; without it, all known ones")
    parser.add_argument("--gpus", type=number(int, 1, 65536), help="how many; 1, or 8 with DeepSpeed, if not given")
    parser.add_argument("--seconds", type=number(float, 0.1, 30), help="of every clip; data.max_seconds if not given")
    parser.add_argument(
        "--tokens",
        type=number(int, PROMPT_TOKENS + 1, DECODER_POSITIONS),
        help="decoder positions of every utterance, prompt included; 448, all there are, if not given",
    )
    parser.add_argument(
        "--headroom",
        type=number(float, 0, 0.9),
        help="share of the memory left free; 0.05 if not given, or under auto what a run leaves",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """0 if the config's batch, or without ``--gpu`` any batch, fits; 1 if not."""
    started = time.perf_counter()
    options = parse(arguments)
    gpu = find_gpu(options.gpu) if options.gpu else None
    config = load_config(options.config, options.overrides)
    processes = options.gpus or (8 if config.engine.zero_stage else 1)
    is_auto = config.training.batch_size == "auto"
    config = settled(config, processes)
    cell = cell_of(
        config,
        precision=precision_on(config, gpu),
        seconds=options.seconds,
        tokens=options.tokens,
        processes=processes,
    )
    from . import table  # torch and transformers: seconds to import
    from .advice import HEADROOM, advise, fits, largest_batch
    from .decoding_peak import evaluation_bytes
    from .finding import found_on, headroom_of
    from .needs import Needs

    headroom = options.headroom
    if headroom is None:
        headroom = headroom_of(config) if is_auto else HEADROOM
    needs = Needs(cell)
    memory = needs.step(config.training.accumulation > 1)
    validation = config.data.validation
    evaluation = evaluation_bytes(replace(cell, has_second=validation.has_second)) if validation else None
    print(table.described(cell, gpu))
    chosen = [gpu] if gpu else list(GPUS)
    largest = {one.name: largest_batch(memory, one, headroom) for one in chosen}
    by_step = config.training.step_utterances is not None
    found = {one.name: found_on(needs, one, headroom) for one in chosen if by_step}
    best = largest[gpu.name] if gpu else config.training.microbatch
    if gpu:
        table.print_batches(memory, gpu, best, headroom)
    table.print_parts(memory, max(1, best))
    if evaluation is not None:
        told = f"{evaluation / GIB:.2f} GiB in tensors"
        print(f"\nAn evaluation of {config.evaluation.batch_size} utterances takes {told}.")
    if options.json:
        batches = {str(b): asdict(memory.at(b)) for b in sorted({*table.BATCHES, max(1, best)})}
        figures = {"cell": cell.describe(), "evaluation_bytes": evaluation, "largest_batch": largest}
        figures |= {"found": {name: one and asdict(one) for name, one in found.items()}} if by_step else {}
        options.json.write_text(json.dumps(figures | {"batches": batches}, indent=1) + "\n", encoding="utf-8")
    if gpu is None:
        table.print_gpus(largest, found, is_auto)
    table.print_assumptions(cell, headroom, time.perf_counter() - started)
    if gpu is None:
        return 0 if any(largest.values()) else 1
    code = 0
    if evaluation is not None and not evaluation_fits(evaluation, memory, gpu, headroom):
        print("\nThe evaluation does not fit: lower evaluation.batch_size, beams or max_new_tokens.")
        code = 1
    if by_step:
        table.print_found(cell, found[gpu.name], is_auto)
    elif best:
        table.print_lines(cell, advise(memory, gpu, headroom))
    wanted = config.training.microbatch if best else 1
    if is_auto and found[gpu.name] is not None:  # which takes any that fits
        return code
    if is_auto:
        wanted, memory = 1, needs.step(config.training.step_utterances != processes)
    if fits(memory.at(wanted), gpu, headroom):
        return code
    table.print_remedies(memory, wanted, gpu, headroom)
    return 1


def evaluation_fits(evaluation: int, memory: Any, gpu: Gpu, headroom: float) -> bool:
    """With what the device takes beside tensors, as in a step."""
    step = memory.at(1)
    beside = step.device_used_bytes - step.reserved_bytes
    return bool(evaluation * ALLOCATOR_MARGIN + beside <= gpu.memory_bytes * (1 - headroom))
