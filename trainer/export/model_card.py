"""The README.md of an exported folder: what the model is, how to load it, and how its run trained it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.reading import read_yaml
from ..record.best import BEST, read_record
from ..record.checkpoints import read_state
from ..record.journal import whole_rows

BOTH_RECORDINGS = """\
import torch

# clip: what is to be transcribed; second: recorded beside it. Mono, 16 kHz, float32, at most 30 s each.
sounds = (processor(sound, sampling_rate=16_000, return_tensors="pt") for sound in (clip, second))
features = torch.cat([sound.input_features for sound in sounds], dim=1)
tokens = model.generate(features)
print(processor.batch_decode(tokens, skip_special_tokens=True))"""


@dataclass(frozen=True)
class Origin:
    """A checkpoint's place in its run; None for what is not known.

    Attributes:
        step: optimizer updates done.
        word_error_rate: at that step, on the run's validation data, as a fraction.
        language: ISO 639-1 code of the run's data.
    """

    step: int | None = None
    word_error_rate: float | None = None
    language: str | None = None


def origin_of(checkpoint: Path) -> Origin:
    """The origin of a run's ``best``, ``final`` or ``checkpoints/step_…``; unknown for other folders."""
    checkpoint = checkpoint.resolve()
    is_step = (checkpoint / "run_state.json").exists()
    run = checkpoint.parent.parent if is_step else checkpoint.parent
    if not (run / "config.yaml").exists():
        return Origin()
    config = read_yaml(run / "config.yaml")
    language = config.get("data", {}).get("language")
    rows = [row for row in whole_rows(run / "metrics.jsonl") if row.get("kind") == "validation"]
    first = "average_word_error_rate" if checkpoint.name == "final" else "word_error_rate"  # what final/ holds
    rates = {row["step"]: row.get(first, row["word_error_rate"]) for row in rows}
    step = None
    if is_step and config.get("evaluation", {}).get("average") == "alone":  # nobody evaluated the weights themselves
        return Origin(read_state(checkpoint).step, None, language)
    if is_step:
        step = read_state(checkpoint).step
    elif (record := read_record(checkpoint)) is not None:
        return Origin(record.step, record.word_error_rate, language)
    elif checkpoint.name == BEST and rows:  # of an older version
        metric = config.get("evaluation", {}).get("best_metric", "word_error_rate")
        step = min(rows, key=lambda row: (row[metric], row["step"]))["step"]
    elif checkpoint.name == "final" and (run / "summary.json").exists():
        step = json.loads((run / "summary.json").read_text(encoding="utf-8"))["steps"]
    return Origin(step, rates.get(step) if step is not None else None, language)


def write_card(folder: Path, name: str, model: Any, dtype: str, origin: Origin) -> None:
    """Write ``README.md``; ``name`` is what a reader will load it by."""
    is_dual = hasattr(model, "new_modules")
    trust = ", trust_remote_code=True" if is_dual else ""
    kind = "Whisper with a second, gated cross-attention in every decoder layer" if is_dual else "Whisper"
    header = ["library_name: transformers", "pipeline_tag: automatic-speech-recognition", "tags: [whisper]"]
    if origin.language:
        header.append(f"language: ['{origin.language}']")  # quoted: YAML takes no for false
    facts = [f"{sum(p.numel() for p in model.parameters()):,} parameters, stored in {dtype}."]
    if origin.step is not None:
        facts.append(f"Trained for {origin.step:,} steps.")
    if origin.word_error_rate is not None:
        facts.append(f"Word error rate on the run's validation data: {origin.word_error_rate:.2%}.")
    lines = [
        *("---", *header, "---", "", f"# {name.split('/')[-1]}", "", f"{kind}. {' '.join(facts)}", ""),
        *("```python", "from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor", ""),
        f'model = AutoModelForSpeechSeq2Seq.from_pretrained("{name}"{trust})',
        *(f'processor = AutoProcessor.from_pretrained("{name}")', "```"),
    ]
    if is_dual:
        lines += ["", "`trust_remote_code=True` runs the model's code, the Python files in this folder."]
        if model.config.encoder_padding == "clip":
            lines += ["", "Trained on input as long as the clip and half a second, not on 30 s windows."]
        if model.config.second_recording != "none":
            lines += ["", "The model hears a second recording of each clip: its features go below those of the first."]
            lines += ["A clip may lack it: in a batch, give features of one value in its place.", ""]
            lines += ["```python", *BOTH_RECORDINGS.split("\n"), "```"]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
