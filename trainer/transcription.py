"""Files of any length to text with a checkpoint, padded as it was trained."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.audio import decode_audio
from data.errors import DataError, nearest
from data.features import LogMel
from data.lanes import collate
from data.sources import AUDIO_SUFFIXES
from data.utterance import SAMPLING_RATE, Utterance
from modeling.checkpoints import open_model, open_processor
from modeling.decoding import encoder_padding, greedy_decode

from .batch import to_batch
from .config_file import ConfigError
from .languages import known_languages

WINDOW_SECONDS = 30.0
SEARCH_SECONDS = 8.0  # where in the end of a window the quietest place to cut is looked for


def audio_files(paths: Sequence[str]) -> list[Path]:
    """The files named, and the recordings in the folders named, each once.

    Raises:
        DataError: for a path that does not exist, or a folder without recordings.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(
                file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file()
            )
            if not inside:
                raise DataError(f"{path} holds no recording ({', '.join(sorted(AUDIO_SUFFIXES))})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist")
    return list(dict.fromkeys(found))


def cut_at_quiet(audio: np.ndarray, window: float = WINDOW_SECONDS, search: float = SEARCH_SECONDS) -> list[np.ndarray]:
    """Pieces of at most ``window`` seconds, cut where the last ``search`` seconds of each are quietest."""
    limit, span, frame = int(window * SAMPLING_RATE), int(search * SAMPLING_RATE), SAMPLING_RATE // 10
    pieces = []
    while len(audio) > limit:
        tail = audio[limit - span : limit]
        energy = np.square(tail[: len(tail) // frame * frame].reshape(-1, frame)).mean(axis=1)
        cut = limit - span + int(np.argmin(energy)) * frame + frame // 2
        pieces.append(audio[:cut])
        audio = audio[cut:]
    return [*pieces, audio]


class Transcriber:
    """A checkpoint ready to transcribe, on a GPU if there is one.

    Raises:
        CheckpointError: if the checkpoint cannot be opened.
        ConfigError: if the checkpoint does not know the language or the task.
    """

    def __init__(self, checkpoint: str, language: str | None, task: str = "transcribe", batch_size: int = 8) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Any = open_model(checkpoint).to(self.device).eval()
        self.processor = open_processor(checkpoint)
        self.task, self.batch_size = task, batch_size
        self.log_mel = LogMel(self.model.config.num_mel_bins, self.device)
        known = known_languages(self.model)
        if language is None and len(known) == 1:
            language = known[0]
        if language is not None and known and language not in known:
            right = f": it knows {known[0]} only" if len(known) == 1 else nearest(language, known)
            raise ConfigError(f"--language is {language!r}, which {checkpoint} does not know{right}")
        if task == "translate" and getattr(self.model.generation_config, "is_multilingual", True) is False:
            raise ConfigError(f"--task is 'translate', but {checkpoint} knows English only")
        self.language = language

    def transcribe(self, path: Path) -> str:
        """The text of a recording.

        Raises:
            UndecodableAudio: if it cannot be decoded.
        """
        pieces = cut_at_quiet(decode_audio(str(path)))
        texts: list[str] = []
        for start in range(0, len(pieces), self.batch_size):
            texts += self.decode(pieces[start : start + self.batch_size])
        return " ".join(filter(None, texts))

    def decode(self, pieces: list[np.ndarray]) -> Iterator[str]:
        audio = collate([Utterance(str(number), piece, "") for number, piece in enumerate(pieces)])
        batch = to_batch(audio, self.log_mel, encoder_padding(self.model), self.device)
        languages = [self.language] * len(pieces)
        tokens = greedy_decode(self.model, batch.features, batch.length_list, languages, self.task, max_new_tokens=440)
        return (text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True))
