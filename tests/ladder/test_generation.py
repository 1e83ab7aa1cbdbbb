"""``generate()``: with the cache as without it, and before any training as plain Whisper."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeling.network.encoder import MARGIN_FRAMES, fit_to_clips

WAYS = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "sampling": {"do_sample": True, "top_k": 5},
    "several beams returned": {"num_beams": 4, "num_return_sequences": 2},
    "several samples returned": {"do_sample": True, "num_return_sequences": 2},
    "translation": {"language": "az", "task": "translate"},
    "scores": {"num_beams": 2, "return_dict_in_generate": True, "output_scores": True},
    "timestamps": {"return_timestamps": True},
    "timestamps with beams": {"return_timestamps": True, "num_beams": 3},
    "prompt": {"prompt": "Digits.", "num_beams": 2},
}
# Samples depend on the rows before; with scores, some releases return the first row of a batch alone.
NOT_ROW_BY_ROW = ("sampling", "several samples returned", "scores")
LONG_FORM = {
    "sequential": {},
    "sequential with beams": {"num_beams": 2},
    "temperature fallback": {
        "temperature": (0.0, 0.4, 0.8),
        "logprob_threshold": -1.0,
        "compression_ratio_threshold": 1.35,
        "no_speech_threshold": 0.6,
    },
    "conditioned on what came before": {"condition_on_prev_tokens": True, "temperature": (0.0, 0.4)},
}


@torch.no_grad()
def generate(model: Any, features: torch.Tensor, tokens: int = 20, **options: Any) -> dict[str, torch.Tensor]:
    """The tokens that ``generate()`` chooses, and what else it tells, under one seed."""
    torch.manual_seed(5)
    if "prompt" in options:
        previous = model.generation_config.prev_sot_token_id
        options["prompt_ids"] = torch.tensor([previous, *options.pop("prompt").encode()])
    output = model.generate(features, max_new_tokens=tokens, **options)
    if isinstance(output, torch.Tensor):
        return {"sequences": output}
    return {key: output[key] for key in ("sequences", "token_timestamps", "sequences_scores") if key in output}


def check(plain: Any, lifted: Any, trained: Any, features: torch.Tensor, **options: Any) -> None:
    """Lifted equals plain Whisper; trained equals itself without a cache, and is another model than plain Whisper."""
    expected = generate(plain, features, **options)
    assert_equal(generate(lifted, features, **options), expected)
    cached = generate(trained, features, **options)
    assert_equal(cached, generate(trained, features, use_cache=False, **options))
    assert (
        cached["sequences"].shape != expected["sequences"].shape or (cached["sequences"] != expected["sequences"]).any()
    )


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, theirs[key], atol=1e-4, rtol=1e-4)
        else:
            assert value.tolist() == theirs[key].tolist(), key


@pytest.mark.promise("generation")
@pytest.mark.parametrize("way", WAYS)
def test_one_window(way: str, plain: Any, lifted: Any, trained: Any, features: torch.Tensor) -> None:
    check(plain, lifted, trained, features, **{"language": "en"} | WAYS[way])


@pytest.mark.promise("generation")
def test_one_recording_whose_language_nobody_told(
    plain: Any, lifted: Any, trained: Any, features: torch.Tensor
) -> None:
    check(plain, lifted, trained, features[:1])


@pytest.mark.promise("language detection")
def test_detected_languages(plain: Any, lifted: Any, trained: Any, features: torch.Tensor) -> None:
    assert lifted.detect_language(features).tolist() == plain.detect_language(features).tolist()
    for row in range(2):
        alone = trained.detect_language(features[row : row + 1])
        assert alone.item() == trained.detect_language(features)[row].item()


@pytest.mark.promise("a language for each recording of a batch")
def test_a_language_each(plain: Any, lifted: Any, trained: Any, features: torch.Tensor) -> None:
    check(plain, lifted, trained, features, language=["az", "en"], task="transcribe")


@pytest.mark.promise("token timestamps")
@pytest.mark.parametrize("beams", [1, 2])
def test_token_timestamps(beams: int, plain: Any, lifted: Any, features: torch.Tensor) -> None:
    options = {"language": "en", "return_token_timestamps": True, "num_beams": beams}
    ours, theirs = generate(lifted, features, **options), generate(plain, features, **options)
    assert "token_timestamps" in ours
    assert_equal(ours, theirs)


@pytest.mark.promise("long recordings, window after window")
@pytest.mark.parametrize("way", LONG_FORM)
def test_long_recordings(way: str, plain: Any, lifted: Any, trained: Any) -> None:
    features = torch.randn(2, 80, 470, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(2, 470, dtype=torch.long)
    mask[1, 330:] = 0
    features[1, :, 330:] = 0
    options = {"language": "en", "return_timestamps": True, "attention_mask": mask, **LONG_FORM[way]}
    check(plain, lifted, trained, features, **options)
    trained.config.encoder_padding = "clip"
    at_clip_length = generate(trained, features, **options)
    assert_equal(at_clip_length, generate(trained, features, use_cache=False, **options))


def clips() -> tuple[torch.Tensor, list[int]]:
    """Three clips of noise padded to the window with silence, and the frames of each that may be seen."""
    features = torch.randn(3, 80, 200, generator=torch.Generator().manual_seed(4))
    lengths = [64, 150, 200]
    for row, length in enumerate(lengths):
        features[row, :, length:] = -10
    features = torch.maximum(features, features.amax(dim=(1, 2), keepdim=True) - 2)  # as the feature extractor does
    return features, [min(length - 1 + MARGIN_FRAMES + 1, 200) for length in lengths]


@pytest.mark.promise("clips as long as they are")
@pytest.mark.parametrize("way", [way for way in WAYS if way not in NOT_ROW_BY_ROW])
def test_a_clip_decodes_as_it_does_alone(way: str, trained: Any) -> None:
    """A model trained at clip length finds each clip's end, and masks what lies beyond it through beams and caches."""
    trained.config.encoder_padding = "clip"
    features, _ = clips()
    options = {"language": "en"} | WAYS[way]
    together = generate(trained, features, **options)["sequences"].tolist()
    returned = options.get("num_return_sequences", 1)
    for row in range(3):
        alone = generate(trained, features[row : row + 1], **options)["sequences"].tolist()
        for place, tokens in enumerate(alone):
            batched = together[row * returned + place]
            assert batched[: len(tokens)] == tokens
            assert set(batched[len(tokens) :]) <= {trained.generation_config.pad_token_id}


@pytest.mark.promise("clips as long as they are")
@pytest.mark.parametrize("frames", [64, 96, 200])
def test_zeros_that_generate_pads_with_are_silence(frames: int, trained: Any) -> None:
    """transformers pads short features with zeros, which as a log-mel value are no silence."""
    trained.config.encoder_padding = "clip"
    features, _ = clips()
    expected = generate(trained, features[:1], language="en")
    short = features[:1, :, :frames].clone()
    short[:, :, 64:] = 0.0
    assert_equal(generate(trained, short, language="en"), expected)


@pytest.mark.promise("clips as long as they are")
@torch.no_grad()
def test_the_mask_is_not_lost_in_a_tuple(trained: Any) -> None:
    trained.config.encoder_padding = "clip"
    features, _ = clips()
    ids = torch.arange(27).view(3, 9)
    expected = trained(features, decoder_input_ids=ids).logits
    encoded = trained.get_encoder()(features, return_dict=False)
    assert isinstance(encoded, tuple)
    torch.testing.assert_close(trained(encoder_outputs=encoded, decoder_input_ids=ids).logits, expected)


@pytest.mark.promise("clips as long as they are")
@pytest.mark.parametrize("samples", [8000, 8001, 8130, 16_000, 16_159, 30_000])
@torch.no_grad()
def test_lengths_found_in_a_recording(samples: int, trained: Any) -> None:
    """Within a frame of the samples' end and the margin, whatever silence is added; digital silence does not count."""
    from transformers import WhisperFeatureExtractor

    noise = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    extractor = WhisperFeatureExtractor(chunk_length=2)
    trained_on = min(-(-samples // 160) + MARGIN_FRAMES, 200)
    for audio in (noise, np.concatenate([noise, np.zeros(1000, np.float32)])):
        features = extractor(audio[:32_000], sampling_rate=16_000, return_tensors="pt").input_features
        _, (found,) = fit_to_clips(features, 200)
        assert found % 2 == 0
        assert abs(found - trained_on) <= 2


@pytest.mark.promise("clips as long as they are")
@torch.no_grad()
def test_found_lengths_are_those_that_training_tells(trained: Any) -> None:
    trained.config.encoder_padding = "clip"
    features, lengths = clips()
    told, found = trained.get_encoder()(features, feature_lengths=lengths), trained.get_encoder()(features)
    assert found.frame_lengths.tolist() == told.frame_lengths.tolist() == [length // 2 for length in lengths]
    torch.testing.assert_close(found.last_hidden_state, told.last_hidden_state)


@pytest.mark.promise("pipeline in chunks, as plain Whisper")
@pytest.mark.parametrize("timestamps", [False, True])
def test_the_pipeline_in_chunks(timestamps: bool, plain: Any, lifted: Any, trained: Any, plain_folder: Path) -> None:
    """Overlapping windows of one long recording, batched, joined by transformers."""
    import transformers

    processor = transformers.WhisperProcessor.from_pretrained(plain_folder)
    audio = np.random.default_rng(0).normal(0, 0.1, 5 * 16_000).astype(np.float32)

    def hear(model: Any, **options: Any) -> Any:
        transcribe = transformers.pipeline(
            "automatic-speech-recognition",
            model=model,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
        )
        generation = {"language": "en", "max_new_tokens": 12, "num_beams": 1, **options}
        extra = {"return_timestamps": True} if timestamps else {}
        return transcribe(audio.copy(), chunk_length_s=2, batch_size=2, generate_kwargs=generation, **extra)

    assert hear(lifted) == hear(plain)
    assert hear(trained) == hear(trained, use_cache=False)
    assert hear(trained) != hear(plain)
