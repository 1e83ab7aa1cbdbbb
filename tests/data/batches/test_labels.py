"""Decoder input and labels as Whisper expects them: its prompt unlearned, its text and first end-of-text learned."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from data.batches.labels import IGNORED, LabelEncoder
from data.errors import DataError
from modeling.byte_processor import build_byte_processor


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_byte_processor(["az", "tr"]).tokenizer


def tokens(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    return [tokenizer.convert_ids_to_tokens(i) if i >= 256 else chr(i) for i in ids]


def test_multilingual_prompt_and_shifted_labels(tokenizer: PreTrainedTokenizerBase) -> None:
    ids, labels = LabelEncoder(tokenizer, True, "az").encode("bir", None)
    prompt = ["<|startoftranscript|>", "<|az|>", "<|transcribe|>", "<|notimestamps|>"]
    assert tokens(tokenizer, ids) == [*prompt, " ", "b", "i", "r"]
    assert labels[:3] == [IGNORED] * 3
    assert tokens(tokenizer, labels[3:]) == [" ", "b", "i", "r", "<|endoftext|>"]
    assert len(ids) == len(labels)
    assert labels[3:-1] == ids[4:], "each label is the next input"


def test_the_prompt_is_that_of_transformers(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.set_prefix_tokens(language="tr", task="translate", predict_timestamps=False)
    expected = tokenizer("").input_ids[:-1]
    tokenizer.set_prefix_tokens()
    assert LabelEncoder(tokenizer, True, "tr", "translate").prompt(None) == expected


def test_a_row_s_language_goes_before_the_config_s(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = LabelEncoder(tokenizer, True, "az")
    assert tokens(tokenizer, encoder.prompt("tr"))[1] == "<|tr|>"
    assert tokens(tokenizer, encoder.prompt(None))[1] == tokens(tokenizer, encoder.prompt(""))[1] == "<|az|>"


def test_english_only_models_have_no_language_and_no_task(tokenizer: PreTrainedTokenizerBase) -> None:
    for language in (None, "en"):
        ids, labels = LabelEncoder(tokenizer, False, language).encode("one", None)
        assert tokens(tokenizer, ids[:2]) == ["<|startoftranscript|>", "<|notimestamps|>"]
        assert labels[0] == IGNORED and tokens(tokenizer, labels[1:2]) == [" "]
    with pytest.raises(DataError, match=r"data\.language is 'az'"):
        LabelEncoder(tokenizer, False, "az")
    with pytest.raises(DataError, match=r"data\.task"):
        LabelEncoder(tokenizer, False, None, "translate")


def test_padding_is_ignored_and_the_first_end_of_text_is_not(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = LabelEncoder(tokenizer, True, "az")
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert end == tokenizer.pad_token_id, "the trap: both are the same token"
    inputs, labels = encoder.pad([encoder.encode("bir", None), encoder.encode("üç iki", None)])
    assert inputs.dtype == labels.dtype == torch.int64
    assert inputs.shape == labels.shape == (2, 4 + len(" üç iki".encode()))
    assert (labels == end).sum(dim=1).tolist() == [1, 1]
    assert labels[0, 3:].tolist() == [*b" bir", end, *[IGNORED] * 5]
    assert inputs[0, 4:].tolist() == [*b" bir", *[end] * 5]
    assert (labels != IGNORED).sum(dim=1).tolist() == [5, 1 + len(" üç iki".encode())]


def test_text_is_trimmed_and_begins_with_a_space(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = LabelEncoder(tokenizer, True, "az")
    assert encoder.encode("  bir\n", None) == encoder.encode("bir", None)


@pytest.mark.parametrize(
    ("language", "hint"),
    [("azz", "not one of"), ("turkich", "'tr'"), ("Azerbajani", "'az'"), ("5", "not one of")],
)
def test_unknown_language_names_the_nearest(tokenizer: PreTrainedTokenizerBase, language: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        LabelEncoder(tokenizer, True, language)
    assert repr(language) in str(caught.value) and hint in str(caught.value)
    with pytest.raises(DataError):
        LabelEncoder(tokenizer, True, "az").encode("bir", language)


@pytest.mark.parametrize("language", ["transcribe", "notimestamps", "0.00"])
def test_a_token_that_is_no_language_is_refused(tokenizer: PreTrainedTokenizerBase, language: str) -> None:
    with pytest.raises(DataError, match="not one of the tokenizer's"):
        LabelEncoder(tokenizer, True, language)


def test_missing_language(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = LabelEncoder(tokenizer, True, None)
    assert encoder.encode("bir", "az")
    with pytest.raises(DataError, match=r"data\.language is missing"):
        encoder.encode("bir", None)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_text(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    with pytest.raises(DataError, match="the text is empty"):
        LabelEncoder(tokenizer, True, "az").encode(text, None)


def test_text_too_long(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = LabelEncoder(tokenizer, True, "az", max_tokens=20)
    ids, labels = encoder.encode("x" * 15, None)
    assert len(ids) == len(labels) == 20
    with pytest.raises(DataError, match="17 tokens long; 16 fit"):
        encoder.encode("x" * 16, None)


def test_a_tokenizer_that_is_not_whisper_s(tokenizer: PreTrainedTokenizerBase) -> None:
    from transformers import ByT5Tokenizer

    with pytest.raises(DataError, match="not Whisper's"):
        LabelEncoder(ByT5Tokenizer(), True, "az")


def test_threads_may_encode_at_once(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = LabelEncoder(tokenizer, True, "az")
    texts = [f"söz {i}" for i in range(400)]
    with ThreadPoolExecutor(8) as pool:
        encoded = list(pool.map(lambda text: encoder.encode(text, None), texts))
    assert encoded == [encoder.encode(text, None) for text in texts]


@pytest.mark.parametrize("token", ["<|endoftext|>", "<|startoftranscript|>", "<|az|>", "<|notimestamps|>"])
def test_a_special_token_that_is_written_out_is_no_word(tokenizer: PreTrainedTokenizerBase, token: str) -> None:
    with pytest.raises(DataError, match=rf"the text holds '{re.escape(token)}', which is a special token of Whisper's"):
        LabelEncoder(tokenizer, True, "az").encode(f"bir {token} iki", None)


@pytest.mark.parametrize("text", ["<|0.00|> bir<|1.00|>", "bir<|29.98|>"])
def test_timestamps_that_are_written_out_are_not_trained_on(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    with pytest.raises(
        DataError, match=r"the text holds the timestamp '<\|\d+\.\d\d\|>', and training with timestamps"
    ):
        LabelEncoder(tokenizer, True, "az").encode(text, None)


def test_what_only_looks_like_a_special_token_is_text(tokenizer: PreTrainedTokenizerBase) -> None:
    for text in ("<|laughs|>", "<|AZ|>", "a <| b |>", "< |az|>", "0.00"):
        ids, _ = LabelEncoder(tokenizer, True, "az").encode(text, None)
        assert bytes(ids[4:]).decode() == f" {text}"


def test_words_that_were_added_to_a_tokenizer_may_be_learned_and_its_own_special_ones_not() -> None:
    tokenizer = build_byte_processor(["az"]).tokenizer
    tokenizer.add_tokens(["ə", "<|word|>"])
    tokenizer.add_tokens(["[own]"], special_tokens=True)
    encoder = LabelEncoder(tokenizer, True, "az")
    assert encoder.encode("bir ə", None)[0][-1] == tokenizer.get_vocab()["ə"]
    for token in ("[own]", "<|word|>"):
        with pytest.raises(DataError, match=re.escape(token)):
            encoder.encode(f"bir {token}", None)
