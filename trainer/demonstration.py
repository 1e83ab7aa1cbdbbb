"""More of the demo than a call: its speech is inspected, and its model adapted in two ways that are compared."""

from collections.abc import Sequence
from pathlib import Path

from .comparison.comparison import Comparison
from .config import RunConfig
from .config_file import load_config

STRATEGIES = ("full", "lora")


def inspect_speech(files: list[str]) -> tuple[str, Path]:
    """What an inspection of prepared Parquet files says in a line, and its page, which is written beside them."""
    from data.preparation.inspecting import inspect_corpus, write_page
    from data.preparation.inspection import InspectionSettings
    from data.preparation.inspection_findings import problems
    from data.preparation.inspection_table import verdict
    from data.preparation.settings import CorpusSettings

    folder = Path(files[0]).parent
    inspection = inspect_corpus(CorpusSettings(input=str(folder), kind="parquet"), InspectionSettings(), workers=2)
    page = folder.with_name("inspection.html")
    write_page(inspection, str(folder), str(page))
    return verdict(problems(inspection)), page


def compare_strategies(adaptation: Path, demo: RunConfig, overrides: Sequence[str] = ()) -> Comparison:
    """Adapt the demo's best model with each of :data:`STRATEGIES`, evaluate each, and write the comparison.

    Args:
        adaptation: a config for the demo's test voices; its checkpoint and output_dir are replaced.
        demo: the demo's own config, its model evaluated before: what both are compared with.
        overrides: values over those of ``adaptation``.
    """
    from .comparison.command import write_comparison
    from .evaluate_checkpoint import evaluate_checkpoint
    from .run import train

    folder = Path(demo.output_dir)
    arms = [folder]
    for strategy in STRATEGIES:
        arms.append(folder / "adapted" / strategy)
        config = load_config(
            adaptation,
            [
                *overrides,
                f"output_dir={arms[-1]}",
                f"model.checkpoint={folder / 'best'}",
                f"model.strategy={strategy}",
            ],
        )
        train(config)
        evaluate_checkpoint(config, str(arms[-1] / "final"), "test")
    return write_comparison(arms, folder / "comparison", list(map(str, arms)), "test")
