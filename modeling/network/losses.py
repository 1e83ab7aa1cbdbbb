"""Losses on decoder states: cross-entropy in chunks, computed only where there is a target, and the noise loss on where
the second attentions look."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from .attention import attend
from .linear import linear

IGNORED = -100
CHUNK_TOKENS = 1024
LEAST_SHARE = 1e-6  # of attention on noise, below which the loss grows no more


class NoiseTarget(NamedTuple):
    """Where noise is, and what learns from it.

    Attributes:
        frames: float32 [B, S], share of each encoder frame's energy that is noise.
        layers: decoder layers whose shares carry gradients; None for all.
        is_trained: whether any shares carry gradients.
        is_local: gradients stop at the second attentions and do not reach what these read. Otherwise the encoder and
            the layers below learn to show noise to every attention, the first ones too.
    """

    frames: torch.Tensor
    layers: frozenset[int] | None = None
    is_trained: bool = True
    is_local: bool = True

    def trains(self, layer: int) -> bool:
        return self.is_trained and (self.layers is None or layer in self.layers)

    def chosen(self, by_layer: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Of one value for each layer, those of the layers that the loss covers."""
        return tuple(one for layer, one in enumerate(by_layer) if self.layers is None or layer in self.layers)

    def share_of(self, queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Σ_s a(s) n(s): how much of an attention falls on noise, [B, heads, L].

        The noise target is attended to as if it were a value, so that the weights a never exist.

        Args:
            queries, keys: [B, heads, L or S, head size], queries scaled.
            mask: as :func:`modeling.network.attention.attend` takes it.
        """
        values = F.pad(self.frames.to(keys.dtype)[:, None, :, None], (0, keys.shape[3] - 1))  # kernels want equal sizes
        return attend(queries, keys, values.expand(-1, keys.shape[1], -1, -1), mask)[0][..., 0]


class CleanStates(NamedTuple):
    """What an encoder's states of noisy clips are to come near to.

    Attributes:
        states: of each of ``layers`` [R, S', width], a teacher's for the same clips without the noise.
        layers: the encoder layers, from 1; the last is the encoder's output.
        rows: int64 [R], the noisy clips' rows in the batch; there may be none.
        lengths: int64 [R], frames that count of each.
    """

    states: Sequence[torch.Tensor]
    layers: Sequence[int]
    rows: torch.Tensor
    lengths: torch.Tensor

    def distance_sum(self, hidden: Sequence[torch.Tensor]) -> torch.Tensor:
        """The squared difference of states normalised frame by frame, its mean over their width and over the layers,
        summed over frames.

        Between 0 and 4 a frame, and twice 1 less the correlation of its two states. A model without noisy clips in its
        batch gets a gradient of zeros: under ZeRO-3 all ranks must go through the same modules.

        Args:
            hidden: the encoder's states [B, S, width], beginning with its first layer's input.
        """
        sums = []
        for layer, clean in zip(self.layers, self.states, strict=True):
            ours = hidden[layer].index_select(0, self.rows)
            frames = min(ours.shape[1], clean.shape[1])
            counts = torch.arange(frames, device=ours.device) < self.lengths[:, None]
            ours, theirs = (
                F.layer_norm(side[:, :frames].float(), side.shape[-1:]) for side in (ours, clean.to(ours.device))
            )
            sums.append(((ours - theirs).square().mean(dim=2) * counts).sum())
        return torch.stack(sums).mean()


def noise_loss_sum(shares: tuple[torch.Tensor, ...], positions: torch.Tensor) -> torch.Tensor:
    """-log of the share of attention on noise, mean over heads and layers, summed over tokens.

    Args:
        shares: of each layer [B, heads, L].
        positions: int64 [N], which tokens of the flattened [B, L] count.
    """
    surprise = -torch.stack(shares).float().clamp(min=LEAST_SHARE).log()
    return surprise.mean(dim=(0, 2)).flatten().index_select(0, positions).sum()


def logits_loss_sum(logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy in nats of logits [B, L, vocabulary], summed over the labels [B, L] that are not -100.

    Args:
        label_smoothing: as :func:`token_loss_sum` takes it.
    """
    targets, rows = labels.to(logits.device).flatten(), logits.float().flatten(0, 1)
    return F.cross_entropy(rows, targets, ignore_index=IGNORED, reduction="sum", label_smoothing=label_smoothing)


def token_loss_sum(
    hidden: torch.Tensor,
    projection: nn.Module,
    labels: torch.Tensor,
    positions: torch.Tensor | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
    *,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy in nats, summed over all target tokens; the [B, L, vocabulary] logits never exist.

    Beyond one chunk each chunk's logits are thrown away and computed again in the backward pass.

    Args:
        hidden: decoder states [B, L, width].
        projection: width → vocabulary, without bias.
        labels: int64 [B, L], -100 where there is no loss.
        positions: int64 [N], where in the flattened labels there is one; if None they are found here, which waits for
            the GPU.
        chunk_tokens: target tokens whose logits exist at one time.
        label_smoothing: the share of a target's probability that is spread evenly over the whole vocabulary.
    """

    def chunk_loss(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = linear(projection, states).float()
        return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)

    if positions is None:
        positions = (labels.flatten() != IGNORED).nonzero().squeeze(1)
    states, targets = hidden.flatten(0, 1).index_select(0, positions), labels.flatten().index_select(0, positions)
    if len(targets) <= chunk_tokens:
        return chunk_loss(states, targets)
    chunks = zip(states.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
    losses = [checkpoint(chunk_loss, states, targets, use_reentrant=False) for states, targets in chunks]
    return torch.stack(losses).sum()
