"""Builds a whole multilingual Whisper processor over bytes, for models trained from nothing where no vocabulary fits.

It knows Whisper's special tokens and how transformers stores them; it must not know about recordings or models.
"""

import difflib
import inspect
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import (
    AddedToken,
    GenerationConfig,
    PreTrainedTokenizerBase,
    WhisperFeatureExtractor,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

END_OF_TEXT = "<|endoftext|>"
START_OF_TRANSCRIPT = "<|startoftranscript|>"
TASKS = ("translate", "transcribe")
START_OF_PREVIOUS = "<|startofprev|>"
NO_TIMESTAMPS = "<|notimestamps|>"
_TASK_TOKENS = tuple(f"<|{task}|>" for task in TASKS)
_TRAILING_SPECIAL_TOKENS = (*_TASK_TOKENS, "<|startoflm|>", START_OF_PREVIOUS, "<|nospeech|>", NO_TIMESTAMPS)
_TIMESTAMP_TOKENS = tuple(f"<|{hundredths / 100:.2f}|>" for hundredths in range(0, 3002, 2))


def build_byte_processor(languages: Sequence[str], num_mel_bins: int = 80) -> WhisperProcessor:
    """Build a Whisper processor whose vocabulary is the 256 bytes, Whisper's special tokens and its timestamps.

    Ids: 0 to 255 are the bytes themselves, 256 is <|endoftext|> (also pad, bos and unk), 257 <|startoftranscript|>,
    then the language tokens, <|translate|>, <|transcribe|>, <|startoflm|>, <|startofprev|>, <|nospeech|>,
    <|notimestamps|> and 1501 timestamps 0.02 s apart: Whisper's order. The language tokens are Whisper's own from
    <|en|> to the last of `languages`, because transformers finds a language's id by its place in that list and would
    take the wrong token if one before it were left out.

    A text costs one id per UTF-8 byte. Every text comes back from its ids unchanged, save one that spells out a
    special or timestamp token: as in every Whisper tokenizer, that is read as the token.

    Args:
        languages: ISO 639-1 codes that Whisper knows, such as "az"; their order has no effect.
        num_mel_bins: mel bins of the feature extractor, 80 or, as in large-v3, 128.

    Raises:
        ValueError: no language, or one that Whisper does not know.
    """
    places = [list(LANGUAGES).index(code) for code in _known_languages(languages)]
    language_tokens = [f"<|{code}|>" for code in list(LANGUAGES)[: max(places) + 1]]
    tokenizer = _byte_tokenizer()
    # In order, for a token's id is the number of tokens before it.
    special_tokens = [START_OF_TRANSCRIPT, *language_tokens, *_TRAILING_SPECIAL_TOKENS]
    tokenizer.add_special_tokens({_extra_special_tokens_field(): special_tokens})
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in _TIMESTAMP_TOKENS])
    tokenizer.set_prefix_tokens()  # they were looked up before the tokens above existed
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=num_mel_bins), tokenizer)


def generation_config_for(
    tokenizer: PreTrainedTokenizerBase, languages: Sequence[str], max_length: int = 448
) -> GenerationConfig:
    """Build the generation config that OpenAI's checkpoints carry on the hub, with this tokenizer's ids.

    Args:
        tokenizer: a multilingual Whisper tokenizer.
        languages: ISO 639-1 codes that `generate` may be asked for and that language detection chooses from.
        max_length: tokens in a generated sequence with its prefix, at most the model's `max_target_positions`.

    Raises:
        ValueError: no language, one that Whisper does not know, or one that the tokenizer has no token for.
    """
    codes = _known_languages(languages)
    return GenerationConfig(
        max_length=max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=_token_id(tokenizer, START_OF_TRANSCRIPT),
        prev_sot_token_id=_token_id(tokenizer, START_OF_PREVIOUS),
        no_timestamps_token_id=_token_id(tokenizer, NO_TIMESTAMPS),
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": _token_id(tokenizer, f"<|{code}|>") for code in codes},
        task_to_id={task: _token_id(tokenizer, f"<|{task}|>") for task in TASKS},
        return_timestamps=False,
        max_initial_timestamp_index=50,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def bytes_of_tokens(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """The bytes of each token of text, of any byte-level vocabulary: those whose ids are below <|endoftext|>'s."""
    numbers = {character: byte for byte, character in enumerate(byte_characters())}
    names = tokenizer.convert_ids_to_tokens(list(range(tokenizer.eos_token_id)))
    return [bytes(numbers[character] for character in name if character in numbers) for name in names]


def _known_languages(languages: Sequence[str]) -> list[str]:
    """The codes in Whisper's order, each once."""
    if isinstance(languages, str) or not languages:
        raise ValueError(f"languages={languages!r}: give a list of ISO 639-1 codes, such as ['az']")
    for language in languages:
        if language not in LANGUAGES:
            raise ValueError(f"languages: Whisper does not know {language!r}; the nearest is {_nearest(language)!r}")
    return [code for code in LANGUAGES if code in languages]


def _nearest(language: str) -> str:
    """The code that was most likely meant, by code or by English name."""
    codes = {**{code: code for code in LANGUAGES}, **TO_LANGUAGE_CODE}
    return codes[difflib.get_close_matches(language.lower(), codes, n=1, cutoff=0.0)[0]]


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    vocabulary = tokenizer.get_vocab()
    if token not in vocabulary:
        raise ValueError(f"tokenizer: its vocabulary has no {token}")
    return vocabulary[token]


def _byte_tokenizer() -> WhisperTokenizer:
    vocabulary = {character: byte for byte, character in enumerate(byte_characters())} | {END_OF_TEXT: 256}
    named: dict[str, Any] = {f"{role}_token": END_OF_TEXT for role in ("pad", "bos", "eos", "unk")}
    if "vocab" in inspect.signature(WhisperTokenizer.__init__).parameters:  # transformers 5
        return WhisperTokenizer(vocab=vocabulary, merges=[], **named)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary_file.write_text(json.dumps(vocabulary), encoding="utf-8")
        merges_file.write_text("#version: 0.2\n", encoding="utf-8")
        return WhisperTokenizer(str(vocabulary_file), str(merges_file), **named)


def _extra_special_tokens_field() -> str:
    """What `add_special_tokens` calls the unnamed ones: transformers 5 renamed additional_special_tokens."""
    attributes = getattr(PreTrainedTokenizerBase, "SPECIAL_TOKENS_ATTRIBUTES", ())
    return "additional_special_tokens" if "additional_special_tokens" in attributes else "extra_special_tokens"


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2; Radford et al., 2019).

    Visible Latin-1 characters stand for themselves; the other bytes take the characters from U+0100 on, in turn.
    """
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    stand_ins = iter(range(256, 512))
    return [chr(byte if byte in visible else next(stand_ins)) for byte in range(256)]
