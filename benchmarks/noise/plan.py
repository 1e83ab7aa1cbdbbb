"""The plan of a noise experiment: a comparison's, with the suites that measure its arms and which are reported."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field, model_validator

from data.config import Section
from trainer.comparison.planning import ARM_NAME, Plan, PlannedArm, check_arm, config_of
from trainer.config.reading import ConfigError

DEVELOPMENT, REPORT = "development", "report"


class Suite(NamedTuple):
    """A noise suite's file, and keys that are set over it."""

    path: Path
    sets: dict[str, Any]


class Variant(Section):
    """The report's suite with other keys, for some of the arms."""

    sets: dict[str, Any] = Field(min_length=1, description="keys of the suite, such as heard: fused")
    of: tuple[str, ...] = Field(min_length=1, description="families and arms that are measured by it, too")


class NoisePlan(Plan):
    """Arms are run in the order in which they stand. A side of a comparison is a family, or FAMILY/VARIANT."""

    title: str = Field("Does a second attention help in noise?", description="the summary's")
    development: Path = Field(description="the noise suite by which rates and designs are chosen")
    report: Path = Field(description="the noise suite that is reported, of families only")
    families: dict[str, tuple[str, ...]] = Field(
        {}, description="maps a name to arms that differ only in their seed; all are compared with the first family"
    )
    also: dict[str, Variant] = Field({}, description="variants of the report by name")
    against: dict[str, tuple[str, ...]] = Field(
        {}, description="maps a side to others that it is compared with, beside the first family"
    )

    @model_validator(mode="after")
    def names_are_known(self) -> Self:
        for family, arms in self.families.items():
            for arm in arms:
                if arm not in self.arms:
                    raise ValueError(f"families.{family} has {arm!r}, which is not an arm")
        for variant, about in self.also.items():
            if not ARM_NAME.fullmatch(variant):
                raise ValueError(f"also.{variant}: a name is made of letters, digits, and _ . + -; it names a folder")
            for name in about.of:
                if name not in self.arms and name not in self.families:
                    raise ValueError(f"also.{variant}.of has {name!r}, which is neither a family nor an arm")
        for side in [one for pair in self.against.items() for one in (pair[0], *pair[1])]:
            if side not in self.sides:
                raise ValueError(f"against has {side!r}; there is {', '.join(self.sides)}")
        return self

    def beside(self, folder: Path) -> Self:
        files = {"development": folder / self.development, "report": folder / self.report}
        return super().beside(folder).model_copy(update=files)

    @property
    def reported(self) -> set[str]:
        """The arms of families, and checkpoints as they are."""
        untrained = {name for name, keys in self.arms.items() if keys is None}
        return untrained | {arm for arms in self.families.values() for arm in arms}

    @property
    def suites(self) -> dict[str, Suite]:
        """All suites by the keys that they have in an arm's result."""
        variants = {variant_key(name): Suite(self.report, about.sets) for name, about in self.also.items()}
        return {DEVELOPMENT: Suite(self.development, {}), REPORT: Suite(self.report, {}), **variants}

    @property
    def sides(self) -> dict[str, tuple[str, str]]:
        """What can be compared: the family and the suite's key of every side."""
        return dict(self.each_side())

    def each_side(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """A family that is a part of another one has only the variants that are measured of no more than it."""
        for family, arms in self.families.items():
            is_part = any(set(arms) < set(other) for other in self.families.values())
            if not is_part:
                yield family, (family, REPORT)
            for variant, about in self.also.items():
                measured = self.arms_of(about)
                if set(arms) == measured or (set(arms) <= measured and not is_part):
                    yield f"{family}/{variant}", (family, variant_key(variant))

    def arms_of(self, variant: Variant) -> set[str]:
        """The arms that a variant measures."""
        return {arm for name in variant.of for arm in self.families.get(name, (name,))}


def variant_key(variant: str) -> str:
    """What an arm's result, and its folder of the suite, call a variant."""
    return f"{REPORT}_{variant}"


def planned_arms(plan: NoisePlan, output: Path) -> list[PlannedArm]:
    """Every arm with its whole config. Raises: ConfigError naming the arm."""
    arms = []
    for name, own in plan.arms.items():
        try:
            arms.append(PlannedArm(name, config_of(plan, name, output), "validation", own is not None))
            check_arm(arms[-1])
        except ConfigError as error:
            raise ConfigError(f"arm {name}: {error}") from None
    return arms
