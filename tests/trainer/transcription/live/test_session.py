"""A stream that is spoken: final words are right, never change, come soon, and little of the stream is held."""

import numpy as np
import pytest

from data.utterance import SAMPLING_RATE
from tests.support.loudness import Loudness
from trainer.transcription.live.listening import Guess
from trainer.transcription.live.session import LONGEST_SECONDS, LiveSession, shared_out

from .simulated import Speaker, final_text

SPEECH = [("faint", 1.0), ("loud", 5.0), ("faint", 1.5), ("loud", 3.0), ("faint", 4.0), ("loud", 14.0), ("faint", 2.0)]


@pytest.mark.parametrize("cost", [0.0, 0.6, 1.2, 3.0])
def test_what_was_said_is_final_in_the_end(cost: float) -> None:
    speaker = Speaker(SPEECH, cost)
    events, measured, _ = speaker.listen()
    assert final_text(events) == [word for word, _ in speaker.words]
    assert measured.latencies.words == len(speaker.words)
    assert [event.kind for event in events].count("end") == 3
    starts = [word.start for event in events if event.kind == "final" for word in event.words]
    ends = [word.end for event in events if event.kind == "final" for word in event.words]
    assert starts == sorted(starts) and all(a <= b for a, b in zip(starts, ends, strict=True))


def test_words_come_while_their_sentence_is_spoken() -> None:
    speaker = Speaker(SPEECH, 0.6)
    _, measured, _ = speaker.listen()
    ends = dict(speaker.words)
    late = [now - ends[word.text] for event, now in speaker.events if event.kind == "final" for word in event.words]
    assert np.mean(late) < 2 and max(late) < 3
    assert measured.latencies.mean == pytest.approx(np.mean(late), abs=0.5), "estimated times are near the true ones"


def test_times_are_near_where_the_words_are_said() -> None:
    speaker = Speaker(SPEECH)
    events, _, _ = speaker.listen()
    ends = dict(speaker.words)
    off = [abs(word.end - ends[word.text]) for event in events if event.kind == "final" for word in event.words]
    assert np.median(off) < 0.4 and max(off) < 1.0


def test_a_tentative_word_is_replaced_and_never_final_before_two_hear_it() -> None:
    events, _, _ = Speaker(SPEECH, 0.3).listen()
    assert any(word.text.startswith("cut") for event in events if event.kind == "tentative" for word in event.words)
    assert not any(text.startswith("cut") for text in final_text(events))


def test_a_pause_makes_all_before_it_final() -> None:
    speaker = Speaker([("faint", 1.0), ("loud", 2.0), ("faint", 5.0)])
    events, _, _ = speaker.listen()
    assert final_text(events) == ["w0", "w1", "w2", "w3"]
    told = max(now for event, now in speaker.events if event.kind == "end")
    assert told == pytest.approx(3.8, abs=0.3), "0.8 s after the last word"


def test_a_stream_that_stalls_ends_what_was_said() -> None:
    speaker = Speaker([("loud", 2.0), ("faint", 1.0)])
    first = speaker.audio[: 2 * SAMPLING_RATE]
    speaker.audio = speaker.audio[2 * SAMPLING_RATE :]
    speaker.listen(first, 60.0)
    told = [now for event, now in speaker.events if event.kind == "final"]
    assert final_text([event for event, _ in speaker.events]) == ["w0", "w1", "w2", "w3"]
    assert max(told) <= 2.0, "before the stream goes on"
    assert len(speaker.hearings) <= 4


def test_silence_is_never_heard() -> None:
    speaker = Speaker([("faint", 600.0)])
    events, measured, session = speaker.listen()
    assert (events, speaker.hearings, measured.latencies.words) == ([], [], 0)
    assert len(session.buffer) <= 3 * SAMPLING_RATE and session.seconds == pytest.approx(600)


def test_someone_who_never_pauses_is_cut() -> None:
    speaker = Speaker([("loud", 100.0), ("faint", 1.0)], 0.5)
    events, _, _ = speaker.listen()
    assert max(speaker.hearings) <= LONGEST_SECONDS + 1
    said, found = [word for word, _ in speaker.words], final_text(events)
    assert [event.kind for event in events].count("end") == 5
    assert len(set(said) - set(found)) <= 4 and len(found) <= len(said) + 4, "only words at a cut go wrong"


@pytest.mark.slow
def test_an_hour_holds_no_more_than_half_a_minute() -> None:
    speaker = Speaker(SPEECH * 118, 0.4)
    largest = 0

    def watched(self: LiveSession, audio: np.ndarray) -> None:
        nonlocal largest
        take(self, audio)
        largest = max(largest, len(self.buffer))

    take, LiveSession.take = LiveSession.take, watched  # type: ignore[method-assign]
    try:
        events, _, session = speaker.listen()
    finally:
        LiveSession.take = take  # type: ignore[method-assign]
    assert session.seconds > 3590 and largest <= 30 * SAMPLING_RATE
    assert len(final_text(events)) == len(speaker.words)


def test_what_is_taken_for_invented_is_not_shown() -> None:
    session = LiveSession(lambda audio, final: Guess([], is_speech=False), Loudness())
    session.take(np.ones(2 * SAMPLING_RATE, np.float32))
    kinds = [event.kind for event in session.advance(ended=True)]
    assert kinds == ["tentative"] and not session.regions()


def test_time_is_shared_out_by_length() -> None:
    assert shared_out([1, 1, 2], [(10.0, 14.0)]) == [(10, 11), (11, 12), (12, 14)]
    assert shared_out([1, 1], [(0.0, 1.0), (5.0, 6.0)]) == [(0, 1), (5, 6)]
    assert shared_out([3], [(2.0, 2.0)]) == [(2, 2)]
