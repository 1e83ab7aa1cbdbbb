"""What is counted in a long recording, by hand-made references and transcripts."""

from pathlib import Path

import pytest

from trainer.evaluation.normalizers import build_normalizer
from trainer.transcription.long_form.known import KnownRecording, Unit
from trainer.transcription.long_form.measures import Measures, Written
from trainer.transcription.long_form.placing import Span, begins, ends, placed_words
from trainer.transcription.long_form.results import RecordingsEvaluation, evaluated, figures

ENGLISH = build_normalizer("auto", "en")


def units(*parts: tuple[float, float, str]) -> tuple[Unit, ...]:
    return tuple(Unit(*part) for part in parts)


def known(*segments: tuple[float, float, str], words: tuple[Unit, ...] = (), seconds: float = 60.0) -> KnownRecording:
    return KnownRecording(Path("talk.flac"), units(*segments), words, "en", seconds)


def found(one: KnownRecording, *segments: tuple[float, float, str], words: tuple[Unit, ...] = ()) -> Measures:
    return evaluation(one, *segments, words=words).measures[0]


def evaluation(
    one: KnownRecording, *segments: tuple[float, float, str], words: tuple[Unit, ...] = ()
) -> RecordingsEvaluation:
    return evaluated([one], [Written(units(*segments), words)])


def test_words_know_their_segments_across_numbers_that_are_written_together() -> None:
    parts = units((0, 1, "so far"), (1, 2, "nine six"), (2, 3, "six one"), (3, 4, "I'm here"))
    whole = ENGLISH(" ".join(part.text for part in parts)).split()
    assert whole == ["so", "far", "9661", "i", "am", "here"]
    spans = placed_words(parts, whole, ENGLISH)
    assert spans == [Span(0, 0), Span(0, 0), Span(1, 2), Span(3, 3), Span(3, 3), Span(3, 3)]
    assert [begins(spans, word) for word in range(6)] == [True, False, True, True, False, False]
    assert [ends(spans, word) for word in range(6)] == [False, True, True, False, False, True]


def test_boundaries_of_equal_segments() -> None:
    one = found(
        known((1.0, 3.0, "the cat sat"), (10.0, 12.0, "a dog ran off")),
        (1.2, 3.1, "The cat sat."),
        (9.9, 12.4, "A dog ran off!"),
    )
    assert one.by_segments.starts == pytest.approx([0.2, -0.1])
    assert one.by_segments.ends == pytest.approx([0.1, 0.4])
    assert (one.segments, one.matched) == (2, 2)


def test_joined_and_split_segments_are_compared_where_they_meet_a_boundary() -> None:
    reference = known((1.0, 3.0, "the cat sat"), (4.0, 6.0, "a dog ran off"))
    joined = found(reference, (1.0, 6.5, "the cat sat a dog ran off"))
    assert joined.by_segments.starts == pytest.approx([0.0])
    assert joined.by_segments.ends == pytest.approx([0.5])
    split = found(reference, (1.0, 2.0, "the cat"), (2.0, 3.5, "sat"), (4.0, 5.0, "a dog"), (5.0, 6.0, "ran off"))
    assert split.by_segments.starts == pytest.approx([0.0, 0.0])
    assert split.by_segments.ends == pytest.approx([0.5, 0.0])


def test_a_replaced_first_word_has_a_time_and_a_missing_one_has_none() -> None:
    reference = known((1.0, 3.0, "mark is going home"), (10.0, 12.0, "a dog ran off"))
    one = found(reference, (1.3, 3.0, "bark is going home"), (10.4, 12.0, "dog ran off"))
    assert one.by_segments.starts == pytest.approx([0.3])
    assert one.by_segments.ends == pytest.approx([0.0, 0.0])


def test_chance_words_make_no_boundary() -> None:
    """Of the segment nothing is recognised: what stands in its place was aligned with it by chance."""
    one = found(known((1.0, 3.0, "mark is"), (30.0, 32.0, "a dog")), (20.0, 21.0, "thank you"), (30.0, 32.0, "a dog"))
    assert one.by_segments.starts == [0.0]
    assert one.matched == 1


def test_bursts_are_runs_of_five_words() -> None:
    said = "one word then many more words follow here at last"
    missing = found(known((0, 9, said)), (0, 9, "one word at last"))
    assert (missing.deletions, missing.insertions) == ([6], [])
    short = found(known((0, 9, said)), (0, 9, "one word more words follow here at last"))
    assert short.deletions == []
    invented = found(known((0, 9, "good morning all")), (0, 9, "good morning you may never have seen this all"))
    assert (invented.insertions, invented.repetitions) == ([6], [])
    loop = found(known((0, 9, "we go home now")), (0, 9, "we go home now" + " go home now" * 4))
    assert sum(loop.insertions) == 12
    assert loop.repetitions == loop.insertions
    assert loop.deletions == []


def test_words_where_nobody_speaks_are_told_by_the_hour() -> None:
    reference = known((10.0, 20.0, "the cat sat"), seconds=60.0)
    near = found(reference, (9.0, 9.6, "thank you"), (10.0, 20.0, "the cat sat"), (20.4, 22.0, "okay"))
    assert near.silent_words == 0
    assert near.silent_seconds == pytest.approx(9.5 + 39.5)
    written = ((0.0, 2.0, "thank you"), (10.0, 20.0, "the cat sat"), (30.0, 32.0, "bye bye bye"))
    assert found(reference, *written).silent_words == 5
    silence = figures(evaluation(reference, *written))["where_nobody_speaks"]
    assert silence["words_per_hour"] == pytest.approx(5 * 3600 / 49)


def test_times_of_words_tell_more_than_those_of_segments() -> None:
    """A segment over a pause holds words of it, and hides when they begin."""
    said = units((1.0, 1.3, "the"), (1.3, 1.8, "cat"), (30.0, 30.5, "a"), (30.5, 31.0, "dog"))
    heard = units((1.1, 1.3, "The"), (1.4, 1.8, "cat,"), (15.0, 15.5, "um"), (30.0, 30.5, "a"), (30.5, 31.2, "dog."))
    one = found(
        known((1.0, 1.8, "the cat"), (30.0, 31.0, "a dog"), words=said), (1.0, 31.2, "The cat, um a dog."), words=heard
    )
    assert one.by_segments.starts == [0.0]
    assert one.by_words is not None
    assert one.by_words.starts == pytest.approx([0.1, 0.0])
    assert one.by_words.ends == pytest.approx([0.0, 0.2])
    assert one.words is not None
    assert one.words.starts == pytest.approx([0.1, 0.1, 0.0, 0.0])
    assert one.words.ends == pytest.approx([0.0, 0.0, 0.0, 0.2])
    assert one.silent_words == 0  # "um" is none to Whisper's normaliser


def test_figures_are_of_all_recordings() -> None:
    first = KnownRecording(Path("a/one.flac"), units((0, 2, "the cat sat")), (), "en", 10.0)
    second = KnownRecording(Path("b/two.flac"), units((1, 2, "a dog ran off")), (), "en", 20.0)
    result = figures(
        evaluated(
            [second, first],
            [Written(units((1.6, 2.0, "a dog ran off"))), Written(units((0.1, 2.0, "the cat sits")))],
            seconds=6.0,
        )
    )
    assert [row["name"] for row in result["by_recording"]] == ["one", "two"]
    assert result["word_error_rate"] == pytest.approx(1 / 7)
    assert result["word_error_rate_interval"] is not None
    assert result["real_time_factor"] == pytest.approx(0.2)
    starts = result["boundaries"]["starts"]
    assert starts["compared"] == 2
    assert starts["median"] == pytest.approx(0.35)
    assert starts["near_share"] == 0.5
    assert result["boundaries_by_words"] is None
    assert result["word_times"] is None


def test_recordings_of_one_name_are_told_apart_by_their_paths() -> None:
    both = [KnownRecording(Path(folder, "talk.flac"), units((0, 2, "so")), (), "en", 10.0) for folder in "ab"]
    result = evaluated(both, [Written(units((0, 2, "so")))] * 2)
    assert result.names == ("a/talk.flac", "b/talk.flac")


def test_a_language_without_spaces_is_counted_by_characters() -> None:
    one = KnownRecording(Path("talk.flac"), units((0, 2, "你好"), (5, 7, "再见")), (), "zh", 10.0)
    result = evaluated([one], [Written(units((0.2, 2, "你好"), (5.1, 7, "再会")))])
    assert result.scored[0].words.tokens == 4
    assert result.measures[0].by_segments.starts == pytest.approx([0.2, 0.1])
