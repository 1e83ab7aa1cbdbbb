"""Run folders as training and evaluation leave them, made from a seed: what a comparison is tested on."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jiwer
import yaml

WORDS = (
    *("the", "a", "little", "fox", "saw", "seven", "boats", "under", "their", "wooden", "bridge", "and", "then"),
    *("it", "went", "home", "to", "sleep", "again", "while", "rain", "fell"),
)


def sentences(number: int = 60, seed: int = 0) -> dict[str, str]:
    """References by id."""
    generator = random.Random(seed)
    return {f"u{n:04d}": " ".join(generator.choices(WORDS, k=generator.randint(2, 12))) for n in range(number)}


def misheard(references: Mapping[str, str], rate: float, seed: int) -> dict[str, str]:
    """Hypotheses with about so many errors a word."""
    generator = random.Random(seed)
    heard = {}
    for key, text in references.items():
        words: list[str] = []
        for word in text.split():
            chance = generator.random()
            if chance < 0.55 * rate:
                words.append(generator.choice(WORDS))
            elif chance < 0.8 * rate:
                continue
            else:
                words.append(word)
                words += ["uh"] * (chance > 1 - 0.2 * rate)
        heard[key] = " ".join(words)
    return heard


def prediction(key: str, reference: str, hypothesis: str, columns: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """A line of predictions.jsonl."""
    counted = jiwer.process_words(reference, hypothesis)
    letters = jiwer.process_characters(reference, hypothesis)
    said, heard = reference.split(), hypothesis.split()
    alignment = []
    for chunk in counted.alignments[0]:
        ours = said[chunk.ref_start_idx : chunk.ref_end_idx] or [""] * (chunk.hyp_end_idx - chunk.hyp_start_idx)
        theirs = heard[chunk.hyp_start_idx : chunk.hyp_end_idx] or [""] * len(ours)
        alignment += [[chunk.type, one, other] for one, other in zip(ours, theirs, strict=True)]
    return {
        "id": key,
        "reference": reference,
        "hypothesis": hypothesis,
        "normalized_reference": reference,
        "normalized_hypothesis": hypothesis,
        "language": "en",
        "seconds": seconds,
        "hits": counted.hits,
        "substitutions": counted.substitutions,
        "deletions": counted.deletions,
        "insertions": counted.insertions,
        "character_errors": letters.substitutions + letters.deletions + letters.insertions,
        "characters": letters.hits + letters.substitutions + letters.deletions,
        "columns": dict(columns),
        "alignment": alignment,
    }


def write_evaluation(
    folder: Path,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    checkpoint: str = "openai/whisper-tiny",
    speakers: int = 8,
    **figures: Any,
) -> Path:
    """evaluation.json and predictions.jsonl; utterances fall to speakers in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        prediction(
            key,
            references[key],
            hypotheses[key],
            {"speaker": f"s{n % speakers:02d}", "age": str(6 + n % speakers % 5)},
            1.0 + 0.35 * len(references[key].split()),
        )
        for n, key in enumerate(sorted(references))
    ]
    words = sum(row["hits"] + row["substitutions"] + row["deletions"] for row in rows)
    kinds = {key: sum(row[key] for row in rows) for key in ("substitutions", "deletions", "insertions")}
    seconds = sum(row["seconds"] for row in rows)
    evaluation = {
        "checkpoint": checkpoint,
        "split": "test",
        "normalizer": "english",
        "beams": 1,
        "utterances": len(rows),
        "words": words,
        **kinds,
        "word_error_rate": sum(kinds.values()) / words,
        "character_error_rate": sum(row["character_errors"] for row in rows) / sum(row["characters"] for row in rows),
        "interval_units": "utterances",
        "seconds": 0.05 * seconds,
        "audio_seconds": seconds,
        "real_time_factor": 0.05,
        **figures,
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_run(
    folder: Path,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    *,
    config: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    split: str = "test",
    plain: Mapping[str, str] | None = None,
    rates: Sequence[float] = (0.6, 0.4, 0.3, 0.25),
    checkpoint: str | None = None,
    **figures: Any,
) -> Path:
    """A run of 400 steps with its best checkpoint's evaluation, and plain Whisper's beside it if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "best").mkdir(exist_ok=True)
    settings = {
        "output_dir": str(folder),
        "model": {"checkpoint": "openai/whisper-tiny", "strategy": "full", "dual_attention": True},
        "training": {"steps": 400, "batch_size": 8},
        "optimizer": {"learning_rate": 1e-5},
        "logging": {"every_steps": 10},
    }
    for key, value in (config or {}).items():
        section, _, name = key.rpartition(".")
        (settings.setdefault(section, {}) if section else settings)[name] = value  # type: ignore[index]
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    ended = {
        "steps": 400,
        "seconds": 720.0,
        "utterances_per_second": 4.44,
        "peak_memory_bytes": 3 * 2**30,
        "parameters": 50_000_000,
        "trainable_parameters": 40_000_000,
        "hardware": "1 x NVIDIA H100",
        "engine": "one process, 1 x cuda, bf16",
        "strategy": "full",
        "dual_attention": True,
        "stopped_early": False,
    } | dict(summary or {})
    if summary is None or summary:
        (folder / "summary.json").write_text(json.dumps(ended))
    lines: list[dict[str, Any]] = []
    pace = ended["seconds"] / 400
    for step in range(10, 401, 10):
        loss = 0.2 + 3 * 0.985**step * (1 + 0.05 * (step % 3))
        lines.append({"step": step, "kind": "train", "loss": loss, "seconds_per_step": pace})
        if step % 100 == 0:
            lines.append({"step": step, "kind": "validation", "word_error_rate": rates[step // 100 - 1]})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    place = folder / "evaluations" / f"best_{split}"
    write_evaluation(place, references, hypotheses, checkpoint or str(folder / "best"), split=split, **figures)
    if plain is not None:
        write_evaluation(place / "baseline_plain", references, plain, split=split, **figures)
    return folder


def write_study(folder: Path, utterances: int = 160, speakers: int = 20) -> list[Path]:
    """Four strategies and plain Whisper beside the first."""
    references = sentences(utterances, seed=1)
    kinds = {
        "full": (0.13, 40_000_000, 900.0, 12.0, 1e-5),
        "lora": (0.14, 900_000, 520.0, 6.0, 1e-3),
        "frozen_encoder": (0.17, 22_000_000, 610.0, 8.5, 1e-5),
        "dual_frozen_primary": (0.15, 5_400_000, 700.0, 9.2, 1e-4),
    }
    runs = []
    for number, (name, (rate, trained, seconds, memory, learning_rate)) in enumerate(kinds.items()):
        runs.append(
            write_run(
                folder / name,
                references,
                misheard(references, rate, seed=10 + number),
                config={
                    "model.strategy": name.removeprefix("dual_"),
                    "model.dual_attention": name.startswith("dual_"),
                    "optimizer.learning_rate": learning_rate,
                },
                summary={
                    "trainable_parameters": trained,
                    "seconds": seconds,
                    "peak_memory_bytes": int(memory * 2**30),
                    "utterances_per_second": 3200 / seconds,
                    "strategy": name.removeprefix("dual_"),
                },
                rates=[rate * factor + 0.01 * number for factor in (2.6, 1.6, 1.15, 1.05)],
                plain=misheard(references, 0.31, seed=5) if not number else None,
                speakers=speakers,
            )
        )
    return runs
