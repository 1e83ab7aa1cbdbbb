"""A checkpoint that hears pieces of recordings: their language, what is said in them, and when."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from data.audio.cutting import WINDOW_SECONDS, sound_bounds
from data.batches.collation import collate
from data.batches.features import LogMel
from data.batches.labels import IGNORED, LabelEncoder
from data.sources.languages import nearest_language, whisper_code
from data.utterance import SAMPLING_RATE, Utterance
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoint_parts import check_parts
from modeling.checkpoints import open_model
from modeling.decoding import (
    TIMESTAMP_SECONDS,
    NoSpeech,
    encode,
    encoder_padding,
    first_timestamp_token,
    generate_tokens,
    hears_second,
    is_multilingual,
    language_likelihoods,
    log_probabilities,
    trained_on_timestamps,
)
from modeling.fusion import Fusion

from ..config.reading import ConfigError
from ..engine.device import find_device, find_dtype, settle_device
from ..model.languages import known_languages
from ..step.batch import to_batch
from .pairing import SecondUse
from .transcripts import Segment, timed_texts, within_sound
from .words import WordFinder

SUBTITLE_SECONDS = 10.0  # the longest piece where its bounds are the only times there are
BESIDE_SECONDS = 20.0  # the longest piece in whose window a second recording is heard, too
PROMPT_TOKENS = 4
REPEATING = 2.4  # compression ratio of text beyond which Whisper's authors take it for a loop (arXiv 2212.04356, 4.5)
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn on a loop, as Whisper's authors do


@dataclass(frozen=True)
class Silence:
    """When what the model writes is taken for invented, as Whisper's authors do (arXiv 2212.04356, 4.5).

    Attributes:
        no_speech: the probability of no speech is above this, 0 to 1 ...
        log_probability: ... and the mean log-probability of the tokens is below this, or they repeat endlessly.
    """

    no_speech: float = 0.6
    log_probability: float = -1.0


@dataclass(frozen=True)
class Heard:
    """What the model heard in a piece: segments in seconds of the piece.

    Attributes:
        tokens: ids of what is said, without prompt and end.
        likelihoods: natural logarithms of the languages' probabilities, float32 [languages]; None where the languages
            of the batch were given.
        no_speech: the probability that nobody speaks; None if the checkpoint cannot tell.
        is_speech: False where the segments are taken for invented.
    """

    language: str
    segments: list[Segment]
    repeats: bool
    tokens: list[int]
    likelihoods: np.ndarray | None = None
    no_speech: float | None = None
    is_speech: bool = True


@dataclass(frozen=True)
class Encoded:
    """Pieces that the encoder has heard, and how the rows of its output belong together."""

    states: Any
    pieces: Sequence[np.ndarray]
    fused: Fusion | None


class Listener:
    """A checkpoint ready to hear pieces of at most 30 s, float32 [N] each, 16 kHz.

    Args:
        language: ISO 639-1; None to detect it where the model knows several.
        timestamps: None where nobody asks for times; ``tokens`` to let the model say them; ``pauses`` to cut pieces
            of 10 s at pauses and take their bounds; ``auto``: ``tokens`` from plain Whisper, whose training had them,
            and ``pauses`` from dual-attention checkpoints, whose training here had none.
        piece_seconds: the longest piece; 30 if None, or 10 with ``pauses``.
        second: how second recordings are heard; None where there are none.
        silence: when what is written is taken for invented.
        words: find when each word is said.

    Raises:
        CheckpointError: if the checkpoint cannot be opened, or its parts do not fit each other.
        ConfigError: if there is no such device, or it lacks the precision, or the checkpoint does not know the
            language, the task or timestamps, or hears no second recording.
    """

    def __init__(
        self,
        checkpoint: str,
        language: str | None = None,
        task: str = "transcribe",
        *,
        beams: int = 1,
        device: str = "auto",
        dtype: str = "auto",
        timestamps: str | None = None,
        piece_seconds: float | None = None,
        second: SecondUse | None = None,
        silence: Silence = Silence(),
        words: bool = False,
    ) -> None:
        self.device = find_device(device)
        precision = find_dtype(dtype, self.device)
        settle_device(self.device)
        files = Checkpoint(checkpoint)
        self.model: Any = open_model(files).to(self.device, precision).eval()
        self.processor: Any = files.processor
        self.task, self.beams, self.second, self.silence = task, beams, second, silence
        self.language = self.check(checkpoint, language, task)
        self.codes = known_languages(self.model)
        self.log_mel = LogMel(self.model.config.num_mel_bins, self.device)
        positions = self.model.config.max_target_positions
        self.max_new_tokens = positions - PROMPT_TOKENS
        self.labels = LabelEncoder(self.processor.tokenizer, is_multilingual(self.model), None, task, positions)
        if timestamps == "tokens" and first_timestamp_token(self.model) is None:
            raise ConfigError(f"--segments is 'tokens', but {checkpoint} has no timestamp tokens; 'pauses' is right")
        self.asks_tokens = timestamps == "tokens" or (timestamps == "auto" and trained_on_timestamps(self.model))
        first = first_timestamp_token(self.model) if self.asks_tokens else None
        self.word_finder = WordFinder(self.model, self.processor.tokenizer, self.labels, first) if words else None
        pauses = timestamps is not None and not self.asks_tokens
        self.piece_seconds = piece_seconds or (SUBTITLE_SECONDS if pauses else WINDOW_SECONDS)
        if second is not None and getattr(self.model.config, "second_recording", "none") == "before":
            self.piece_seconds = min(self.piece_seconds, BESIDE_SECONDS)

    def check(self, checkpoint: str, language: str | None, task: str) -> str | None:
        """The language, filled in where there is only one; what does not fit the checkpoint is refused."""
        model = self.model
        check_parts(checkpoint, model, self.processor)
        known = known_languages(model)
        language = known[0] if language is None and len(known) == 1 else language and whisper_code(language)
        if language is not None and language not in known:
            right = f": it knows {known[0]} only" if len(known) == 1 else nearest_language(language, known)
            raise ConfigError(f"--language is {language!r}, which {checkpoint} does not know{right}")
        if task == "translate" and not is_multilingual(model):
            raise ConfigError(f"--task is 'translate', but {checkpoint} knows English only")
        if self.second is not None and self.second.name == "model" and not hears_second(model):
            raise ConfigError(
                f"--second is given, but {checkpoint} hears one recording; with --fuse any checkpoint hears both, and "
                "with --subtract any hears one without what leaks into it from the other"
            )
        return language

    def hear(
        self,
        pieces: Sequence[np.ndarray],
        languages: Sequence[str | None],
        seconds: Sequence[np.ndarray | None] | None = None,
    ) -> list[Heard]:
        """What is said in pieces of at most 30 s; their language where it is None.

        A piece whose text is a loop is decoded again, with rising temperatures.

        Args:
            seconds: what is heard beside each piece, float32 [M], or None.
        """
        seconds = [None] * len(pieces) if seconds is None else seconds
        encoded = self.encode(pieces, seconds)
        likelihoods, known = self.spoken(encoded, languages)
        with NoSpeech(self.model) as silent:
            heard = self.understand(encoded, known)
        no_speech = silent.probabilities(len(pieces), encoded.fused)
        for row, piece in enumerate(heard):
            if piece.repeats:
                heard[row] = self.hear_again(pieces[row], piece, seconds[row])
        heard = self.judged(encoded, heard, no_speech, likelihoods)
        if self.word_finder is None:
            return heard
        return [
            replace(piece, segments=own) for piece, own in zip(heard, self.word_finder(encoded, heard), strict=True)
        ]

    def spoken(self, encoded: Encoded, given: Sequence[str | None]) -> tuple[np.ndarray | None, list[str]]:
        """How likely each language is, where one is not given, and the languages given, else the likeliest.

        An English-only model, which ignores languages, knows one.
        """
        if all(given) or not is_multilingual(self.model):
            return None, [known or "en" for known in given]
        found = language_likelihoods(self.model, encoded.states, encoded.fused).cpu().numpy()
        heard = [self.codes[place] for place in found.argmax(axis=1)]
        return found, [known or other for known, other in zip(given, heard, strict=True)]

    def judged(
        self, encoded: Encoded, heard: Sequence[Heard], no_speech: Sequence[float], likelihoods: np.ndarray | None
    ) -> list[Heard]:
        """The same with how likely each language is, and whether somebody speaks."""
        limits, found = self.silence, []
        sure = self.sureness(encoded, heard) if any(one > limits.no_speech for one in no_speech) else [0.0] * len(heard)
        for row, (piece, silent) in enumerate(zip(heard, no_speech, strict=True)):
            invented = silent > limits.no_speech and (piece.repeats or sure[row] < limits.log_probability)
            of_languages = None if likelihoods is None else likelihoods[row]
            told = None if math.isnan(silent) else silent
            found.append(replace(piece, likelihoods=of_languages, no_speech=told, is_speech=not invented))
        return found

    def sureness(self, encoded: Encoded, heard: Sequence[Heard]) -> list[float]:
        """The mean log-probability of each piece's tokens and its end; of fused recordings, that of the better one."""
        framed = []
        for piece in heard:
            prompt = self.labels.prompt(piece.language)[: -1 if self.asks_tokens else None]
            ended = [*piece.tokens, self.labels.end_of_text]
            framed.append((prompt + piece.tokens, [IGNORED] * (len(prompt) - 1) + ended))
        rows = framed if encoded.fused is None else encoded.fused.beside(framed)
        tokens, labels = (part.to(self.device) for part in self.labels.pad(rows))
        likely, _ = log_probabilities(self.model, encoded.states, tokens, labels)
        means = likely.sum(dim=-1) / (labels >= 0).sum(dim=-1)
        if encoded.fused is not None:
            pairs = torch.tensor(encoded.fused.rows, dtype=torch.long, device=means.device)
            first = means[: encoded.fused.clips]
            means = first.index_copy(0, pairs, torch.maximum(first[pairs], means[encoded.fused.clips :]))
        return [float(mean) for mean in means]

    def hear_again(self, piece: np.ndarray, loop: Heard, second: np.ndarray | None = None) -> Heard:
        """Decode a piece by sampling, with rising temperature until it is no loop; by itself, so it is repeatable."""
        encoded = self.encode([piece], [second])
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            for temperature in TEMPERATURES:
                (heard,) = self.understand(encoded, [loop.language], temperature)
                if not heard.repeats:
                    return heard
        return loop

    def encode(self, pieces: Sequence[np.ndarray], seconds: Sequence[np.ndarray | None] | None = None) -> Encoded:
        """The encoder's output for pieces of at most 30 s and what is heard beside them.

        With fusion the rows of second recordings follow those of the pieces; a model that hears both has one for each.
        """
        pairs = enumerate(zip(pieces, seconds or [None] * len(pieces), strict=True))
        audio = collate([Utterance(str(number), piece, "", second=second) for number, (piece, second) in pairs])
        batch = to_batch(audio, self.log_mel, encoder_padding(self.model), self.device, hears_second=True)
        rows, fused = batch.second_rows, None
        if rows and self.second is not None and self.second.fuse:
            fused, rows = Fusion(len(pieces), tuple(rows), self.second.share), []
        return Encoded(encode(self.model, batch.features, batch.length_list, rows), pieces, fused)

    def understand(self, encoded: Encoded, languages: Sequence[str], temperature: float = 0.0) -> list[Heard]:
        """What the model says of encoded pieces; above temperature 0 it samples, with one beam."""
        tokens = generate_tokens(
            self.model,
            encoded.states,
            languages,
            self.task,
            self.max_new_tokens,
            beams=1 if temperature else self.beams,
            timestamps=self.asks_tokens,
            temperature=temperature,
            fused=encoded.fused,
        )
        shares = {} if encoded.fused is None else encoded.fused.token_shares
        heard = []
        ended = self.model.generation_config.eos_token_id
        for row, (ids, language) in enumerate(zip(tokens.tolist(), languages, strict=True)):
            said = ids[: ids.index(ended)] if ended in ids else ids
            segments = self.segments(said, encoded.pieces[row], shares.get(row))
            repeats = compression_ratio(" ".join(segment.text for segment in segments)) > REPEATING
            heard.append(Heard(language, segments, repeats, said))
        return heard

    def segments(self, said: list[int], piece: np.ndarray, shares: Sequence[float] | None = None) -> list[Segment]:
        """What the tokens say, in seconds of the piece: the model's own times, or where the piece has sound.

        Args:
            shares: the first recording's at each token, of those that were fused.
        """
        begin, end = (samples / SAMPLING_RATE for samples in sound_bounds(piece))
        timed, of_text = [(begin, end, said)], list(range(len(said)))
        if self.asks_tokens:
            first = first_timestamp_token(self.model)
            assert first is not None  # checked when asked for
            timed = within_sound(timed_texts(said, first, TIMESTAMP_SECONDS, len(piece) / SAMPLING_RATE), begin, end)
            of_text = [place for place in of_text if said[place] < first]
        texts = self.processor.batch_decode([ids for _, _, ids in timed], skip_special_tokens=True)
        found, at = [], 0
        for (start, stop, ids), text in zip(timed, texts, strict=True):
            share = None
            if shares is not None and ids:
                share = round(sum(shares[place] for place in of_text[at : at + len(ids)]) / len(ids), 3)
            found.append(Segment(start, stop, " ".join(text.split()), share))
            at += len(ids)
        return [segment for segment in found if segment.text]


def compression_ratio(text: str) -> float:
    """Bytes of the text over those of its zlib compression: about 1 for a sentence, far more for a loop."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))
