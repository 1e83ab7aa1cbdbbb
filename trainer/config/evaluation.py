"""The ``evaluation`` section of a config: what is decoded and counted, and what follows from it in training."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from data.config import Section


class EvaluationConfig(Section):
    """Decoding of ``data.validation`` in training, and of any split by launch/eval.py."""

    every_steps: int = Field(1000, gt=0)
    batch_size: int = Field(16, gt=0)
    max_new_tokens: int = Field(200, gt=0, lt=448)
    beams: int = Field(1, gt=0, le=64, description="1: the likeliest next token at each step; more: beam search")
    normalizer: Literal["auto", "english", "basic", "none"] = Field(
        "auto", description="applied to both sides before counting; auto: Whisper's English one for en, else basic"
    )
    columns: tuple[str, ...] = Field((), description="columns of the data set whose values error rates are told by")
    cluster: str | None = Field(
        None, description="the column, such as speaker, whose values are drawn for intervals; without it, utterances"
    )
    utterances: int | None = Field(
        None, gt=0, description="in training: so many, the same at each evaluation, drawn by their ids' hashes"
    )
    max_seconds: float | None = Field(
        None,
        gt=0,
        description="in training: how long the first evaluation decodes; what it got through is evaluated from then on",
    )
    best_metric: Literal[
        "word_error_rate",
        "character_error_rate",
        "raw_word_error_rate",
        "raw_character_error_rate",
        "substitutions",
        "deletions",
        "insertions",
    ] = Field("word_error_rate", description="the lowest makes best/")
    patience: int | None = Field(
        None, gt=0, description="end the run after so many evaluations without an improvement of best_metric"
    )
    minimum_improvement: float = Field(
        0.0, ge=0, description="the least that patience counts, in best_metric's own unit: 0.002 is 0.2 points of WER"
    )
    samples: int = Field(4, ge=0, description="utterances whose texts TensorBoard shows, the same at each evaluation")

    @property
    def budget(self) -> list[float | None]:
        """What the subset of a budget of time is made from; where it changes, another is."""
        return [self.max_seconds, self.utterances]

    @field_validator("columns")
    @classmethod
    def lengths_have_their_name(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if "seconds" in columns:
            raise ValueError("'seconds' is what evaluation.json calls the length, given always: rename the column")
        return columns

    @model_validator(mode="after")
    def improvement_needs_patience(self) -> "EvaluationConfig":
        if self.minimum_improvement and self.patience is None:
            raise ValueError(f"minimum_improvement ({self.minimum_improvement:g}) does nothing without patience")
        return self
