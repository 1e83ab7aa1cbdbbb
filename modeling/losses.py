"""Losses on decoder states. The vocabulary projection is computed where there is a target, and in chunks."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

IGNORED = -100
CHUNK_TOKENS = 1024


def token_loss_sum(
    hidden: torch.Tensor,
    projection: nn.Module,
    labels: torch.Tensor,
    positions: torch.Tensor | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
) -> torch.Tensor:
    """Cross-entropy in nats, summed over all target tokens; the [B, L, vocabulary] logits never exist.

    Beyond one chunk each chunk's logits are thrown away and computed again in the backward pass.

    Args:
        hidden: decoder states [B, L, width].
        projection: width → vocabulary, without bias.
        labels: int64 [B, L], -100 where there is no loss.
        positions: int64 [N], where in the flattened labels there is one; found here if None, for which a GPU is waited.
        chunk_tokens: target tokens whose logits exist at one time.
    """

    def chunk_loss(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(projection(states).float(), targets, reduction="sum")

    if positions is None:
        positions = (labels.flatten() != IGNORED).nonzero().squeeze(1)
    states, targets = hidden.flatten(0, 1).index_select(0, positions), labels.flatten().index_select(0, positions)
    if len(targets) <= chunk_tokens:
        return chunk_loss(states, targets)
    chunks = zip(states.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
    losses = [checkpoint(chunk_loss, states, targets, use_reentrant=False) for states, targets in chunks]
    return torch.stack(losses).sum()
