"""Linear layers that decode faster on CPUs; elsewhere, and in training, they are ``nn.Linear``."""

import functools

import torch
from torch import nn

FEW_ROWS = 8  # tokens computed at once; with more, one product of matrices is as fast
MOST_GROUPS = 64


class FewRowsLinear(nn.Linear):
    """``nn.Linear``; few rows on a CPU are computed as many small products instead of one thin one.

    A step of decoding is bound by how fast weights are read, and for few rows the product of two matrices reads them
    slowly in torch's CPU builds, batched products faster.
    """

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        outputs, inputs = self.weight.shape
        rows = states.numel() // inputs
        if rows > FEW_ROWS or not self.may_be_grouped(states):
            return super().forward(states)
        groups = most_groups(outputs)
        flat = states.reshape(rows, inputs)
        weight = self.weight.view(groups, -1, inputs)
        if rows == 1 or inputs <= outputs:
            columns = torch.bmm(weight, flat.t().expand(groups, -1, -1))  # [groups, outputs / groups, rows]
            output = columns.view(outputs, rows).t()
        else:
            parts = torch.bmm(flat.expand(groups, -1, -1), weight.transpose(1, 2))  # [groups, rows, outputs / groups]
            output = parts.transpose(0, 1).reshape(rows, outputs)
        if self.bias is not None:
            output = output + self.bias
        return output.reshape(*states.shape[:-1], outputs)

    def may_be_grouped(self, states: torch.Tensor) -> bool:
        """Whether these are plain float32 tensors on a CPU and nobody wants gradients or another dtype."""
        return (
            states.device.type == "cpu"
            and states.dtype == self.weight.dtype == torch.float32
            and type(self.weight) in (nn.Parameter, torch.Tensor)
            and self.weight.is_contiguous()
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
        )


@functools.lru_cache
def most_groups(outputs: int) -> int:
    """The largest number of equal groups, at most 64, that so many outputs fall into."""
    return max(number for number in range(1, MOST_GROUPS + 1) if outputs % number == 0)


def decode_faster(model: nn.Module) -> None:
    """Make every plain ``nn.Linear`` in a model a :class:`FewRowsLinear`, its weight and its name as they were.

    For a model that is loaded: what quantises while loading looks for ``nn.Linear`` itself, and what it has put in its
    place is left alone.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FewRowsLinear
