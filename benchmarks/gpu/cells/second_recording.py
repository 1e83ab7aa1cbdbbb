"""Second recordings: whether a clip depends on its batch mates, and what they cost in a step and for a token."""

from typing import Any

import torch

from benchmarks.decoding import second_recording as for_a_token
from benchmarks.memory.random_weights import model_for_shape
from benchmarks.training import second_recording as in_a_step
from modeling.decoding import encode
from trainer.config.run import RunConfig

from ..device import empty_memory, far_off
from ..setting import Setting
from ..stand_ins import run_values

HEARD = {"attention": {}, "joined": {"model.dual_attention": False}}
FRAMES, SECOND_FRAMES, ROWS, TOKENS = (180, 340, 128), (200, 90), (0, 2), 16  # of 10 ms, even; clips with a second one


def configs(setting: Setting, size: str) -> dict[str, dict[str, Any]]:
    """The sides of :mod:`benchmarks.training.second_recording`, of a stand-in."""
    return {
        name: RunConfig.model_validate(run_values(setting, size, settings)).model_dump(mode="json")
        for name, settings in in_a_step.SIDES.items()
    }


@torch.no_grad()
def batch_mates(setting: Setting) -> dict[str, Any]:
    """Logits of three clips, two with second recordings, in one batch, beside those of each clip alone; in float32 and
    in half precision, as shares of the norm."""
    found: dict[str, Any] = {}
    for how, settings in HEARD.items():
        settings = settings | {"model.second_recording": how, "data.train.second": "copy"}
        config = RunConfig.model_validate(run_values(setting, "tiny", settings))
        model = model_for_shape(config).to(setting.device).eval()
        for name, dtype in {"float32": torch.float32, "half": setting.dtype}.items():
            found[f"{how}_{name}_off_by"] = furthest_clip(model.to(dtype), setting.device)
    return found


def furthest_clip(model: Any, device: torch.device) -> float:
    """The largest difference that batch mates make to a clip's logits."""
    generator = torch.Generator().manual_seed(0)
    lengths, count = [*FRAMES, *SECOND_FRAMES], len(FRAMES)
    features = torch.randn(len(lengths), model.config.num_mel_bins, max(lengths) + 4, generator=generator).to(device)
    ids = torch.randint(0, model.config.vocab_size, (count, TOKENS), generator=generator).to(device)

    def logits(rows: list[int], own: list[int], second_rows: list[int]) -> torch.Tensor:
        encoded = encode(model, features[rows], [lengths[row] for row in rows], second_rows)
        found: torch.Tensor = model(encoder_outputs=encoded, decoder_input_ids=ids[own], use_cache=False).logits
        return found.float()

    together = logits(list(range(len(lengths))), list(range(count)), list(ROWS))
    differences = []
    for clip in range(count):
        second = [count + ROWS.index(clip)] if clip in ROWS else []
        alone = logits([clip, *second], [clip], [0] if second else [])
        differences.append(far_off(together[clip : clip + 1], alone))
    return max(differences)


def a_step(setting: Setting) -> dict[str, Any]:
    """Seconds of a step with second recordings and without, in turn."""
    shape = setting.size((32, 3.4, 24), (2, 0.5, 8))
    found = in_a_step.compare(configs(setting, setting.size("base", "tiny")), shape, setting.size(10, 1))
    empty_memory(setting.device)
    return found


def a_token(setting: Setting) -> dict[str, Any]:
    """Milliseconds of a token with second recordings and without, in turn."""
    dtype = setting.size(setting.dtype, torch.float32)
    models = for_a_token.build(setting.size("base", "tiny"), setting.device, dtype)
    cells = for_a_token.measure(
        models, setting.size(16, 2), setting.size(10, 1), setting.size(32, 2), setting.size(3, 1)
    )
    return {"cells": cells}
