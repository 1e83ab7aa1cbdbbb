"""A linear layer that decodes fast on CPUs; elsewhere, and in training, it is ``nn.Linear``."""

import torch
import torch.nn.functional as F
from torch import nn

FEW_ROWS = 8  # tokens computed at once; with more, one product of matrices is as fast
MOST_GROUPS = 64


class Linear(nn.Linear):
    """``nn.Linear``; few rows on a CPU are computed as many small products instead of one thin one.

    A step of decoding is bound by how fast weights are read. For few rows the product of two matrices reads them slowly
    in torch's CPU builds; batched products read them up to three times as fast (docs/decoding.md has figures).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.groups = max(n for n in range(1, MOST_GROUPS + 1) if out_features % n == 0)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        rows = states.numel() // self.in_features
        if (
            rows > FEW_ROWS
            or self.groups == 1
            or states.device.type != "cpu"
            or self.weight.dtype != torch.float32
            or torch.is_grad_enabled()
        ):
            return F.linear(states, self.weight, self.bias)
        flat = states.reshape(rows, self.in_features)
        weight = self.weight.view(self.groups, -1, self.in_features)
        if rows == 1 or self.in_features <= self.out_features:
            columns = torch.bmm(weight, flat.t().expand(self.groups, -1, -1))  # [groups, features, rows]
            output = columns.view(self.out_features, rows).t()
        else:
            parts = torch.bmm(flat.expand(self.groups, -1, -1), weight.transpose(1, 2))  # [groups, rows, features]
            output = parts.transpose(0, 1).reshape(rows, self.out_features)
        if self.bias is not None:
            output = output + self.bias
        return output.reshape(*states.shape[:-1], self.out_features)
