"""The plan of a noise experiment: a comparison's, with the suites that measure its arms and which are reported."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from trainer.comparison.planning import Plan, PlannedArm, check_arm, config_of
from trainer.config.reading import ConfigError


class NoisePlan(Plan):
    """Arms are run in the order in which they stand."""

    development: Path = Field(description="the noise suite by which rates and designs are chosen")
    report: Path = Field(description="the noise suite that is reported, of families only")
    families: dict[str, tuple[str, ...]] = Field(
        {}, description="maps a name to arms that differ only in their seed; all are compared with the first family"
    )

    @model_validator(mode="after")
    def families_are_of_arms(self) -> Self:
        for family, arms in self.families.items():
            for arm in arms:
                if arm not in self.arms:
                    raise ValueError(f"families.{family} has {arm!r}, which is not an arm")
        return self

    def beside(self, folder: Path) -> Self:
        files = {"development": folder / self.development, "report": folder / self.report}
        return super().beside(folder).model_copy(update=files)

    @property
    def reported(self) -> set[str]:
        """The arms of families, and checkpoints as they are."""
        untrained = {name for name, keys in self.arms.items() if keys is None}
        return untrained | {arm for arms in self.families.values() for arm in arms}


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
