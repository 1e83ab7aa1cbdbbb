"""Training as it is usually done: plain Whisper, every clip padded to 30 s, transformers' Seq2SeqTrainer.

    python -m benchmarks.peers.seq2seq_trainer --config CONFIG --output FOLDER [KEY=VALUE ...]

Model, data, batch size, steps, learning rate and precision are those of the config. Features are made once, before
training, as in the tutorials that most people follow; labels are whole transcripts with their prompt. The trained model
is written to FOLDER/final, which ``launch/eval.py --checkpoint FOLDER/final --config CONFIG`` scores.
"""

import itertools
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from data.audio.decoding import decode_audio
from data.opening import open_source
from trainer.command_line import CommandLine, run_command
from trainer.config.microbatches import in_microbatches
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.engine.accelerator import launched_processes, resolve_precision


def collate(rows: list[dict[str, Any]], processor: Any, start_token: int) -> dict[str, torch.Tensor]:
    """A batch: labels are padded with -100, which has no loss; features have one length already."""
    features = [{"input_features": row["input_features"]} for row in rows]
    batch: dict[str, torch.Tensor] = processor.feature_extractor.pad(features, return_tensors="pt")
    padded = processor.tokenizer.pad([{"input_ids": row["labels"]} for row in rows], return_tensors="pt")
    labels = padded["input_ids"].masked_fill(padded.attention_mask.ne(1), -100)
    if bool((labels[:, 0] == start_token).all()):
        labels = labels[:, 1:]  # the model adds it when it shifts the labels
    batch["labels"] = labels
    return batch


def prepared_rows(config: RunConfig, processor: Any, limit: int | None) -> Any:
    """A `datasets.Dataset` of the training data (the first ``limit`` rows of it): log-mel of 30 s, and labels."""
    import datasets

    source = open_source(config.data.training_sources[0], config.data.train_names[0])
    columns = source.columns
    processor.tokenizer.set_prefix_tokens(language=config.data.language, task=config.data.task)

    def rows() -> Any:
        for row in itertools.islice(source.rows(), limit):
            audio = decode_audio(row[columns.audio], source.audio_root)
            features = processor.feature_extractor(audio, sampling_rate=16_000).input_features[0]
            yield {"input_features": features, "labels": processor.tokenizer(row[columns.text]).input_ids}

    datasets.disable_progress_bars()
    return datasets.Dataset.from_list(list(rows())).with_format("numpy")


class StepTimes(TrainerCallback):
    """Seconds of each optimizer step, the wait for its data included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.started = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self.started)
        self.started = now
        print(f"step {len(self.seconds)}: {self.seconds[-1]:.1f} s", flush=True)


def build_trainer(config: RunConfig, output: Path, times: StepTimes, limit: int | None = None, workers: int = 0) -> Any:
    """The trainer, with model and data; ``limit`` rows of the data, ``workers`` processes that load it."""
    name, settings, training = config.model.checkpoint, config.optimizer, config.training
    if name is None:
        raise ConfigError("model.checkpoint is null, but this trainer only fine-tunes", "set it to a plain Whisper")
    processor = WhisperProcessor.from_pretrained(name)
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    model = WhisperForConditionalGeneration.from_pretrained(name, dtype=torch.float32)
    model.config.use_cache = False
    precision = resolve_precision(config.engine.precision)
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulation,
        max_steps=training.steps,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=training.max_gradient_norm,
        seed=training.seed,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        dataloader_num_workers=workers,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_steps=10,
        report_to=[],
        disable_tqdm=True,
    )
    return Seq2SeqTrainer(
        model=model,
        args=arguments,
        train_dataset=prepared_rows(config, processor, limit),
        data_collator=partial(collate, processor=processor, start_token=model.config.decoder_start_token_id),
        processing_class=processor,
        callbacks=[times],
    )


def main(arguments: list[str] | None = None) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--config", required=True, help="a run's config; model.checkpoint is a plain Whisper")
    parser.add_argument("--output", required=True, type=Path, help="folder for the trained model and steps.json")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings in place of the config's")
    options = parser.parse_args(arguments)
    config = in_microbatches(load_config(options.config, options.overrides), launched_processes())
    times = StepTimes()
    trainer = build_trainer(config, options.output, times)
    trainer.train()
    final = options.output / "final"
    trainer.model.config.use_cache = True
    trainer.save_model(str(final))
    trainer.processing_class.save_pretrained(final)
    (options.output / "steps.json").write_text(json.dumps({"seconds": times.seconds}) + "\n", encoding="utf-8")
    print(f"wrote {final}")


if __name__ == "__main__":
    run_command(main)
