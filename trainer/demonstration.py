"""More of the demo than a call: its speech is inspected, and its model adapted in two ways that are compared."""

from collections.abc import Sequence
from pathlib import Path

from .comparison.comparison import Comparison
from .config.reading import load_config
from .config.run import RunConfig

STRATEGIES = ("full", "lora")


def inspect_speech(files: list[str]) -> tuple[str, Path]:
    """What an inspection of prepared Parquet files says in a line, and its page, which is written beside them."""
    from data.corpora.settings import CorpusSettings
    from data.inspection.facts import InspectionSettings
    from data.inspection.findings import problems
    from data.inspection.inspect import inspect_corpus

    from .pages.corpus import write_page
    from .pages.corpus_tables import verdict

    folder = Path(files[0]).parent
    inspection = inspect_corpus(CorpusSettings(input=str(folder), kind="parquet"), InspectionSettings(), workers=2)
    page = folder.with_name("inspection.html")
    write_page(inspection, str(folder), str(page))
    return verdict(problems(inspection)), page


def compare_strategies(adaptation: Path, demo: RunConfig, overrides: Sequence[str] = ()) -> Comparison:
    """Adapt the demo's best model with each of :data:`STRATEGIES`, and compare what came out with what it was before.

    Args:
        adaptation: a config; its checkpoint and output_dir are replaced.
        demo: the demo's own config.
        overrides: values over those of ``adaptation``.
    """
    from .comparison.command import write_comparison
    from .evaluation.checkpoint import evaluate_checkpoint
    from .run import train

    folder = Path(demo.output_dir)
    begun_from = [*overrides, f"model.checkpoint={folder / 'best'}"]
    arms = [folder / "adapted" / name for name in ("before", *STRATEGIES)]
    evaluate_checkpoint(load_config(adaptation, begun_from), str(folder / "best"), "test", str(arms[0]))
    for strategy, arm in zip(STRATEGIES, arms[1:], strict=True):
        config = load_config(adaptation, [*begun_from, f"output_dir={arm}", f"model.strategy={strategy}"])
        train(config)
        evaluate_checkpoint(config, str(arm / "final"), "test")
    return write_comparison(arms, folder / "comparison", list(map(str, arms)), split="test")
