"""Opens a checkpoint as somebody does who has torch and transformers and not this project; prints JSON.

python -I stranger.py FOLDER {model,bare,second,pipeline,chunks,untrusted} [RECORDING.wav]
"""

import json
import sys
import wave
from typing import Any

import numpy as np
import torch
import transformers


def read_wav(path: str) -> np.ndarray:
    """16-bit samples as float32 in [-1, 1]."""
    with wave.open(path) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float32) / 2**15


def main(folder: str, what: str, recording: str = "") -> dict:
    if what == "untrusted":
        try:
            transformers.AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=False)
        except ValueError as error:
            return {"refused": str(error)}
        return {}
    if what in ("pipeline", "chunks"):
        transcribe = transformers.pipeline("automatic-speech-recognition", model=folder, trust_remote_code=True)
        audio = read_wav(recording)
        window = transcribe.feature_extractor.n_samples
        options: dict = {"generate_kwargs": {"language": "az", "max_new_tokens": 40, "num_beams": 1}}
        if what == "chunks":
            options |= {"chunk_length_s": window / 16_000, "batch_size": 2}
        else:
            audio = audio[:window]
        return {"module": type(transcribe.model).__module__, "text": transcribe(audio, **options)["text"]}
    if what == "bare":
        model = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
        return {"module": type(model).__module__, "states": states(model)}
    model = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=True).eval()
    return {"module": type(model).__module__, **(heard_with_second if what == "second" else outputs)(model)}


@torch.no_grad()
def states(model: Any) -> list:
    """What a model without its head makes of one input."""
    features = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(2))
    return model(features, decoder_input_ids=torch.arange(9)[None]).last_hidden_state.tolist()


@torch.no_grad()
def outputs(model: Any) -> dict:
    """What a model makes of one input: logits of some of the vocabulary, and tokens that beams choose."""
    features = torch.randn(2, 80, 200, generator=torch.Generator().manual_seed(2))
    logits = model(input_features=features, decoder_input_ids=torch.arange(18).view(2, 9)).logits
    return {
        "encoder_padding": model.config.encoder_padding,
        "logits": logits[..., :50].tolist(),
        "tokens": model.generate(features, language="az", max_new_tokens=12, num_beams=2).tolist(),
    }


@torch.no_grad()
def heard_with_second(model: Any) -> dict:
    """What a model makes of the same clip twice, with a second recording and without one, stacked."""
    first, second = torch.randn(2, 1, 80, 200, generator=torch.Generator().manual_seed(2))
    both = torch.cat((first, second), dim=1)
    alone = torch.cat((first, torch.full_like(second, -0.5)), dim=1)
    features = torch.cat((both, alone))
    logits = model(input_features=features, decoder_input_ids=torch.arange(18).view(2, 9)).logits
    tokens = model.generate(features, language="az", max_new_tokens=12, num_beams=2)
    return {"logits": logits[..., :50].tolist(), "tokens": tokens.tolist()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
