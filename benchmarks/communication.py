"""What the engines send at a training step: a formula, counted on two processes, and a table up to 1,024 GPUs.

    python -m benchmarks.communication --output results.json

The count is :mod:`benchmarks.collectives`'.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine
from trainer.command_line import CommandLine, number, run_command
from trainer.config.run import RunConfig
from trainer.engine.accelerator import LIVE_PARAMETERS

GPUS = (8, 16, 64, 256, 1024)
GPUS_OF_A_MACHINE = 8
SIZES = ("small", "medium", "large-v3")
STRATEGIES = ("full", "frozen_encoder", "lora")
ENGINES = ("DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3")
# Bytes a second in one direction: of a GPU within a machine; of a whole machine, all its cards together, between them.
WITHIN = {"NVLink 450 GB/s": 450e9}
BETWEEN = {"400 Gb/s": 50e9, "200 Gb/s": 25e9, "100 Gb/s": 12.5e9, "25 Gb/s": 3.125e9}
PERSISTENT = 10_000  # numbers; trainer.engine's stage3_param_persistence_threshold
REUSE_DISTANCE = LIVE_PARAMETERS  # numbers; what the trainer sets stage3_max_reuse_distance to


# The formula


@dataclass(frozen=True)
class Sent:
    """Bytes that each GPU sends at an optimizer step, by kind of collective."""

    all_reduce: float = 0.0
    all_gather: float = 0.0
    reduce_scatter: float = 0.0

    @property
    def total(self) -> float:
        return self.all_reduce + self.all_gather + self.reduce_scatter


def bytes_sent(
    model: Any,
    stage: int,
    ranks: int,
    precision: str = "bf16",
    accumulation: int = 1,
    reuse_distance: int = REUSE_DISTANCE,
) -> Sent:
    """The formula, for a model that may lie on the meta device.

    With P numbers trained, e bytes each in the engine's precision, and A microbatches a step:

    - DDP: all-reduce of 4 P, gradients in float32 whatever the precision, once a step.
    - ZeRO-1: all-reduce of e P once a step, then all-gather of e P, the updated weights.
    - ZeRO-2: as ZeRO-1, but the all-reduce comes with each microbatch. (All ranks get all of it though each keeps a
      share: DeepSpeed's ``use_multi_rank_bucket_allreduce``.)
    - ZeRO-3: with each microbatch an all-gather of all weights of over 10,000 numbers, frozen ones too, again in the
      backward pass for those next needed more numbers later than ``reuse_distance``, and a reduce-scatter of e P; the
      small weights are gathered once a step. Weights are padded to a multiple of N.

    What the ranks agree on besides, under 1 kB, is left out.

    Args:
        stage: ZeRO's; 0 is DDP.
        precision: fp32, bf16 or fp16.
        accumulation: microbatches of a step on each rank.
        reuse_distance: DeepSpeed's ``stage3_max_reuse_distance``.
    """
    share, element = (ranks - 1) / ranks, 4 if precision == "fp32" else 2
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    if stage == 0:
        return Sent(all_reduce=2 * share * 4 * trained)
    if stage < 3:
        times = accumulation if stage == 2 else 1
        return Sent(all_reduce=times * 2 * share * element * trained, all_gather=share * element * trained)

    def padded(parameter: Any) -> int:
        return -(-parameter.numel() // ranks) * ranks

    gathers = gathers_of_a_microbatch(model, reuse_distance)
    large = sum(count * padded(parameter) for parameter, count in gathers.items())
    small = sum(padded(parameter) for parameter in parameters if parameter not in gathers)
    reduced = sum(padded(parameter) for parameter in parameters if parameter.requires_grad)
    return Sent(
        all_gather=share * element * (accumulation * large + small),
        reduce_scatter=share * element * accumulation * reduced,
    )


def gathers_of_a_microbatch(model: Any, reuse_distance: int) -> Counter[Any]:
    """How often ZeRO-3 gathers each weight that it does not keep whole.

    A weight is given back after a module, unless it comes again before modules of ``reuse_distance`` numbers have.
    """
    forward: list[list[Any]] = []
    backward: list[list[Any]] = []
    for module in model.modules():
        if own := list(module.parameters(recurse=False)):
            forward.append(own)
            trains = any(parameter.requires_grad for parameter in own)
            # Gradients come by from the first trained module on, but not by one that looks up frozen rows.
            if trains or (backward and not isinstance(module, torch.nn.Embedding)):
                backward.append(own)
    visits = forward + backward[::-1]
    passed = [0]
    for own in visits:
        passed.append(passed[-1] + sum(parameter.numel() for parameter in own))
    gathers: Counter[Any] = Counter()
    last: dict[Any, int] = {}
    for place, own in enumerate(visits):
        for parameter in own:
            if parameter.numel() > PERSISTENT:
                before = last.get(parameter)
                if before is None or passed[place] - passed[before + 1] >= reuse_distance:
                    gathers[parameter] += 1
                last[parameter] = place
    return gathers


# The table


def tiny_config(stage: int = 0, precision: str = "bf16", accumulation: int = 1) -> RunConfig:
    """A model of a million numbers whose matrices are all above ZeRO-3's threshold, its biases and norms below."""
    return RunConfig.model_validate(
        {
            "output_dir": "unused",
            "model": {"architecture": {"d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}},
            "data": {"language": "en", "train": {"files": "unused.parquet"}},
            "training": {"steps": 10, "batch_size": 2, "accumulation": accumulation},
            "engine": {"zero_stage": stage, "precision": precision, "timeout_minutes": 2},
        }
    )


def planned_bytes(size: str, strategy: str, accumulation: int) -> list[dict[str, Any]]:
    """A published size's rows in bf16: an engine each, with what a GPU sends and the seconds that takes on each link.

    A ring over machines crosses from one to the next once, so the slowest link of its whole traffic is a machine's
    card. Not overlapped with computing, without latencies.
    """
    from trainer.plan import planned_model

    learned = {"checkpoint": f"openai/whisper-{size}", "strategy": strategy}
    values = tiny_config().model_dump(exclude={"model"}) | {"model": learned}
    model = planned_model(RunConfig.model_validate(values))
    rows = []
    for stage, engine in enumerate(ENGINES):
        by_gpus = {}
        for gpus in GPUS:
            sent = bytes_sent(model, stage, gpus, "bf16", accumulation)
            links = WITHIN if gpus <= GPUS_OF_A_MACHINE else BETWEEN
            seconds = {link: sent.total / bandwidth for link, bandwidth in links.items()}
            by_gpus[str(gpus)] = {"bytes": sent.total, **asdict(sent), "seconds": seconds}
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        shown = {"size": size, "strategy": strategy, "engine": engine, "accumulation": accumulation}
        rows.append({**shown, "trained": trained, "gpus": by_gpus})
    return rows


def print_counts(results: Sequence[dict[str, Any]]) -> None:
    """Markdown: each case's counted and computed bytes."""
    print("| two processes, a tiny model | counted, bytes | formula | ratio | on the wire |\n|---|---|---|---|---|")
    for result in results:
        counted, computed = sum(result["counted"].values()), sum(result["computed"].values())
        wire = result["loopback_bytes_per_process"]
        print(f"| {result['case']} | {counted:,.0f} | {computed:,.0f} | {counted / computed:.4f} | {wire:,.0f} |")


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Markdown: gigabytes that each GPU sends at a step, by number of GPUs, and seconds."""
    links = [(str(GPUS[0]), link) for link in WITHIN] + [(str(GPUS[-1]), link) for link in BETWEEN]
    columns = ["model", "trained", "engine", *(f"{gpus} GPUs, GB" for gpus in GPUS)]
    columns += [f"{gpus} at {link}, s" for gpus, link in links]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        sent = [f"{row['gpus'][str(gpus)]['bytes'] / 1e9:.3f}" for gpus in GPUS]
        seconds = [f"{row['gpus'][gpus]['seconds'][link]:.3f}" for gpus, link in links]
        name = f"{row['size']}, {row['strategy']}"
        print(f"| {name} | {row['trained'] / 1e6:.1f} M | {row['engine']} | {' | '.join(sent + seconds)} |")


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("--case", action="append", metavar="NAME", help="to be counted; may be repeated; else all")
    parser.add_argument("--accumulation", type=number(int, 1, 10_000), default=1, help="in the table; default: 1")
    parser.add_argument("--no-count", action="store_true", help="only the table")
    parser.add_argument("--no-table", action="store_true", help="only the count")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a JSON file for the figures")
    options = parser.parse_args(arguments)
    if options.output:  # now, not after minutes of counting
        options.output.parent.mkdir(parents=True, exist_ok=True)
    counts: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    if not options.no_count:
        from benchmarks.collectives import count_all, find_cases

        counts = count_all(find_cases(options.case))
        print_counts(counts)
        print()
    if not options.no_table:
        planned = [(size, strategy) for size in SIZES for strategy in STRATEGIES]
        rows = [row for size, strategy in planned for row in planned_bytes(size, strategy, options.accumulation)]
        print_table(rows)
    if options.output:
        result = {"machine": describe_machine(), "counted": counts, "computed": rows}
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    run_command(main)
