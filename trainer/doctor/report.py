"""The checks in their order, over all ranks, as a table or as JSON; and the exit code."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial

import torch

from data import terminal

from ..checks import Check, Finding, Inputs, checks_of, collect_all, failure
from ..config.run import RunConfig
from ..engine.accelerator import leave_process_group
from . import combinations, devices, downloads, machine, software, speed, storage
from .facts import Facts, gather_facts

ALL_REDUCE = Check("all-reduce", speed.check_all_reduce)
STYLES = {"good": "green", "note": "yellow", "lacks": "bold red"}


def checks_for(facts: Facts) -> list[Check]:
    """All checks in their order: the software and the machine, then the config's own, then what takes time."""
    return [
        Check("Python", software.check_python),
        Check("libraries", software.check_libraries),
        Check("libraries together", software.check_libraries_among_themselves),
        Check("bitsandbytes library", software.check_bitsandbytes),
        Check("compiler", software.check_compiler),
        Check("lock of a compile", software.check_extension_locks),
        Check("hub", downloads.check_hub),
        Check("GPUs", devices.check_gpus),
        Check("driver", devices.check_driver),
        Check("known bad combinations", combinations.check_known_combinations),
        Check("CPU memory", machine.check_memory),
        Check("cores", machine.check_cores),
        Check("shared memory", machine.check_shared_memory),
        Check("open files", machine.check_open_files),
        *config_checks(facts),
        Check("speed of the precision", devices.check_speed_of_precision, needs=("precision",)),
        Check("checkpoint", downloads.check_checkpoint, needs=("model",)),
        Check("batch", devices.check_batch, needs=("precision", "model")),
        Check("disk", storage.check_disk),
        Check("file system", storage.check_file_system),
        Check("writing", storage.check_write_speed),
        Check("products", speed.check_products),
        Check("copies", speed.check_copies),
        ALL_REDUCE,
    ]


def config_checks(facts: Facts) -> Iterator[Check]:
    """The checks that a run makes itself, applied to :attr:`Facts.inputs`."""

    def at_inputs(look: Callable[[Inputs], Iterable[Finding] | None], facts: Facts) -> Iterable[Finding] | None:
        return look(facts.inputs)

    for check in checks_of(facts.inputs) if facts.config is not None else ():
        yield replace(check, look=partial(at_inputs, check.look))


def look(config: RunConfig | None, asked: str = "", measure: bool = True) -> list[Finding]:
    """All findings. Under a launcher every process must call it: one on each machine runs all checks, the others only
    the collective one.

    Rank 0 also gets the findings of other machines that are not good.

    Args:
        asked: the config's file and what overrides it, as on a command line.
        measure: time copies, products and writes.
    """
    facts = gather_facts(config, asked, measure)
    joined: Finding | None = None
    try:
        joined = speed.join_processes(facts)
    except Exception as error:
        joined = failure("processes", error)
    looks = facts.environment.get("LOCAL_RANK", "0") == "0"
    findings = collect_all(checks_for(facts) if looks else [ALL_REDUCE], facts)
    if joined is not None:
        findings.append(joined)
    return findings if looks and facts.processes < 2 else of_all_ranks(facts, findings)


def of_all_ranks(facts: Facts, findings: list[Finding]) -> list[Finding]:
    """Rank 0's findings, and the others' that are not good; on the other ranks their own."""
    if not torch.distributed.is_initialized():
        return findings
    every: list[list[Finding]] = [[] for _ in range(facts.processes)]
    torch.distributed.all_gather_object(every, findings)
    leave_process_group()
    if facts.environment.get("RANK") != "0":
        return findings
    others = [
        replace(finding, name=f"{finding.name} [rank {rank}]")
        for rank, found in enumerate(every[1:], start=1)
        for finding in found
        if finding.state != "good"
    ]
    return every[0] + others


def exit_code(findings: list[Finding]) -> int:
    """1 where a run would fail, else 0."""
    return int(any(finding.state == "lacks" for finding in findings))


def as_json(findings: list[Finding], config: str | None) -> str:
    values = {"config": config, "fit": exit_code(findings) == 0, "findings": [asdict(finding) for finding in findings]}
    return json.dumps(values, indent=1)


def print_table(findings: list[Finding], config: str | None) -> None:
    """Print the findings as a table, the remedies below it, and a line with the totals."""
    from rich.text import Text

    rows = [(one.name, Text(one.state, style=STYLES[one.state]), one.found) for one in findings]
    terminal.print_table(("", "state", "found"), rows)
    for finding in findings:  # below the table, whose cells would wrap what should be copied
        if finding.remedy:
            print(f"{finding.name}: {finding.remedy}")
    number = Counter(finding.state for finding in findings)
    asked = f"for {config}" if config else "for any run"
    notes = f"{number['note']} note{'' if number['note'] == 1 else 's'}"
    lacking = "nothing is lacking" if not number["lacks"] else f"{number['lacks']} lacking: a run would fail"
    print(f"{asked}: {lacking}; {notes}, {number['good']} good")
