"""A decoding loop of our own for one beam: the likeliest token at each step, or one that is drawn.

It gives the tokens that ``generate()`` gives, and faster: rows that have ended leave the batch, Whisper's rules apply
to all rows at once, and what is said of a row (how likely it is, whether nobody speaks) is found on the way. Prompts of
different lengths can be decoded together. Beams and fusion stay with ``generate()``.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .decoding import first_timestamp_token, no_speech_token
from .network.compatibility import KeysValues
from .network.dual_whisper import DualWhisperForConditionalGeneration
from .network.linear import linear

# What a generation config may ask for that the loop does not do, and the values that ask for nothing.
NO_PENALTY = ("repetition_penalty", "encoder_repetition_penalty", "guidance_scale")
NO_NUMBER = ("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length", "min_new_tokens")
NOTHING = ("bad_words_ids", "sequence_bias", "exponential_decay_length_penalty")
NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(NO_PENALTY, (None, 1.0)),
    **dict.fromkeys(NO_NUMBER, (None, 0)),
    **dict.fromkeys((*NOTHING, "forced_bos_token_id", "forced_eos_token_id"), (None,)),
}

# Each row's tokens so far, and scores [n, vocabulary], to other scores of the same shape.
Guide = Callable[[Sequence[Sequence[int]], torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Said:
    """What was decoded in a row.

    Attributes:
        tokens: ids, timestamps included, without prompt and end.
        log_probability: the mean natural logarithm of the probabilities of the tokens and of the end, among those that
            the rules allow, as Whisper's authors take it (arXiv 2212.04356, 4.5).
        no_speech: the probability of ``<|nospeech|>`` after the start of transcript; NaN where there is no such token.
    """

    tokens: list[int]
    log_probability: float
    no_speech: float


def unknown_to_the_loop(model: Any) -> str | None:
    """What the model or its generation config asks for that only ``generate()`` does; None if there is nothing."""
    if not isinstance(model, DualWhisperForConditionalGeneration):
        return type(model).__name__
    config = model.generation_config
    if not isinstance(config.eos_token_id, int):
        return "eos_token_id"
    return next((name for name, free in NEUTRAL.items() if getattr(config, name, None) not in free), None)


@torch.inference_mode()
def decode(
    model: Any,
    encoded: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    timestamps: bool = False,
    temperature: float = 0.0,
    begins: bool = True,
    guide: Guide | None = None,
) -> list[Said]:
    """Decode each row of an encoder's output by itself.

    Args:
        model: the bare model, one of this project's (:func:`modeling.checkpoints.in_own_modules`).
        encoded: what :func:`.decoding.encode` gave, B rows.
        prompts: of each row its token ids, the start of transcript among them.
        max_new_tokens: at most the decoder's positions less the longest prompt.
        timestamps: tokens of text and of time alternate as Whisper's authors ask for.
        temperature: above 0 to draw each token. Each row has its own random numbers, always the same.
        begins: the text begins after the prompts; False where they hold its beginning.
        guide: changes the scores by which tokens are chosen; how likely the model finds them stays the model's.

    Raises:
        ValueError: if prompts and new tokens do not fit the decoder.
    """
    longest, device = max(map(len, prompts)), encoded.last_hidden_state.device
    if longest + max_new_tokens > model.config.max_target_positions:
        most = model.config.max_target_positions
        raise ValueError(f"{longest} prompt tokens and {max_new_tokens} new ones; the decoder holds {most}")
    rules = Rules(model, timestamps)
    rows = Rows(model, encoded, prompts, longest + max_new_tokens)
    hidden = rows.begin()
    no_speech = rows.no_speech(hidden)
    states = States.begin(len(prompts), rules.first_timestamp, device)
    draws = [random.Random(0) for _ in prompts]
    tokens: list[list[int]] = [[] for _ in prompts]
    totals, counts = [0.0] * len(prompts), [0] * len(prompts)
    for step in range(max_new_tokens):
        scores = linear(model.proj_out, hidden[:, -1]).float()
        rules.apply(scores, states, is_first=begins and step == 0)
        guided = scores if guide is None else guide([tokens[row] for row in rows.order], scores)
        chosen = drawn(guided / temperature, [draws[row] for row in rows.order]) if temperature else guided.argmax(-1)
        likely = scores.gather(1, chosen[:, None])[:, 0] - scores.logsumexp(dim=-1)
        ended = []
        for place, (token, log) in enumerate(zip(chosen.tolist(), likely.tolist(), strict=True)):
            row = rows.order[place]
            totals[row], counts[row] = totals[row] + log, counts[row] + 1
            if token == rules.end_of_text:
                ended.append(place)
            else:
                tokens[row].append(token)
        if len(ended) == len(rows.order) or step + 1 == max_new_tokens:
            break
        states = states.after(chosen, rules.first_timestamp)
        if ended:
            kept = rows.drop(ended)
            chosen, states = chosen[kept], states.only(kept)
        hidden = rows.advance(chosen)
    means = (total / max(count, 1) for total, count in zip(totals, counts, strict=True))
    return [Said(*one) for one in zip(tokens, means, no_speech, strict=True)]


def drawn(scores: torch.Tensor, draws: Sequence[random.Random]) -> torch.Tensor:
    """A token of each row, int64 [n], drawn by its scores [n, vocabulary] with one random number of the row's own."""
    sums = scores.softmax(dim=-1).double().cumsum(dim=-1)
    shares = torch.tensor([[draw.random()] for draw in draws], dtype=torch.float64, device=scores.device)
    return torch.searchsorted(sums, shares * sums[:, -1:], right=True)[:, 0].clamp(max=scores.shape[-1] - 1)


@dataclass(frozen=True)
class States:
    """What the rules need to know of each row's tokens so far, each [n].

    Attributes:
        last: whether the last token is a timestamp.
        before: whether the one before is, or there is none.
        latest: the last timestamp, one less than the first of all where there is none.
    """

    last: torch.Tensor
    before: torch.Tensor
    latest: torch.Tensor

    @classmethod
    def begin(cls, rows: int, first_timestamp: int, device: torch.device) -> "States":
        no = torch.zeros(rows, dtype=torch.bool, device=device)
        return cls(~no, ~no, torch.full((rows,), first_timestamp - 1, device=device))

    def after(self, chosen: torch.Tensor, first_timestamp: int) -> "States":
        is_time = chosen >= first_timestamp
        return States(is_time, self.last, torch.where(is_time, chosen, self.latest))

    def only(self, kept: torch.Tensor) -> "States":
        return States(self.last[kept], self.before[kept], self.latest[kept])


class Rules:
    """Which tokens may come next, by a model's generation config: those that it suppresses may not, and with
    ``timestamps`` they come in pairs and in order, as Whisper's authors decode."""

    def __init__(self, model: Any, timestamps: bool) -> None:
        config, device = model.generation_config, model.device
        self.timestamps = timestamps
        self.end_of_text: int = config.eos_token_id
        first = first_timestamp_token(model)
        if timestamps and first is None:
            raise ValueError("the vocabulary has no timestamps")
        self.first_timestamp = model.config.vocab_size if first is None else first
        self.suppressed, self.suppressed_first = (
            torch.tensor(
                [one for one in getattr(config, name, None) or () if one >= 0], dtype=torch.long, device=device
            )
            for name in ("suppress_tokens", "begin_suppress_tokens")
        )
        self.most_at_first = getattr(config, "max_initial_timestamp_index", None)
        self.times = torch.arange(self.first_timestamp, model.config.vocab_size, device=device)

    def apply(self, scores: torch.Tensor, states: States, is_first: bool) -> None:
        """Set what may not come to minus infinity in scores [n, vocabulary], in place."""
        never, first = -torch.inf, self.first_timestamp
        scores.index_fill_(1, self.suppressed, never)
        if is_first:
            scores.index_fill_(1, self.suppressed_first, never)
        if not self.timestamps:
            return
        text, times = scores[:, :first], scores[:, first:]
        scores[:, first - 1] = never  # <|notimestamps|>
        if is_first:
            text.fill_(never)
            if self.most_at_first is not None:
                times[:, self.most_at_first + 1 :] = never
            return
        closes = states.last & ~states.before  # text has ended: a time or the end follows
        opens = states.last & states.before
        least = torch.where(closes, states.latest, states.latest + 1)
        times.masked_fill_((self.times < least[:, None]) | opens[:, None], never)
        scores[:, : self.end_of_text].masked_fill_(closes[:, None], never)
        likelier = times.logsumexp(dim=-1) > text.amax(dim=-1)
        text.masked_fill_(likelier[:, None], never)


class Rows:
    """The rows of a batch that have not ended, and their keys and values: a :class:`.network.cache.DecoderCache`.

    Keys and values lie in the first ``n`` places of tensors made once. The last row moves to the place of one that has
    ended, so each ended row costs one copy at most.

    Attributes:
        order: the row in each place.
    """

    def __init__(self, model: Any, encoded: Any, prompts: Sequence[Sequence[int]], length: int) -> None:
        self.model, self.prompts = model, prompts
        self.decoder = model.get_decoder()
        self.order = list(range(len(prompts)))
        device = encoded.last_hidden_state.device
        self.heard = {
            "encoder_hidden_states": encoded.last_hidden_state,
            "secondary_hidden_states": getattr(encoded, "secondary_hidden_state", None),
        }
        lengths = {
            "encoder_frame_lengths": getattr(encoded, "frame_lengths", None),
            "secondary_frame_lengths": getattr(encoded, "secondary_frame_lengths", None),
        }
        self.lengths = {name: value for name, value in lengths.items() if value is not None}
        self.longest = max(map(len, prompts))
        padding = [self.longest - len(prompt) for prompt in prompts]
        self.padding = torch.tensor(padding, device=device)
        self.mask: torch.Tensor | None = None
        if any(padding):
            self.mask = (torch.arange(length, device=device) >= self.padding[:, None]).long()
        self.limit, self.held = length, 0
        self.own: dict[int, KeysValues] = {}
        self.cross: dict[int, KeysValues] = {}

    def begin(self) -> torch.Tensor:
        """The decoder's output [B, longest prompt, width]; the prompts are padded on their left."""
        fill = self.model.generation_config.eos_token_id
        rows = [[fill] * (self.longest - len(prompt)) + list(prompt) for prompt in self.prompts]
        return self.forward(torch.tensor(rows, device=self.padding.device))

    def no_speech(self, hidden: torch.Tensor) -> list[float]:
        """The probability of no speech of each row, from what :meth:`begin` gave."""
        token = no_speech_token(self.model)
        if token is None:
            return [float("nan")] * len(self.prompts)
        start = self.model.generation_config.decoder_start_token_id
        places = [len(prompt) - 1 - list(reversed(prompt)).index(start) for prompt in self.prompts]
        at = self.padding + torch.tensor(places, device=hidden.device)
        scores = linear(self.model.proj_out, hidden[torch.arange(len(at), device=at.device), at]).float()
        return [float(value) for value in scores.softmax(dim=-1)[:, token]]

    def advance(self, tokens: torch.Tensor) -> torch.Tensor:
        """The decoder's output [n, 1, width] after one more token of each row, int64 [n]."""
        return self.forward(tokens[:, None])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        n, new = ids.shape
        held = self.held + new
        positions = torch.arange(self.held, held, device=ids.device) - self.padding[:, None]
        output = self.decoder(
            input_ids=ids,
            attention_mask=None if self.mask is None else self.mask[:, :held],
            position_ids=positions.clamp(min=0),
            past_key_values=self,
            use_cache=True,
            return_dict=True,
            **{name: None if states is None else states[:n] for name, states in self.heard.items()},
            **self.lengths,
        )
        self.held = held
        return output.last_hidden_state

    def drop(self, ended: Sequence[int]) -> torch.Tensor:
        """Take rows out, by their places; returns the places before of those that stay, int64 [n]."""
        kept = list(range(len(self.order)))
        for place in sorted(ended, reverse=True):
            last = kept.pop()
            if place < len(kept):
                kept[place] = last
        for place, source in enumerate(kept):
            if place != source:
                for pair in (*self.cross.values(), *self.own.values()):
                    for tensor in pair:
                        tensor[place].copy_(tensor[source])
        self.order = [self.order[place] for place in kept]
        at = torch.tensor(kept, device=self.padding.device)
        self.padding = self.padding[at]
        self.mask = None if self.mask is None else self.mask[at]
        self.lengths = {name: value[at] for name, value in self.lengths.items()}
        return at

    # The interface of a cache.

    def length(self) -> int:
        return self.held

    def self_attention(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> KeysValues:
        n, heads, new, size = keys.shape
        if layer not in self.own:
            empty = keys.new_empty((n, heads, self.limit, size))
            self.own[layer] = empty, torch.empty_like(empty)
        until = self.held + new
        for kept, given in zip(self.own[layer], (keys, values), strict=True):
            kept[:n, :, self.held : until] = given
        kept_keys, kept_values = self.own[layer]
        return kept_keys[:n, :, :until], kept_values[:n, :, :until]

    def cross_attention(self, layer: int, project: Callable[[], KeysValues]) -> KeysValues:
        if layer not in self.cross:
            keys, values = project()
            self.cross[layer] = keys.contiguous(), values.contiguous()
        n = len(self.order)
        keys, values = self.cross[layer]
        return keys[:n], values[:n]

    def export(self) -> None:
        return None
