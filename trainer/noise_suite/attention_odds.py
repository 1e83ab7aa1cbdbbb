"""Where the two attentions of a checkpoint look in noise: on the frames that noise dominates, or on the others.

Of a checkpoint that hears a second recording, each attention's frames are those of the recording that it reads.
The decoder is fed the reference text of each mixture (teacher forcing), so its attention does not depend on what it
would have understood.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from data.batches.evaluation_rows import EvaluationRows
from data.batches.labels import IGNORED, LabelEncoder
from data.errors import DataError
from data.utterance import SAMPLING_RATE, AudioBatch, SecondRecordings
from modeling.decoding import encoder_padding, hears_second, is_multilingual

from ..engine.accelerator import gather_objects
from ..engine.device import exact_kernels
from ..evaluation.evaluator import Evaluator
from ..evaluation.intervals import percentiles, resampled_sums
from ..step.batch import features_of, one_below_the_other, with_rows
from ..step.noise_target import noise_target
from .conditions import MEANT_SPEAKER, Condition
from .mixing import Mixer

DOMINATED = 0.5  # share of noise in a frame's energy from which noise dominates the frame
BATCH_SIZE = 4  # mixtures whose attention weights are in memory at a time
PARTS_OF_ONE = 1_000_000  # unit of shares in the bootstrap, which sums integers
FRAME = SAMPLING_RATE // 50  # samples


def condition_for(conditions: Sequence[Condition]) -> Condition | None:
    """The condition for attention: recorded noise, or else the first kind, at the ratio nearest to 0 dB.

    None with a clip of the speaker as the second recording: it holds no noise.
    """
    mixed = [one for one in conditions if one.ratio is not None and one.kind != MEANT_SPEAKER]
    kinds = [one for one in mixed if one.kind == "noise"] or [one for one in mixed if one.kind == mixed[0].kind]
    return min(kinds, key=lambda one: (abs(one.ratio or 0.0), one.ratio), default=None)


def attention_odds(
    model: Any, evaluator: Evaluator, mixer: Mixer, condition: Condition, utterances: int
) -> dict[str, Any] | None:
    """Shares of primary and secondary attention on noise-dominated frames, and their odds share / (1 - share).

    Args:
        model: with two attentions, on the evaluator's device.
        evaluator: gives the speech, accelerator, features, language and task.
        utterances: how many are looked at, drawn by the hashes of their ids.

    Returns:
        Means over heads and target tokens, over all layers and by layer; the same on all ranks. None if no utterance
        has a text that can be fed to the decoder.
    """
    accelerator = evaluator.accelerator
    tokenizer, most = evaluator.processor.tokenizer, model.config.max_target_positions
    labels = LabelEncoder(tokenizer, is_multilingual(model), evaluator.language, evaluator.task, most)
    rows = EvaluationRows(
        evaluator.source,
        BATCH_SIZE,
        check=evaluator.check_language,
        subset=utterances,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    rows.change = lambda utterance: mixer.mixed(utterance, condition)
    figures: list[np.ndarray] = []
    was_training = model.training
    model.eval()
    for turn in rows.turns():
        batch = turn.audio
        if batch is not None and batch.noise is not None:
            figures += figures_of(model, evaluator, labels, batch)
    model.train(was_training)
    joined = [one for share in gather_objects(accelerator, figures) for one in share]
    return report(np.stack(joined), condition) if joined else None


@exact_kernels()
@torch.no_grad()
def figures_of(model: Any, evaluator: Evaluator, labels: LabelEncoder, batch: AudioBatch) -> list[np.ndarray]:
    """Sums over the target tokens of each mixture that has a text, float64 [4, 1 + layers].

    Rows: tokens; primary attention on noise, mean over heads; the same of the secondary; the gate. The first column is
    of no layer: it holds the number of tokens and, in its second row, the tokens times the share of noisy frames.
    """
    encoded, chosen = [], []
    for row, (text, language) in enumerate(zip(batch.texts, batch.languages, strict=True)):
        try:
            encoded.append(labels.encode(text, language))
            chosen.append(row)
        except DataError:
            continue  # empty, too long, or of an unknown language
    if not chosen:
        return []
    assert batch.noise is not None
    device = evaluator.accelerator.device
    lengths = batch.audio_lengths[chosen]
    audio, noise = (samples[chosen, : int(lengths.max())] for samples in (batch.audio, batch.noise))
    second = seconds_of(batch, chosen) if hears_second(model) else None
    read, noise_read, samples, all_lengths, rows = audio, noise, audio, lengths, []  # by the second attentions; by all
    if second is not None:
        rows, other = second.rows, second.audio
        other_noise = torch.zeros_like(other) if second.noise is None else second.noise
        places = torch.tensor(rows)
        read, noise_read = with_rows(audio, places, other), with_rows(noise, places, other_noise)
        samples, all_lengths = one_below_the_other(audio, other), torch.cat((lengths, second.audio_lengths))
    features, visible = features_of(samples, all_lengths, evaluator.log_mel, encoder_padding(model), device)
    ids, targets = (tokens.to(device) for tokens in labels.pad(encoded))
    with evaluator.accelerator.autocast():
        output = model(
            features,
            feature_lengths=None if visible is None else visible.tolist(),
            decoder_input_ids=ids,
            output_attentions=True,
            use_cache=False,
            **({"second_rows": rows} if rows else {}),
        )
    frames = output.cross_attentions[0].shape[-1]
    dominated, dominated_second = (
        (noise_target(*pair, frames) > DOMINATED).to(device) for pair in ((audio, noise), (read, noise_read))
    )
    is_target = (targets != IGNORED).float()
    own = (lengths.to(device) // FRAME).clamp(min=1)
    tokens = is_target.sum(1)
    columns = [torch.stack([tokens, tokens * dominated.sum(1) / own, tokens * 0, tokens * 0], dim=1)]
    for primary, secondary, gate in zip(
        output.cross_attentions, output.secondary_attentions, output.gates, strict=True
    ):
        pairs = ((primary, dominated), (secondary, dominated_second))
        shares = [(weights.float() * frames_of[:, None, None]).sum(-1).mean(1) for weights, frames_of in pairs]
        sums = [(share * is_target).sum(1) for share in (*shares, gate.float())]
        columns.append(torch.stack([tokens, *sums], dim=1))
    return list(torch.stack(columns, dim=2).cpu().double().numpy())


def seconds_of(batch: AudioBatch, chosen: list[int]) -> SecondRecordings | None:
    """The second recordings of some rows of a batch, by their places among those; None if none has one."""
    if batch.second is None:
        return None
    kept = [place for place, row in enumerate(batch.second.rows) if row in chosen]
    rows = [chosen.index(batch.second.rows[place]) for place in kept]
    noise = None if batch.second.noise is None else batch.second.noise[kept]
    return SecondRecordings(rows, batch.second.audio[kept], batch.second.audio_lengths[kept], noise) if kept else None


def report(figures: np.ndarray, condition: Condition) -> dict[str, Any]:
    """The figures of all mixtures [mixtures, 4, 1 + layers] as the suite writes them."""
    sums = figures.sum(axis=0)
    tokens = sums[0, 0]
    primary, secondary, gates = sums[1:, 1:] / tokens
    overall = figures[:, 1:3, 1:].mean(axis=2)  # [mixtures, 2], summed over tokens
    counts = np.round(np.column_stack([figures[:, 0, 0:1], overall]) * PARTS_OF_ONE).astype(np.int64)
    interval = None
    if len(counts) > 1:
        drawn = resampled_sums(counts).astype(np.float64)
        interval = percentiles(ratios(drawn[:, 1] / drawn[:, 0], drawn[:, 2] / drawn[:, 0]))
    means = primary.mean(), secondary.mean()
    return {
        "condition": condition.name,
        "utterances": len(figures),
        "tokens": int(tokens),
        "noise_dominated_frames": float(sums[1, 0] / tokens),
        **shares_and_odds(*means, gates.mean()),
        "odds_ratio": float(ratios(*map(np.atleast_1d, means))[0]),
        "odds_ratio_interval": interval,
        "layers": [shares_and_odds(*layer) for layer in zip(primary, secondary, gates, strict=True)],
    }


def shares_and_odds(primary: float, secondary: float, gate: float) -> dict[str, float]:
    """The shares of both attentions that fall on noise, their odds, and the gate."""
    return {
        "primary_share": float(primary),
        "secondary_share": float(secondary),
        "primary_odds": odds(float(primary)),
        "secondary_odds": odds(float(secondary)),
        "gate": float(gate),
    }


def odds(share: float) -> float:
    """share / (1 - share); finite even if everything falls on noise."""
    share = min(max(share, 0.0), 1.0)
    return share / max(1.0 - share, 1.0 / PARTS_OF_ONE)


def ratios(primary: np.ndarray, secondary: np.ndarray) -> np.ndarray:
    """Secondary odds over primary odds; 1 where the two look alike."""
    least = 1.0 / PARTS_OF_ONE
    one, other = (np.clip(share, least, 1.0 - least) for share in (primary, secondary))
    return (other / (1.0 - other)) / (one / (1.0 - one))
