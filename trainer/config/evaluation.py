"""The ``evaluation`` section of a config: what is decoded and counted, and what training does with the result."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from data.config import Section


class EvaluationConfig(Section):
    """Decoding of ``data.validation`` in training, and of any split by launch/eval.py."""

    every_steps: int = Field(1000, gt=0, description="in training: steps between two evaluations")
    batch_size: int = Field(16, gt=0, description="utterances decoded together on each process")
    max_new_tokens: int = Field(200, gt=0, lt=448, description="longest transcript, in tokens; longer ones are cut off")
    beams: int = Field(1, gt=0, le=64, description="1: greedy decoding; more: beam search")
    normalizer: Literal["auto", "english", "basic", "none"] = Field(
        "auto", description="applied to reference and transcript before counting; auto: english for en, else basic"
    )
    columns: tuple[str, ...] = Field(
        (), description="columns of the data set; each of their values gets its own error rates"
    )
    cluster: str | None = Field(
        None, description="column, such as speaker, whose values are resampled for intervals; without it, utterances"
    )
    utterances: int | None = Field(
        None, gt=0, description="in training: size of the subset that is evaluated, always the same one"
    )
    max_seconds: float | None = Field(
        None,
        gt=0,
        description="in training: seconds for the first evaluation; the utterances it got through are the subset",
    )
    best_metric: Literal[
        "word_error_rate",
        "character_error_rate",
        "raw_word_error_rate",
        "raw_character_error_rate",
        "substitutions",
        "deletions",
        "insertions",
    ] = Field("word_error_rate", description="the figure whose lowest value decides best/")
    patience: int | None = Field(
        None, gt=0, description="the run ends after so many evaluations without a better best_metric"
    )
    minimum_improvement: float = Field(
        0.0, ge=0, description="smallest improvement that counts for patience, absolute: 0.002 is 0.2 points of WER"
    )
    average: Literal["both", "alone"] = Field(
        "both",
        description="with training.ema: both: each evaluation decodes with the weights and with their average, and "
        "best/ may be either; alone: with the average only, in half the time",
    )
    samples: int = Field(4, ge=0, description="utterances whose texts TensorBoard shows, always the same ones")

    @property
    def budget(self) -> list[float | None]:
        """What decides the subset under a time budget; where it changes, a new subset is made."""
        return [self.max_seconds, self.utterances]

    @field_validator("columns")
    @classmethod
    def lengths_have_their_name(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if "seconds" in columns:
            raise ValueError("'seconds' is the name that evaluation.json gives to the clips' length: rename the column")
        return columns

    @model_validator(mode="after")
    def improvement_needs_patience(self) -> "EvaluationConfig":
        if self.minimum_improvement and self.patience is None:
            raise ValueError(f"minimum_improvement ({self.minimum_improvement:g}) does nothing without patience")
        return self
