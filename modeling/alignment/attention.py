"""Where chosen cross-attention heads look while a text is spelled out. It knows models, and no words or times."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

Head = tuple[int, int]  # decoder layer and head, both from 0


class Spelled(NamedTuple):
    """What a model made of texts that it was given.

    Attributes:
        scores: float32 [B, heads, L, S], scaled products of queries and keys, before any softmax.
        log_probabilities: float32 [B, L], of each token given those before it; 0 for the first.
    """

    scores: torch.Tensor
    log_probabilities: torch.Tensor


@torch.no_grad()
def spell(model: Any, encoded: Any, tokens: torch.Tensor, heads: Sequence[Head]) -> Spelled:
    """Feed texts to the decoder and keep what the given heads of the primary cross-attention score.

    Only the queries of these layers are kept, so that any attention kernel may be in use; other heads cost nothing.

    Args:
        model: plain Whisper or a dual-attention one, the bare model.
        encoded: what ``modeling.decoding.encode`` gave.
        tokens: int64 [B, L], prompt and text; what is beyond a text does not change what comes before.
        heads: layer and head of each; see :mod:`modeling.alignment.heads`.
    """
    layers = sorted({layer for layer, _ in heads})
    attentions = {layer: model.get_decoder().layers[layer].encoder_attn for layer in layers}
    queries: dict[int, torch.Tensor] = {}

    def keeper(layer: int) -> Any:
        def keep(module: Any, given: Any, output: torch.Tensor) -> None:
            queries[layer] = output

        return keep

    hooks = [attention.q_proj.register_forward_hook(keeper(layer)) for layer, attention in attentions.items()]
    try:
        hidden = model.model(encoder_outputs=encoded, decoder_input_ids=tokens, use_cache=False).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    count = model.config.decoder_attention_heads
    states = encoded.last_hidden_state
    by_layer = {}
    for layer, attention in attentions.items():
        asked, keys = (split(part, count) for part in (queries[layer], attention.k_proj(states)))
        mine = [head for of, head in heads if of == layer]
        by_layer[layer] = asked[:, mine].float() @ keys[:, mine].float().transpose(2, 3) * asked.shape[-1] ** -0.5
    place = {layer: iter(scores.unbind(1)) for layer, scores in by_layer.items()}
    scores = torch.stack([next(place[layer]) for layer, _ in heads], dim=1)
    return Spelled(scores, of_next(model, hidden, tokens))


def split(states: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, L, width] → [B, heads, L, width / heads]."""
    return states.view(*states.shape[:2], heads, -1).transpose(1, 2)


def of_next(model: Any, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Natural logarithms of the tokens' probabilities, float32 [B, L], from the decoder's states [B, L, width]."""
    found = torch.zeros(tokens.shape, dtype=torch.float32, device=hidden.device)
    for row, (states, ids) in enumerate(zip(hidden, tokens, strict=True)):  # a row at a time: the vocabulary is large
        logits = model.proj_out(states[:-1]).float()
        found[row, 1:] = logits.gather(1, ids[1:, None])[:, 0] - logits.logsumexp(dim=-1)
    return found
