"""Reads what a decoder attends to for each token, heard or given. Gives arrays and draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data.batches.collation import collate
from data.batches.features import visible_frames
from data.batches.labels import LabelEncoder
from data.errors import DataError
from data.utterance import Utterance
from modeling.checkpoints import lifted
from modeling.decoding import detect_languages, encode, encoder_padding, generate_tokens, is_multilingual
from modeling.network.dual_whisper import DualWhisperForConditionalGeneration

from ..config.reading import ConfigError
from ..step.batch import to_batch
from ..step.noise_target import noise_target
from ..transcription.hearing import REPEATING, compression_ratio
from ..transcription.transcriber import Transcriber
from .excerpt import Excerpt
from .token_names import token_names

FRAME_SECONDS = 0.02  # an encoder frame's: two mel frames; frame s is the 20 ms around second 0.02 s
DOMINATED = 0.5  # share of a frame's energy that is noise, beyond which noise dominates it


@dataclass(frozen=True)
class AttentionMaps:
    """Attention weights are means over heads; rows are the tokens that each position predicts, end-of-text too.

    Attributes:
        text: what the tokens say.
        is_given: the text was given; the model did not choose the tokens.
        repeats: the decoder seems to be in a loop.
        tokens: L names, see :func:`token_names`.
        probabilities: float32 [L], of each token given those before it.
        layers: numbers of the decoder layers that follow.
        primary, secondary: float32 [layers, L, S]; no secondary in plain Whisper.
        gates: float32 [layers, L], the primary attention's share; None in plain Whisper.
        noise: float32 [S], share of each encoder frame's energy that is noise, or None where it is not known.
        features: float32 [mel bins, T], T = 2 S.
        shown_frames: how many of the S frames hold the recording and half a second after it.
    """

    text: str
    language: str
    is_given: bool
    repeats: bool
    tokens: tuple[str, ...]
    probabilities: np.ndarray
    layers: tuple[int, ...]
    primary: np.ndarray
    secondary: np.ndarray | None
    gates: np.ndarray | None
    noise: np.ndarray | None
    features: np.ndarray
    shown_frames: int

    @property
    def peaks(self) -> np.ndarray:
        """Seconds from the excerpt's begin to where each token's primary attention, mean over layers, peaks."""
        return peak_frames(self.primary.mean(0)[:, : self.shown_frames]) * FRAME_SECONDS

    @property
    def dominated(self) -> np.ndarray | None:
        """bool [S]: frames that noise dominates."""
        return None if self.noise is None else self.noise > DOMINATED

    @property
    def attentions(self) -> dict[str, np.ndarray]:
        """The weights of ``primary`` and, except in plain Whisper, of ``secondary``."""
        both = {"primary": self.primary, "secondary": self.secondary}
        return {kind: weights for kind, weights in both.items() if weights is not None}

    def called(self, kind: str) -> str:
        """What pages call an attention: ``primary attention``, or ``attention`` where it is the only one."""
        return "attention" if self.secondary is None else f"{kind} attention"

    @property
    def shares_on_noise(self) -> dict[str, np.ndarray]:
        """By attention [L]: how much of each token's, mean over layers, falls on frames that noise dominates."""
        if self.dominated is None:
            return {}
        return {kind: weights.mean(0)[:, self.dominated].sum(-1) for kind, weights in self.attentions.items()}

    def share_beyond(self, weights: np.ndarray) -> np.ndarray:
        """[L]: how much falls on frames after those shown, which only padding fills."""
        return weights.mean(0)[:, self.shown_frames :].sum(-1)


def peak_frames(weights: np.ndarray) -> np.ndarray:
    """int64 [L]: for each row of weights w [L, S] the frame that distinguishes it most from the mean of all rows.

    That is where w · log(w / mean), the frame's part of the divergence between the two, is largest. The largest w would
    mislead: decoders have a few frames that every token attends to, which are no alignment. A single row has no mean
    to compare with: its largest weight is taken.
    """
    if len(weights) == 1:
        return weights.argmax(-1)
    least = np.finfo(np.float32).tiny
    return (weights * np.log(np.maximum(weights, least) / np.maximum(weights.mean(0), least))).argmax(-1)


def peak_weights(weights: np.ndarray) -> np.ndarray:
    """[L]: each row's weight at its peak, full scale in pictures; frames that all tokens attend to may exceed it."""
    return np.take_along_axis(weights, peak_frames(weights)[:, None], 1)[:, 0]


class AttentionReader:
    """Reads the attention of a checkpoint; also of plain Whisper and of merged adapters.

    Args:
        layers: numbers of the decoder layers to look at; all if None.

    Raises:
        CheckpointError, ConfigError: as :class:`Transcriber`; ConfigError also for a layer that the decoder lacks.
    """

    def __init__(
        self, checkpoint: str, language: str | None = None, layers: Sequence[int] | None = None, device: str = "auto"
    ) -> None:
        self.transcriber = Transcriber(checkpoint, language, device=device, dtype="fp32")
        model = self.transcriber.model
        if not isinstance(model, DualWhisperForConditionalGeneration):
            # Our own class returns the weights under every release of transformers; transformers' own only under some.
            model.config.dual_attention = False
            model = lifted(model).to(self.transcriber.device)
            self.transcriber.model = model
        self.model, self.end_of_text = model, model.generation_config.eos_token_id
        count = model.config.decoder_layers
        self.layers = tuple(range(count)) if layers is None else tuple(dict.fromkeys(layers))
        wrong = [layer for layer in self.layers if layer >= count]
        if wrong:
            raise ConfigError(f"--layers names {wrong[0]}, but the decoder of {checkpoint} has 0 to {count - 1}")

    @torch.inference_mode()
    def read(self, excerpt: Excerpt, text: str | None = None) -> AttentionMaps:
        """Attention over an excerpt, for the tokens that are heard or for those of a text.

        Raises:
            DataError: if the text has no words, too many, or bytes that are no text.
        """
        model, device = self.model, self.transcriber.device
        audio = collate([Utterance("excerpt", excerpt.audio, "")])
        batch = to_batch(audio, self.transcriber.log_mel, encoder_padding(model), device)
        encoded = encode(model, batch.features, batch.length_list)
        language = self.transcriber.language
        if language is None:
            (language,) = detect_languages(model, encoded) if is_multilingual(model) else ["en"]
        inputs, targets = self.heard(encoded, language) if text is None else self.spelled(text, language)
        ids = torch.tensor([inputs], device=device)
        output = model(encoder_outputs=encoded, decoder_input_ids=ids, output_attentions=True, use_cache=False)
        first = len(inputs) - len(targets)
        logits = output.logits[0, first:].float()
        chosen = torch.tensor(targets, device=device)[:, None]

        def rows(weights: Sequence[torch.Tensor]) -> np.ndarray:
            return np.stack([weights[layer][0, :, first:].float().mean(0).cpu().numpy() for layer in self.layers])

        is_dual = model.config.dual_attention
        frames = output.cross_attentions[0].shape[-1]
        noise = None
        if excerpt.noise is not None:
            noise = noise_target(audio.audio, torch.from_numpy(excerpt.noise)[None], frames)[0].float().cpu().numpy()
        said = " ".join(self.transcriber.processor.decode(list(targets), skip_special_tokens=True).split())
        return AttentionMaps(
            text=said,
            language=language,
            is_given=text is not None,
            repeats=text is None and compression_ratio(said) > REPEATING,
            tokens=tuple(token_names(self.transcriber.processor.tokenizer, targets, self.end_of_text)),
            probabilities=logits.softmax(-1).gather(1, chosen)[:, 0].cpu().numpy(),
            layers=self.layers,
            primary=rows(output.cross_attentions),
            secondary=rows(output.secondary_attentions) if is_dual else None,
            gates=np.stack([output.gates[n][0, first:].float().cpu().numpy() for n in self.layers])
            if is_dual
            else None,
            noise=noise,
            features=batch.features[0, :, : 2 * frames].float().cpu().numpy(),
            shown_frames=min(frames, visible_frames(len(excerpt.audio)) // 2),
        )

    def labels(self, language: str) -> LabelEncoder:
        positions = self.model.config.max_target_positions
        tokenizer = self.transcriber.processor.tokenizer
        return LabelEncoder(tokenizer, is_multilingual(self.model), language, max_tokens=positions)

    def heard(self, encoded: object, language: str) -> tuple[list[int], list[int]]:
        """The decoder's input, and the tokens that the model says, which it predicts at the last positions."""
        most = self.transcriber.max_new_tokens
        tokens = generate_tokens(self.model, encoded, [language], "transcribe", most)[0].tolist()
        end = self.end_of_text
        targets = tokens[: tokens.index(end) + 1] if end in tokens else tokens
        return self.labels(language).prompt(language) + targets[:-1], targets

    def spelled(self, text: str, language: str) -> tuple[list[int], list[int]]:
        """The decoder's input and the tokens of a given text, as :meth:`heard`."""
        labels = self.labels(language)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # the command line passes other bytes on as surrogates
            raise DataError(f"--text holds what is no UTF-8 text: {text!a}") from None
        try:
            inputs, targets = labels.encode(text, language)
        except DataError as error:
            raise DataError(f"--text {text[:60]!r}: {error}") from None
        return inputs, targets[len(labels.prompt(language)) - 1 :]
