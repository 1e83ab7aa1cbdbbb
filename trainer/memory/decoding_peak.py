"""Peak memory of an evaluation in training: model and optimizer, the encoder's pass, the decoder's caches."""

import torch

from data.batches.features import WINDOW_FRAMES

from ..engine.device import DTYPES
from .cells import PROMPT_TOKENS, Cell
from .engines import parameter_dtype
from .fake_model import shaped_model
from .prediction import autocast, prepared

LOGIT_COPIES = 4  # of [B, vocabulary] in float32: logits, processed, log-probabilities, a choice's scratch


def evaluation_bytes(cell: Cell, on_gpu: bool = True, frames: int = WINDOW_FRAMES) -> int:
    """The most that tensors take while ``data.validation`` is decoded: as many tokens as are allowed.

    Args:
        cell: its ``has_second`` is of the clips that are decoded.
        frames: mel frames of each clip; of 30 s, if not given.
    """
    settings = cell.config.evaluation
    rows = settings.batch_size * settings.beams
    model = shaped_model(cell).eval()
    shape = model.config
    recordings = 2 if cell.hears_second(shape) else 1
    with prepared(model, cell, on_gpu) as engine, torch.no_grad():
        timeline, trained = engine.recorder.timeline, engine.trained
        lasting = timeline.peak()
        features = torch.empty(recordings * settings.batch_size, shape.num_mel_bins, frames)
        seconds = range(settings.batch_size if recordings > 1 else 0)
        with autocast(cell):
            lengths = [frames] * len(features)  # told, since made-up features have no ends
            model.model.encoder(features.to(parameter_dtype(cell)), feature_lengths=lengths, second_rows=seconds)
    encoding = timeline.peak()
    size = torch.tensor([], dtype=DTYPES[cell.precision]).element_size()
    cast = 0
    if cell.precision != "fp32" and parameter_dtype(cell) == torch.float32:  # autocast keeps copies of trained weights
        cast = size * sum(parameter.numel() for parameter in trained)
    states = rows * (frames // 2) * shape.d_model
    kept = 1 if shape.second_recording == "before" else recordings  # joined, one attention keeps the frames of both
    sources = max(kept, 2 if shape.dual_attention else 1)
    length = settings.max_new_tokens + PROMPT_TOKENS
    cross = shape.decoder_layers * sources * 2 * states * size
    own = (shape.decoder_layers + 1) * 2 * rows * length * shape.d_model * size  # one layer's while it grows
    logits = LOGIT_COPIES * 4 * rows * shape.vocab_size
    return max(encoding, lasting + cast + 4 * recordings * states + cross + own + logits)
