"""How exact word times are: python -m benchmarks.long_form.words --digits runs/demo/best --english openai/whisper-base

espeak-ng speaks single words, which are joined with pauses of 0.05 to 1 s: the true start and end of each are known.
It also speaks them in one go, and tells where each begins.
"""

import difflib
import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.digit_speech import DIGIT_WORDS, UNSEEN_VOICES, SpokenText, speak_texts
from data.utterance import SAMPLING_RATE
from modeling.alignment.word_times import FRAME_SECONDS, SpelledWords, word_times
from trainer.command_line import CommandLine, number, run_command
from trainer.transcription.hearing import Listener
from trainer.transcription.word_times.aligning import BoundaryErrors, HeardClips, finder_of
from trainer.transcription.word_times.joining import LEAD_SECONDS, Joined, join

from ..machine import describe_machine
from ..written import add_output, table_head, write_result

ENGLISH_VOICES = ("en-us", "en-us+f1", "en-us+m3", "en-us+m4", "en-us+f4", "en-us+Andrea", "en-us+m7", "en-us+steph")
ENGLISH_WORDS = """
    water apple window river garden table yellow seven morning paper summer children mountain doctor kitchen orange
    music letter winter bottle pencil flower teacher animal monday village market basket finger hammer island jacket
    lemon machine number ocean people rabbit silver tiger uncle valley weather zebra bridge cloud dream field glass
    horse house light milk night plant queen round school stone train world young bread chair drink earth friend green
    happy king large mouth
"""
SENTENCES = (
    "the quick brown fox jumps over the lazy dog near the river",
    "my brother wanted to buy a new bicycle but he did not have enough money",
    "we walked along the beach and looked for small white shells",
    "an old man sat quietly under the tree and read his paper",
    "can you tell me where the nearest train station is",
    "they played football until it was dark",
    "yesterday my sister cooked a large pot of soup",
    "the cat climbed up the wooden fence and jumped onto the roof",
    "he opened the door slowly and looked into the empty room",
    "please close the window because the wind is cold tonight",
)


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--digits", metavar="CHECKPOINT", help="one that the demo's digits trained")
    parser.add_argument("--english", metavar="CHECKPOINT", help="one that knows English")
    parser.add_argument("--recordings", type=number(int, 1, 1000), default=20, metavar="N", help="of each kind (20)")
    add_output(parser, with_table=True)
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"machine": describe_machine(), "recordings": options.recordings}
    for name, checkpoint in (("digits", options.digits), ("english", options.english)):
        if checkpoint is not None:
            found[name] = measure(checkpoint, name, options.recordings)
    table = table_of(found)
    print(table)
    write_result(options.output, found, table)


def measure(checkpoint: str, name: str, count: int) -> dict[str, Any]:
    """Errors of one checkpoint's word times, on joined words, whose text is given or heard, and on words in one go."""
    is_digits = name == "digits"
    language, voices = ("az", UNSEEN_VOICES) if is_digits else ("en", ENGLISH_VOICES)
    listener = Listener(checkpoint, language, dtype="fp32", words=True)
    generator = random.Random(0)
    joined = joined_words(is_digits, voices, generator, count)
    texts = [" ".join(generator.choices(DIGIT_WORDS, k=3)) for _ in range(count)]
    fluent = speak_texts(texts if is_digits else list(SENTENCES), voices=voices, seed=2)
    heard = [HeardClips.of(listener, one) for one in joined]
    at_once = [in_one_go(spoken, language) for spoken in fluent if len(spoken.text.split()) == len(spoken.word_starts)]
    together = [HeardClips.of(listener, one) for one in at_once]
    matched, all_words = heard_errors(listener, joined)
    return {
        "heads": [list(head) for head in finder_of(listener).heads],
        "joined": starts_and_ends(listener, heard, 1.0),
        "joined_without_levels": starts_and_ends(listener, heard, 0.0),
        "in_one_go": {"starts": starts_and_ends(listener, together, 1.0)["starts"]},
        "heard": {**summary(*matched), "words": all_words, "recognised": len(matched[0])},
    }


def joined_words(is_digits: bool, voices: Sequence[str], generator: random.Random, count: int) -> list[Joined]:
    """Recordings of 2 to 4 digits, as the demo is trained on, or of 6 to 12 English words."""
    words, (fewest, most) = (DIGIT_WORDS, (2, 4)) if is_digits else (ENGLISH_WORDS.split(), (6, 12))
    sizes = [generator.randint(fewest, most) for _ in range(count)]
    spoken = iter(speak_texts([generator.choice(words) for _ in range(sum(sizes))], voices=voices, seed=1))
    language = "az" if is_digits else "en"
    return [
        join([(one.text, one.samples) for one in itertools.islice(spoken, size)], generator, language) for size in sizes
    ]


def in_one_go(spoken: SpokenText, language: str) -> Joined:
    """A spoken text as if its words had been joined without pauses; a word ends where the next begins."""
    margin = round(LEAD_SECONDS * SAMPLING_RATE)
    starts = [LEAD_SECONDS + start for start in spoken.word_starts]
    ends = [*starts[1:], LEAD_SECONDS + len(spoken.samples) / SAMPLING_RATE]
    audio = np.pad(spoken.samples, margin)
    return Joined(audio, tuple(spoken.text.split()), tuple(zip(starts, ends, strict=True)), language)


def starts_and_ends(listener: Listener, heard: Sequence[HeardClips], share: float) -> dict[str, Any]:
    """Errors with the text given; ``share``: of what the levels of the recording say of silence."""
    starts, ends = [], []
    for one in heard:
        text = SpelledWords(one.text.prompt, one.text.words)
        (timed,) = word_times(listener.model, one.states, [text], [share * one.silence], finder_of(listener).heads)
        firsts, lasts = zip(*((first, after - 1) for first, after in one.places), strict=True)
        known = np.array(one.joined.bounds)
        starts += [timed.starts[list(firsts)] - known[:, 0]]
        ends += [timed.ends[list(lasts)] - known[:, 1]]
    return summary(np.concatenate(starts), np.concatenate(ends))


def heard_errors(listener: Listener, joined: Sequence[Joined]) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """Errors of the words that are recognised as what was said, starts and ends, and how many were said."""
    starts, ends, said = [], [], 0
    for one in joined:
        (piece,) = listener.hear([one.audio], [one.language])
        words = [word for segment in piece.segments for word in segment.words or ()]
        spelled = [word.word.lower().strip(".,!?") for word in words]
        said += len(one.texts)
        matcher = difflib.SequenceMatcher(None, spelled, [text.lower() for text in one.texts], autojunk=False)
        for place, true, size in matcher.get_matching_blocks():
            for word, (start, end) in zip(words[place : place + size], one.bounds[true : true + size], strict=True):
                starts.append(word.start - start)
                ends.append(word.end - end)
    return (np.array(starts), np.array(ends)), said


def summary(starts: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
    if not len(starts):
        return {}
    return {name: vars(BoundaryErrors.of(np.abs(errors))) for name, errors in (("starts", starts), ("ends", ends))}


def table_of(found: dict[str, Any]) -> str:
    rows = [table_head(["speech", "text and method", "starts: median, 95th percentile (s)", "ends", "within 0.1 s"])]
    titles = {
        "joined": "words with pauses, given",
        "joined_without_levels": "the same by attention alone",
        "heard": "words with pauses, heard",
        "in_one_go": "words in one go, given",
    }
    for name in ("digits", "english"):
        for key, title in titles.items():
            errors = found.get(name, {}).get(key, {})
            pairs = [errors[of] for of in ("starts", "ends") if of in errors]
            cells = [f"{one['median']:.3f}, {one['percentile_95']:.3f}" for one in pairs] + [""] * (2 - len(pairs))
            close = " / ".join(f"{one['within_0_1']:.0%}" for one in pairs)
            if pairs:
                rows.append(f"| {name} | {title} | {cells[0]} | {cells[1]} | {close} |")
    return f"Frames of {FRAME_SECONDS:g} s.\n\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    run_command(main)
