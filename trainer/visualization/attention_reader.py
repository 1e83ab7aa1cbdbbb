"""Reads what a decoder attends to for each token, heard or given. Gives arrays and draws nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from data.batches.collation import collate
from data.batches.features import visible_frames
from data.batches.labels import LabelEncoder
from data.errors import DataError
from data.utterance import Utterance
from modeling.decoding import (
    detect_languages,
    encode,
    encoder_padding,
    generate_tokens,
    hears_second,
    is_multilingual,
)

from ..config.reading import ConfigError
from ..step.batch import to_batch
from ..step.noise_target import noise_target
from ..transcription.heard import REPEATING, compression_ratio
from ..transcription.transcriber import Transcriber
from .attention_maps import AttentionMaps, HeardRecording
from .excerpt import Excerpt
from .token_names import token_names


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
        self.checkpoint = checkpoint
        self.transcriber = Transcriber(checkpoint, language, device=device, dtype="fp32")
        model = self.transcriber.model
        self.model, self.end_of_text = model, model.generation_config.eos_token_id
        count = model.config.decoder_layers
        self.layers = tuple(range(count)) if layers is None else tuple(dict.fromkeys(layers))
        wrong = [layer for layer in self.layers if layer >= count]
        if wrong:
            raise ConfigError(f"--layers names {wrong[0]}, but the decoder of {checkpoint} has 0 to {count - 1}")

    @torch.inference_mode()
    def read(self, excerpt: Excerpt, text: str | None = None, second: Excerpt | None = None) -> AttentionMaps:
        """Attention over an excerpt, for the tokens that are heard or for those of a text.

        Args:
            second: of the second recording, of any length.

        Raises:
            DataError: if the text has no words, too many, or bytes that are no text.
            ConfigError: for a second recording that the checkpoint does not hear.
        """
        model, device = self.model, self.transcriber.device
        if second is not None and not hears_second(model):
            raise ConfigError(
                f"--second is given, but {self.checkpoint} hears one recording: its second_recording is none"
            )
        excerpts = [excerpt] if second is None else [excerpt, second]
        audio = collate([Utterance(excerpt.name, excerpt.audio, "", second=None if second is None else second.audio)])
        batch = to_batch(audio, self.transcriber.log_mel, encoder_padding(model), device, hears_second=True)
        features, ends = batch.features, batch.length_list or [batch.features.shape[2]] * len(excerpts)
        encoded = encode(model, features, batch.length_list, batch.second_rows)
        language = self.transcriber.language
        if language is None:
            (language,) = detect_languages(model, encoded) if is_multilingual(model) else ["en"]
        inputs, targets = self.heard(encoded, language) if text is None else self.spelled(text, language)
        ids = torch.tensor([inputs], device=device)
        output = model(encoder_outputs=encoded, decoder_input_ids=ids, output_attentions=True, use_cache=False)
        first = len(inputs) - len(targets)
        logits = output.logits[0, first:].float()
        chosen = torch.tensor(targets, device=device)[:, None]
        primary, secondary, gates = self.weights(output, first, [end // 2 for end in ends])
        said = " ".join(self.transcriber.processor.decode(list(targets), skip_special_tokens=True).split())
        return AttentionMaps(
            text=said,
            language=language,
            is_given=text is not None,
            repeats=text is None and compression_ratio(said) > REPEATING,
            tokens=tuple(token_names(self.transcriber.processor.tokenizer, targets, self.end_of_text)),
            probabilities=logits.softmax(-1).gather(1, chosen)[:, 0].cpu().numpy(),
            layers=self.layers,
            recordings=tuple(
                heard_recording(one, features[row, :, :end].float().cpu().numpy())
                for row, (one, end) in enumerate(zip(excerpts, ends, strict=True))
            ),
            primary=primary,
            secondary=secondary,
            gates=gates,
            hears_second=hears_second(model),
        )

    def weights(
        self, output: Any, first: int, frames: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """``primary``, ``secondary`` and ``gates`` of :class:`AttentionMaps`.

        Args:
            output: the model's for one clip.
            first: the position that predicts the first of the tokens that are shown.
            frames: encoder frames of each recording. The output's weights may be wider, with zeros.
        """

        def rows(weights: Sequence[torch.Tensor]) -> np.ndarray:
            return np.stack([weights[layer][0, :, first:].float().mean(0).cpu().numpy() for layer in self.layers])

        primary, secondary, gates = rows(output.cross_attentions)[:, :, : frames[0]], None, None
        if output.secondary_attentions is not None:
            secondary = rows(output.secondary_attentions)[:, :, : frames[-1]]
        if output.gates is not None:
            gates = np.stack([output.gates[layer][0, first:].float().cpu().numpy() for layer in self.layers])
        return primary, secondary, gates

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


def heard_recording(excerpt: Excerpt, features: np.ndarray) -> HeardRecording:
    """An excerpt, its features [mel bins, 2 S] and what noise is in it."""
    frames, noise = features.shape[1] // 2, None
    if excerpt.noise is not None:
        audio, part = (torch.from_numpy(samples)[None] for samples in (excerpt.audio, excerpt.noise))
        noise = noise_target(audio, part, frames)[0].numpy()
    return HeardRecording(excerpt, features, min(frames, visible_frames(len(excerpt.audio)) // 2), noise)
