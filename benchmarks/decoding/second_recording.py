"""What second recordings cost for a decoded token: the same clips with them and without, in turn.

    python -m benchmarks.decoding.second_recording --output benchmarks/results/second_recording/tokens.json
    python -m benchmarks.decoding.second_recording --size small --batch 1 16 --device cuda --dtype bf16

As :mod:`benchmarks.decoding.tokens` measures. Clips and second recordings of a batch last from half to all of the
length, each its own. ``joined`` and one recording are heard by the same plain decoder, ``attention`` and one recording
by the same second attentions. Beside the ratio stands that of the bytes that each must read for a token.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

from benchmarks.decoding.tokens import FRAMES_PER_SECOND, bytes_read, options_of, read_options, ready, seconds_of
from benchmarks.machine import describe_machine
from benchmarks.written import table_head, write_result
from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.network.encoder import EncoderOutput
from modeling.network.second_recording import HEARD
from trainer.command_line import run_command

LEAST = 0.5  # the shortest recording's share of the longest


def build(size: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """By how they hear second recordings, models of a published size with random weights."""
    options = options_of(size)
    torch.manual_seed(0)
    return {
        how: ready(
            DualWhisperForConditionalGeneration(
                DualWhisperConfig(**options, dual_attention=how == "attention", second_recording=how)
            ),
            device,
            dtype,
        )
        for how in ("joined", "attention")
    }


def encoded(model: Any, batch: int, frames: int) -> tuple[EncoderOutput, EncoderOutput]:
    """The same random states of clips of mixed length, with their second recordings and without."""
    generator = torch.Generator().manual_seed(1)
    weight = model.proj_out.weight
    states = torch.randn(2 * batch, frames, model.config.d_model, generator=generator).to(weight.device, weight.dtype)
    shares = LEAST + (1 - LEAST) * torch.rand(2 * batch, generator=generator)
    shares[0] = shares[batch] = 1.0
    lengths = (shares * frames).long().tolist()
    there = torch.tensor(lengths, device=weight.device) if min(lengths) < frames else None
    heard = HEARD[model.config.second_recording](states, None if there is None else lengths, range(batch))
    first = EncoderOutput(states[:batch], frame_lengths=None if batch == 1 or there is None else there[:batch])
    both = EncoderOutput(
        heard.states,
        frame_lengths=heard.lengths,
        secondary_hidden_state=heard.second_states,
        secondary_frame_lengths=heard.second_lengths,
    )
    return both, first


def measure(models: Mapping[str, Any], batch: int, seconds: int, tokens: int, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of the first token and of each after it (whole batch), with second recordings and without."""
    found = []
    for how, model in models.items():
        sides = encoded(model, batch, FRAMES_PER_SECOND * seconds)
        for side in sides:
            timed(model, side, min(tokens, 8))  # warm-up
        first, token, worked = [], [], []
        for _ in range(repeats):
            turn = [(timed(model, side, 1), timed(model, side, tokens)) for side in sides]
            first.append([1000 * one[0] for one, _ in turn])
            token.append([1000 * (many[0] - one[0]) / (tokens - 1) for one, many in turn])
            worked.append([many[1] - one[1] for one, many in turn])
        # Plain, bytes_read counts the keys of one source for each attention: joined, there are as many more.
        read = [sum(reads(model, how, batch, side.last_hidden_state.shape[1], tokens).values()) for side in sides]
        found.append(
            {
                "second_recording": how,
                "batch": batch,
                "input_seconds": seconds,
                "tokens": tokens,
                "first_token_ratio": median(both / one for both, one in first),
                "token_ms": {"with": median(both for both, _ in token), "without": median(one for _, one in token)},
                "token_ratio": median(both / one for both, one in token),
                "token_ratio_range": [min(both / one for both, one in token), max(both / one for both, one in token)],
                "processor_ratio": median(both / one for both, one in worked),
                "ratio_of_bytes_read": read[0] / read[1],
            }
        )
    return found


def timed(model: Any, states: EncoderOutput, tokens: int) -> tuple[float, float]:
    """Seconds of the clock, and of the processor over all threads, which another program disturbs less."""
    worked = time.process_time()
    seconds = seconds_of(model, states, tokens)
    return seconds, time.process_time() - worked


def reads(model: Any, how: str, batch: int, frames: int, tokens: int) -> dict[str, int]:
    """:func:`~benchmarks.decoding.tokens.bytes_read`, which takes a model of this project's for one with second
    attentions."""
    read = bytes_read(model, batch, frames, tokens)
    if how == "joined":
        size, config = next(model.parameters()).element_size(), model.config
        read["cache"] -= batch * 2 * config.decoder_layers * config.d_model * frames * size
    return read


def table(size: str, cells: Sequence[dict[str, Any]]) -> str:
    """The cells of a size as rows of a Markdown table."""
    return "\n".join(
        f"| {size} | {cell['second_recording']} | {cell['batch']} | {cell['input_seconds']} s "
        f"| {cell['first_token_ratio']:.2f} | {cell['token_ms']['without']:.1f} | {cell['token_ms']['with']:.1f} "
        f"| {cell['token_ratio']:.2f} ({cell['token_ratio_range'][0]:.2f} to {cell['token_ratio_range'][1]:.2f}) "
        f"| {cell['processor_ratio']:.2f} | {cell['ratio_of_bytes_read']:.2f} |"
        for cell in cells
    )


COLUMNS = (
    "size",
    "second_recording",
    "batch",
    "input",
    "first token, ratio",
    "without, ms a token",
    "with, ms a token",
    "ratio (lowest to highest)",
    "of processor seconds",
    "of bytes read",
)


def main(arguments: list[str]) -> None:
    options, device, dtype = read_options(__doc__, arguments, {"seconds": [4, 10], "tokens": 32, "repeats": 5})
    command = " ".join(["python -m benchmarks.decoding.second_recording", *arguments])
    result: dict[str, Any] = {"machine": describe_machine(device), "command": command}
    result["dtype"] = str(dtype).removeprefix("torch.")
    print(table_head(COLUMNS), flush=True)
    for size in options.size or ["base"]:
        models = build(size, device, dtype)
        cells: list[dict[str, Any]] = []
        for seconds, batch in itertools.product(options.seconds, options.batch):
            cells += measure(models, batch, seconds, options.tokens, options.repeats)
            print(table(size, cells[-2:]), flush=True)
            result[size] = cells
            write_result(options.output, result)


if __name__ == "__main__":
    run_command(main)
