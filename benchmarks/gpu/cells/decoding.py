"""Seconds of a decoded token beside transformers' own Whisper, and what a new length of input costs."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import transformers

from benchmarks.decoding.tokens import FRAMES_PER_SECOND, build, decode, measure
from trainer.engine.device import settle_device

from ..device import milliseconds
from ..setting import Part, Setting
from .second_recording import a_token

NEW_LENGTHS = (4, 7, 11, 16, 22)  # seconds of input


def decoding(setting: Setting) -> Iterator[Part]:
    transformers.utils.logging.set_verbosity_error()
    settle_device(setting.device)
    size, dtype = setting.size("small", "tiny"), setting.size(setting.dtype, torch.float32)
    models = build(size, setting.device, dtype)
    tokens, repeats = setting.size(32, 4), setting.size(2, 1)
    for batch in setting.size((1, 16), (1,)):
        for seconds in setting.size((4, 30), (2,)):
            name = f"{size}, batch {batch}, {seconds} s"
            yield Part(name, partial(measure, models, batch, seconds, tokens=tokens, repeats=repeats))
    yield Part("new lengths", lambda: new_lengths(models[1], setting))
    yield Part("second recordings, a token", lambda: a_token(setting))


def new_lengths(model: Any, setting: Setting) -> dict[str, Any]:
    """Decoding at lengths that were never seen, twice each: what the first time costs more than the second."""
    tokens, weight = setting.size(32, 2), model.proj_out.weight
    rows = []
    for seconds in setting.size(NEW_LENGTHS, NEW_LENGTHS[:2]):
        states = torch.randn(setting.size(8, 1), FRAMES_PER_SECOND * seconds, model.config.d_model)
        states = states.to(weight.device, weight.dtype)
        first, again = (milliseconds(lambda: decode(model, states, tokens), weight.device) for _ in range(2))  # noqa: B023
        rows.append({"seconds": seconds, "first_milliseconds": first, "again_milliseconds": again})
    return {"tokens": tokens, "lengths": rows}
