"""What the engines send at a training step: a formula, counted on two processes, and a table up to 1,024 GPUs.

python -m benchmarks.communication --output results.json
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.communication.counting import CASES, count_all
from benchmarks.communication.formula import ENGINES, bytes_sent
from benchmarks.machine import describe_machine
from benchmarks.memory.jobs import whisper_config
from benchmarks.written import add_output, table_head, write_result
from trainer.command_line import CommandLine, number, run_command
from trainer.model.building import planned_model

GPUS = (8, 16, 64, 256, 1024)
GPUS_OF_A_MACHINE = 8
SIZES = ("small", "medium", "large-v3")
STRATEGIES = ("full", "frozen_encoder", "lora")
# Bytes a second in one direction: of a GPU within a machine; of a whole machine, all its cards together, between them.
WITHIN = {"NVLink 450 GB/s": 450e9}
BETWEEN = {"400 Gb/s": 50e9, "200 Gb/s": 25e9, "100 Gb/s": 12.5e9, "25 Gb/s": 3.125e9}


def planned_bytes(size: str, strategy: str, accumulation: int) -> list[dict[str, Any]]:
    """A published size's rows in bf16: an engine each, with what a GPU sends and the seconds that takes on each link.

    A ring over machines crosses from one to the next once, so the slowest link of its whole traffic is a machine's
    card. Not overlapped with computing, without latencies.
    """
    config = whisper_config({"model.checkpoint": f"openai/whisper-{size}", "model.strategy": strategy})
    model = planned_model(config)
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
    print(table_head(columns))
    for row in rows:
        sent = [f"{row['gpus'][str(gpus)]['bytes'] / 1e9:.3f}" for gpus in GPUS]
        seconds = [f"{row['gpus'][gpus]['seconds'][link]:.3f}" for gpus, link in links]
        name = f"{row['size']}, {row['strategy']}"
        print(f"| {name} | {row['trained'] / 1e6:.1f} M | {row['engine']} | {' | '.join(sent + seconds)} |")


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument(
        "--case", action="append", choices=CASES, metavar="NAME", help="to be counted; may be repeated; else all"
    )
    parser.add_argument("--accumulation", type=number(int, 1, 10_000), default=1, help="in the table; default: 1")
    parser.add_argument("--no-count", action="store_true", help="only the table")
    parser.add_argument("--no-table", action="store_true", help="only the count")
    add_output(parser)
    options = parser.parse_args(arguments)
    counts: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    if not options.no_count:
        counts = count_all([CASES[name] for name in options.case or CASES])
        print_counts(counts)
        print()
    if not options.no_table:
        planned = [(size, strategy) for size in SIZES for strategy in STRATEGIES]
        rows = [row for size, strategy in planned for row in planned_bytes(size, strategy, options.accumulation)]
        print_table(rows)
    write_result(options.output, {"machine": describe_machine(), "counted": counts, "computed": rows})
    return 0


if __name__ == "__main__":
    run_command(main)
