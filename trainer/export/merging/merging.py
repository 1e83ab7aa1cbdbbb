"""``launch/merge.py``: the mean of runs or checkpoints as one folder, or the best mix with the model before training.

A mixture with the model before training is Wortsman et al., arXiv 2109.01903 (WiSE-FT).
"""

import math
from collections.abc import Sequence

from ...pages.formats import listed
from ...record.disk import check_space
from ...record.durable import put_in_place
from ..exporting import BESIDE_WEIGHTS, partial_folder
from .agreement import check_adapter, check_agreement
from .interpolation import interpolate
from .means import write_mean
from .options import MergeOptions
from .sources import Source, source_of, steps_of

MIXTURES_AT_ONCE = 3  # the model before training, the best mixture so far and the next one


def merge(options: MergeOptions) -> None:
    """Write the merged folder, or nothing.

    Raises:
        ConfigError, CheckpointError, DataError: for what the user can correct.
        ExportError, SaveError: if it cannot be written.
    """
    options.check()
    sources = sources_of(options)
    check_agreement(sources)
    for source in sources if sources[0].is_adapter else ():
        check_adapter(source)
    weights = [weight / math.fsum(options.weights) for weight in options.weights] if options.weights else None
    weights = weights or [1.0] * len(sources)
    target = options.output.resolve()
    folders = MIXTURES_AT_ONCE if options.shares else 1
    check_space(target, folders * (4 * numbers_of(sources) + BESIDE_WEIGHTS), str(target))
    with partial_folder(target) as partial:
        if options.shares:
            interpolate(options, sources, weights, partial)
        else:
            write_mean(sources, weights, partial, target)
        put_in_place(partial, target)
    print(f"written to {options.output}: {described(sources, weights)}", flush=True)


def sources_of(options: MergeOptions) -> list[Source]:
    """The models that are merged, in the order of the weights."""
    if options.steps is None:
        return [source_of(name) for name in options.given]
    return [source for run in options.given for source in steps_of(run, options.steps, best=options.best is not None)]


def numbers_of(sources: Sequence[Source]) -> int:
    """The numbers in the merged folder, at most."""
    many = len(sources) if sources[0].is_adapter else 1
    return many * sum(math.prod(one.shape) for one in sources[0].tensors.values())


def described(sources: Sequence[Source], weights: Sequence[float]) -> str:
    """The models and their shares, in words."""
    whole = math.fsum(weights)
    if len(sources) == 1:
        return sources[0].name
    return "the mean of " + listed([f"{one.name} ({w / whole:.3g})" for one, w in zip(sources, weights, strict=True)])
