"""The facts of a corpus's clips, added up over worker processes.

Each worker makes an :class:`Inspection` of its clips, and the main process merges them in any order.
:mod:`data.inspection.findings` says what the sums mean.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from ..corpora.census import Census
from ..corpora.record import Record
from ..preparation.clips import RecordingReader
from ..utterance import SAMPLING_RATE
from .characters import script_of, scripts_in, words_of
from .counts import NONE, ClipTable, Example, Examples, Histogram, KnownNames, Scale, Tally, add_up, text_digest
from .facts import LOWEST_LEVEL, ClipFacts, InspectionSettings, examine
from .kinds import Kind
from .samples import Samples
from .second import LONGEST_DELAY

LENGTHS = Scale(0.0, 60.0, 600)  # seconds
LEVELS = Scale(LOWEST_LEVEL, 0.0, 100)  # dBFS
DELAYS = Scale(-LONGEST_DELAY - 0.0005, LONGEST_DELAY + 0.0005, 10_001)  # seconds, each bin around a millisecond
DIFFERENCES = Scale(-60.0, 60.0, 480)  # dB
RATES = Scale(0.1, 102.4, 200, is_log=True)  # characters a second, 20 bins an octave
PARTS = ("language", "split", "speaker", "sampling rate", "channels", "encoding")
MOST_SPEAKERS, MOST_WORDS = 1_000_000, 1_000_000
CLIPS_FOR_RATES = 50  # with fewer nothing can be said to be unusual
TEXT_KEPT = 300  # characters of an example's text


class Inspection:
    """Totals over clips: 34 bytes a clip, some 200 a distinct word and speaker, and up to 100 MB beside those.

    Attributes:
        clips, decoded, samples: rows, those whose audio can be decoded, and their samples at 16 kHz.
        broken, left_out: rows that training would skip as broken whatever their language, and for their length.
        usable_clips, usable_samples: of the others, by language.
        language_clips: the ids of some of each language.
        characters: clips' characters, spaces and all.
        shown: clips that show a kind of thing.
        part_clips, part_samples: clips and decoded samples of each language, split, speaker and so on; "" where the
            corpus says none.
        scripts: for each script, clips that have letters of it.
        fast, slow: the clips with the most and the fewest characters a second.
        census: what was taken of the corpus and what was not, where the whole of it was inspected.
        samples_to_hear: a few clips with their audio.
        with_second: clips with a second recording that can be decoded; ``delays`` and ``differences``: by how much it
            is later, in seconds, where it is the same speech, and louder, in dB.
        quiet_samples: before the first sound and after the last.
    """

    def __init__(self, settings: InspectionSettings) -> None:
        self.settings = settings
        self.census = Census()
        self.clips = self.decoded = self.samples = self.quiet_samples = 0
        self.broken = self.left_out = self.with_second = 0
        self.delays, self.differences = Histogram(DELAYS), Histogram(DIFFERENCES)
        self.lengths, self.levels, self.rates = Histogram(LENGTHS), Histogram(LEVELS), Histogram(RATES)
        self.characters: Counter[str] = Counter()
        self.words = Tally(MOST_WORDS)
        self.word_count = 0
        self.shown = {kind: Examples() for kind in Kind}
        self.part_clips, self.part_samples = (
            {part: Tally(MOST_SPEAKERS if part == "speaker" else 10_000) for part in PARTS} for _ in range(2)
        )
        self.usable_clips, self.usable_samples = Tally(), Tally()
        self.language_clips = KnownNames(1000)
        self.scripts: defaultdict[str, Examples] = defaultdict(Examples)
        self.fast, self.slow = Examples(), Examples()
        self.table = ClipTable()
        self.samples_to_hear = Samples()

    def add(self, clip: ClipFacts) -> None:
        audio = clip.audio
        samples = audio.samples if audio is not None else 0
        self.clips += 1
        self.decoded += audio is not None
        self.samples += samples
        if clip.is_broken:
            self.broken += 1
        elif clip.is_left_out:
            self.left_out += 1
        else:
            language = clip.parts["language"]
            self.usable_clips.add([language])
            self.usable_samples.add({language: samples})
            self.language_clips.add(language_digest(language), clip.id)
        for part in PARTS:
            if (name := clip.parts.get(part)) is not None:
                self.part_clips[part].add([name])
                self.part_samples[part].add({name: samples})
        for kind, (detail, score) in clip.shown.items():
            self.shown[kind].add(example(clip, detail), score)
        self.add_text(clip)
        if audio is not None:
            self.lengths.add(audio.seconds)
            self.levels.add(audio.level)
            if audio.sound:
                self.quiet_samples += audio.samples - audio.sound
                self.add_rate(clip, audio.sound / SAMPLING_RATE)
        self.add_second(clip)
        self.add_digests(clip)
        self.samples_to_hear.add(clip)

    def add_text(self, clip: ClipFacts) -> None:
        self.characters.update(clip.text)
        words = words_of(clip.text, clip.parts["language"])
        self.word_count += len(words)
        self.words.add(words)
        for script in scripts_in(clip.text):
            letters = "".join(sorted({letter for letter in clip.text if script_of(letter) == script}))
            self.scripts[script].add(example(clip, letters), -len(letters))

    def add_rate(self, clip: ClipFacts, seconds: float) -> None:
        """Count the characters a second between the first and the last sound, spaces left out."""
        characters = len("".join(clip.text.split()))
        if not characters or not seconds:
            return
        rate = characters / seconds
        self.rates.add(rate)
        detail = f"{rate:.3g} characters a second, {characters} in {seconds:.1f} s of sound"
        self.fast.add(example(clip, detail), rate)
        self.slow.add(example(clip, detail), -rate)

    def add_second(self, clip: ClipFacts) -> None:
        if clip.second is None:
            return
        self.with_second += 1
        if clip.second.delay is not None:
            self.delays.add(clip.second.delay)
        if clip.second.level is not None:
            self.differences.add(clip.second.level)

    def add_digests(self, clip: ClipFacts) -> None:
        speaker, text = clip.parts["speaker"], clip.text
        self.table.add(
            clip.parts["split"],
            id=(clip.id_digest, f"{clip.id} ({clip.place})", 0),
            text=(text_digest(text), text[:TEXT_KEPT], len(text)),
            audio=(clip.audio.digest if clip.audio is not None else NONE, clip.id, 0),
            speaker=(text_digest(speaker), speaker, 0),
        )

    def merge(self, other: "Inspection") -> None:
        """Add what another inspection counted, of other clips.

        Raises:
            ValueError: if it was made with other settings.
        """
        if other.settings != self.settings:
            raise ValueError(f"inspections with different settings: {self.settings} and {other.settings}")
        add_up(vars(self), {name: value for name, value in vars(other).items() if name not in ("settings", "census")})

    @property
    def seconds(self) -> float:
        """Of all audio that can be decoded."""
        return self.samples / SAMPLING_RATE

    def letters(self) -> dict[str, int]:
        """Letters of each script, the most frequent first."""
        counts: Counter[str] = Counter()
        for character, count in self.characters.items():
            script = script_of(character)
            if script is not None:
                counts[script] += count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def usual_rates(self) -> tuple[int, int] | None:
        """The bins of ``rates`` between which speech rates are usual; None for fewer than 50 clips.

        Tukey's outer fences, three times the distance of the quartiles beyond them, in the logarithm of the rate; the
        distance counts as a quarter of an octave at least, so that a corpus of one sentence has no outliers.
        """
        lower, upper = self.rates.quantile(0.25), self.rates.quantile(0.75)
        if lower is None or upper is None or self.rates.total < CLIPS_FOR_RATES:
            return None
        reach = 3 * max(math.log(upper / lower), math.log(2) / 4)
        return RATES.bin(lower * math.exp(-reach)), RATES.bin(upper * math.exp(reach))


def language_digest(language: str) -> int:
    return text_digest(f"language {language}")  # a missing one has a digest too


def example(clip: ClipFacts, detail: str) -> Example:
    return Example(clip.id, clip.place, detail[:TEXT_KEPT], clip.text[:TEXT_KEPT])


def inspect_records(records: Iterable[Record], settings: InspectionSettings) -> Inspection:
    """Decode all the clips and add up what they show: the work of one process.

    Raises:
        DataError: if ``settings.tokenizer`` cannot be opened.
    """
    inspection = Inspection(settings)
    with RecordingReader() as recordings, RecordingReader() as seconds:
        for record in records:
            inspection.add(examine(record, settings, recordings, seconds))
    return inspection
