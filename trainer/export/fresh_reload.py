"""Loads an exported folder in a fresh Python, as on a machine without this project, and writes its logits.

``python -I fresh_reload.py FOLDER INPUTS OUTPUT``. It must not import this project, since it tests the code in the
folder. INPUTS and OUTPUT are safetensors files.
"""

import json
import sys
from pathlib import Path


def main(folder: str, inputs: str, output: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    has_code = "auto_map" in json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    model, info = AutoModelForSpeechSeq2Seq.from_pretrained(
        folder, trust_remote_code=has_code, dtype=torch.float32, output_loading_info=True
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            sys.exit(f"{problem}: {sorted(info[problem])[:3]}")
    home = type(model).__module__
    if not home.startswith("transformers_modules." if has_code else "transformers.models."):
        sys.exit(f"the code that ran is {home}, not the folder's")
    AutoProcessor.from_pretrained(folder, trust_remote_code=has_code)
    with torch.no_grad():
        save_file({"logits": model.eval()(**load_file(inputs)).logits}, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
