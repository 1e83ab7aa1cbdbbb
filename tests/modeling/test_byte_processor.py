"""The byte processor gives Whisper's special tokens in Whisper's order and any text back, also after saving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from modeling.byte_processor import build_byte_processor, generation_config_for

LANGUAGES_TO_AZERBAIJANI = [f"<|{code}|>" for code in list(LANGUAGES)[: list(LANGUAGES).index("az") + 1]]
TEXTS = [
    "",
    " ",
    "səkkiz üç dörd",
    " Salam,  dünya ! it 's\t\n\r\n ",
    "İıƏə ŞşĞğ",
    "e\u0301 é 日本語 🎧 \U0010ffff",
    "\x00\x1f\x7f\x80\xa0\xad\u2028\ufeff\ufffd",
    "<| |> <|12|> |>",
    "".join(map(chr, range(0x250))),
]


@pytest.fixture(scope="module")
def processor() -> WhisperProcessor:
    return build_byte_processor(["tr", "az"])


@pytest.fixture(scope="module")
def tokenizer(processor: WhisperProcessor) -> WhisperTokenizer:
    return processor.tokenizer


@pytest.fixture(scope="module")
def saved(processor: WhisperProcessor, tmp_path_factory: pytest.TempPathFactory) -> WhisperProcessor:
    folder = tmp_path_factory.mktemp("processor")
    processor.save_pretrained(folder)
    return WhisperProcessor.from_pretrained(folder)


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_its_utf8_bytes_and_comes_back(tokenizer: WhisperTokenizer, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids == list(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_every_byte_has_its_own_id(tokenizer: WhisperTokenizer) -> None:
    assert len(set(tokenizer.convert_ids_to_tokens(list(range(256))))) == 256


def test_tokens_stand_in_whispers_order(tokenizer: WhisperTokenizer) -> None:
    special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *LANGUAGES_TO_AZERBAIJANI,
        *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
    ]
    timestamps = ["<|%.2f|>" % (index * 0.02) for index in range(1501)]
    assert tokenizer.convert_tokens_to_ids(special) == list(range(256, 256 + len(special)))
    assert sorted(tokenizer.all_special_ids) == list(range(256, 256 + len(special)))
    assert tokenizer.convert_tokens_to_ids(timestamps) == list(range(256 + len(special), len(tokenizer)))
    assert tokenizer.timestamp_ids() == tokenizer.convert_tokens_to_ids(timestamps)
    assert timestamps[-1] == "<|30.00|>"


def test_named_roles_are_end_of_text(tokenizer: WhisperTokenizer) -> None:
    assert {tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token} == {"<|endoftext|>"}
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 256


def test_labels_carry_language_and_task(tokenizer: WhisperTokenizer) -> None:
    fresh = build_byte_processor(["az"]).tokenizer
    assert fresh.convert_ids_to_tokens(fresh("a").input_ids) == [
        *("<|startoftranscript|>", "<|notimestamps|>", "a", "<|endoftext|>")
    ]
    fresh.set_prefix_tokens(language="az", task="transcribe")
    labels = fresh("üç").input_ids
    prefix = ["<|startoftranscript|>", "<|az|>", "<|transcribe|>", "<|notimestamps|>"]
    assert labels == [*fresh.convert_tokens_to_ids(prefix), *"üç".encode(), 256]
    assert fresh.decode(labels, skip_special_tokens=True) == "üç"


def test_every_language_gets_its_own_token_in_the_prefix() -> None:
    tokenizer = build_byte_processor(list(LANGUAGES)).tokenizer
    for code in LANGUAGES:
        tokenizer.set_prefix_tokens(language=code)
        assert tokenizer.convert_ids_to_tokens(tokenizer.prefix_tokens)[1] == f"<|{code}|>"


def test_decoded_text_has_timestamps_only_on_request(tokenizer: WhisperTokenizer) -> None:
    ids = tokenizer("<|0.00|>üç<|1.98|>").input_ids
    assert len(ids) == 2 + 1 + len("üç".encode()) + 1 + 1  # prefix, timestamp, bytes, timestamp, end
    assert tokenizer.decode(ids, skip_special_tokens=True) == "üç"
    assert tokenizer.decode(ids, skip_special_tokens=True, decode_with_timestamps=True) == "<|0.00|>üç<|1.98|>"


def test_saved_processor_gives_the_same_ids(processor: WhisperProcessor, saved: WhisperProcessor) -> None:
    assert saved.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert saved.tokenizer.all_special_ids == processor.tokenizer.all_special_ids
    assert saved.tokenizer.pad_token_id == 256
    for text in [*TEXTS, "<|startofprev|> bir", "<|0.00|> bir<|0.40|>"]:
        ids = processor.tokenizer(text).input_ids
        assert saved.tokenizer(text).input_ids == ids
        assert saved.tokenizer.decode(ids, skip_special_tokens=True) == processor.tokenizer.decode(
            ids, skip_special_tokens=True
        )


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_features_have_the_asked_mel_bins(num_mel_bins: int) -> None:
    processor = build_byte_processor(["az"], num_mel_bins=num_mel_bins)
    features = processor(np.zeros(1600, np.float32), sampling_rate=16_000, return_tensors="np").input_features
    assert features.shape == (1, num_mel_bins, 3000)


def test_order_and_repeats_of_languages_have_no_effect(tokenizer: WhisperTokenizer) -> None:
    assert build_byte_processor(["az", "tr", "az"]).tokenizer.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("language", ["aze", "AZ", "azerbaijani", "Azerbaijan"])
def test_unknown_language_names_the_nearest(tokenizer: WhisperTokenizer, language: str) -> None:
    for build in (build_byte_processor, lambda languages: generation_config_for(tokenizer, languages)):
        with pytest.raises(ValueError, match=f"{language!r}; the nearest is 'az'"):
            build(["tr", language])


@pytest.mark.parametrize("languages", [[], "az"])
def test_languages_must_be_a_list_with_something_in_it(languages: list[str] | str) -> None:
    with pytest.raises(ValueError, match="languages="):
        build_byte_processor(languages)


def test_generation_config_is_as_on_the_hub(tokenizer: WhisperTokenizer, tmp_path: Path) -> None:
    generation_config_for(tokenizer, ["az", "tr"], max_length=200).save_pretrained(tmp_path)
    config: Any = GenerationConfig.from_pretrained(tmp_path)  # its Whisper fields are not declared
    ids = tokenizer.convert_tokens_to_ids
    assert config.lang_to_id == {"<|az|>": ids("<|az|>"), "<|tr|>": ids("<|tr|>")}
    assert config.task_to_id == {"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")}
    assert config.no_timestamps_token_id == ids("<|notimestamps|>")
    assert config.decoder_start_token_id == ids("<|startoftranscript|>")
    assert config.prev_sot_token_id == ids("<|startofprev|>")
    assert config.eos_token_id == config.pad_token_id == config.bos_token_id == 256
    assert config.is_multilingual is True and config.return_timestamps is False
    assert config.max_initial_timestamp_index == 50 and config.max_length == 200
    assert config.suppress_tokens is None and config.begin_suppress_tokens is None


def test_generation_config_needs_the_languages_tokens(tokenizer: WhisperTokenizer) -> None:
    with pytest.raises(ValueError, match=r"no <\|yue\|>"):
        generation_config_for(tokenizer, ["az", "yue"])


def test_model_generates_with_the_config(tokenizer: WhisperTokenizer) -> None:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=50,
        pad_token_id=256,
        bos_token_id=256,
        eos_token_id=256,
        decoder_start_token_id=257,
    )
    model = WhisperForConditionalGeneration(config).eval()
    model.generation_config = generation_config_for(tokenizer, ["az", "tr"])
    decoded: list[torch.Tensor] = []
    model.model.decoder.register_forward_pre_hook(
        lambda _decoder, _positional, named: decoded.append(named["input_ids"]), with_kwargs=True
    )
    features = torch.zeros(2, 80, 100)
    model.generate(features, language="az", task="transcribe", max_new_tokens=3)
    prefix = ["<|startoftranscript|>", "<|az|>", "<|transcribe|>", "<|notimestamps|>"]
    assert decoded[0].tolist() == [tokenizer.convert_tokens_to_ids(prefix)] * 2
    detected = model.detect_language(features).tolist()
    assert set(detected) <= set(model.generation_config.lang_to_id.values())
