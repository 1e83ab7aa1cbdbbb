"""A checkpoint that hears the same seconds again and again while they grow, and goes on from what is final."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.utterance import SAMPLING_RATE
from modeling.decoding import encoder_padding, language_likelihoods, no_speech_token

from ..hearing import REPEATING, Listener, compression_ratio
from ..transcripts import WRITTEN_WITHOUT_SPACES
from .agreement import Spoken, words_of
from .short_windows import ShortWindows

TOKENS_EACH_SECOND = 12  # more than anybody speaks: what is beyond is a loop
SURE = 0.8  # a language this likely is kept


@dataclass(frozen=True)
class Guess:
    """What a hearing finds after the final words.

    Attributes:
        is_speech: False where it is taken for invented, or is a loop.
    """

    words: list[Spoken]
    is_speech: bool = True


class LiveListener(Listener):
    """As :class:`trainer.transcription.hearing.Listener`, for one piece at a time, greedily and without timestamps.

    Checkpoints of 30 s windows hear shorter ones where the audio is shorter.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        in_windows = encoder_padding(self.model) == "window"
        self.short = ShortWindows(self.model, self.log_mel) if in_windows else None

    def hear_on(self, audio: np.ndarray, final: Sequence[int]) -> Guess:
        """What is said in a piece after the final words.

        Args:
            audio: float32 [N], 16 kHz, at most 30 s.
            final: tokens of the words of this piece that are final.
        """
        encoded = self.encode([audio]).states if self.short is None else self.short.encode(audio)
        language = self.language or self.spoken_language(encoded)
        prompt = self.labels.prompt(language)
        most = round(len(audio) / SAMPLING_RATE * TOKENS_EACH_SECOND) + TOKENS_EACH_SECOND
        room = self.labels.max_tokens - len(prompt) - len(final)
        most = max(0, min(most - len(final), room))
        tokens, likely, silent = go_on(self.model, encoded, [*prompt, *final], most, begins=not final)
        decode = self.processor.tokenizer.decode
        text = decode([*final, *tokens], skip_special_tokens=True)
        limits = self.silence
        invented = silent > limits.no_speech and likely < limits.log_probability and not final
        spaced = language not in WRITTEN_WITHOUT_SPACES
        words = words_of(tokens, lambda ids: decode(ids, skip_special_tokens=True), spaced)
        return Guess(words, not invented and compression_ratio(text) <= REPEATING)

    def spoken_language(self, encoded: Any) -> str:
        """The likeliest language of a piece; kept for the rest of the stream once it is sure."""
        likelihoods = language_likelihoods(self.model, encoded)[0]
        best = int(likelihoods.argmax())
        if float(likelihoods[best].exp()) >= SURE:
            self.language = self.codes[best]
        return self.codes[best]


@torch.no_grad()
def go_on(
    model: Any, encoded: Any, prompt: Sequence[int], most: int, *, begins: bool = True
) -> tuple[list[int], float, float]:
    """The likeliest next tokens, one after the other, up to the end of text.

    Args:
        encoded: what :func:`modeling.decoding.encode` gave, of one row.
        prompt: token ids that the model is given, start of transcript first.
        most: tokens at most.
        begins: no text is in the prompt, so the first token may not be one that no text begins with.

    Returns:
        The tokens without the end of text, the mean log-probability of them and the end, and the probability that
        nobody speaks (NaN where the vocabulary has no token for it).
    """
    config = model.generation_config
    ended = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    suppressed = [token for token in config.suppress_tokens or () if token >= 0]
    first = [token for token in config.begin_suppress_tokens or () if begins and token >= 0]
    silence = no_speech_token(model)
    given = torch.tensor([list(prompt)], device=model.device)
    found, total, no_speech, cache = list[int](), 0.0, float("nan"), None
    while len(found) < most:
        output = model(encoder_outputs=encoded, decoder_input_ids=given, past_key_values=cache, use_cache=True)
        cache, logits = output.past_key_values, output.logits[0].float()
        if not found and silence is not None:
            no_speech = float(logits[0].softmax(dim=-1)[silence])
        scores = logits[-1]
        scores[suppressed] = -torch.inf
        if not found:
            scores[first] = -torch.inf
        token = int(scores.argmax())
        total += float(scores[token] - scores.logsumexp(dim=-1))
        if token == ended:
            return found, total / (len(found) + 1), no_speech
        found.append(token)
        given = torch.tensor([[token]], device=model.device)
    return found, total / max(1, len(found)), no_speech
