"""Which evaluation is the best so far, and when a run that no longer gets better ends."""

from ..config.evaluation import EvaluationConfig
from ..evaluation.evaluator import Evaluation
from .checkpoints import RunState


def note_evaluation(state: RunState, evaluation: Evaluation, config: EvaluationConfig) -> bool:
    """Put an evaluation's figures into the state; whether it is the best so far.

    The best is the lowest ``best_metric``, by however little. Patience is used up by evaluations that are not lower by
    ``minimum_improvement`` than the last one that was: many small steps together count.
    """
    value = evaluation.metrics()[config.best_metric]
    if state.patience_from is None or (
        value < state.patience_from and state.patience_from - value >= config.minimum_improvement
    ):
        state.patience_from, state.without_improvement = value, 0
    else:
        state.without_improvement += 1
    if state.best is not None and value >= state.best:
        return False
    state.best, state.best_step = value, state.step
    state.best_word_error_rate = evaluation.rates.word_error_rate
    state.best_character_error_rate = evaluation.rates.character_error_rate
    return True


def out_of_patience(state: RunState, config: EvaluationConfig) -> bool:
    """Whether the run is to end: the same on all ranks, and after a resume with the config as it is then."""
    return config.patience is not None and state.without_improvement >= config.patience


def describe_patience(state: RunState, config: EvaluationConfig) -> str:
    """Why the run ended, in words."""
    least = f" by {config.minimum_improvement:g}" if config.minimum_improvement else ""
    return (
        f"stopped early at step {state.step}: {state.without_improvement} evaluations without a lower "
        f"{config.best_metric.replace('_', ' ')}{least}; evaluation.patience is {config.patience}"
    )
