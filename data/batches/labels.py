"""Transcripts to decoder input and labels, with Whisper's prompt tokens."""

from dataclasses import dataclass
from typing import Any

import torch

from ..errors import DataError
from ..preparation.special_tokens import complaint, own_tokens
from ..sources.languages import nearest_language

IGNORED = -100


@dataclass(eq=False)
class LabelEncoder:
    """Prompt and text as Whisper's decoder expects them.

    Multilingual: ``<|startoftranscript|><|language|><|task|><|notimestamps|> text<|endoftext|>``; English-only models
    have no language and no task. The loss is on the text and the first end-of-text, not on the prompt.

    Args:
        tokenizer: Whisper's tokenizer.
        multilingual: as the checkpoint's generation config says (``is_multilingual``).
        language: ISO 639-1 code for rows that carry none.
        task: ``transcribe`` or ``translate``.
        max_tokens: positions of the decoder.

    Raises:
        DataError: if a language is needed and missing, or not one of the tokenizer's; from :meth:`encode` also for
            empty text, for text too long, and for text that becomes tokens of Whisper's own.
    """

    tokenizer: Any
    multilingual: bool
    language: str | None
    task: str = "transcribe"
    max_tokens: int = 448

    def __post_init__(self) -> None:
        self.vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        self.prompts: dict[str | None, list[int]] = {}
        self.special = own_tokens(self.tokenizer)
        if "<|endoftext|>" not in self.vocabulary:
            raise DataError("the tokenizer has no <|endoftext|>: it is not Whisper's")
        self.end_of_text = self.vocabulary["<|endoftext|>"]
        if not self.multilingual and self.language not in (None, "en"):
            raise DataError(f"data.language is {self.language!r}, but this checkpoint knows English only: leave it out")
        if not self.multilingual and self.task != "transcribe":
            raise DataError("data.task is 'translate', but this checkpoint knows English only")
        if self.language is not None:
            self.prompt(self.language)

    def prompt(self, language: str | None) -> list[int]:
        """The prompt's token ids, start of transcript first."""
        language = language or self.language
        if language not in self.prompts:
            tokens = ["<|startoftranscript|>"]
            if self.multilingual:
                if language is None:
                    raise DataError("data.language is missing (or columns.language): a multilingual model needs one")
                if f"<|{language}|>" not in self.vocabulary or not 2 <= len(language) <= 3:
                    special = (token for token in self.vocabulary if token.startswith("<|"))
                    codes = [token[2:-2] for token in special if 6 <= len(token) <= 7]
                    raise DataError(
                        f"language {language!r} is not one of the tokenizer's{nearest_language(language, codes)}"
                    )
                tokens += [f"<|{language}|>", f"<|{self.task}|>"]
            tokens.append("<|notimestamps|>")
            missing = [token for token in tokens if token not in self.vocabulary]
            if missing:
                raise DataError(f"the tokenizer has no {missing[0]}: it is not Whisper's")
            self.prompts[language] = [self.vocabulary[token] for token in tokens]
        return self.prompts[language]

    def encode(self, text: str, language: str | None) -> tuple[list[int], list[int]]:
        """Decoder input ids and labels of one transcript, both of the same length."""
        prompt = self.prompt(language)
        words = text.strip()
        if not words:
            raise DataError("the text is empty")
        ids = self.tokenizer(f" {words}", add_special_tokens=False).input_ids
        if len(prompt) + len(ids) > self.max_tokens:
            raise DataError(f"the text is {len(ids)} tokens long; {self.max_tokens - len(prompt)} fit the decoder")
        if not self.special.keys().isdisjoint(ids):
            token = next(self.special[number] for number in ids if number in self.special)
            raise DataError(f"the text holds {complaint(token)}")
        labels = [IGNORED] * (len(prompt) - 1) + ids + [self.end_of_text]
        return prompt + ids, labels

    def pad(self, encoded: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoder input ids and labels, both int64 [B, L], L the longest of them."""
        length = max(len(ids) for ids, _ in encoded)
        inputs = torch.full((len(encoded), length), self.end_of_text, dtype=torch.int64)
        labels = torch.full((len(encoded), length), IGNORED, dtype=torch.int64)
        for row, (ids, targets) in enumerate(encoded):
            inputs[row, : len(ids)] = torch.tensor(ids)
            labels[row, : len(targets)] = torch.tensor(targets)
        return inputs, labels
