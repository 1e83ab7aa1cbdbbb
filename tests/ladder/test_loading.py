"""Opening checkpoints: with the project and without, plain as dual and dual as plain, and damaged ones."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import modeling
from modeling import DualWhisperForConditionalGeneration
from tests.ladder import ask_stranger, stranger


@pytest.fixture
def checkpoint(trained: Any, plain_folder: Path, tmp_path: Path) -> Path:
    """A trained dual model and its processor, as a run writes them."""
    folder = tmp_path / "checkpoint"
    trained.save_pretrained(folder)
    for file in plain_folder.iterdir():
        if not (folder / file.name).exists() and file.suffix in (".json", ".txt"):
            shutil.copy(file, folder)
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Five seconds of noise, 16 kHz, mono, 16 bits."""
    samples = np.random.default_rng(0).normal(0, 3000, 5 * 16_000).astype("<i2")
    with wave.open(str(tmp_path / "noise.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return tmp_path / "noise.wav"


@pytest.mark.promise("opens with its own code")
def test_a_checkpoint_opens_where_this_project_is_not(trained: Any, checkpoint: Path, tmp_path: Path) -> None:
    found = ask_stranger(tmp_path, checkpoint, "model")
    expected = stranger.outputs(trained)
    assert found["module"].startswith("transformers_modules.")
    assert found["tokens"] == expected["tokens"]
    torch.testing.assert_close(torch.tensor(found["logits"]), torch.tensor(expected["logits"]), atol=1e-3, rtol=1e-4)


@pytest.mark.promise("opens with its own code")
def test_without_its_head_too(trained: Any, checkpoint: Path, tmp_path: Path) -> None:
    found = ask_stranger(tmp_path, checkpoint, "bare")
    assert found["module"].startswith("transformers_modules.")
    expected = torch.tensor(stranger.states(trained.model))
    torch.testing.assert_close(torch.tensor(found["states"]), expected, atol=1e-3, rtol=1e-4)


@pytest.mark.promise("opens with its own code")
def test_code_runs_only_where_it_is_trusted(checkpoint: Path, tmp_path: Path) -> None:
    """The code in the folder would leave a file behind."""
    mark = tmp_path / "it_ran"
    with open(checkpoint / "dual_whisper.py", "a", encoding="utf-8") as file:
        file.write(f"\nopen({str(mark)!r}, 'w').close()\n")
    assert "trust_remote_code" in ask_stranger(tmp_path, checkpoint, "untrusted")["refused"]
    DualWhisperForConditionalGeneration.from_pretrained(checkpoint)
    transformers.AutoModelForSpeechSeq2Seq.from_pretrained(checkpoint)
    assert not mark.exists()
    ask_stranger(tmp_path, checkpoint, "model")
    assert mark.exists()


def suppress_timestamps(checkpoint: Path) -> None:
    """So that a model that chooses at random leaves some text."""
    generation = transformers.GenerationConfig.from_pretrained(checkpoint)
    first = generation.no_timestamps_token_id + 1
    generation.suppress_tokens = list(range(first, first + 1501))
    generation.save_pretrained(checkpoint)


@pytest.mark.promise("pipeline of one window with its own code")
def test_the_pipeline_where_this_project_is_not(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    suppress_timestamps(checkpoint)
    found = ask_stranger(tmp_path, checkpoint, "pipeline", recording)
    assert found["module"].startswith("transformers_modules.")
    model = DualWhisperForConditionalGeneration.from_pretrained(checkpoint).eval()
    processor = transformers.WhisperProcessor.from_pretrained(checkpoint)
    audio = stranger.read_wav(str(recording))[: processor.feature_extractor.n_samples]
    features = processor.feature_extractor(audio, sampling_rate=16_000, return_tensors="pt").input_features
    tokens = model.generate(features, language="az", max_new_tokens=40)
    assert found["text"]
    assert found["text"] == processor.batch_decode(tokens, skip_special_tokens=True)[0]


@pytest.mark.promise("pipeline in chunks with its own code")
def test_the_pipeline_on_a_long_recording(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    suppress_timestamps(checkpoint)
    found = ask_stranger(tmp_path, checkpoint, "chunks", recording)
    assert found["module"].startswith("transformers_modules.")
    assert found["text"]


@pytest.mark.promise("opens with its own code")
def test_with_the_project_no_flag_is_needed(trained: Any, checkpoint: Path) -> None:
    assert modeling.DualWhisperForConditionalGeneration is DualWhisperForConditionalGeneration
    model = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(checkpoint)
    assert type(model) is DualWhisperForConditionalGeneration
    for name, value in trained.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert model.proj_out.weight.data_ptr() == model.model.decoder.embed_tokens.weight.data_ptr()


@pytest.mark.promise("opens with its own code")
def test_on_disk_it_is_no_plain_whisper_at_run_time_it_is(checkpoint: Path) -> None:
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == "dual_whisper"
    model = DualWhisperForConditionalGeneration.from_pretrained(checkpoint)
    assert model.config.model_type == "whisper"  # generate() and the pipelines compare with it


def test_a_dual_checkpoint_as_plain_whisper_is_warned_of(checkpoint: Path) -> None:
    """transformers' own class reads what it knows; its warning names the other architecture."""
    script = f"import transformers; transformers.WhisperForConditionalGeneration.from_pretrained({str(checkpoint)!r})"
    environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "warning"}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert "model of type dual_whisper to instantiate a model of type whisper" in " ".join(
        (ended.stdout + ended.stderr).replace("`", "").split()
    )


@pytest.mark.promise("model, loss, gradients")
def test_a_plain_checkpoint_is_lifted_and_says_so(plain_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = DualWhisperForConditionalGeneration.from_pretrained(plain_folder)
    assert f"{plain_folder} is a plain Whisper, now lifted" in caplog.text
    for layer in model.model.decoder.layers:
        for name, value in layer.encoder_attn.state_dict().items():
            assert torch.equal(value, layer.secondary_attn.state_dict()[name])


@torch.no_grad()
def test_without_second_attentions_it_is_plain_whisper_and_lifted_later(
    plain: Any, lifted: Any, plain_folder: Path, features: torch.Tensor, tmp_path: Path
) -> None:
    single = DualWhisperForConditionalGeneration.from_pretrained(plain_folder, dual_attention=False).eval()
    assert not single.new_modules()
    for options in ({}, {"num_beams": 3}):
        said = [model.generate(features, language="en", max_new_tokens=12, **options) for model in (single, plain)]
        assert torch.equal(*said)
    single.save_pretrained(tmp_path / "single")
    assert not DualWhisperForConditionalGeneration.from_pretrained(tmp_path / "single").new_modules()
    raised = DualWhisperForConditionalGeneration.from_pretrained(tmp_path / "single", dual_attention=True).eval()
    tokens = torch.tensor([[1, 2, 3]] * 2)
    logits = [model(features, decoder_input_ids=tokens).logits for model in (raised, lifted, plain)]
    largest = logits[0].abs().max()
    assert all((logits[0] - other).abs().max() < 1e-5 * largest for other in logits[1:])
    lifted.save_pretrained(tmp_path / "dual")
    with pytest.raises(ValueError, match="dual_attention=False would leave out"):
        DualWhisperForConditionalGeneration.from_pretrained(tmp_path / "dual", dual_attention=False)


@pytest.mark.promise("damaged checkpoints are refused")
@pytest.mark.parametrize(
    "part",
    [
        "gate",
        "secondary_attn.q_proj",
        "layers.1.secondary_attn",
        "layers.0.fc1",
        "encoder.conv1.bias",
        "gate secondary",
    ],
)
def test_a_checkpoint_without_some_of_its_tensors(part: str, checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not any(word in name for word in part.split())}
    assert len(kept) < len(weights)
    save_file(kept, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks \d+ tensors of the model, such as model"):
        DualWhisperForConditionalGeneration.from_pretrained(checkpoint)


@pytest.mark.promise("damaged checkpoints are refused")
def test_truncated_weights(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(Exception, match=r"(?i)incomplete|invalid|header"):
        DualWhisperForConditionalGeneration.from_pretrained(checkpoint)


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.promise("damaged checkpoints are refused")
def test_nothing_is_unpickled(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with open(checkpoint / "pytorch_model.bin", "wb") as file:
        pickle.dump(Bomb(tmp_path / "it_ran"), file)
    with pytest.raises(OSError, match=r"safetensors"):
        DualWhisperForConditionalGeneration.from_pretrained(checkpoint)
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.promise("model, loss, gradients")
def test_other_mel_bins_are_named(trained: Any) -> None:
    with pytest.raises(ValueError, match="128 mel bins; this model was made for 80"):
        trained(torch.zeros(1, 128, 200), decoder_input_ids=torch.zeros(1, 1, dtype=torch.long))
