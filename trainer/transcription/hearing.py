"""A checkpoint that hears pieces of recordings: their language, what is said in them, and when."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from data.audio.cutting import WINDOW_SECONDS, sound_bounds
from data.batches.collation import collate
from data.batches.features import LogMel
from data.batches.labels import IGNORED, PROMPT_TOKENS, LabelEncoder
from data.utterance import SAMPLING_RATE, Utterance
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoint_parts import check_parts
from modeling.checkpoints import in_own_modules, open_model
from modeling.decoding import (
    TIMESTAMP_SECONDS,
    TRAINED_ON_SECONDS,
    NoSpeech,
    encode,
    encoder_padding,
    first_timestamp_token,
    generate_n_best,
    generate_tokens,
    is_multilingual,
    language_likelihoods,
    log_probabilities,
    notes_timestamps,
    trained_on_timestamps,
)
from modeling.fusion import Fusion
from modeling.greedy import Said, decode, unknown_to_the_loop
from modeling.network.dual_whisper import DualWhisperForConditionalGeneration

from ..config.reading import ConfigError
from ..engine.device import find_device, find_dtype, settle_device
from ..evaluation.language_model.n_best import Hypothesis, hypotheses
from ..evaluation.language_model.opening import LanguageModel
from ..model.languages import known_languages
from ..step.batch import to_batch
from .fitting import check_hears_second, check_sequential, fitting_language
from .heard import AUTHORS, REPEATING, Encoded, Heard, Silence, compression_ratio, until, within_sound
from .prompting import NOTHING, Prompter, Told, Trial
from .second.pairing import SecondUse
from .transcripts import Segment, timed_texts
from .word_times.words import WordFinder

SUBTITLE_SECONDS = 10.0  # the longest piece where its bounds are the only times there are
BESIDE_SECONDS = 20.0  # the longest piece in whose window a second recording is heard, too


class Listener:
    """A checkpoint ready to hear pieces of at most 30 s, float32 [N] each, 16 kHz.

    Args:
        language: ISO 639-1; None to detect it where the model knows several.
        timestamps: None where nobody asks for times; ``tokens`` to let the model say them; ``pauses`` to cut pieces
            of 10 s at pauses and take their bounds; ``auto``: ``tokens`` from models that were trained on them, and
            ``pauses`` from others. A model that notes such training writes them even if nobody asks.
        piece_seconds: the longest piece. If None, 10 with ``pauses``; with timestamps, as long as the longest window
            that the model was trained on, where its generation config notes that; else 30.
        second: how second recordings are heard; None where there are none.
        silence: when what is written is taken for invented.
        windows: ``pieces``, which are cut before anything is heard, or ``sequential``: each begins where the model says
            that the one before ended.
        told: what the decoder is told before it writes.
        words: find when each word is said.
        beside: a language model, whose scores of words count beside the checkpoint's.
        n_best: hypotheses that are noted of each piece, of its beams.

    Raises:
        CheckpointError: if the checkpoint cannot be opened, or its parts do not fit each other.
        ConfigError: if there is no such device, or it lacks the precision, or the checkpoint does not know the
            language, the task or timestamps, or hears no second recording, or what it is told does not fit.
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
        silence: Silence = AUTHORS,
        windows: str = "pieces",
        told: Told = NOTHING,
        words: bool = False,
        beside: LanguageModel | None = None,
        n_best: int = 0,
    ) -> None:
        self.device = find_device(device)
        precision = find_dtype(dtype, self.device)
        settle_device(self.device)
        files = Checkpoint(checkpoint)
        opened = open_model(files)
        self.is_plain = not isinstance(opened, DualWhisperForConditionalGeneration)
        self.model: Any = in_own_modules(opened).to(self.device, precision).eval()
        self.processor: Any = files.processor
        self.task, self.beams, self.second, self.silence = task, beams, second, silence
        self.beside, self.n_best = beside, n_best
        check_parts(checkpoint, self.model, self.processor)
        self.language = fitting_language(self.model, checkpoint, language, task)
        if second is not None and second.name == "model":
            check_hears_second(self.model, checkpoint)
        self.codes = known_languages(self.model)
        self.log_mel = LogMel(self.model.config.num_mel_bins, self.device)
        positions = self.model.config.max_target_positions
        self.prompter, self.trial = Prompter(self.processor.tokenizer, positions, told), Trial()
        self.is_sequential = windows == "sequential"
        self.only_generate = unknown_to_the_loop(self.model)
        self.max_new_tokens = positions - PROMPT_TOKENS + self.is_sequential - self.prompter.longest
        self.labels = LabelEncoder(self.processor.tokenizer, is_multilingual(self.model), None, task, positions)
        if timestamps == "tokens" and first_timestamp_token(self.model) is None:
            raise ConfigError(f"--segments is 'tokens', but {checkpoint} has no timestamp tokens; 'pauses' is right")
        if self.is_sequential:
            check_sequential(self.model, checkpoint)
            timestamps = "tokens"
        knows = notes_timestamps(self.model) if timestamps is None else trained_on_timestamps(self.model)
        self.asks_tokens = timestamps == "tokens" or (timestamps != "pauses" and knows)
        first = first_timestamp_token(self.model) if self.asks_tokens else None
        self.word_finder = WordFinder(self.model, self.processor.tokenizer, self.labels, first) if words else None
        pauses = timestamps is not None and not self.asks_tokens
        known = getattr(self.model.generation_config, TRAINED_ON_SECONDS, WINDOW_SECONDS) if self.asks_tokens else None
        self.piece_seconds = piece_seconds or (SUBTITLE_SECONDS if pauses else known or WINDOW_SECONDS)
        if second is not None and getattr(self.model.config, "second_recording", "none") == "before":
            self.piece_seconds = min(self.piece_seconds, BESIDE_SECONDS)

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
        with NoSpeech(self.model, len(self.prompter.tokens())) as silent:
            heard = self.understand(encoded, known)
        no_speech = silent.probabilities(len(pieces), encoded.fused)
        for row, piece in enumerate(heard):
            if piece.repeats:
                heard[row] = self.hear_again(pieces[row], piece, seconds[row])
        return self.with_words(encoded, self.judged(encoded, heard, no_speech, likelihoods))

    def with_words(self, encoded: Encoded, heard: list[Heard]) -> list[Heard]:
        """The same with the times of the words in their segments, if they are asked for."""
        if self.word_finder is None:
            return heard
        found = self.word_finder(encoded, heard)
        return [replace(piece, segments=own) for piece, own in zip(heard, found, strict=True)]

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
            prompt = self.prompter.tokens() + self.start_of(piece.language)
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
            for temperature in self.silence.temperatures:
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

    def start_of(self, language: str) -> list[int]:
        """The tokens from the start of transcript to where the text begins."""
        return self.labels.prompt(language)[: -1 if self.asks_tokens else None]

    def understand(self, encoded: Encoded, languages: Sequence[str], temperature: float = 0.0) -> list[Heard]:
        """What the model says of encoded pieces; above temperature 0 it samples, with one beam."""
        fused = encoded.fused
        tokens, likely = list[list[int]](), list[float | None]()
        listed: list[list[Hypothesis]] = [[] for _ in languages]
        asked = self.model, encoded.states, languages, self.task, self.max_new_tokens
        how: dict[str, Any] = {"timestamps": self.asks_tokens, "before": self.prompter.tokens()}
        if self.n_best and not temperature:
            how |= {"beams": self.beams, "n_best": self.n_best}
            found = generate_n_best(*asked, guides=self.guides(), **how)
            listed = hypotheses(*found, self.processor.tokenizer, self.beside)
            tokens, likely = [best[0] for best in found[0]], [None] * len(languages)
        elif self.only_generate is None and (temperature or self.beams == 1) and fused is None:
            for one in self.said(encoded.states, languages, temperature=temperature):
                tokens.append(one.tokens)
                likely.append(one.log_probability)
        else:
            how |= {"beams": 1 if temperature else self.beams, "temperature": temperature, "fused": fused}
            generated = generate_tokens(*asked, guides=self.guides(), **how).tolist()
            tokens = [until(self.labels.end_of_text, ids) for ids in generated]
            likely = [None] * len(tokens)
        shares = {} if fused is None else fused.token_shares
        heard = []
        for row, (said, language) in enumerate(zip(tokens, languages, strict=True)):
            segments = self.segments(said, encoded.pieces[row], shares.get(row))
            text = " ".join(segment.text for segment in segments)
            piece = Heard(language, segments, compression_ratio(text) > REPEATING, said)
            echoes = self.prompter.echoes(text)
            more: dict[str, Any] = {"echoes": echoes, "n_best": tuple(listed[row])}
            heard.append(replace(piece, log_probability=likely[row], temperature=temperature, **more))
        return heard

    def guides(self) -> list[Any]:
        """What is to guide a call of ``generate()``."""
        return [] if self.beside is None else [self.beside.processor(self.processor.tokenizer, self.beams)]

    def said(
        self,
        states: Any,
        languages: Sequence[str],
        so_far: Sequence[Sequence[int]] | None = None,
        temperature: float = 0.0,
    ) -> list[Said]:
        """What the decoding loop finds in the rows of an encoder's output.

        Args:
            so_far: of each row the text before it, for ``previous_text``.
        """
        befores = [self.prompter.tokens(ids) for ids in so_far or [()] * len(languages)]
        starts = [self.start_of(language) for language in languages]
        prompts = [before + start for before, start in zip(befores, starts, strict=True)]
        how: dict[str, Any] = {"timestamps": self.asks_tokens, "temperature": temperature}
        how["guide"] = None if self.beside is None else self.beside.guide(self.processor.tokenizer)
        found = decode(self.model, states, prompts, self.max_new_tokens, **how)
        if any(befores) and not temperature and self.trial.goes_on:
            without = decode(self.model, states, starts, self.max_new_tokens, **how)
            for before, one, other in zip(befores, found, without, strict=True):
                if before:
                    self.trial.note(one.log_probability, other.log_probability)
        return found

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
        texts = [self.processor.decode(ids, skip_special_tokens=True) for _, _, ids in timed]
        found, at = [], 0
        for (start, stop, ids), text in zip(timed, texts, strict=True):
            share = None
            if shares is not None and ids:
                share = round(sum(shares[place] for place in of_text[at : at + len(ids)]) / len(ids), 3)
            found.append(Segment(start, stop, " ".join(text.split()), share))
            at += len(ids)
        return [segment for segment in found if segment.text]
