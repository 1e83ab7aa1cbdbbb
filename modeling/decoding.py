"""From features to token ids, following how the checkpoint was trained: clips as long as they are, or 30 s windows."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationMixin, LogitsProcessorList
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from .fusion import Fusion, Sureness
from .network.dual_whisper import DualWhisperForConditionalGeneration

TIMESTAMP_SECONDS = 0.02  # between two timestamp tokens
TIMESTAMP_TOKENS = 1501  # 0.00 to 30.00
TRAINED_ON_TIMESTAMPS = "trained_on_timestamps"  # a generation config's key, true or false
TRAINED_ON_SECONDS = "trained_on_seconds"  # another: of the longest window with timestamps


def encoder_padding(model: Any) -> str:
    """``clip`` or ``window``; plain Whisper knows the window only."""
    return model.config.encoder_padding if isinstance(model, DualWhisperForConditionalGeneration) else "window"


def hears_second(model: Any) -> bool:
    """Whether the model hears a second recording of a clip; plain Whisper and most checkpoints do not."""
    return getattr(model.config, "second_recording", "none") != "none"


def first_timestamp_token(model: Any) -> int | None:
    """The token id of 0.00 s, which those of later times follow; None where the vocabulary has none."""
    before = getattr(model.generation_config, "no_timestamps_token_id", None)
    if before is None or before + TIMESTAMP_TOKENS >= model.config.vocab_size:
        return None
    return before + 1


def no_speech_token(model: Any) -> int | None:
    """The id of ``<|nospeech|>``, which stands before ``<|notimestamps|>`` in every Whisper's vocabulary."""
    after = getattr(model.generation_config, "no_timestamps_token_id", None)
    return None if after is None else after - 1


def trained_on_timestamps(model: Any) -> bool:
    """Whether the model may be asked for timestamp tokens.

    Training here notes it in the generation config. Where that says nothing, plain Whisper is taken to know them, and a
    dual-attention checkpoint not.
    """
    if first_timestamp_token(model) is None:
        return False
    noted = getattr(model.generation_config, TRAINED_ON_TIMESTAMPS, None)
    return not isinstance(model, DualWhisperForConditionalGeneration) if noted is None else bool(noted)


def notes_timestamps(model: Any) -> bool:
    """Whether the generation config notes that the model was trained on timestamps here."""
    noted = getattr(model.generation_config, TRAINED_ON_TIMESTAMPS, False)
    return bool(noted) and first_timestamp_token(model) is not None


def note_timestamps(model: Any, seconds: float | None) -> None:
    """Note in the generation config whether a model is trained on timestamps, and how long (``seconds``) windows get.

    A window's first timestamp may then be any, and not of its first second alone, as OpenAI's generation configs say.
    """
    setattr(model.generation_config, TRAINED_ON_TIMESTAMPS, seconds is not None)
    if seconds is not None:
        setattr(model.generation_config, TRAINED_ON_SECONDS, seconds)
        model.generation_config.max_initial_timestamp_index = TIMESTAMP_TOKENS - 1


def is_multilingual(model: Any) -> bool:
    return getattr(model.generation_config, "is_multilingual", True) is not False


@torch.no_grad()
def encode(
    model: Any, features: torch.Tensor, feature_lengths: Sequence[int] | None, second_rows: Sequence[int] = ()
) -> Any:
    """The encoder's output, for :func:`detect_languages` and :func:`generate_tokens` to share.

    Args:
        model: the bare model, not the engine around it.
        features: [B, mel bins, T]; [B + R, mel bins, T] with R second recordings.
        feature_lengths: mel frames of each row that may be seen; None for 30 s windows, and for clips whose ends the
            model is to find in the features.
        second_rows: the clips that the last R rows are second recordings of; for models that hear them.
    """
    more: dict[str, Any] = {"second_rows": second_rows} if len(second_rows) else {}
    if feature_lengths is None:
        return model.get_encoder()(features.to(model.dtype), **more)
    return model.get_encoder()(features, feature_lengths=feature_lengths, **more)


@torch.no_grad()
def language_likelihoods(model: Any, encoded: Any, fused: Fusion | None = None) -> torch.Tensor:
    """Natural logarithms of the probabilities of the languages that the checkpoint knows (``lang_to_id``, in its order)
    among themselves, float32 [B, languages]. Of recordings that are fused, the sum of both decides.

    One decoder step from the start token, as transformers' ``detect_language``, which takes 30 s windows only.
    """
    hidden = encoded.last_hidden_state
    start = torch.full((len(hidden), 1), model.generation_config.decoder_start_token_id, device=hidden.device)
    logits = model(encoder_outputs=encoded, decoder_input_ids=start, use_cache=False).logits[:, -1].float()
    if fused is not None:
        logits = fused.summed(logits)
    return logits[:, list(model.generation_config.lang_to_id.values())].log_softmax(dim=-1)


def detect_languages(model: Any, encoded: Any, fused: Fusion | None = None) -> list[str]:
    """The likeliest language of each clip, ISO 639-1, among those that the checkpoint knows."""
    tokens = list(model.generation_config.lang_to_id)
    return [tokens[row][2:-2] for row in language_likelihoods(model, encoded, fused).argmax(dim=-1).tolist()]


class NoSpeech:
    """While it is open, notes how likely the model finds it that nobody speaks (arXiv 2212.04356, 4.5).

    That is the probability of ``<|nospeech|>`` after the start of transcript, which :func:`generate_tokens` passes
    anyway.

    Args:
        before: tokens of a prompt that stand before the start of transcript.
    """

    def __init__(self, model: Any, before: int = 0) -> None:
        self.model, self.before, self.hidden = model, before, torch.Tensor()

    def __enter__(self) -> "NoSpeech":
        def keep(decoder: Any, given: Any, output: Any) -> None:
            if not len(self.hidden):
                self.hidden = output[0][:, self.before]

        self.hook = self.model.get_decoder().register_forward_hook(keep)
        return self

    def __exit__(self, *error: object) -> None:
        self.hook.remove()

    @torch.no_grad()
    def probabilities(self, clips: int, fused: Fusion | None = None) -> list[float]:
        """Of each of the clips, 0 to 1; NaN where the vocabulary has no such token. Of fused recordings their geometric
        mean."""
        recordings = clips if fused is None else clips + len(fused.rows)
        rows, token = self.hidden[:: len(self.hidden) // recordings], no_speech_token(self.model)  # one of each's beams
        if token is None:
            return [float("nan")] * clips
        found = self.model.proj_out(rows).float().log_softmax(dim=-1)[:, token]
        if fused is not None:
            pairs = torch.tensor(fused.rows, dtype=torch.long, device=found.device)
            found = found[:clips].index_copy(0, pairs, (found[pairs] + found[clips:]) / 2)
        return [float(value) for value in found.exp()]


def complete_languages(
    model: Any, encoded: Any, given: Sequence[str | None], detect: bool = False, fused: Fusion | None = None
) -> list[str]:
    """The languages given, and for clips without one that which :func:`detect_languages` finds.

    An English-only model, which ignores languages, detects none.

    Args:
        detect: take the forward pass of a detection even if all languages are given, as another rank does.
        fused: as of :func:`generate_tokens`.
    """
    if is_multilingual(model) and (detect or not all(given)):
        found = detect_languages(model, encoded, fused)
        given = [known or heard for known, heard in zip(given, found, strict=True)]
    return [language or "en" for language in given]


@torch.no_grad()
def log_probabilities(model: Any, encoded: Any, tokens: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """How likely the model finds texts that it is given, and that there is no speech.

    Args:
        encoded: what :func:`encode` gave.
        tokens: int64 [B, L], prompt and text.
        labels: int64 [B, L], the next token, -100 where it does not count.

    Returns:
        The natural logarithms of the labels' probabilities, float32 [B, L], 0 where none counts; and float32 [B], the
        probability of ``<|nospeech|>`` after the first token, which is the start of transcript (arXiv 2212.04356, 4.5);
        NaN where the generation config does not say which token it is.
    """
    logits = model(encoder_outputs=encoded, decoder_input_ids=tokens, use_cache=False).logits.float()
    counted = labels >= 0
    likelihoods = logits.gather(2, labels.clamp(min=0)[:, :, None])[:, :, 0] - logits.logsumexp(dim=-1)
    token = no_speech_token(model)
    silence = logits.new_full((len(logits),), torch.nan) if token is None else logits[:, 0].softmax(dim=-1)[:, token]
    return likelihoods.masked_fill(~counted, 0.0), silence


@torch.no_grad()
def generate_tokens(
    model: Any,
    encoded: Any,
    languages: Sequence[str],
    task: str,
    max_new_tokens: int,
    *,
    beams: int = 1,
    timestamps: bool = False,
    temperature: float = 0.0,
    synced_gpus: bool = False,
    fused: Fusion | None = None,
    before: Sequence[int] = (),
    guides: Sequence[Any] = (),
) -> torch.Tensor:
    """Token ids int64 [B, L], padded with end-of-text, without the prompt.

    Args:
        encoded: what :func:`encode` gave.
        languages: ISO 639-1 codes; ignored by English-only models.
        max_new_tokens: at most the decoder's positions less the prompt's four.
        beams: 1 for the likeliest next token at each step.
        timestamps: ask for timestamp tokens around what was said; see :func:`trained_on_timestamps`.
        temperature: above 0 to sample, with torch's random state.
        synced_gpus: every rank goes on until all are done (parameters that are spread over ranks).
        fused: the rows of the encoder's output beyond the first B are second recordings of those.
        before: ids that stand before the start of transcript, ``<|startofprev|>`` and a prompt.
        guides: further processors of scores, which come after Whisper's own.

    Raises:
        ValueError: for beams by sampling of recordings that are fused.
    """
    if fused is not None and beams > 1 and temperature:
        raise ValueError("recordings that are fused are sampled with one beam")
    if fused is not None:
        languages = fused.beside(languages)
    options: dict[str, Any] = {"language": list(languages), "task": task} if is_multilingual(model) else {}
    has_no_timestamps_token = getattr(model.generation_config, "no_timestamps_token_id", None) is not None
    prompt = len(before) + 1 + len(options) + (has_no_timestamps_token and not timestamps)
    if before:
        options["prompt_ids"] = torch.tensor(before, device=encoded.last_hidden_state.device)
    options |= {
        "encoder_outputs": type(encoded)(**encoded),  # generate() repeats its rows in place, for beams
        "max_new_tokens": max_new_tokens,
        "return_timestamps": timestamps,
        "synced_gpus": synced_gpus,
        # Whisper's generate would go on from the last timestamp, with what is now the wrong encoder output.
        "force_unique_generate_call": True,
    }
    if fused is None:
        if guides:
            options["logits_processor"] = LogitsProcessorList(guides)
        return model.generate(num_beams=beams, temperature=temperature or None, **options)[:, prompt:]
    if fused.share is None and fused.odds is None:
        alone = Sureness(model.generation_config.eos_token_id)
        model.generate(num_beams=1, logits_processor=LogitsProcessorList([alone]), **options)
        fused.weigh(alone.means)
    processors = fused.processors(temperature, guides)
    tokens = model.generate(num_beams=beams, temperature=temperature or None, logits_processor=processors, **options)
    return fused.firsts(tokens, prompt)


@torch.no_grad()
def generate_n_best(
    model: Any,
    encoded: Any,
    languages: Sequence[str],
    task: str,
    max_new_tokens: int,
    *,
    beams: int,
    n_best: int,
    timestamps: bool = False,
    before: Sequence[int] = (),
    guides: Sequence[Any] = (),
) -> tuple[list[list[list[int]]], list[list[float]]]:
    """Of each clip the ``n_best`` best of its beams, the best first: token ids without prompt and end, and scores.

    A score is the sum of what each token, the end among them, added to it: natural logarithms of probabilities, and
    what ``guides`` added. Beams are compared by their mean over the tokens.

    Whisper's own ``generate()``, which would search once for each hypothesis, is passed by.
    """
    prompts = torch.tensor(
        [[*before, *start_tokens(model, language, task, timestamps)] for language in languages], device=model.device
    )
    length, config = prompts.shape[1], copy.deepcopy(model.generation_config)
    config.update(num_beams=beams, num_return_sequences=n_best, max_length=length + max_new_tokens, do_sample=False)
    config.update(return_dict_in_generate=True, output_scores=True)
    own = [timestamp_rules(config, length)] if timestamps else []
    found = GenerationMixin.generate(
        model,
        decoder_input_ids=prompts,
        encoder_outputs=type(encoded)(**encoded),
        generation_config=config,
        logits_processor=LogitsProcessorList([*own, *guides]),
    )
    end = config.eos_token_id
    rows, means = found.sequences[:, length:].tolist(), found.sequences_scores.tolist()
    texts = [row[: row.index(end)] if end in row else row for row in rows]
    scores = [mean * min(len(text) + 1, max_new_tokens) for text, mean in zip(texts, means, strict=True)]
    clips = range(0, len(rows), n_best)
    return [texts[at : at + n_best] for at in clips], [scores[at : at + n_best] for at in clips]


def timestamp_rules(config: Any, length: int) -> Any:
    """transformers' rules of timestamps, after a prompt of ``length`` tokens."""
    if "begin_index" in inspect.signature(WhisperTimeStampLogitsProcessor).parameters:
        return WhisperTimeStampLogitsProcessor(config, begin_index=length)
    counted = copy.copy(config)  # older releases count the prompt by the tokens that are forced
    counted.forced_decoder_ids = [[place, -1] for place in range(1, length - 1)]
    return WhisperTimeStampLogitsProcessor(counted)


def start_tokens(model: Any, language: str, task: str, timestamps: bool) -> list[int]:
    """From the start of transcript to where the text begins."""
    config = model.generation_config
    start = [config.decoder_start_token_id]
    if is_multilingual(model):
        start += [config.lang_to_id[f"<|{language}|>"], config.task_to_id[task]]
    without = getattr(config, "no_timestamps_token_id", None)
    return [*start, without] if without is not None and not timestamps else start
