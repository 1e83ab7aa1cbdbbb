"""A checkpoint and clips to measure with where neither can be fetched: random weights in a published shape, and noise
that packs as speech does.

    python -m benchmarks.training.stand_in --checkpoint openai/whisper-small --output stand_in \
        --processor openai/whisper-base
    python -m benchmarks.training.side_by_side --config stand_in/config.yaml ...

Time and memory depend on neither; word error rates do, so nothing is learned from such a model.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.input.speech_like_clips import clip, encoded, write_parquet
from modeling.byte_processor import build_byte_processor, generation_config_for
from modeling.checkpoint_files import Checkpoint
from modeling.published import published_shape
from trainer.command_line import CommandLine, number, run_command
from trainer.config.reading import ConfigError

LANGUAGES = ("en",)  # of a vocabulary of bytes
MEDIAN_SECONDS, SPREAD = 3.0, 0.5  # of children's utterances: log-normal, mean 3.4 s; spread of the logarithm


def save_checkpoint(name: str, processor_name: str | None, folder: Path, **other: int) -> None:
    """A plain Whisper of a published shape, with the tokenizer of a checkpoint that is here.

    Args:
        processor_name: a folder or hub name of any multilingual Whisper; its generation config comes too. None for a
            vocabulary of bytes, which needs nothing; the model's stays as large as published.
        other: values of WhisperConfig in place of the shape's, to make a smaller model.

    Raises:
        ConfigError: if nobody published the shape.
        CheckpointError: if there is no such processor.
    """
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    shape = published_shape(name)
    if shape is None:
        raise ConfigError(
            f"--checkpoint is {name!r}, whose shape is not known; give a name such as openai/whisper-small"
        )
    bins = shape.get("num_mel_bins", 80)
    special = {}
    if processor_name is None:
        processor = build_byte_processor(LANGUAGES, bins)
        generation = generation_config_for(processor.tokenizer, LANGUAGES)
        roles = ("decoder_start", "pad", "bos", "eos")
        special = {f"{role}_token_id": getattr(generation, f"{role}_token_id") for role in roles}
    else:
        processor = Checkpoint(processor_name).processor
        processor.feature_extractor = WhisperFeatureExtractor(feature_size=bins)
        generation = GenerationConfig.from_pretrained(processor_name)
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**shape | special | other))
    model.generation_config = generation
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def save_clips(path: Path, rows: int, seed: int = 0) -> float:
    """``rows`` clips as Parquet; their mean seconds."""
    drawn = np.random.default_rng(seed).lognormal(np.log(MEDIAN_SECONDS), SPREAD, min(rows, 512)).clip(0.5, 30)
    with ThreadPoolExecutor() as pool:
        clips = list(pool.map(lambda number: encoded(clip(float(drawn[number]), number)), range(len(drawn))))
    write_parquet(path, clips, drawn.tolist(), rows)
    return float(drawn.mean())


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--checkpoint", required=True, help="a published Whisper's name, for its shape")
    parser.add_argument("--processor", help="a Whisper that is here, for its tokenizer; without it, --checkpoint's own")
    parser.add_argument("--clips", type=number(int, 1, 10**7), default=4000, help="rows of clips.parquet")
    parser.add_argument(
        "--output", required=True, type=Path, help="folder for checkpoint/, clips.parquet and config.yaml"
    )
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    checkpoint, clips = options.output / "checkpoint", options.output / "clips.parquet"
    save_checkpoint(options.checkpoint, options.processor or options.checkpoint, checkpoint)
    seconds = save_clips(clips, options.clips)
    values = {
        "output_dir": os.fspath(options.output / "run"),
        "model": {"checkpoint": os.fspath(checkpoint), "dual_attention": False},
        "data": {
            "language": "en",
            "train": {"files": os.fspath(clips), "columns": {"id": "id", "duration": "duration"}},
            "workers": 2,
        },
        "training": {"steps": 1000, "batch_size": 16},
    }
    config = options.output / "config.yaml"
    config.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    print(f"{config}: the shape of {options.checkpoint}, {options.clips:.0f} clips of {seconds:.1f} s on average")


if __name__ == "__main__":
    run_command(main)
