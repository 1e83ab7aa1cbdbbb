"""Scores clips with a checkpoint: what it hears, its error rate, and how much the audio speaks for the transcript.

A model that is wrong about every third word says little by its word error rate. So it is also asked how likely the
transcript is with the clip's audio and how likely with silence: a transcript of something else gains nothing from the
audio, however well the sentence reads and however badly the model hears. One that begins too late or ends too early
loses by it at that edge.
"""

import functools
import math
import multiprocessing
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from data.batches.collation import collate
from data.batches.features import LogMel
from data.batches.labels import IGNORED, PROMPT_TOKENS, LabelEncoder
from data.errors import DataError
from data.preparation.scores import Score, Sounding
from data.sources.languages import nearest_language
from data.utterance import SAMPLING_RATE, Utterance
from modeling.adapters import fingerprint_of
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoint_parts import check_parts
from modeling.checkpoints import open_model
from modeling.decoding import (
    complete_languages,
    encode,
    encoder_padding,
    generate_tokens,
    is_multilingual,
    log_probabilities,
)

from ...config.reading import ConfigError
from ...engine.device import DTYPES, find_device, settle_device
from ...evaluation.error_rates import Prediction, rate
from ...evaluation.error_rates import score as count_errors
from ...evaluation.normalizers import build_normalizer, lower_case
from ...model.languages import known_languages
from ...step.batch import to_batch
from ..heard import compression_ratio
from ..transcriber import similar_lengths

Tokens = tuple[list[int], list[int]]  # decoder input and labels, of the same length

DIGITS = 4  # of scores: what is beyond differs between machines


class OpenScorer:
    """A checkpoint that scores clips in float32, on a CPU on one thread, so that many processes work side by side.

    Args:
        checkpoint: a folder or a hub name.
        batch_size: clips of similar length that are decoded together.
        device: see :class:`.scorer.CheckpointScorer`.

    Raises:
        CheckpointError: if the checkpoint cannot be opened, or its parts do not fit each other.
        ConfigError: if there is no such device.
    """

    def __init__(self, checkpoint: str, batch_size: int = 8, device: str = "auto") -> None:
        self.checkpoint, self.batch_size = checkpoint, batch_size
        self.asked_device, self.device = device, own_device(device)
        settle_device(self.device)
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # the same sums, in the same order, however many processes there are
        self.files = Checkpoint(checkpoint)
        self.model: Any = open_model(self.files).to(self.device, DTYPES["fp32"]).eval()
        self.processor: Any = self.files.processor
        check_parts(checkpoint, self.model, self.processor)
        self.log_mel = LogMel(self.model.config.num_mel_bins, self.device)
        positions = self.model.config.max_target_positions
        self.max_new_tokens = positions - PROMPT_TOKENS
        self.labels = LabelEncoder(self.processor.tokenizer, is_multilingual(self.model), None, max_tokens=positions)
        self.normalizer_of = functools.cache(functools.partial(build_normalizer, "auto"))
        self.window_of_silence: Any = None

    @property
    def gpus(self) -> int:
        """GPUs that processes may share out among them: one if it is named, none on a CPU."""
        if self.device.type != "cuda":
            return 0
        return 1 if ":" in self.asked_device else torch.cuda.device_count()

    def close(self) -> None:
        """Give the memory back."""
        del self.model, self.window_of_silence
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def check_language(self, language: str | None) -> None:
        """Raises: ConfigError: for a language that the checkpoint does not know."""
        known = known_languages(self.model)
        if language is not None and known and language not in known:
            right = f": it knows {known[0]} only" if len(known) == 1 else nearest_language(language, known)
            raise ConfigError(f"--language is {language!r}, which {self.checkpoint} does not know{right}")

    def weights(self) -> str:
        """A digest of the weights."""
        return fingerprint_of(self.files, self.model)[:16]

    @property
    def size(self) -> int:
        """Bytes that the weights take."""
        return 4 * sum(parameter.numel() for parameter in self.model.parameters())

    def __call__(self, clips: Sequence[Sounding]) -> list[Score | None]:
        """The score of each clip; what it is scored beside is decided by the clips alone."""
        found: dict[int, Score | None] = {}
        for rows in similar_lengths([len(clip.audio) for clip in clips], self.batch_size):
            found |= dict(zip(rows, self.score([clips[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(clips))]

    def score(self, clips: Sequence[Sounding]) -> list[Score | None]:
        """The scores of a batch; None for clips whose language the checkpoint does not know."""
        model, known = self.model, known_languages(self.model)
        encoded = self.encode([clip.audio for clip in clips])
        is_known = [clip.language is None or clip.language in known or not known for clip in clips]
        wanted = [clip.language if fits else known[0] for clip, fits in zip(clips, is_known, strict=True)]
        languages = complete_languages(model, encoded, wanted)
        tokens = generate_tokens(model, encoded, languages, "transcribe", self.max_new_tokens)
        heard = [self.framed(row, language) for row, language in zip(tokens.tolist(), languages, strict=True)]
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        hypotheses = [" ".join(text.split()) for text in texts]
        spelled = [
            spelled_like(clip.text, hypothesis, language) if clip.text else None
            for clip, hypothesis, language in zip(clips, hypotheses, languages, strict=True)
        ]
        said = [self.encoded_text(text, language) for text, language in zip(spelled, languages, strict=True)]
        likely, no_speech = self.likelihoods(encoded, heard)
        with_audio = with_silence = likely
        if any(said):
            # Where there is no transcript, the hypothesis stands in its place and its figures are not taken.
            asked_for = [text or other for text, other in zip(said, heard, strict=True)]
            with_audio, _ = self.likelihoods(encoded, asked_for)
            with_silence, _ = self.likelihoods(self.silence(clips), asked_for)
        found: list[Score | None] = []
        for row, hypothesis in enumerate(hypotheses):
            if not is_known[row]:
                found.append(None)
                continue
            words, characters = self.error_rates(clips[row].text, hypothesis, languages[row])
            fitting = fit(with_audio[row], with_silence[row]) if said[row] else Fit(None, None, None)
            found.append(
                Score(
                    language=languages[row],
                    hypothesis=hypothesis,
                    word_error_rate=words,
                    character_error_rate=characters,
                    **fitting._asdict(),
                    mean_log_probability=rounded(likely[row].mean()),
                    no_speech_probability=rounded(no_speech[row]),
                    compression_ratio=rounded(compression_ratio(hypothesis)),
                )
            )
        return found

    def encode(self, pieces: Sequence[np.ndarray]) -> Any:
        """The encoder's output for clips of at most 30 s."""
        audio = collate([Utterance(str(number), piece, "") for number, piece in enumerate(pieces)])
        batch = to_batch(audio, self.log_mel, encoder_padding(self.model), self.device)
        return encode(self.model, batch.features, batch.length_list)

    def silence(self, clips: Sequence[Sounding]) -> Any:
        """The encoder's output for silence of the clips' lengths; a window of it is always the same."""
        if encoder_padding(self.model) == "clip":
            return self.encode([np.zeros_like(clip.audio) for clip in clips])
        if self.window_of_silence is None:
            self.window_of_silence = self.encode([np.zeros(SAMPLING_RATE, np.float32)])
        one = self.window_of_silence
        return type(one)(**{name: value.expand(len(clips), -1, -1) for name, value in one.items()})

    def framed(self, tokens: list[int], language: str) -> Tokens:
        """A hypothesis as decoder input and labels, as :meth:`LabelEncoder.encode` frames a transcript."""
        prompt, end = self.labels.prompt(language), self.labels.end_of_text
        said = tokens[: tokens.index(end)] if end in tokens else tokens
        return prompt + said, [IGNORED] * (len(prompt) - 1) + said + [end]

    def encoded_text(self, text: str | None, language: str) -> Tokens | None:
        """A transcript as decoder input and labels; None where there is none, or it is too long for the decoder."""
        if not text:
            return None
        try:
            return self.labels.encode(text, language)
        except DataError:
            return None

    def likelihoods(self, encoded: Any, rows: Sequence[Tokens]) -> tuple[list[np.ndarray], list[float]]:
        """The log-probability of each token of each row and of its end, and the probability that there is no speech."""
        tokens, labels = (part.to(self.device) for part in self.labels.pad(list(rows)))
        found, no_speech = log_probabilities(self.model, encoded, tokens, labels)
        counted = (labels != IGNORED).cpu().numpy()
        values = found.cpu().numpy().astype(np.float64)
        return [row[counts] for row, counts in zip(values, counted, strict=True)], no_speech.tolist()

    def error_rates(self, text: str | None, hypothesis: str, language: str) -> tuple[float | None, float | None]:
        """Word and character error rate of a clip; None without a transcript."""
        if not text:
            return None, None
        (one,) = count_errors([Prediction("", text, hypothesis, language)], self.normalizer_of)
        return rounded(rate(one.words)), rounded(rate(one.characters))


def spelled_like(text: str, hypothesis: str, language: str) -> str:
    """A transcript in capitals in small letters, unless the model writes capitals itself: to others they are odd."""
    return lower_case(text, language) if text.isupper() and not hypothesis.isupper() else text


class Fit(NamedTuple):
    """How a transcript fits, as in :class:`Score`."""

    evidence: float | None
    edge_evidence: float | None
    text_log_probability: float | None


def fit(with_audio: np.ndarray, with_silence: np.ndarray) -> Fit:
    """How a transcript fits, by the log-probabilities of its tokens and its end."""
    gain = with_audio - with_silence
    return Fit(rounded(gain.mean()), rounded(min(gain[0], gain[-1])), rounded(with_audio.mean()))


def rounded(value: float) -> float | None:
    """A figure as the shards hold it; None where it is unknown or not finite."""
    return round(float(value), DIGITS) if math.isfinite(value) else None


def own_device(name: str) -> torch.device:
    """The device of this process: of several GPUs the one of the process's number, where none is named.

    Raises:
        ConfigError: if there is no such device here.
    """
    try:
        device = find_device(name)
    except ConfigError as error:
        raise ConfigError(str(error).replace("--device", "--score-device", 1)) from None
    if device.type != "cuda" or device.index is not None:
        return device
    number = multiprocessing.current_process().name.rpartition("-")[2]  # SpawnProcess-1, -2 ...
    return torch.device("cuda", (int(number) - 1 if number.isdigit() else 0) % torch.cuda.device_count())
