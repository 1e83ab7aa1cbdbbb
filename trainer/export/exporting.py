"""Exports what a training left as one plain Hugging Face folder: read, write, reload, compare, put in place.

``trained_weights`` reads, ``reload_check`` compares, ``hub`` uploads.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.reading import ConfigError
from ..errors import ExportError
from ..record.durable import PARTIAL, check_place

BESIDE_WEIGHTS = 16 * 2**20  # bytes for tokenizer, code and config; Whisper's are 5 MB


@dataclass(frozen=True)
class ExportOptions:
    """What to export and where; :meth:`check` checks all that needs no reading.

    Attributes:
        dtype: ``fp32``, ``bf16`` or ``fp16``.
        max_shard_size: largest size of a weight file, such as ``5GB``; a larger tensor has a file of its own.
        repository: OWNER/NAME to push to, or None.
        as_whisper: write a model without second attentions as transformers' own Whisper, without code.
    """

    checkpoint: Path
    output: Path
    dtype: str = "fp32"
    max_shard_size: str = "5GB"
    repository: str | None = None
    private: bool = False
    as_whisper: bool = False

    def check(self) -> None:
        """Raises: ConfigError: for an argument that cannot be used."""
        if not re.fullmatch(r"[1-9]\d*[KMGT]B", self.max_shard_size):
            raise ConfigError(f"--max-shard-size is {self.max_shard_size!r}; write it like 5GB or 500MB")
        if self.private and self.repository is None:
            raise ConfigError("--private goes with --push-to-hub")
        if self.repository is not None:
            from .hub import check_repository

            check_repository(self.repository)
        check_place(self.output, "--output")
        output = self.output.resolve()
        if output == self.checkpoint.resolve() or self.checkpoint.resolve() in output.parents:
            raise ConfigError(f"--output is {str(self.output)!r}, which lies in the checkpoint: choose another")
        if output.is_dir() and any(output.iterdir()):
            raise ConfigError(f"--output is {str(self.output)!r}, which is not empty: choose another")


def export(options: ExportOptions) -> None:
    """Write the folder, or nothing.

    Raises:
        ConfigError, CheckpointError: for what the user can correct.
        ExportError, SaveError: if the folder differs from the training, does not fit on the disk, or is not uploaded.
    """
    options.check()
    from modeling.adapters import merged  # seconds to import, as is what follows
    from modeling.checkpoints import as_plain_whisper
    from modeling.processors import save_processor

    from ..engine.device import DTYPES, EXACT, choose_kernels
    from ..evaluation.decoding_limits import take_out_ignored
    from ..record.disk import check_space
    from ..record.durable import put_in_place
    from .model_card import origin_of, write_card
    from .reload_check import check_logits, check_tensors, fresh_logits, logits_of, round_weights
    from .trained_weights import open_trained

    dtype = DTYPES[options.dtype]
    choose_kernels(EXACT)
    model, processor = open_trained(options.checkpoint)
    if (ignored := take_out_ignored(model)) is not None:
        print(ignored)
    trained = logits_of(model)
    model = merged(model, str(options.checkpoint))
    if options.as_whisper:
        before = model.config
        model = as_plain_whisper(model, str(options.checkpoint))
        if getattr(before, "encoder_padding", "window") == "clip":
            print("note: trained on input as long as the clips; as plain Whisper it will be given 30 s windows")
        if getattr(before, "second_recording", "none") != "none":
            print("note: trained to hear a second recording of each clip; as plain Whisper it hears the first alone")
    target = options.output.resolve()
    weights = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    check_space(target, weights + BESIDE_WEIGHTS, str(target))
    with partial_folder(target) as partial:
        write_weights(model, partial, dtype, options.max_shard_size)
        save_processor(processor, partial)
        name = options.repository or target.name
        write_card(partial, name, model, options.dtype, origin_of(options.checkpoint))
        check_tensors(partial, model, dtype)
        round_weights(model, dtype)
        difference = check_logits(trained, logits_of(model), fresh_logits(partial, model.config), dtype)
        put_in_place(partial, target)
    print(
        f"reloaded in a fresh process: logits differ from those of the training weights by at most {difference:.3g} "
        f"(the largest is {float(trained.abs().max()):.3g})"
    )
    print(f"exported {options.checkpoint} to {options.output} in {options.dtype}", flush=True)
    if options.repository is not None:
        from .hub import push

        print(f"pushed to {push(options.output, options.repository, options.private)}")


@contextlib.contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside ``target``; gone afterwards, with the parents made for it, unless it was put in place.

    Raises ExportError if the operating system refuses to write.
    """
    from safetensors import SafetensorError

    partial = target.with_name(PARTIAL + target.name)
    made = [path for path in target.parents if not path.exists()]
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
    except (OSError, SafetensorError) as error:
        raise ExportError(f"cannot write {target}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):  # not empty: it holds the export
                path.rmdir()


def write_weights(model: Any, folder: Path, dtype: Any, max_shard_size: str) -> None:
    """``save_pretrained`` of a float32 model in another dtype; tied weights are written once."""
    first = {tensor.data_ptr(): key for key, tensor in reversed(model.state_dict().items())}
    # Tied weights that are cast no longer share memory, and transformers would write each of them.
    weights = {key: tensor.to(dtype) for key, tensor in model.state_dict().items() if first[tensor.data_ptr()] == key}
    model.save_pretrained(folder, state_dict=weights, max_shard_size=max_shard_size)
    config = folder / "config.json"  # save_pretrained writes the dtype of the open model, not of the file
    values = json.loads(config.read_text(encoding="utf-8"))
    values["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
