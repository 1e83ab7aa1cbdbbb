"""How a corpus is read, checked before anything is read."""

from pydantic import Field, field_validator, model_validator

from ..audio.mixing import CHANNELS
from ..errors import nearest
from ..sources.config import Section
from ..sources.languages import Language
from .second.names import COLUMN, check_second, is_pattern

# Our columns, and the usual names of each in corpora.
KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "audio_filepath", "audio_path", "file_name", "path", "file", "filename", "wav"),
    "text": ("text", "transcript", "transcription", "sentence", "normalized_text"),
    "id": ("id", "utterance_id", "utt_id", "uid"),
    "language": ("language", "locale", "lang"),
    # Capitals and signs between words do not count here. What may be something else, such as kid, is asked for.
    "speaker": ("speaker", "speaker_id", "client_id", "spk_id", "spk", "speaker_name", "reader", "reader_id", "talker"),
    "duration": ("duration", "audio_duration"),
    "split": ("split", "subset"),
    "start": ("start", "offset", "begin"),
    "end": ("end", "stop"),
    "sampling_rate": ("sampling_rate", "sample_rate"),
}
FIELDS = tuple(KNOWN_NAMES)
SHARD_COLUMNS = ("id", "audio", "text", "language", "speaker", "duration")


class CorpusSettings(Section):
    """Where a corpus lies and how to read it."""

    input: str = Field(description="a file, a folder, a glob, any fsspec address, or a dataset's name on the hub")
    kind: str = Field("auto", description="the name of a format; auto: by what is found there")
    columns: dict[str, str | None] = Field({}, description="what the corpus calls our columns; None: not to be used")
    audio_root: str | None = Field(None, description="what relative audio paths are relative to, and may not leave")
    language: Language | None = Field(
        None, pattern=r"^[a-z]{2,3}$", description="code or English name where rows have none"
    )
    hub_name: str | None = Field(None, description="the hub dataset's configuration")
    hub_revision: str | None = Field(None, description="the hub dataset's branch, tag or commit")
    hub_splits: tuple[str, ...] = Field(("train",), description="the hub dataset's splits")
    cache: str | None = Field(None, description="where archives and hub files are unpacked and kept")
    tiers: tuple[str, ...] = Field((), description="tiers of TextGrid and ELAN files; all where none is named")
    allow_overlaps: bool = Field(False, description="segments of a recording may overlap, as in conversations")
    without_text: bool = Field(False, description="recordings of a folder without a transcript are rows, too")
    second: str | None = Field(None, description="where each second recording is found: see .second.names")
    max_samples: int | None = Field(None, gt=0, description="read no more rows than this")
    extra_columns: tuple[str, ...] = Field((), description="columns to carry along, as text")
    for_training: bool = Field(False, description="a run reads the corpus: messages name the config's keys")
    job_rows: int = Field(2000, gt=0, description="rows of one job, and so at most of one shard")

    @property
    def second_column(self) -> str | None:
        """The corpus's column of second recordings, if they are found by one."""
        return None if self.second is None or self.second in CHANNELS or is_pattern(self.second) else self.second

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns carried along beside those that every shard has."""
        taken = SHARD_COLUMNS if self.second is None else (*SHARD_COLUMNS, COLUMN)
        return tuple(name for name in self.extra_columns if name not in taken)

    def names_column(self, ours: str, theirs: str = "NAME") -> str:
        """How a user says what the corpus calls a column."""
        return f"columns: {{{ours}: {theirs}}}" if self.for_training else f"--columns {ours}={theirs}"

    @property
    def without_columns(self) -> "CorpusSettings":
        """The settings for a corpus whose format names its columns; a run's config names those of its rows."""
        return self.model_copy(update={"columns": {}}) if self.for_training else self

    @field_validator("second")
    @classmethod
    def sensible_second(cls, second: str | None) -> str | None:
        if second is not None:
            check_second(second)
        return second

    @model_validator(mode="after")
    def known_columns(self) -> "CorpusSettings":
        for name in self.columns:
            if name not in FIELDS:
                raise ValueError(f"--columns has {name!r}{nearest(name, FIELDS)}; ours are {', '.join(FIELDS)}")
        return self
