"""torch's attention kernels in the shapes of this model: times, errors, what a new shape costs, and where one is wrong.

Each kernel is asked for by itself; ``chosen`` is the one that torch takes, and ``here`` the one that it takes without
cuDNN's, as all commands of this project have it. Candidates for a faster model follow.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from modeling.network.attention import additive

from ..device import far_off, milliseconds, usual_milliseconds
from ..setting import Part, Setting
from . import candidates

KERNELS: dict[str, Any] = {
    "chosen": None,
    "here": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
HEADS, SIZE = 12, 64  # of small
# Name, utterances, queries, keys, kind of mask.
SHAPES = (
    ("encoder, short, no mask", 64, 180, 180, "none"),
    ("encoder, short, lengths", 64, 180, 180, "lengths"),
    ("encoder, 30 s, no mask", 16, 1500, 1500, "none"),
    ("encoder, 30 s, lengths", 16, 1500, 1500, "lengths"),
    ("decoder", 64, 32, 32, "causal"),
    ("decoder, masked", 64, 32, 32, "causal mask"),
    ("cross, lengths", 64, 32, 180, "lengths"),
)
ON_CPU = (("encoder, lengths", 2, 12, 12, "lengths"), ("decoder", 2, 6, 6, "causal"))
UNSEEN = 20
MOST_SECONDS = 3.0  # for a kernel's lengths: cuDNN may take 500 ms for each new one
WRONG_LENGTHS = (64, 192, 320, 704, 1472)  # 64 modulo 128
FAR_BELOW = -120.0  # of all scores: the sum of their exponentials is below the least float32


def attention(setting: Setting) -> Iterator[Part]:
    for shape in setting.size(SHAPES, ON_CPU):
        yield Part(shape[0], partial(by_kernel, setting, *shape[1:]))
    yield Part("20 unseen shapes", lambda: unseen_shapes(setting))
    yield Part("gradients that are no numbers", lambda: wrong_gradients(setting))
    yield Part("one query", lambda: one_query(setting))
    yield from candidates.candidates(setting)


def only(kernel: Any) -> AbstractContextManager[Any]:
    """A context in which torch has this kernel alone; with None, its usual choice."""
    return nullcontext() if kernel is None else sdpa_kernel(kernel)


def tensors(setting: Setting, rows: int, queries: int, keys: int) -> list[torch.Tensor]:
    """Queries, keys, values and the gradient of the output, [B, heads, L or S, head size]."""
    device, heads = setting.device, setting.size(HEADS, 2)
    torch.manual_seed(queries)
    made = [torch.randn(rows, heads, length, SIZE, device=device) for length in (queries, keys, keys, queries)]
    return [one.to(setting.dtype) for one in made]


def mask_of(kind: str, rows: int, queries: int, keys: int, like: torch.Tensor) -> dict[str, Any]:
    """Arguments for the kind of mask, as the model has it: lengths are spread from a half to all of the keys.

    Args:
        like: has its device and dtype.
    """
    device = like.device
    if kind == "lengths":
        lengths = torch.linspace(keys / 2, keys, rows, device=device).long()
        allowed = (torch.arange(keys, device=device) < lengths[:, None])[:, None, None]
        return {"attn_mask": additive(allowed, like.dtype)}
    if kind == "causal mask":
        allowed = torch.ones(queries, keys, dtype=torch.bool, device=device).tril()[None, None]
        return {"attn_mask": additive(allowed, like.dtype)}
    return {"is_causal": kind == "causal"}


def each_kernel(work: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each kernel: what ``work`` returns of it, or why torch refuses it."""
    rows = []
    for name, kernel in KERNELS.items():
        try:
            rows.append({"kernel": name} | work(kernel))
        except RuntimeError as error:
            rows.append({"kernel": name, "refused": str(error).splitlines()[0][:120]})
    return rows


def by_kernel(setting: Setting, rows: int, queries: int, keys: int, kind: str) -> dict[str, Any]:
    """Each kernel's time of a forward pass and of both passes, and its error beside float32 without a fused kernel."""
    device, repeats = setting.device, setting.size(10, 2)
    *inputs, gradient = tensors(setting, rows, queries, keys)
    options = mask_of(kind, rows, queries, keys, inputs[0])
    whole = [one.float() for one in inputs]
    with only(SDPBackend.MATH):
        exact = F.scaled_dot_product_attention(*whole, **mask_of(kind, rows, queries, keys, whole[0]))
    asked = [one.clone().requires_grad_() for one in inputs]

    def forward() -> torch.Tensor:
        return F.scaled_dot_product_attention(*inputs, **options)

    def both() -> Any:
        return both_passes(asked, gradient, options)

    def measure(kernel: Any) -> dict[str, Any]:
        with only(kernel):
            return {
                "first_milliseconds": milliseconds(both, device),
                "forward_milliseconds": usual_milliseconds(forward, device, repeats),
                "both_milliseconds": usual_milliseconds(both, device, repeats),
                "off_by": far_off(forward(), exact),
            }

    shape = [rows, setting.size(HEADS, 2), queries, keys, SIZE]
    return {"shape": shape, "mask": kind, "kernels": each_kernel(measure)}


def both_passes(asked: list[torch.Tensor], gradient: torch.Tensor, options: dict[str, Any]) -> list[torch.Tensor]:
    """The gradients of queries, keys and values."""
    output = F.scaled_dot_product_attention(*asked, **options)
    return list(torch.autograd.grad(output, asked, gradient))


def unseen_shapes(setting: Setting) -> dict[str, Any]:
    """Both passes at 20 lengths that no kernel has seen: milliseconds of the first time and of the next."""
    lengths = [163 + len(KERNELS) * number for number in range(UNSEEN)]
    return compared_lengths(setting, lengths, lambda length: (setting.size(64, 1), length, length), with_gradient=True)


def one_query(setting: Setting) -> dict[str, Any]:
    """A decoded token's attention to keys that grow by one each time: the first time and the next."""
    lengths = [101 + len(KERNELS) * number for number in range(UNSEEN)]
    return compared_lengths(setting, lengths, lambda length: (setting.size(16, 1), 1, length), with_gradient=False)


def compared_lengths(
    setting: Setting, lengths: list[int], shape: Callable[[int], tuple[int, int, int]], *, with_gradient: bool
) -> dict[str, Any]:
    """For each kernel, the mean over lengths of the first call and of the second one.

    Each has lengths of its own: ``chosen`` and ``here`` are one of the others, and would have seen theirs. A
    slow kernel is stopped after :data:`MOST_SECONDS`; ``lengths`` says how many it had.
    """

    def twice(kernel: Any, length: int) -> list[float]:
        size = shape(length)
        *inputs, gradient = tensors(setting, *size)
        options = mask_of("lengths", *size, inputs[0])
        asked = [one.requires_grad_(with_gradient) for one in inputs]

        def work() -> Any:
            if with_gradient:
                return both_passes(asked, gradient, options)
            return F.scaled_dot_product_attention(*asked, **options)

        with only(kernel):
            return [milliseconds(work, setting.device) for _ in range(2)]

    def measure(kernel: Any) -> dict[str, Any]:
        number = list(KERNELS.values()).index(kernel)
        times: list[list[float]] = []
        started = time.monotonic()
        for length in lengths:
            times.append(twice(kernel, length + number))
            if time.monotonic() - started > MOST_SECONDS:
                break
        first, again = (sum(one) / len(times) for one in zip(*times, strict=True))
        return {"lengths": len(times), "first_milliseconds": first, "again_milliseconds": again}

    last = lengths[-1] + len(KERNELS) - 1
    return {"lengths_from": lengths[0], "lengths_to": last, "kernels": each_kernel(measure)}


def wrong_gradients(setting: Setting) -> dict[str, Any]:
    """Numbers of gradients that are none, with a mask of all keys, where every score lies far below zero."""

    def wrong(kernel: Any, length: int) -> int:
        *inputs, gradient = tensors(setting, 1, length, length)
        inputs[0][..., 0], inputs[1][..., 0] = 1.0, FAR_BELOW * SIZE**0.5
        asked = [one.requires_grad_() for one in inputs]
        mask = torch.ones(1, 1, 1, length, dtype=torch.bool, device=setting.device)
        with only(kernel):
            gradients = both_passes(asked, gradient, {"attn_mask": mask})
        return sum(int((~one.isfinite()).sum()) for one in gradients)

    lengths = setting.size(WRONG_LENGTHS, WRONG_LENGTHS[:1])
    found = each_kernel(lambda kernel: {f"length {length}": wrong(kernel, length) for length in lengths})
    return {"wrong_numbers": found}
