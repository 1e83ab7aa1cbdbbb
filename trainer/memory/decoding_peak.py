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
        frames: mel frames of each clip; of 30 s, if not given.
    """
    settings = cell.config.evaluation
    rows = settings.batch_size * settings.beams
    model = shaped_model(cell).eval()
    shape = model.config
    with prepared(model, cell, on_gpu) as engine, torch.no_grad():
        timeline, trained = engine.recorder.timeline, engine.trained
        lasting = timeline.peak()
        features = torch.empty(settings.batch_size, shape.num_mel_bins, frames)
        with autocast(cell):
            model.model.encoder(features.to(parameter_dtype(cell)))
    encoding = timeline.peak()
    size = torch.tensor([], dtype=DTYPES[cell.precision]).element_size()
    cast = 0
    if cell.precision != "fp32" and parameter_dtype(cell) == torch.float32:  # autocast keeps copies of trained weights
        cast = size * sum(parameter.numel() for parameter in trained)
    states = rows * (frames // 2) * shape.d_model
    attentions = 2 if shape.dual_attention else 1
    length = settings.max_new_tokens + PROMPT_TOKENS
    cross = shape.decoder_layers * attentions * 2 * states * size
    own = (shape.decoder_layers + 1) * 2 * rows * length * shape.d_model * size  # one layer's while it grows
    logits = LOGIT_COPIES * 4 * rows * shape.vocab_size
    return max(encoding, lasting + cast + 4 * states + cross + own + logits)
