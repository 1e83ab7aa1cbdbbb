"""Opens the sources of a config; synthetic speech is made first, where it is not there yet.

Above preparation, which synthetic speech goes through as any corpus does; :mod:`data.sources.source` only reads.
"""

from pathlib import Path

from filelock import FileLock

from .corpora.folder_source import FolderSource
from .corpora.settings import CorpusSettings
from .digit_speech import TRAINING_VOICES, UNSEEN_VOICES, synthesize_digit_corpus
from .preparation.prepare import prepare
from .preparation.settings import PrepareSettings
from .sources.config import DigitSpeech, SourceConfig
from .sources.source import Source


def source_of(config: SourceConfig, name: str) -> Source:
    """The source of a config; nothing is read or made yet.

    Args:
        name: the source's key in the config, for messages.
    """
    return FolderSource(config, name) if config.folder else Source(config, name)


def open_source(config: SourceConfig, name: str) -> Source:
    """The source of a config, its synthetic speech made.

    Args:
        name: the source's key in the config, for messages.

    Raises:
        DataError: if the speech cannot be made. Other sources are opened when first read.
    """
    if config.digits:
        synthesize(config.digits)
    return source_of(config, name)


def synthesize(config: DigitSpeech) -> None:
    """Speak and prepare synthetic speech, unless it is there already; one process at a time."""
    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / config.split
    with FileLock(folder / ".lock"):
        spoken = synthesize_digit_corpus(
            folder / "spoken",
            utterances=config.utterances,
            voices=TRAINING_VOICES if config.voices == "training" else UNSEEN_VOICES,
            seed=config.seed,
            shards=min(4, config.utterances),
            split=config.split,
            warp=config.warp,
        )
        manifest = output / "manifest.json"
        if not manifest.exists() or manifest.stat().st_mtime < max(path.stat().st_mtime for path in spoken):
            corpus = CorpusSettings(input=str(folder / "spoken" / f"{config.split}-*.parquet"))
            prepare(PrepareSettings(corpus=corpus, output=str(output), shares={config.split: 1.0}), overwrite=True)
