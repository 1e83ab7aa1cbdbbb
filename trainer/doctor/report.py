"""The checks in their order, over all ranks, as a table or as JSON; and the exit code."""

import json
from collections import Counter
from dataclasses import asdict, replace

import torch

from data import terminal_table

from ..config.run import RunConfig
from ..engine.accelerator import leave_process_group
from . import combinations, devices, inputs, machine, software, speed, storage
from .facts import Facts, gather_facts
from .findings import Check, Finding, could_not, examine

CHECKS: tuple[Check, ...] = (
    software.check_python,
    software.check_libraries,
    software.check_libraries_among_themselves,
    software.check_bitsandbytes,
    software.check_compiler,
    software.check_extension_locks,
    software.check_hub,
    devices.check_gpus,
    devices.check_driver,
    devices.check_precision,
    software.check_engine_and_optimizer,
    combinations.check_known_combinations,
    machine.check_memory,
    machine.check_cores,
    machine.check_shared_memory,
    machine.check_open_files,
    inputs.check_checkpoint,
    inputs.check_data,
    inputs.check_decoding,
    storage.check_output_folder,
    storage.check_disk,
    storage.check_file_system,
    storage.check_write_speed,
    speed.check_products,
    speed.check_copies,
    speed.check_all_reduce,
)
COLLECTIVE: tuple[Check, ...] = (speed.check_all_reduce,)
STYLES = {"good": "green", "note": "yellow", "lacks": "bold red"}


def look(config: RunConfig | None, measure: bool = True) -> list[Finding]:
    """All findings. Under a launcher every process must call it: the first of each machine looks, all talk together.

    Findings of other machines are told where they are not good; they come to rank 0 alone.
    """
    facts = gather_facts(config, measure)
    joined: Finding | None = None
    try:
        joined = speed.join_processes(facts)
    except Exception as error:
        joined = could_not("processes", error)
    looks = facts.environment.get("LOCAL_RANK", "0") == "0"
    findings = examine(facts, CHECKS if looks else COLLECTIVE)
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
    """A line for each, and the sum of them."""
    from rich.text import Text

    rows = [(one.name, Text(one.state, style=STYLES[one.state]), one.found) for one in findings]
    terminal_table.print_table(("", "state", "found"), rows)
    for finding in findings:  # not in the table, which would break what is there to be copied
        if finding.remedy:
            print(f"{finding.name}: {finding.remedy}")
    number = Counter(finding.state for finding in findings)
    asked = f"for {config}" if config else "for any run"
    notes = f"{number['note']} note{'' if number['note'] == 1 else 's'}"
    lacking = "nothing is lacking" if not number["lacks"] else f"{number['lacks']} lacking: a run would fail"
    print(f"{asked}: {lacking}; {notes}, {number['good']} good")
