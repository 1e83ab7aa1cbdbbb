"""What a checkpoint's tokenizer and generation config make of a transcript: its length, and what cannot be decoded."""

import functools
from dataclasses import dataclass
from typing import Any

from .. import storage
from ..batches.generation_limits import GenerationLimits
from ..errors import DataError
from ..preparation.special_tokens import own_tokens


@dataclass(frozen=True)
class Label:
    """A transcript as a label.

    Attributes:
        tokens: of the text, as :class:`data.batches.labels.LabelEncoder` makes them.
        special: a token of the tokenizer's own among them, or None.
        forbidden: what of the generation config forbids it, or None.
    """

    tokens: int
    special: str | None
    forbidden: str | None


@dataclass(frozen=True)
class LabelReader:
    """A checkpoint's tokenizer, its own tokens by their ids, and its generation config's limits."""

    tokenizer: Any
    special: dict[int, str]
    limits: GenerationLimits
    prompt: int

    def read(self, text: str) -> Label:
        ids = self.tokenizer(f" {text}", add_special_tokens=False).input_ids
        special = next((self.special[number] for number in ids if number in self.special), None)
        needs = self.limits.needs(ids, self.prompt)
        return Label(len(ids), special, self.limits.described(needs, self.tokenizer.decode) if needs else None)


@functools.lru_cache(maxsize=2)
def open_labels(name: str) -> LabelReader:
    """The tokenizer and generation config of a checkpoint, opened once in each process.

    Raises:
        DataError: if there is no tokenizer; without a generation config nothing is forbidden.
    """
    from transformers import GenerationConfig, WhisperProcessor

    try:
        tokenizer: Any = WhisperProcessor.from_pretrained(name).tokenizer
    except Exception as error:  # tokenizers raises the plainest kind
        raise DataError(f"cannot open the tokenizer of {name}: {storage.reason(error)}") from None
    try:
        values = GenerationConfig.from_pretrained(name).to_dict()
    except Exception:  # none, or damaged: training tells
        values = {}
    prompt = 2 if values.get("is_multilingual") is False else 4
    return LabelReader(tokenizer, own_tokens(tokenizer), GenerationLimits(values, tokenizer.eos_token_id), prompt)
