"""Decoding speed and memory: the dual-attention model beside transformers' own Whisper, in one run.

    python -m benchmarks.decoding --size base --output results.json
    python -m benchmarks.decoding --size small --size medium --device cuda --dtype bf16

``generate()`` is timed from the encoder's output on, with the cache: the same random encoder states, as many tokens on
both sides, no early end. The first token, for which the encoder's keys and values are projected, is told apart; a token
after it is what a cached step costs. Weights are random: time does not depend on them. The two sides take turns; ratios
are the medians of those of each turn. Beside them stands the ratio of the bytes that each must read for a token: what a
machine would show that does nothing but read.
"""

import argparse
import copy
import itertools
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch
import transformers
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from benchmarks.decoding.live_bytes import peak_live_bytes
from benchmarks.machine import describe_machine
from benchmarks.written import add_output, table_head, write_result
from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.published import published_shape
from trainer.command_line import CommandLine, number
from trainer.engine.device import find_device, find_dtype, settle_device, wait_for

SIZES = ("tiny", "base", "small", "medium", "large-v3", "large-v3-turbo")
FRAMES_PER_SECOND = 50  # of the encoder's output
END = 50_257


SPECIAL = {"pad_token_id": END, "bos_token_id": END, "eos_token_id": END, "decoder_start_token_id": END + 1}


def build(size: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Plain Whisper and the dual-attention model of a published size, with random weights."""
    options = options_of(size)
    torch.manual_seed(0)
    plain = WhisperForConditionalGeneration(WhisperConfig(**options))
    dual = DualWhisperForConditionalGeneration(DualWhisperConfig(**options))
    return ready(plain, device, dtype), ready(dual, device, dtype)


def options_of(size: str) -> dict[str, Any]:
    """Values of a published size's configuration."""
    shape = published_shape(f"openai/whisper-{size}")
    assert shape is not None
    return {**shape, **SPECIAL, "suppress_tokens": None, "begin_suppress_tokens": None}


def ready(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A model in its place, which decodes as many tokens as it is told to."""
    model.generation_config = GenerationConfig(**SPECIAL, is_multilingual=False, max_length=448)
    return model.to(device, dtype).eval()


@torch.no_grad()
def decode(model: Any, states: torch.Tensor | BaseModelOutput, tokens: int) -> None:
    """Exactly ``tokens`` tokens for encoder states [B, S, width], or an encoder's whole output, greedily."""
    is_whole = isinstance(states, BaseModelOutput)
    sequences = model.generate(
        encoder_outputs=copy.copy(states) if is_whole else BaseModelOutput(last_hidden_state=states),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        force_unique_generate_call=True,
    )
    assert sequences.shape[1] == 1 + tokens


def seconds_of(model: Any, states: torch.Tensor | BaseModelOutput, tokens: int) -> float:
    wait_for(model.device)
    start = time.perf_counter()
    decode(model, states, tokens)
    wait_for(model.device)
    return time.perf_counter() - start


def bytes_read(model: Any, batch: int, frames: int, tokens: int) -> dict[str, int]:
    """What a decoding step must read: weights once, and each row's keys and values (half the tokens on average)."""
    config, size = model.config, next(model.parameters()).element_size()
    decoder = model.model.decoder
    used_once = {"encoder_attn.k_proj", "encoder_attn.v_proj", "secondary_attn.k_proj", "secondary_attn.v_proj"}
    weights = sum(
        p.numel() for name, p in decoder.layers.named_parameters() if not any(part in name for part in used_once)
    )
    weights += model.get_output_embeddings().weight.numel()
    attentions = 2 if isinstance(model, DualWhisperForConditionalGeneration) else 1
    cached = batch * 2 * config.decoder_layers * config.d_model * (attentions * frames + tokens // 2)
    return {"weights": weights * size, "cache": cached * size}


def measure(models: tuple[Any, Any], batch: int, seconds: int, tokens: int, repeats: int) -> dict[str, Any]:
    """One cell: milliseconds of the first token and of each after it (whole batch) on both sides, ratios, memory."""
    dual = models[1]
    config, weight = dual.config, dual.proj_out.weight
    frames = FRAMES_PER_SECOND * seconds
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(batch, frames, config.d_model, generator=generator).to(weight.device, weight.dtype)
    for model in models:
        decode(model, states, min(tokens, 8))  # warm-up
    first, token = [], []
    for _ in range(repeats):
        turn = [(seconds_of(model, states, 1), seconds_of(model, states, tokens)) for model in models]
        first.append([1000 * one for one, _ in turn])
        token.append([1000 * (many - one) / (tokens - 1) for one, many in turn])
    read = [bytes_read(model, batch, frames, tokens) for model in models]
    peaks = [peak_live_bytes(lambda m=model: decode(m, states, tokens), weight.device) for model in models]  # type: ignore[misc]
    third = 2 * config.decoder_layers * batch * frames * config.d_model * weight.element_size()
    return {
        "batch": batch,
        "input_seconds": seconds,
        "tokens": tokens,
        "first_token_ms": {"plain": median(p for p, _ in first), "dual": median(d for _, d in first)},
        "first_token_ratio": median(d / p for p, d in first),
        "token_ms": {"plain": median(p for p, _ in token), "dual": median(d for _, d in token)},
        "token_ratio": median(d / p for p, d in token),
        "token_ratio_range": [min(d / p for p, d in token), max(d / p for p, d in token)],
        "ratio_of_bytes_read": sum(read[1].values()) / sum(read[0].values()),
        "plain_bytes_read": read[0],
        "dual_bytes_read": read[1],
        "plain_peak_bytes": peaks[0],
        "dual_peak_bytes": peaks[1],
        "peak_difference_bytes": peaks[1] - peaks[0],
        "secondary_keys_and_values_bytes": third,
    }


def table(size: str, cells: Sequence[dict[str, Any]]) -> str:
    """The cells of a size as rows of a Markdown table."""
    rows = []
    for cell in cells:
        more, must = (cell[key] / 2**20 for key in ("peak_difference_bytes", "secondary_keys_and_values_bytes"))
        rows.append(
            f"| {size} | {cell['batch']} | {cell['input_seconds']} s | {cell['first_token_ratio']:.2f} "
            f"| {cell['token_ms']['plain']:.1f} | {cell['token_ms']['dual']:.1f} | {cell['token_ratio']:.2f} "
            f"({cell['token_ratio_range'][0]:.2f} to {cell['token_ratio_range'][1]:.2f}) "
            f"| {cell['ratio_of_bytes_read']:.2f} | {more:.1f} | {must:.1f} |"
        )
    return "\n".join(rows)


COLUMNS = (
    "size",
    "batch",
    "input",
    "first token, ratio",
    "plain, ms a token",
    "dual, ms a token",
    "ratio (lowest to highest)",
    "ratio of bytes read",
    "peak: dual less plain, MiB",
    "secondary keys and values, MiB",
)


def read_options(
    described: str | None, arguments: list[str], usual: Mapping[str, Any]
) -> tuple[argparse.Namespace, torch.device, torch.dtype]:
    """The command line of a benchmark of tokens, and the device, ready to compute, and dtype that it asks for.

    Args:
        described: the command, for ``--help``.
        usual: values of ``--seconds``, ``--tokens`` and ``--repeats`` that are not given.
    """
    parser = CommandLine(described)
    parser.add_argument("--size", action="append", choices=SIZES, help="a published size; may be repeated")
    parser.add_argument("--batch", type=number(int, 1, 4096), nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=number(int, 1, 30), nargs="+", help="of input")
    parser.add_argument("--tokens", type=number(int, 2, 440), help="decoded each time")
    parser.add_argument("--repeats", type=number(int, 1, 1000))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="auto", choices=("auto", "fp32", "bf16", "fp16"))
    add_output(parser)
    parser.set_defaults(**usual)
    options = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    device = find_device(options.device)
    dtype = find_dtype(options.dtype, device)
    settle_device(device)
    return options, device, dtype


def main(arguments: list[str]) -> None:
    options, device, dtype = read_options(__doc__, arguments, {"seconds": [4, 30], "tokens": 64, "repeats": 9})
    result: dict[str, Any] = {"machine": describe_machine(device), "dtype": str(dtype).removeprefix("torch.")}
    print(table_head(COLUMNS), flush=True)
    for size in options.size or ["base"]:
        models = build(size, device, dtype)
        cells = []
        for seconds, batch in itertools.product(options.seconds, options.batch):
            cells.append(measure(models, batch, seconds, options.tokens, options.repeats))
            print(table(size, cells[-1:]), flush=True)
        result[size] = cells
    write_result(options.output, result)
