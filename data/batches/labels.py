"""Transcripts to decoder input and labels, with Whisper's prompt tokens."""

from dataclasses import dataclass
from typing import Any

import torch

from ..errors import DataError
from ..preparation.special_tokens import complaint, own_tokens
from ..sources.languages import nearest_language
from .spoken import WindowText

IGNORED = -100
PROMPT_TOKENS = 4  # start of transcript, language, task, no timestamps
TIMESTAMP_SECONDS = 0.02  # between two timestamp tokens


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
        ids = self.text_tokens(text)
        if len(prompt) + len(ids) > self.max_tokens:
            raise DataError(f"the text is {len(ids)} tokens long; {self.max_tokens - len(prompt)} fit the decoder")
        labels = [IGNORED] * (len(prompt) - 1) + ids + [self.end_of_text]
        return prompt + ids, labels

    def text_tokens(self, text: str) -> list[int]:
        """Tokens of what is said. Raises DataError for an empty text, and for one that becomes Whisper's own tokens."""
        words = text.strip()
        if not words:
            raise DataError("the text is empty")
        ids = self.tokenizer(f" {words}", add_special_tokens=False).input_ids
        if not self.special.keys().isdisjoint(ids):
            token = next(self.special[number] for number in ids if number in self.special)
            raise DataError(f"the text holds {complaint(token)}")
        return ids

    def encode_window(self, window: WindowText, language: str | None) -> tuple[list[int], list[int]]:
        """Decoder input ids and labels of a window, both of the same length.

        With timestamps as in Whisper's training (arXiv 2212.04356, 2.3): each segment between the times of its start
        and end; of one that ends beyond the window its start alone; for silence ``<|0.00|>`` alone. The text before
        stands after ``<|startofprev|>`` and is shortened at its beginning to what fits; there is no loss on it.

        Raises:
            DataError: as :meth:`encode`, but for empty text.
        """
        prompt = self.prompt(language)[: -1 if window.timestamps else None]
        said: list[int] = []
        for start, end, text in window.said:
            if end is None:
                said += [self.timestamp(start)] if window.timestamps else []
                continue
            ids = self.text_tokens(text)
            said += [self.timestamp(start), *ids, self.timestamp(end)] if window.timestamps else ids
        if window.timestamps and not window.said:
            said = [self.timestamp(0.0)]
        room = self.max_tokens - len(prompt) - len(said)
        if room < 0:
            fit = self.max_tokens - len(prompt)
            raise DataError(f"the window's text is {len(said)} tokens long; {fit} fit the decoder")
        before: list[int] = []
        if window.before and room > 1:
            told = self.text_tokens(window.before)[-min(self.max_tokens // 2 - 1, room - 1) :]
            before = [self.own("<|startofprev|>"), *told]
        tokens = [*before, *prompt, *said, self.end_of_text]
        labels = [IGNORED] * (len(before) + len(prompt) - 1) + tokens[len(before) + len(prompt) :]
        if window.learns_speech:
            labels[len(before)] = tokens[len(before) + 1] if window.said else self.own("<|notimestamps|>") - 1
        return tokens[:-1], labels

    def timestamp(self, seconds: float) -> int:
        """The token of a time from the beginning of the window, to the nearest 0.02 s."""
        return self.own("<|notimestamps|>") + 1 + round(seconds / TIMESTAMP_SECONDS)

    def own(self, token: str) -> int:
        """The id of one of Whisper's own tokens. Raises DataError where the tokenizer has none."""
        if token not in self.vocabulary:
            raise DataError(f"the tokenizer has no {token}: it is not Whisper's")
        return self.vocabulary[token]

    def pad(self, encoded: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoder input ids and labels, both int64 [B, L], L the longest of them."""
        length = max(len(ids) for ids, _ in encoded)
        inputs = torch.full((len(encoded), length), self.end_of_text, dtype=torch.int64)
        labels = torch.full((len(encoded), length), IGNORED, dtype=torch.int64)
        for row, (ids, targets) in enumerate(encoded):
            inputs[row, : len(ids)] = torch.tensor(ids)
            labels[row, : len(targets)] = torch.tensor(targets)
        return inputs, labels
