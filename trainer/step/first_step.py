"""A check after the first step: every trained parameter has a gradient, and no frozen one has changed.

It works under every engine. Gradients are seen as they come out of the backward pass, before DDP or ZeRO reduce and
drop them. Of frozen parameters that ZeRO-3 has spread, each rank looks at its own piece.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch

from ..engine.accelerator import sum_over_ranks

AS_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
NAMED = 8  # parameters that a message names


class UntrainedParameters(RuntimeError):
    """A parameter that should be trained has no gradient, or a frozen one has changed."""

    exit_code = 1


class FirstStep:
    """Watches a bare model from before its first step to after it; :meth:`check` then says whether it trains."""

    def __init__(self, model: Any) -> None:
        parameters = dict(model.named_parameters())
        self.frozen = {name: parameter for name, parameter in parameters.items() if not parameter.requires_grad}
        self.without_gradient = {name for name in parameters if name not in self.frozen}
        self.hooks = [parameters[name].register_hook(partial(self.see, name)) for name in self.without_gradient]
        self.before = checksums(self.frozen.values())

    def see(self, name: str, gradient: torch.Tensor | None) -> None:
        """Note a parameter's gradient; torch also calls where there is none, if it comes with others' gradients."""
        if gradient is not None:
            self.without_gradient.discard(name)

    def check(self, accelerator: Any) -> None:
        """Look at the model after the optimizer's first step; all ranks call it, once.

        Raises UntrainedParameters on every rank, if any rank found something.
        """
        for hook in self.hooks:
            hook.remove()
        after = checksums(self.frozen.values())
        changed = [name for name, old, new in zip(self.frozen, self.before, after, strict=True) if old != new]
        found = torch.tensor(float(len(changed) + len(self.without_gradient)), device=accelerator.device)
        if not sum_over_ranks(accelerator, found):
            return
        complaints = []
        if self.without_gradient:
            complaints.append(f"should be trained, but got no gradient: {named(sorted(self.without_gradient))}")
        if changed:
            complaints.append(f"are frozen, but changed: {named(sorted(changed))}")
        what = "; ".join(complaints) or "another rank names the parameters"
        raise UntrainedParameters(f"the first step did not train what it should; {what}. Nothing was saved")


def checksums(parameters: Iterable[torch.Tensor]) -> list[int]:
    """The sum of each tensor's bits, read as integers; of what this rank holds of it. Waits once for each device."""
    sums = [checksum(parameter) for parameter in parameters]
    found = dict[int, int]()
    for device in {one.device for one in sums}:
        places = [place for place, one in enumerate(sums) if one.device == device]
        found |= zip(places, torch.stack([sums[place] for place in places]).tolist(), strict=True)
    return [found[place] for place in range(len(sums))]


def checksum(parameter: torch.Tensor) -> torch.Tensor:
    """Of one tensor: an int64 scalar on its device."""
    held = getattr(parameter, "ds_tensor", parameter).detach()
    integers = held.contiguous().view(-1).view(AS_INTEGERS[held.element_size()])
    return integers.sum(dtype=torch.int64)


def named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
