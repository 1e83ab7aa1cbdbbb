"""The cells: all of them in the small, and the pieces that they share."""

import json
import math
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import benchmarks.gpu.__main__
from benchmarks.gpu.cells import attention
from benchmarks.gpu.cells.medium import SECONDS, TOKENS, published
from benchmarks.gpu.cells.memory import GPU_CELLS
from benchmarks.gpu.device import counted_waits, far_off, profiled, summary_of_profile, usual_milliseconds
from benchmarks.gpu.runs import batches, furthest, losses
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.stand_ins import made_once, run_values
from benchmarks.gpu.table import MEMORY_CELLS
from benchmarks.memory.jobs import Job, whisper_config
from benchmarks.memory.spread_lengths import spread_group
from tests.end_to_end import run
from trainer.engine.device import EXACT, choose_kernels
from trainer.memory.cells import cell_of, synthetic_group
from trainer.memory.flops import step_flops

CPU = torch.device("cpu")
ONLY_ON_GPUS = {"host waits", "variable-length attention", "paged"}


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_every_cell_runs_in_the_small(tmp_path: Path) -> None:
    """Five minutes on two idle cores. A fault in a cell shows here and not on a GPU."""
    outcome = run(benchmarks.gpu.__main__.main, "--cpu", "--seconds", 1500, "--output", tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    assert outcome.code == 0, outcome.output
    parts = {part["name"]: part for cell in found["cells"] for part in cell["parts"]}
    assert {name for name, part in parts.items() if part["status"] == "skipped"} == ONLY_ON_GPUS
    assert all(part["status"] in ("measured", "skipped") for part in parts.values())
    assert abs(parts["full, batch 1"]["figures"]["off_by"]) < 0.05
    for name in ("one process", "ZeRO-2", "ZeRO-3"):
        assert parts[name]["figures"]["equal_to_the_last_bit"], name
    assert "not measured" in (tmp_path / "report.md").read_text()


def test_memory_is_checked_in_at_least_fourteen_cells() -> None:
    known = {cell.name for cell in GPU_CELLS}
    assert len(set(MEMORY_CELLS)) >= 14 and set(MEMORY_CELLS) <= known


def test_candidates_have_the_models_kernels_and_the_chosen_row_has_torchs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def recorder(name: str) -> Any:
        return lambda *_: seen.append((name, torch.backends.cuda.cudnn_sdp_enabled())) or {}

    monkeypatch.setattr(attention, "by_kernel", recorder("chosen"))
    for name in ("unseen_shapes", "wrong_gradients", "one_query"):
        monkeypatch.setattr(attention, name, recorder("chosen"))
    measured = attention.candidates.MEASURED
    monkeypatch.setattr(attention.candidates, "MEASURED", {name: recorder("candidate") for name in measured})
    torch.backends.cuda.enable_cudnn_sdp(True)  # as torch begins
    try:
        for part in attention.attention(Setting(str(tmp_path), True, 1.0)):
            part.measure()
    finally:
        choose_kernels(EXACT)
    assert set(seen) == {("chosen", True), ("candidate", False)} and seen.count(("candidate", False)) == 5


def test_a_slow_kernel_costs_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that needs half a second for each new length has fewer of them."""
    setting = Setting(str(tmp_path), True, 1.0)
    rows = attention.one_query(setting)["kernels"]
    assert rows[0]["lengths"] == attention.UNSEEN
    clock = SimpleNamespace(monotonic=partial(next, count(0.0, 0.5)))
    monkeypatch.setattr(attention, "time", clock)
    monkeypatch.setattr(attention, "MOST_SECONDS", 3.0)
    rows = [row for row in attention.one_query(setting)["kernels"] if "refused" not in row]
    assert rows and all(row["lengths"] == 7 for row in rows)


def test_a_gpu_that_emulates_bf16_computes_in_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert Setting("", False, 1.0).dtype == torch.float16 and Setting("", True, 1.0).dtype == torch.bfloat16


def test_what_is_made_once_is_whole_or_not_there(tmp_path: Path) -> None:
    """Also where the process that makes it ends in the middle."""

    def fail(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "thing", fail)
    assert not (tmp_path / "thing").exists()
    made_once(tmp_path / "thing", lambda path: path.write_text("whole"))
    assert made_once(tmp_path / "thing", fail).read_text() == "whole"


def test_lengths_are_spread_and_what_is_beyond_a_clip_is_silent() -> None:
    cell = cell_of(whisper_config({}), precision="fp32", batch_size=16, seconds=1.0, tokens=8)
    (batch,) = spread_group(synthetic_group(cell, 100), 0.2).batches
    assert batch is not None
    lengths = batch.audio_lengths.tolist()
    assert lengths[0] == max(lengths) == 16_000 and min(lengths) >= 3200 and len(set(lengths)) > 10
    for row, length in enumerate(lengths):
        assert batch.audio[row, length:].abs().sum() == 0 and batch.audio[row, length - 100 : length].abs().sum() > 0


def test_losses_of_runs_are_compared(tmp_path: Path) -> None:
    rows = [{"step": 1, "kind": "train", "loss": 2.0}, {"step": 1, "kind": "validation"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"half')
    assert losses(tmp_path) == [2.0] and losses(tmp_path / "none") == [] and batches(tmp_path) == []
    assert furthest([2.0, 4.0], [2.0, 3.0]) == 0.25
    assert furthest([2.0], []) == math.inf and furthest([], []) == 0


def test_a_cpu_is_timed_and_profiled_by_the_same_code() -> None:
    matrix = torch.randn(64, 64)
    work = lambda: matrix @ matrix  # noqa: E731
    with counted_waits(CPU) as waits:
        assert usual_milliseconds(work, CPU, 3) > 0
    assert waits.total() == 0
    found = profiled(work, CPU, 4)
    assert found["launches_a_step"] >= 1 and found["busy_milliseconds_a_step"] > 0
    assert any("mm" in row["operation"] and row["calls"] == 1 for row in found["top"])


def test_kernels_of_a_profile_are_added_up_and_spans_are_not() -> None:
    """Two steps on a GPU: a kernel twice, another once; the CPU's side and an annotation do not count."""
    on_gpu, on_cpu = torch.autograd.DeviceType.CUDA, torch.autograd.DeviceType.CPU
    seen = [("gemm", on_gpu, 3000, False), ("gemm", on_gpu, 1000, False), ("copy", on_gpu, 500, False)]
    seen += [("aten::mm", on_cpu, 9000, False), ("step", on_gpu, 9000, True)]
    events = [
        SimpleNamespace(
            name=name,
            device_type=device,
            is_user_annotation=is_span,
            time_range=SimpleNamespace(elapsed_us=lambda taken=taken: taken),
        )
        for name, device, taken, is_span in seen
    ]
    found = summary_of_profile(events, torch.device("cuda"), steps=2)
    assert found["busy_milliseconds_a_step"] == 2.25 and found["launches_a_step"] == 1.5
    assert found["top"][0] == {"operation": "gemm", "calls": 1, "milliseconds": 2}


def test_medium_is_built_from_its_name_alone() -> None:
    job = Job(published(Setting("nowhere", False, 1.0)), 8, SECONDS, TOKENS)
    assert 2e12 < step_flops(job.cell("bf16")) / 8 < 5e12


def test_a_stand_in_has_the_operations_of_its_shape(tmp_path: Path) -> None:
    """Utilisation needs them, and only a published name is known without its files."""
    setting = Setting(str(tmp_path), True, 1.0)
    job = Job(run_values(setting, "small"), 2, 1.0, 8)
    assert step_flops(job.cell("fp32")) > 1e6


def test_how_far_off_a_result_is() -> None:
    exact = torch.tensor([3.0, 4.0])
    assert far_off(exact, exact) == 0
    assert far_off(torch.tensor([3.0, 4.5]), exact) == pytest.approx(0.1)
    assert math.isnan(far_off(torch.tensor([math.nan, 4.0]), exact))


def test_a_setting_travels_as_a_file(tmp_path: Path) -> None:
    setting = Setting("folder", True, 12.5, "tokenizer")
    setting.write(tmp_path / "setting.json")
    assert Setting.read(tmp_path / "setting.json") == setting
    assert setting.size("large", "small") == "small" and setting.device == CPU
