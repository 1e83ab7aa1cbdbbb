"""Long recordings by windows that follow each other: the places, tokens and prompts of Whisper's authors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from data.utterance import SAMPLING_RATE
from modeling.checkpoints import open_model
from modeling.decoding import first_timestamp_token
from tests.support.untrained import save_checkpoint
from trainer.transcription.heard import Silence
from trainer.transcription.recordings import Recording
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.windows import Opened, Parts, Sequential, parts_of
from trainer.transcription.work import Work

from .test_transcriber import noise, saved, tone

__all__ = ["saved"]
FIRST = 1000  # the token of 0.00 s in tests without a model
EVERYTHING = Silence(1.0, -100.0)  # nothing is left out, nothing decoded again


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain Whisper that knows timestamps and four languages."""
    folder = tmp_path_factory.mktemp("plain")
    return save_checkpoint(folder, ("az", "de", "en", "tr"), padding=None, positions=16, timestamp_tokens=True)


def scene(seed: int, seconds: float) -> np.ndarray:
    """Tones and noise in turns."""
    draw = np.random.default_rng(seed)
    parts = [noise(2.5, seed), *(tone(float(draw.uniform(1, 6)), float(draw.uniform(100, 3000))) for _ in range(9))]
    audio = np.tile(np.concatenate(parts), int(np.ceil(seconds * SAMPLING_RATE / sum(map(len, parts)))))
    return audio[: round(seconds * SAMPLING_RATE)].astype(np.float32)


def tokens_of(transcriber: Transcriber, recordings: list[np.ndarray], batch_size: int) -> list[list[list[int]]]:
    """Of each recording and window the tokens that count."""
    opened = [Opened(Work(Recording(Path(f"{n}.wav")), "en"), audio) for n, audio in enumerate(recordings)]
    windows = Sequential(transcriber, batch_size, temperatures=())
    return list(windows.transcribe_all(opened, lambda work: [work.heard[n].tokens for n in range(len(work.pieces))]))


def redraw(model: Any, seed: int) -> None:
    """Other random weights; and no time after 12 s, so that windows do not all end with their 30 s."""
    first = first_timestamp_token(model)
    assert first is not None
    model.generation_config.suppress_tokens = [
        *model.generation_config.suppress_tokens,
        *range(first + 600, first + 1501),
    ]
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.dim() > 1 and "embed_positions" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)


def by_transformers(folder: Path, seed: int, recordings: list[np.ndarray]) -> list[list[int]]:
    """The tokens of transformers' own long form, with the time at the end of each window once."""
    model = open_model(str(folder)).eval()
    redraw(model, seed)
    first = first_timestamp_token(model)
    assert first is not None
    extract = WhisperFeatureExtractor()
    inputs = extract(
        recordings,
        sampling_rate=SAMPLING_RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest",
        return_attention_mask=True,
    )
    made = model.generate(
        **inputs,
        return_timestamps=True,
        return_segments=True,
        condition_on_prev_tokens=False,
        language="en",
        task="transcribe",
    )
    found = []
    for segments in made["segments"]:
        lists = [segment["tokens"].tolist() for segment in segments]
        once = [ids[:-1] if len(ids) > 2 and ids[-2] >= first else ids for ids in lists]
        found.append([token for ids in once for token in ids])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_tokens_are_those_of_transformers(plain: Path, seed: int) -> None:
    recordings = [scene(seed, 75), scene(seed + 10, 41.5), scene(seed + 20, 12)]
    expected = by_transformers(plain, seed, recordings)
    transcriber = Transcriber(str(plain), "en", windows="sequential", silence=EVERYTHING)
    redraw(transcriber.model, seed)
    found = tokens_of(transcriber, recordings, batch_size=2)
    assert [[token for window in windows for token in window] for windows in found] == expected
    assert sum(map(len, found)) > 9, "windows begin at timestamps, not every 30 s"


def test_windows_do_not_depend_on_what_is_decoded_together(plain: Path) -> None:
    transcriber = Transcriber(str(plain), "en", windows="sequential", silence=EVERYTHING)
    recordings = [scene(seed, seconds) for seed, seconds in enumerate((40, 65, 20, 33))]
    together = tokens_of(transcriber, recordings, batch_size=3)
    assert together == [tokens_of(transcriber, [audio], batch_size=1)[0] for audio in recordings]


# Where the next window begins


@pytest.mark.parametrize(
    ("tokens", "timed", "advance", "kept"),
    [
        ([1000, 5, 1100, 1100, 6, 1200, 1200], [(0, 2, [5]), (2, 4, [6])], 400, 6),
        ([1000, 5, 1100, 1100, 6, 7], [(0, 2, [5])], 200, 3),
        ([1000, 5, 1100, 1150, 6, 1200], [(0, 2, [5]), (3, 4, [6])], 2500, 6),
        ([1010, 5, 1100], [(0, 2, [5])], 2500, 3),
        ([1000, 5, 6], [(0, 25, [5, 6])], 2500, 3),
        ([1000], [], 2500, 1),
        ([], [], 2500, 0),
    ],
)
def test_a_window_ends_at_its_last_complete_timestamp(
    tokens: list[int], timed: list[Any], advance: int, kept: int
) -> None:
    assert parts_of(tokens, FIRST, 2500) == Parts([(a, b, ids) for a, b, ids in timed], advance, tokens[:kept])
