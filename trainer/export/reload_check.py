"""Checks that an exported folder holds the model: tensor by tensor, and by its logits in a fresh process.

Knows nothing of where the weights came from or where the folder goes.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ..errors import ExportError

# Share of the largest logit. The same weights and code give the same float32 logits in another process, except for the
# order of sums if the number of threads differs.
RELOAD_TOLERANCE = 1e-5
# What rounding the weights may change, as a share of the largest logit. Whisper-base on the input below, plain and with
# a disturbed second attention: up to 0.053 in bf16, 0.0008 in fp16, whose steps are 8 times finer; deeper models lose
# more. In fp32 only the merging of an adapter rounds.
ROUNDING_TOLERANCE = {torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 0.25}
TOKENS = 16


def check_inputs(config: Any) -> dict[str, torch.Tensor]:
    """Seeded noise in the range of log-mel features, a full window, and tokens, the same for every check."""
    generator = torch.Generator().manual_seed(0)
    frames = 2 * config.max_source_positions
    tokens = torch.randint(config.vocab_size, (1, min(TOKENS, config.max_target_positions)), generator=generator)
    tokens[0, 0] = config.decoder_start_token_id
    features = torch.randn(1, config.num_mel_bins, frames, generator=generator).clamp(-1, 1.5)
    return {"input_features": features, "decoder_input_ids": tokens}


@torch.no_grad()
def logits_of(model: Any) -> torch.Tensor:
    """Logits [1, L, vocabulary] of :func:`check_inputs`; the model is in float32 and evaluation mode."""
    if hasattr(model, "get_base_model"):  # peft's own forward wants a text model where a task type is given
        model = model.get_base_model()
    return model(**check_inputs(model.config)).logits


def check_tensors(folder: Path, model: Any, dtype: torch.dtype) -> None:
    """Raises: ExportError: for a tensor that is not the model's, cast to ``dtype``, or is missing and not tied."""
    weights = model.state_dict()
    wanted = {key: tensor.data_ptr() for key, tensor in weights.items()}
    written = set()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a dict
                tensor = tensors.get_tensor(key)
                if key not in weights or tensor.dtype != dtype or not torch.equal(tensor, weights[key].to(dtype)):
                    raise ExportError(f"{file.name}: {key} is not what was trained")
                written.add(key)
    missing = set(wanted.values()) - {wanted[key] for key in written}
    if missing:
        raise ExportError(f"{folder.name} lacks {next(key for key, at in wanted.items() if at in missing)}")


@torch.no_grad()
def round_weights(model: Any, dtype: torch.dtype) -> None:
    """Round a float32 model's weights to ``dtype``, in place. Raises ExportError for one beyond its range."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point():
            rounded = tensor.to(dtype)
            if torch.isinf(rounded).any():
                largest, kind = float(tensor.abs().max()), str(dtype).removeprefix("torch.")
                raise ExportError(f"{name} has weights up to {largest:.3g}, beyond what {kind} holds")
            tensor.copy_(rounded)


def fresh_logits(folder: Path, config: Any) -> torch.Tensor:
    """The logits that a fresh Python process computes from the folder alone, offline, its code not from any cache.

    Raises ExportError with the last line of the process's errors.
    """
    with tempfile.TemporaryDirectory(prefix="reload_") as scratch:
        inputs, output = Path(scratch) / "inputs.safetensors", Path(scratch) / "logits.safetensors"
        save_file(check_inputs(config), inputs)
        # -I: neither the working folder nor PYTHONPATH, where this project may lie, is searched for modules.
        command = [sys.executable, "-I", str(Path(__file__).with_name("fresh_reload.py")), str(folder.resolve())]
        environment = os.environ | {
            "HF_MODULES_CACHE": str(Path(scratch) / "modules"),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            environment.pop(name, None)
        ended = subprocess.run(
            [*command, str(inputs), str(output)], cwd=scratch, env=environment, capture_output=True, text=True
        )
        if ended.returncode:
            said = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
            raise ExportError(
                f"a fresh process cannot load what was written: {said[-1] if said else f'exit code {ended.returncode}'}"
            )
        return load_file(output)["logits"]


def check_logits(trained: torch.Tensor, rounded: torch.Tensor, reloaded: torch.Tensor, dtype: torch.dtype) -> float:
    """The largest difference between the logits of the training weights and those of the reloaded folder.

    Args:
        trained: of the training weights in float32.
        rounded: of the same model, its weights rounded to ``dtype``, in this process.
        reloaded: of the folder, in a fresh process.

    Raises:
        ExportError: if the folder differs from the rounded model, or the rounded model too much from the trained one.
    """
    largest = float(trained.abs().max())
    astray = largest_difference(rounded, reloaded)
    if not astray <= RELOAD_TOLERANCE * largest:
        raise ExportError(f"reloaded, the logits differ by {astray:.3g} (the largest is {largest:.3g})")
    lost = largest_difference(trained, reloaded)
    if not lost <= ROUNDING_TOLERANCE[dtype] * largest:
        raise ExportError(
            f"in {str(dtype).removeprefix('torch.')} the logits differ from the training weights' by {lost:.3g} (the "
            f"largest is {largest:.3g}): rounding changes this model too much; export with --dtype fp32"
        )
    return lost


def largest_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max()) if one.shape == other.shape else float("inf")
