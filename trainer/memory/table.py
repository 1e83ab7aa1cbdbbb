"""What the prediction prints: the table by batch size, the parts of a peak, the lines to paste, the remedies."""

from dataclasses import replace

from .advice import Advice, fits, remedies, why_not_the_largest
from .cells import Cell
from .finding import Found
from .flops import second_recording, utterance_flops
from .gpus import GIB, Gpu
from .prediction import COLLECTIVES_BYTES, CONTEXT_BYTES, WORKSPACE_BYTES, StepMemory

BATCHES = (1, 2, 4, 8, 12, 16, 24, 28, 32, 48, 64, 96, 128)
ASSUMED_UTILISATION = 0.4  # of a GPU's peak, for the times


def gib(count: float | None) -> str:
    """Bytes in GiB; empty for None."""
    return "" if count is None else f"{count / GIB:.2f}"


def described(cell: Cell, gpu: Gpu | None) -> str:
    """The cell in two lines."""
    model, engine = cell.config.model, cell.config.engine
    where = f"{gpu.name} ({gib(gpu.memory_bytes)} GiB)" if gpu else "GPU"
    kind = f"ZeRO-{engine.zero_stage}" if engine.zero_stage else ("DDP" if cell.processes > 1 else "one process")
    offload = "" if engine.cpu_offload == "none" else f", {engine.cpu_offload} offloaded"
    attention = "dual attention" if model.dual_attention else "plain Whisper"
    clips = f"clips of {cell.seconds:g} s ({model.encoder_padding})"
    if second_recording(cell) != "none":
        clips += f", each with a second recording as long (second_recording: {second_recording(cell)})"
    return (
        f"{model.checkpoint or 'a model from nothing'}, {attention}, {model.strategy}, {cell.precision}, "
        f"{kind}{offload}: {cell.processes} x {where}\n{clips}, "
        f"{cell.tokens} decoder positions, every utterance of the batch alike"
    )


def print_batches(memory: StepMemory, gpu: Gpu, best: int, headroom: float) -> None:
    """The table by batch size."""
    head = ("batch", "tensors, GiB", "reserved, GiB", "device used, GiB", "fits", "s a microbatch")
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for batch in sorted({*BATCHES, best, memory.cell.batch_size} - {0}):
        found = memory.at(batch)
        sizes = " | ".join(gib(size) for size in (found.peak_bytes, found.reserved_bytes, found.device_used_bytes))
        told = "yes" if fits(found, gpu, headroom) else "no"
        print(f"| {batch} | {sizes} | {told} | {seconds_of(memory.cell, batch, gpu)} |")
        if (found.device_used_bytes or 0) > 2 * gpu.memory_bytes:
            break


def seconds_of(cell: Cell, batch: int, gpu: Gpu) -> str:
    """A microbatch's time at the assumed utilisation; empty where the GPU's peak is not known."""
    if gpu.flops is None:
        return ""
    return f"{batch * utterance_flops(cell) / (gpu.flops * ASSUMED_UTILISATION):.2f}"


def print_parts(memory: StepMemory, batch: int) -> None:
    """What the peak at a batch size consists of."""
    found = memory.at(batch)
    print(f"\n| at the peak, batch {batch} | GiB |\n|---|---|")
    for part, size in sorted(found.parts.items(), key=lambda one: -one[1]):
        print(f"| {part} | {gib(size)} |")
    if second_recording(memory.cell) != "none":
        alone = StepMemory(replace(memory.cell, has_second=False), memory.on_gpu).at(batch)
        print(f"| of all these, what second recordings take | {gib(found.peak_bytes - alone.peak_bytes)} |")
    reserved, used = found.reserved_bytes or found.peak_bytes, found.device_used_bytes or found.peak_bytes
    print(f"| allocator's rounding and gaps | {gib(reserved - found.peak_bytes)} |")
    print(f"| CUDA context{', NCCL' if memory.cell.processes > 1 else ''} | {gib(used - reserved)} |")


def print_gpus(largest: dict[str, int], found: dict[str, Found | None], is_auto: bool) -> None:
    """The largest batch for every known GPU, and the microbatches that ``auto`` finds where a step is of so many."""
    head = ("GPU", "largest batch", *(["auto finds" if is_auto else "auto would find"] if found else []))
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, batch in largest.items():
        row = [name, str(batch or "none fits")]
        if found:
            one = found[name]
            row.append(f"{one.size} x {one.accumulation}" if one else "nothing")
        print(f"| {' | '.join(row)} |")


def print_found(cell: Cell, found: Found | None, is_auto: bool) -> None:
    """What ``batch_size`` makes of a step: ``auto``, or a number and what ``auto`` would make."""
    training = cell.config.training
    step = f"Of {training.step_utterances} utterances a step on {cell.processes} x GPU training.batch_size"
    if not is_auto:
        print(f"\n{step} {training.microbatch} makes {in_microbatches(training.accumulation, training.microbatch)}.")
    if found is not None:
        step = f"{step} auto makes" if is_auto else "training.batch_size auto would make"
        many = in_microbatches(found.accumulation, found.size)
        print(f"\n{step} {many}; a step {'takes' if is_auto else 'would take'} {gib(found.used)} GiB.")


def in_microbatches(number: int, size: int) -> str:
    """``1 microbatch of 8``, ``2 microbatches of at most 8``."""
    return f"1 microbatch of {size}" if number == 1 else f"{number} microbatches of at most {size}"


def print_assumptions(cell: Cell, headroom: float, seconds: float) -> None:
    """What the figures rest on, and how long they took."""
    performance = cell.config.performance
    options = {"offload_activations": performance.offload_activations, "cache_encoder": performance.cache_encoder}
    for name, value in options.items():
        if value:
            print(f"\nNot counted: performance.{name}, with which a step takes less.")
    collectives = f", {COLLECTIVES_BYTES / 2**20:.0f} MiB of NCCL" if cell.processes > 1 else ""
    second = "; every clip with a second recording as long" if second_recording(cell) != "none" else ""
    print(
        f"\nAssumed: the worst batch that the config lets through (--seconds, --tokens for another){second}; "
        f"{headroom:.0%} of "
        f"the memory left free; {CONTEXT_BYTES / 2**20:.0f} MiB of CUDA context{collectives} and "
        f"{WORKSPACE_BYTES / 2**20:.0f} MiB of cuBLAS workspace; flash attention; nothing else on the GPU; float32 "
        "weights under autocast, or DeepSpeed's own half precision; times at "
        f"{ASSUMED_UTILISATION:.0%} of the GPU's peak. Took {seconds:.1f} s."
    )


def print_lines(cell: Cell, advice: Advice) -> None:
    """The largest batch, and what to write into the config."""
    total = advice.batch_size * advice.accumulation * cell.processes
    training = cell.config.training
    reason = why_not_the_largest(advice, training.microbatch * training.accumulation)
    print(f"\nThe largest batch that fits is {advice.largest}. {reason}".rstrip())
    print("For the config:\n")
    print(f"training:\n  batch_size: {advice.batch_size}\n  accumulation: {advice.accumulation}", end="")
    print(f" # {cell.processes} x {advice.batch_size} x {advice.accumulation} = {total} utterances a step")


def print_remedies(memory: StepMemory, wanted: int, gpu: Gpu, headroom: float) -> None:
    """What would make a batch fit that does not."""
    what = f"Batch {wanted} does not fit" if wanted > 1 else "Not even one utterance fits"
    print(
        f"\n{what}: it takes {gib(memory.at(wanted).device_used_bytes)} GiB. With these settings, each line's more:\n"
    )
    fitting = None
    for remedy in remedies(memory.cell, wanted, gpu, headroom):
        settings = " ".join(f"{key}={'null' if value is None else value}" for key, value in remedy.settings.items())
        verdict = "fits" if remedy.fits else "does not fit yet"
        print(f"  {settings}: {gib(remedy.prediction.device_used_bytes)} GiB, {verdict}", flush=True)
        fitting = settings if remedy.fits else None
    if fitting:
        print(f"\nAdd to the command or the config: {fitting}")
    else:
        others = "shorter clips (data.max_seconds), more GPUs with ZeRO-3, or a smaller model"
        print(f"\nThat is not enough for batch {wanted}: take {'a smaller one, ' if wanted > 1 else ''}{others}.")
