"""How many rows training would skip as broken, and how many it would take, languages considered."""

from dataclasses import dataclass

from ..sources.languages import CODES
from ..utterance import SAMPLING_RATE
from .tally import Inspection


@dataclass(frozen=True)
class JudgedRows:
    """Rows that training would skip as broken, and those that it would take, with their seconds."""

    broken: int
    usable: int
    usable_seconds: float


def judged_rows(inspection: Inspection) -> JudgedRows:
    """The rows of an inspection; those that training leaves out for their length are neither."""
    wrong = wrong_languages(inspection)
    clips, samples = dict(inspection.usable_clips.top()), dict(inspection.usable_samples.top())
    seconds = sum(amount for language, amount in samples.items() if language not in wrong) / SAMPLING_RATE
    unfit = sum(clips[language] for language in wrong)
    return JudgedRows(inspection.broken + unfit, sum(clips.values()) - unfit, seconds)


def wrong_languages(inspection: Inspection) -> list[str]:
    """Languages of otherwise usable clips that are missing ("") or that Whisper does not know, most clips first."""
    settings = inspection.settings
    if settings.multilingual is False:  # English-only models are asked for no language
        return []
    languages = [language for language, _ in inspection.usable_clips.top()]
    if languages in ([], [""]):  # one for all belongs into the config
        return []
    known = CODES if settings.language is None else {*CODES, ""}
    return [language for language in languages if language not in known]
