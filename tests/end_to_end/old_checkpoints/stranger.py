"""Opens checkpoints as somebody does who has torch and transformers and not this project; prints JSON.

python -I stranger.py FOLDER...
"""

import json
import sys

import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor


@torch.no_grad()
def opened(folder: str) -> dict:
    """Where the model's code comes from, what it lacked, and some logits of one input."""
    model, found = AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    frames = 2 * model.config.max_source_positions
    features = torch.randn(1, model.config.num_mel_bins, frames, generator=torch.Generator().manual_seed(2))
    logits = model.eval()(input_features=features, decoder_input_ids=torch.arange(97, 106)[None]).logits
    return {
        "module": type(model).__module__,
        "problems": sorted(found["missing_keys"]) + sorted(found["unexpected_keys"]),
        "logits": logits[0, :, 90:130].tolist(),
    }


if __name__ == "__main__":
    print(json.dumps([opened(folder) for folder in sys.argv[1:]]))
