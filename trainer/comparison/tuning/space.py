"""What a search varies: keys of a config, each with a range of numbers or a list of values. Knows no trials."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from data.config import Section
from data.errors import DataError

from ...config.reading import ConfigError, merge, nested, read_yaml, validated
from ...config.run import RunConfig
from ..differences import shown

BELOW, ABOVE = 4.0, 10.0  # a rate is sought from this part of it to this multiple: short runs want higher ones
EDGE = 0.08  # a value within this share of a range's ends is at its edge
DIGITS = 3  # of a number that is drawn
LORA_RANKS = (8, 32, 64)
LORA_TARGETS = (["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"])
LORA_KINDS = ("lora", "dora")  # rslora is another scale, which the rate is for
LAYER_DECAYS = (1.0, 0.9, 0.8)
SPEEDS = ([1.0, 1.0], [0.9, 1.1], [0.8, 1.2])
VOCAL_TRACTS = ([1.0, 1.0], [0.9, 1.1], [0.8, 1.25])
MASKS = (None, {"time_masks": 1, "frequency_masks": 1}, {"time_masks": 2, "frequency_masks": 2})  # of SpecAugment
# Where these differ, trials cannot be compared: they decide what is measured, or only where it is written.
NOT_SOUGHT = (
    *("output_dir", "evaluation", "data.validation", "data.test", "training.seed", "checkpoints", "logging"),
    *("data.language", "data.task"),
)


class Range(Section):
    """A range of numbers in a space file; whole numbers where both ends are."""

    low: int | float = Field(description="the lowest")
    high: int | float = Field(description="the highest")
    log: bool = Field(False, description="drawn evenly on a logarithmic scale")

    @model_validator(mode="after")
    def holds_numbers(self) -> "Range":
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"from {self.low:g} to {self.high:g} there is nothing: high must be above low")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}, and a logarithmic range begins above 0")
        return self


@dataclass(frozen=True)
class Dimension:
    """A key that is varied.

    Attributes:
        own: the config's own value, with which the search begins.
        range: of numbers; None where there are ``choices``.
        choices: values as YAML holds them, the own one among them. A mapping is put over the config's own.
    """

    key: str
    own: Any
    range: Range | None = None
    choices: tuple[Any, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether numbers are whole ones."""
        return self.range is not None and isinstance(self.range.low, int) and isinstance(self.range.high, int)

    @property
    def labels(self) -> tuple[str, ...]:
        """The choices as text."""
        return tuple(map(text_of, self.choices))

    def written(self, value: Any) -> Any:
        """A value as the study stores it: a number, or a choice's text."""
        return value if self.range is not None else text_of(value)

    def read(self, stored: Any) -> Any:
        """The value that the study stores so; what is drawn is rounded to three digits, as it is told and pasted."""
        if self.range is None:
            return self.choices[self.labels.index(stored)]
        if stored == self.own:
            return self.own
        return int(stored) if self.is_whole else float(f"{stored:.{DIGITS}g}")

    def edge(self, value: Any) -> str | None:
        """``lower`` or ``upper`` where a number lies at that end of its range."""
        if self.range is None:
            return None
        low, high = float(self.range.low), float(self.range.high)
        if self.range.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        place = (value - low) / (high - low)
        return "lower" if place < EDGE else "upper" if place > 1 - EDGE else None

    def described(self) -> Any:
        """As a space file has it."""
        return list(self.choices) if self.range is None else self.range.model_dump()


Space = tuple[Dimension, ...]


def text_of(value: Any) -> str:
    """A value as one line of YAML."""
    return "null" if value is None else shown(value)


def changed(config: RunConfig, changes: Mapping[str, Any], named: str = "the search") -> RunConfig:
    """The config with other values, by keys with dots; mappings are put over its own.

    Raises:
        ConfigError: beginning with ``named``, if a key is unknown or the values do not fit each other.
    """
    values = config.model_dump(mode="json")
    for key, value in changes.items():
        values = merge(values, nested({key: value}))
    return validated(RunConfig, values, named)


def default_space(config: RunConfig) -> Space:
    """The rates, the strategy's own keys and augmentation, as far as the config allows each."""
    found = [*rates(config), *of_strategy(config), *of_augmentation(config)]
    return tuple(one for one in found if fits(config, one))


def fits(config: RunConfig, dimension: Dimension) -> bool:
    """Whether the config is valid with the dimension's extremes; with a cached encoder, augmentation is not."""
    try:
        check_values(config, dimension, dimension.key)
    except ConfigError:
        return False
    return True


def rates(config: RunConfig) -> Iterator[Dimension]:
    """The learning rate, those of the encoder and of new modules where they have one of their own."""
    optimizer, model = config.optimizer, config.model
    usual, common = model.chosen_strategy.learning_rate, optimizer.learning_rate
    encoder, new = optimizer.encoder_learning_rate, optimizer.new_modules_learning_rate
    alone = model.chosen_strategy.trains_new_alone  # one rate counts then
    if not (alone and new):
        yield rate("learning_rate", common, usual)
    if encoder:
        yield rate("encoder_learning_rate", encoder, encoder)
    if new or (not alone and (model.dual_attention or model.wider_feed_forward)):
        yield rate("new_modules_learning_rate", new or common, common)


def rate(key: str, own: float, usual: float) -> Dimension:
    """A rate, on a logarithmic scale around the config's own and the usual one."""
    low, high = (float(f"{value:.2g}") for value in (min(own, usual) / BELOW, max(own, usual) * ABOVE))
    return Dimension(f"optimizer.{key}", own, Range(low=low, high=high, log=True))


def of_strategy(config: RunConfig) -> Iterator[Dimension]:
    """What the strategy's section of ``model`` says."""
    adapter, chosen = config.model.adapter, config.model.chosen_strategy
    if adapter is not None:
        scale = adapter.alpha / adapter.rank
        own = {"rank": adapter.rank, "alpha": float(adapter.alpha)}
        yield choice(
            "model.lora", own, [{"rank": rank, "alpha": rank * scale} for rank in LORA_RANKS]
        )  # alpha / rank stays, and with it the adapters' scale
        yield choice("model.lora.targets", list(adapter.targets), LORA_TARGETS)
        yield choice("model.lora.kind", adapter.kind, LORA_KINDS)
    if adapter is None and chosen.section is None:
        yield choice("optimizer.layer_decay", config.optimizer.layer_decay, LAYER_DECAYS)
    if chosen.section == "selective":
        from ...model.building import planned_model  # seconds to import

        model = planned_model(config)
        if model is not None:
            depths = len(model.model.encoder.layers), len(model.model.decoder.layers)
            names = ("encoder_layers", "decoder_layers")
            shares = [
                {name: max(1, round(share * depth)) for name, depth in zip(names, depths, strict=True)}
                for share in (1 / 3, 2 / 3, 1)
            ]
            options = config.model.selective
            yield choice("model.selective", None if options is None else options.model_dump(), shares)


def of_augmentation(config: RunConfig) -> Iterator[Dimension]:
    """Speed, vocal tract and masks, off and in two strengths; noise only where the config has it."""
    augmentation = config.data.augmentation
    own = {} if augmentation is None else augmentation.model_dump(mode="json")
    yield choice("data.augmentation.speed", own.get("speed", SPEEDS[0]), SPEEDS)
    yield choice("data.augmentation.vocal_tract", own.get("vocal_tract", VOCAL_TRACTS[0]), VOCAL_TRACTS)
    yield choice("data.augmentation.spec_augment", own.get("spec_augment"), MASKS)
    share = own.get("noise_share", 0.0)
    if share:
        yield Dimension("data.augmentation.noise_share", share, Range(low=share / 2, high=min(1.0, 2 * share)))


def choice(key: str, own: Any, others: Sequence[Any]) -> Dimension:
    """One of several values, the config's own first; of a mapping, the keys that the others have too."""
    if isinstance(own, dict):
        varied = {name for value in others if isinstance(value, dict) for name in value}
        own = {name: value for name, value in own.items() if name in varied}
    return Dimension(key, own, choices=(own, *(value for value in others if text_of(value) != text_of(own))))


def read_space(path: Path, config: RunConfig) -> Space:
    """A space file: keys of the config, each with a range (``low``, ``high``, ``log``) or a list of values.

    Raises:
        ConfigError: if a key is unknown or may not be sought, a range holds nothing, or a value does not fit the
            config.
    """
    found = []
    for key, given in ranges_of(read_yaml(path)):
        place = f"{path}: {key}"
        if f"{key}.".startswith(tuple(f"{fixed}." for fixed in NOT_SOUGHT)):
            raise ConfigError(
                f"{place} cannot be sought: trials would not be measured alike, or no better one is known"
            )
        if isinstance(given, dict):
            found.append(Dimension(key, own_value(config, key, place), validated(Range, given, place)))
        elif isinstance(given, list):
            found.append(choice(key, own_value(config, key, place), given))
            if len(found[-1].choices) < 2:
                raise ConfigError(f"{place} is {given!r}, which leaves nothing to choose: list another value")
        else:
            raise ConfigError(f"{place} is {given!r}: it must be a list of values, or low and high")
        check_values(config, found[-1], place)
    if not found:
        raise ConfigError(f"{path} names no key")
    return tuple(found)


def ranges_of(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys joined by dots with their ranges or lists, however the file nests them."""
    for key, value in values.items():
        if isinstance(value, dict) and not {"low", "high", "log"} & value.keys() and value:
            yield from ranges_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def own_value(config: RunConfig, key: str, place: str) -> Any:
    """The config's value of a key; where its section is not given, that section's default.

    Raises:
        ConfigError: if there is no such key, or the section does not fit the config.
    """
    values: Any = config.model_dump(mode="json")
    *sections, name = key.split(".")
    for number, section in enumerate(sections, start=1):
        if isinstance(values, dict) and values.get(section, 0) is None:
            path = ".".join(sections[:number])
            return own_value(changed(config, {path: {}}, place), key, place)
        values = values.get(section, {}) if isinstance(values, dict) else {}
    if not isinstance(values, dict) or name not in values:
        changed(config, {key: None}, place)  # which says what is known there
        raise ConfigError(f"{place}: there is no such key")
    return values[name]


def check_values(config: RunConfig, dimension: Dimension, place: str) -> None:
    """Check each choice, or both ends of a range, in the config; and that a range holds the config's own value."""
    within = dimension.range
    for value in dimension.choices if within is None else (within.low, within.high):
        try:
            changed(config, {dimension.key: value}, place)
        except DataError as error:
            raise ConfigError(f"{place}: {error}") from None
    if within is None:
        return
    own = dimension.own
    if isinstance(own, bool) or not isinstance(own, (int, float)) or not within.low <= own <= within.high:
        raise ConfigError(
            f"{place} from {within.low:g} to {within.high:g} leaves out the config's own {text_of(own)}, with which "
            "the search begins: widen the range, or set another value after --config"
        )
