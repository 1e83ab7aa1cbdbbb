"""Predicted memory: against runs of the same step at other batch sizes, against torch's profiler, and as people ask."""

import json
import re
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import trainer.memory.command
from benchmarks.memory.check_command import CELLS, JOINED, LIMIT, SECOND, Checked, check_cell, is_near
from benchmarks.memory.jobs import whisper_config
from benchmarks.training.operations import own_operations
from tests.end_to_end import run
from trainer.config.reading import ConfigError
from trainer.engine.optimizer import check_optimizer
from trainer.memory import advice
from trainer.memory.allocator import MIDDLE_SEGMENT, SMALL_SEGMENT, CachingAllocator, serve
from trainer.memory.cells import Cell, cell_of
from trainer.memory.decoding_peak import evaluation_bytes
from trainer.memory.engines import state_bytes
from trainer.memory.flops import step_flops
from trainer.memory.gpus import GIB, GPUS, Gpu, find_gpu
from trainer.memory.prediction import StepMemory, record_step
from trainer.memory.timeline import Timeline

MIB = 2**20
SMALLEST: dict[str, Any] = {
    "model.checkpoint": None,
    "model.architecture": {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "attention_heads": 2},
}


def predict(*arguments: object) -> Any:
    return run(trainer.memory.command.main, *arguments)


def tiny_cell(tokens: int = 12, seconds: float = 2.0, **settings: Any) -> Cell:
    return cell_of(whisper_config(settings), precision="fp32", batch_size=2, seconds=seconds, tokens=tokens)


def test_a_timeline_peaks_where_most_is_alive() -> None:
    timeline = Timeline()
    first = timeline.allocate(100, "parameters")
    second = timeline.allocate(50, "activations")
    timeline.free(second, 50)
    timeline.allocate(30, "gradients")
    timeline.free(first, 100)
    assert timeline.peak() == 150


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_a_line_through_two_batch_sizes_gives_any_other(batch: int) -> None:
    cell = tiny_cell()
    direct = record_step(replace(cell, batch_size=batch), chunked=False, on_gpu=False).peak()
    assert StepMemory(cell, on_gpu=False).at(batch).peak_bytes == pytest.approx(direct, rel=1e-4)


def test_logits_in_chunks_do_not_grow_with_the_batch() -> None:
    memory = StepMemory(tiny_cell(tokens=448, seconds=1.0, **{"model.gradient_checkpointing": True}), on_gpu=False)
    few, many = memory.at(4).parts["logits"], memory.at(16).parts.get("logits", 0)
    assert many <= few <= 4 * 1024 * 51_865 * 4


def test_parts_are_what_the_model_says() -> None:
    prediction = StepMemory(tiny_cell(), on_gpu=False).at(2)
    parameters = 41_873_670 * 4  # whisper-tiny with second attentions, the encoder's fixed positions among them
    assert prediction.parts["parameters"] == pytest.approx(parameters, rel=0.01)
    assert prediction.parts["optimizer states"] == pytest.approx(2 * parameters, rel=0.02)
    assert sum(prediction.parts.values()) == prediction.peak_bytes


def test_what_saves_memory_is_seen_to() -> None:
    def peak(**settings: Any) -> int:
        return StepMemory(tiny_cell(tokens=200, seconds=20.0, **settings), on_gpu=True).at(8).peak_bytes

    full = peak()
    assert peak(**{"model.gradient_checkpointing": True}) < 0.7 * full
    assert peak(**{"model.strategy": "frozen_encoder"}) < 0.8 * full
    assert peak(**{"model.strategy": "lora"}) < full
    assert peak(**{"optimizer.name": "adamw_8bit"}) < full - 200 * MIB
    assert peak(**{"model.dual_attention": False}) < full


def test_what_kinds_of_adapters_hold_and_that_smoothing_holds_nothing() -> None:
    def memory(**settings: Any) -> StepMemory:
        return StepMemory(tiny_cell(tokens=50, **settings), on_gpu=False)

    assert memory(**{"training.label_smoothing": 0.1}).at(2).peak_bytes == memory().at(2).peak_bytes
    lora, dora, pissa = (
        memory(**{"model.strategy": "lora", "model.lora.kind": kind}).at(2).parts for kind in ("lora", "dora", "pissa")
    )
    adapted, width, rank = 2 * 3 * 4, 384, 16  # queries and values of three attentions in four layers
    assert dora["parameters"] - lora["parameters"] == pytest.approx(4 * adapted * width, rel=0.02)
    assert dora["activations"] > 1.1 * lora["activations"]
    assert pissa["parameters"] - lora["parameters"] == pytest.approx(4 * adapted * 2 * width * rank, rel=0.02)


def test_ranks_share_what_zero_shares() -> None:
    def parts(stage: int, ranks: int) -> dict[str, int]:
        config = whisper_config({"engine.zero_stage": stage, "engine.precision": "bf16"})
        cell = cell_of(config, precision="bf16", batch_size=2, seconds=2.0, tokens=12, processes=ranks)
        return StepMemory(cell).at(2).parts

    two, eight = parts(2, 2), parts(2, 8)
    assert eight["master weights"] == pytest.approx(two["master weights"] / 4, rel=0.01)
    assert eight["optimizer states"] == pytest.approx(two["optimizer states"] / 4, rel=0.01)
    assert eight["parameters"] == two["parameters"]
    assert parts(3, 8)["parameters"] < eight["parameters"] / 4


def test_a_moving_average_takes_one_copy_of_what_is_trained() -> None:
    """On every rank, or shared out where ZeRO shares the masters out; where those are offloaded, none on the device."""

    def found(ranks: int = 1, **settings: Any) -> Any:
        config = whisper_config({"engine.precision": "bf16"} | settings)
        cell = cell_of(config, precision="bf16", batch_size=2, seconds=2.0, tokens=12, processes=ranks)
        return StepMemory(cell).at(2)

    without, ema = found(), {"training.ema": 0.99}
    alone, lora = found(**ema), found(**ema, **{"model.strategy": "lora", "model.dual_attention": False})
    states = without.parts["optimizer states"]  # two numbers for each that is trained
    assert alone.parts["moving average"] == pytest.approx(states / 2, rel=0.01)
    assert alone.peak_bytes - without.peak_bytes == pytest.approx(states / 2, rel=0.01)
    assert lora.parts["moving average"] < 0.2 * states
    zero = {"engine.zero_stage": 2}
    shared = [found(ranks, **ema, **zero).parts["moving average"] for ranks in (2, 8)]
    assert shared[0] == pytest.approx(states / 4, rel=0.01) and shared[1] == pytest.approx(states / 16, rel=0.02)
    offloaded = found(2, **ema, **zero, **{"engine.cpu_offload": "optimizer", "optimizer.name": "adamw"})
    assert "moving average" not in offloaded.parts


def test_states_of_an_optimizer() -> None:
    assert state_bytes("adamw", 1000) == 8000
    assert state_bytes("adamw_8bit", 1000) == 8000  # too few to be worth a scale
    assert state_bytes("adamw_8bit", 8192) == 2 * (8192 + 4 * 32)
    assert state_bytes("cpu_adam", 8192) == state_bytes("paged_adamw_8bit", 8192) == 0


def test_the_caching_allocator_rounds_splits_and_joins() -> None:
    allocator = CachingAllocator()
    allocator.allocate(0, 1)
    assert allocator.reserved == SMALL_SEGMENT
    allocator.allocate(1, 3 * MIB)
    assert allocator.reserved == SMALL_SEGMENT + MIDDLE_SEGMENT
    allocator.allocate(2, 9 * MIB)  # from the rest of the same segment
    assert allocator.reserved == SMALL_SEGMENT + MIDDLE_SEGMENT
    allocator.allocate(3, 11 * MIB)  # of its own, in whole 2 MiB
    before = SMALL_SEGMENT + MIDDLE_SEGMENT + 12 * MIB
    assert allocator.reserved == before
    allocator.let_go(1, 3 * MIB)
    allocator.let_go(2, 9 * MIB)
    allocator.allocate(4, 19 * MIB)  # fits only where both have become one again
    assert allocator.reserved == before


def test_serving_a_timeline_takes_no_more_for_what_comes_after_what_is_let_go() -> None:
    numbers, sizes = np.array([0, 0, 1, 1]), np.array([12 * MIB, -12 * MIB, 11 * MIB, -11 * MIB])
    assert serve(numbers, sizes).reserved == 12 * MIB


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model.dual_attention": False},
        {"model.strategy": "frozen_encoder"},
        {"model.strategy": "frozen_decoder"},
        {"model.strategy": "frozen_primary"},
        {"model.strategy": "selective"},
        SECOND,
        JOINED,
        JOINED | {"model.second_recording_layers": 2},
        SECOND | {"model.strategy": "frozen_encoder"},
    ],
)
def test_operations_equal_torch_own_count(settings: dict[str, Any]) -> None:
    cell = tiny_cell(tokens=20, seconds=3.0, **settings)
    batch = {"seconds": [3.0, 3.0], "tokens": 20, "targets": 2 * cell.targets}
    if cell.has_second:
        batch["second_seconds"] = [3.0, 3.0]
    assert step_flops(cell) == pytest.approx(own_operations(cell.config, [batch]), rel=5e-3)


@pytest.mark.parametrize("text", ["A100 40GB", "a100-40gb", "NVIDIA A100 40GB"])
def test_a_gpu_is_found_however_it_is_written(text: str) -> None:
    assert find_gpu(text).name == "A100 40GB"


def test_a_gpu_may_be_a_size() -> None:
    assert find_gpu("40 GiB").memory_bytes == 40 * GIB
    assert find_gpu("24GB").memory_bytes == 24 * 10**9
    assert find_gpu("16").memory_bytes == 16 * GIB


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A100", "may be A100 40GB or A100 80GB"),
        ("A1O0 40GB", "did you mean 'A100 40GB'"),
        ("", "is not known"),
        ("0", "is not known"),
    ],
)
def test_an_unknown_gpu_is_refused_with_the_known_ones(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        find_gpu(text)


def test_no_gpu_has_more_than_its_name_says() -> None:
    for gpu in GPUS:
        nominal = int(re.search(r"(\d+)GB", gpu.name)[1])  # type: ignore[index]
        assert 0.88 * nominal < gpu.memory_bytes / GIB < nominal, gpu.name


def test_the_largest_batch_fits_and_the_next_does_not() -> None:
    memory, gpu = StepMemory(tiny_cell(tokens=100, seconds=10.0)), Gpu("small", 3 * GIB)
    best = advice.largest_batch(memory, gpu)
    assert best > 1
    assert advice.fits(memory.at(best), gpu) and not advice.fits(memory.at(best + 1), gpu)


@pytest.mark.parametrize(
    ("batch", "accumulation", "largest", "told"),
    [
        (8, 4, 8, (8, 4)),
        (8, 4, 12, (8, 4)),
        (8, 4, 40, (32, 1)),
        (8, 4, 5, (4, 8)),
        (7, 1, 5, (5, 2)),
        (64, 1, 1, (1, 64)),
    ],
)
def test_the_line_to_paste_keeps_the_utterances_of_a_step(
    batch: int, accumulation: int, largest: int, told: tuple[int, int]
) -> None:
    config = whisper_config({"training.batch_size": batch, "training.accumulation": accumulation})
    assert advice.batch_to_paste(config, largest) == told


@pytest.mark.parametrize(
    ("wanted", "found", "said"),
    [
        (64, advice.Advice(30, 16, 4, 30), "30 does not divide the 64 utterances of a step on each GPU; 16 is"),
        (64, advice.Advice(40, 16, 4, 30), "which keeps gradients between microbatches, at most 30 fit. 30 does"),
        (64, advice.Advice(40, 32, 2, 32), "at most 32 fit."),
        (8, advice.Advice(30, 8, 1, 30), "the config's step has no more than 8 utterances on each GPU"),
        (7, advice.Advice(5, 5, 2, 5), "5 does not divide the 7 utterances of a step on each GPU, and 1"),
        (64, advice.Advice(40, 40, 1, 40), "There is no room to accumulate"),
        (64, advice.Advice(32, 32, 2, 32), ""),
        (64, advice.Advice(64, 64, 1, 64), ""),
    ],
)
def test_why_the_batch_to_paste_is_not_the_largest(wanted: int, found: advice.Advice, said: str) -> None:
    told = advice.why_not_the_largest(found, wanted)
    assert said in told and bool(said) == bool(told), told


def test_the_command_says_why_it_advises_less_than_fits() -> None:
    small = ("--gpu", "3 GiB", "--seconds", 5, "--tokens", 60)
    fixed = ("training.step_utterances=null", "training.batch_size=34", "training.accumulation=4")
    outcome = predict("--config", "configs/tiny.yaml", *small, *fixed)
    largest = int(re.search(r"largest batch that fits is (\d+)", outcome.output)[1])  # type: ignore[index]
    assert 17 < largest < 34, outcome.output
    assert f"{largest} does not divide the 136 utterances of a step on each GPU; 17 is the largest that does" in (
        outcome.output
    )


def test_accumulating_takes_the_memory_of_all_gradients() -> None:
    """On one process and under DDP, where they lie beside the buckets; ZeRO-2 keeps this rank's share."""

    def gradients(stage: int, ranks: int, accumulation: int) -> int:
        config = whisper_config({"engine.zero_stage": stage, "training.accumulation": accumulation})
        cell = cell_of(config, precision="fp32", batch_size=2, seconds=2.0, tokens=12, processes=ranks)
        return StepMemory(cell).at(2).peak_bytes

    trained = 4 * 41_300_000
    for stage, ranks in ((0, 1), (0, 2)):
        assert gradients(stage, ranks, 3) > gradients(stage, ranks, 1) + 0.5 * trained
    assert gradients(1, 2, 3) > gradients(1, 2, 1) + 0.4 * trained


@pytest.mark.slow
def test_the_lines_to_paste_fit_with_their_own_accumulation() -> None:
    """Accumulation, which the config lacks, keeps gradients: what fits without it may not fit with it."""
    config = whisper_config({"training.batch_size": 64})
    memory = StepMemory(cell_of(config, precision="fp32", batch_size=64, seconds=10.0, tokens=100))
    for size in (2.0, 2.4):
        gpu = Gpu("small", int(size * GIB))
        found = advice.advise(memory, gpu)
        assert 0 < found.batch_size <= found.largest < 64 and found.accumulation > 1
        pasted = advice.changed(memory.cell, {"training.accumulation": found.accumulation})
        assert advice.fits(StepMemory(pasted).at(found.batch_size), gpu)


@pytest.mark.parametrize(
    "settings",
    [
        {"model.strategy": "selective", "model.selective": {"encoder_layers": 1, "decoder_layers": 1}},
        {"model.strategy": "frozen_encoder", "performance.cache_encoder": "somewhere"},
        pytest.param({"optimizer.encoder_learning_rate": 1e-6}, marks=pytest.mark.slow),
    ],
)
def test_advice_is_always_a_config_that_training_takes(settings: dict[str, Any]) -> None:
    cell = tiny_cell(**settings)
    found = list(advice.remedies(cell, 2, Gpu("tiny", GIB // 4)))
    assert found and not found[-1].fits
    for remedy in found:
        check_optimizer(remedy.cell.config)


@pytest.mark.parametrize(("settings", "alone"), [(SECOND, {}), (JOINED, {"model.dual_attention": False})])
def test_second_recordings_are_seen_to(settings: dict[str, Any], alone: dict[str, Any]) -> None:
    """The encoder takes twice as much; what nobody hears takes nothing."""

    def cell(**settings: Any) -> Cell:
        return tiny_cell(tokens=6, seconds=6.0, **SMALLEST, **settings)

    def parts(cell: Cell) -> dict[str, int]:
        timeline, found = record_step(cell, chunked=False, on_gpu=False), Counter[str]()
        for number, size in timeline.events:
            found[timeline.parts[number]] += max(size, 0)
        return found

    alone_parts = parts(cell(**alone))
    # Joined states are a copy, which counts in a model as small as this one.
    assert 1.8 < parts(cell(**settings))["activations"] / alone_parts["activations"] < 2.4
    assert 1.5 < step_flops(cell(**settings)) / step_flops(cell(**alone)) < 2
    unheard, missing = cell(**alone, **{"data.train.second": "copy"}), replace(cell(**settings), has_second=False)
    for same in (unheard, missing):
        assert parts(same) == alone_parts
        assert step_flops(same) == step_flops(cell(**alone))


def test_a_description_tells_of_second_recordings_that_are_heard() -> None:
    assert tiny_cell(**SECOND).describe()["second_recording"] == "attention"
    for same in (
        tiny_cell(),
        tiny_cell(**{"data.train.second": "copy"}),
        replace(tiny_cell(**SECOND), has_second=False),
    ):
        assert "second_recording" not in same.describe()


def test_decoding_two_recordings_takes_more() -> None:
    """Twice the encoder's pass; joined, the cache holds the frames of both, as two attentions hold those of one."""

    def peak(**settings: Any) -> int:
        return evaluation_bytes(tiny_cell(**SMALLEST, **settings), on_gpu=False, frames=400)

    plain, dual = peak(**{"model.dual_attention": False}), peak()
    assert peak(**SECOND) > dual and peak(**JOINED) > plain
    assert peak(**{"data.train.second": "copy"}) == dual


def test_dropout_keeps_masks() -> None:
    plain, dropped = (
        StepMemory(tiny_cell(tokens=100, seconds=20.0, **{"model.dropout": share})).at(8).peak_bytes
        for share in (0.0, 0.1)
    )
    assert dropped > plain + 50 * MIB


def test_the_command_says_what_fits_and_what_it_assumed(tmp_path: Any) -> None:
    fixed = ("training.step_utterances=null", "training.batch_size=8")
    outcome = predict("--config", "configs/tiny.yaml", "--gpu", "L4 24GB", "--json", tmp_path / "figures.json", *fixed)
    assert outcome.code == 0, outcome.errors
    assert "The largest batch that fits is" in outcome.output and "Assumed:" in outcome.output
    assert "training:\n  batch_size:" in outcome.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["largest_batch"]["L4 24GB"] >= 1
    assert figures["cell"]["strategy"] == "full"


@pytest.mark.slow
def test_without_a_gpu_all_known_ones_are_listed() -> None:
    outcome = predict("--config", "configs/tiny.yaml", "--seconds", 5, "--tokens", 40)
    assert outcome.code == 0, outcome.errors
    assert all(gpu.name in outcome.output for gpu in GPUS)


@pytest.mark.slow
def test_what_cannot_fit_is_told_what_would_make_it() -> None:
    outcome = predict("--config", "configs/base.yaml", "--gpu", "2.2 GiB", "--tokens", 100, "--seconds", 10)
    assert outcome.code == 1
    assert "Not even one utterance fits" in outcome.output
    assert "optimizer.name=adamw_8bit" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "Voodoo2"), "Known are T4 16GB"),
        (("--gpus", 0), "whole number from 1"),
        (("--seconds", 31), "from 0.1 to 30"),
        (("--gpu", "T4 16GB", "engine.precision=bf16"), "which the T4 16GB lacks"),
        (("model.checkpoint=somebody/else",), "whose shape only the hub knows"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: tuple[object, ...], said: str) -> None:
    outcome = predict("--config", "configs/tiny.yaml", *arguments)
    assert outcome.code == 2
    assert said in outcome.errors
    assert outcome.errors.strip().count("\n") == 0


def test_a_real_step_takes_what_was_predicted() -> None:
    found = check_cell(Checked("frozen primary", {"model.strategy": "frozen_primary"}, 2, (1.0, 12)), timeout=120)
    assert found["status"] == "measured", found["reason"]
    assert abs(found["off_by"]) < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=[cell.name for cell in CELLS])
def test_every_cell_takes_what_was_predicted(cell: Any) -> None:
    found = check_cell(cell, timeout=300)
    assert found["status"] == "measured", found["reason"]
    assert is_near(found), found["off_by"]


@pytest.mark.alone
def test_whisper_medium_is_predicted_within_a_minute() -> None:
    """15 s on one processor, 30 s on another."""
    started = time.perf_counter()
    assert predict("--config", "configs/medium.yaml", "--gpu", "A100 40GB").code in (0, 1)
    assert time.perf_counter() - started < 60


def test_half_precision_keeps_no_copy_of_what_it_casts_and_frozen_weights_are_half() -> None:
    def parts(strategy: str) -> dict[str, int]:
        config = whisper_config({"model.strategy": strategy, "engine.precision": "bf16"})
        return StepMemory(cell_of(config, precision="bf16", batch_size=2, seconds=30.0, tokens=60)).at(8).parts

    full, frozen = parts("full"), parts("frozen_primary")
    linear = 4 * 12 * 384**2 + 4 * 16 * 384**2  # whisper-tiny's own matrices, frozen with the primary
    assert full["parameters"] - frozen["parameters"] == pytest.approx(2 * linear, rel=0.01)
    # In states of 1,500 positions in half precision; 134 with a cast for every product.
    assert full["activations"] < 8 * 1500 * 384 * 2 * 120
