"""Writing a processor so that releases of transformers from 4.30 on open it; 5.x by itself writes for 5.x alone."""

import json
from pathlib import Path
from typing import Any


def save_processor(processor: Any, folder: str | Path) -> None:
    """``processor.save_pretrained``, and the same once more in the files and spellings of older releases."""
    folder = Path(folder)
    processor.save_pretrained(folder)
    # Its older place. In processor_config.json, releases from 4.38 to 4.53 take the feature extractor for a second one.
    processor.feature_extractor.save_pretrained(folder)
    (folder / "processor_config.json").unlink(missing_ok=True)
    if not (folder / "tokenizer.json").exists():  # written by an older release
        return
    config, tokenizer = read(folder / "tokenizer_config.json"), read(folder / "tokenizer.json")
    # As a list, extra_special_tokens is read from 5.0 on; under its older name by all releases.
    named = ("bos_token", "eos_token", "unk_token", "pad_token", "additional_special_tokens")
    roles = {config.get(name) for name in named[:4]}
    special = [token["content"] for token in tokenizer["added_tokens"] if token["special"]]
    config["additional_special_tokens"] = [token for token in special if token not in roles]
    config.pop("extra_special_tokens", None)
    write(folder / "tokenizer_config.json", config)
    # Merges as "a b", since tokenizers before 0.20 reads no pairs; in a byte vocabulary no token holds a space.
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    tokenizer["model"]["merges"] = merges
    write(folder / "tokenizer.json", tokenizer)
    # For the tokenizer in Python, which WhisperProcessor opens before 5.0.
    write(folder / "vocab.json", tokenizer["model"]["vocab"])
    (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *merges, "")), encoding="utf-8")
    vocabulary = tokenizer["model"]["vocab"]
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"] if token["content"] not in vocabulary}
    write(folder / "added_tokens.json", added)
    write(folder / "special_tokens_map.json", {name: config[name] for name in named if name in config})


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
