"""What an inspection finds in a corpus, and that worker processes may share it out as they like."""

import io
import pickle
import subprocess
import sys
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from data.corpora.record import Record
from data.errors import DataError
from data.inspection.characters import visible
from data.inspection.facts import InspectionSettings, examine
from data.inspection.findings import Finding, problems, would_fail
from data.inspection.tally import Inspection, inspect_records
from modeling.byte_processor import build_byte_processor
from trainer.pages.corpus_tables import figures, headline, print_inspection, public_address, tables, verdict

SETTINGS = InspectionSettings()


def sound(seconds: float = 2.0, seed: int = 0, level: float = 0.1, rate: int = 16_000) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-level, level, round(seconds * rate)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = 16_000, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


def clip(number: int = 0, samples: np.ndarray | None = None, **values: Any) -> Record:
    """A clip with nothing odd about it, or with what is given; numbers make its id, text and audio unlike others'."""
    word = "".join(chr(ord("a") + int(digit)) for digit in f"{number:04}")
    usual = {"text": f"the word is {word}", "id": f"clip-{number}", "language": "en", "split": "train"}
    audio = encoded(sound(seed=number) if samples is None else samples)
    return Record(**({"place": f"row {number}", "audio": audio, "speaker": f"s{number % 5}"} | usual | values))


def found(records: list[Record], **settings: Any) -> dict[str, Finding]:
    return {finding.title: finding for finding in problems(inspect_records(records, InspectionSettings(**settings)))}


def test_a_clean_corpus_has_nothing_but_its_size_against_it() -> None:
    findings = found([clip(number) for number in range(60)])
    assert set(findings) == {"little audio"}
    assert not would_fail(findings.values())


FAILURES: dict[str, dict[str, Any]] = {
    "rows that cannot be read": {"fault": "no audio", "audio": None},
    "audio that cannot be decoded": {"audio": b"RIFFnothing"},
    "missing text": {"text": None},
    "empty text": {"text": " \n"},
    "special tokens in the text": {"text": "<|startoftranscript|><|en|>one<|endoftext|>"},
    "text that is not Unicode": {"text": "half \ud800 of a pair"},
    "duration other than the corpus says": {"duration": 5.0},
}


@pytest.mark.parametrize("title", FAILURES)
def test_what_training_skips_fails_with_its_reason_and_count(title: str) -> None:
    broken = [clip(number, **FAILURES[title]) for number in (3, 4)]
    findings = found([clip(0), clip(1), *broken])
    assert findings[title].severity == "fails"
    assert (findings[title].count, findings[title].share) == (2, 0.5)
    assert [example.id for example in findings[title].examples] == ["clip-3", "clip-4"]
    assert findings[title].examples[0].place == "row 3"
    assert "broken rows" in findings  # more than 1 of 100


def test_what_libsndfile_reads_of_a_file_that_was_cut_off_is_not_believed() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.full(16_000, 0.1, np.float32), 16_000, format="WAV", subtype="PCM_16")
    finding = found([clip(0), clip(1, audio=file.getvalue()[:-9000])])["audio that cannot be decoded"]
    assert "missing" in finding.examples[0].detail


def test_samples_that_are_not_finite_cannot_be_decoded() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([0, np.nan, 0], np.float32), 16_000, format="WAV", subtype="FLOAT")
    finding = found([clip(0), clip(1, audio=file.getvalue())])["audio that cannot be decoded"]
    assert "not finite" in finding.examples[0].detail


def test_one_broken_row_of_a_hundred_fails_but_stops_no_run() -> None:
    rows = [clip(number) for number in range(99)]
    assert "broken rows" not in found([*rows, clip(99, text="")])
    assert "broken rows" not in found([*rows[:20], clip(99, text="")])  # training judges after a hundred rows
    two = [*rows, clip(99, text=""), clip(100, text="")]
    assert found(two)["broken rows"].count == 2
    assert "broken rows" not in found(two, max_skipped_share=0.02)


def test_text_of_a_clip_that_is_left_out_for_its_length_breaks_nothing() -> None:
    findings = found([clip(0), clip(1, sound(31.0), text="")])
    assert findings["longer than training takes"].count == 1
    assert not would_fail(findings.values())
    assert would_fail(found([clip(0), clip(1, text="")]).values())
    rows = dict(headline(inspect_records([clip(0), clip(1, sound(31.0))], SETTINGS)))
    assert rows["usable in training"] == "1"


def test_nothing_usable_fails() -> None:
    assert "no clips" in found([])
    findings = found([clip(0, sound(31.0)), clip(1, sound(0.05))])
    assert findings["nothing usable"].severity == "fails"
    assert findings["shorter than training takes"].severity == "look"


def test_labels_are_counted_with_the_checkpoints_tokenizer(tmp_path: Path) -> None:
    build_byte_processor(["en"]).save_pretrained(tmp_path)
    fits, long = clip(0, text="x" * 443), clip(1, text="y" * 444)  # a space before, four of prompt: 448
    without = found([fits, long])
    assert "text too long for the decoder" not in without
    assert [example.id for example in without["text perhaps too long for the decoder"].examples] == ["clip-1"]
    counted = found([fits, long], tokenizer=str(tmp_path))
    assert "text perhaps too long for the decoder" not in counted
    assert counted["text too long for the decoder"].severity == "fails"
    assert counted["text too long for the decoder"].examples[0].detail == "445 tokens; 444 fit"
    assert "text too long for the decoder" not in found([fits, long], tokenizer=str(tmp_path), multilingual=False)
    with pytest.raises(DataError, match="cannot open the tokenizer of"):
        found([long], tokenizer=str(tmp_path / "none"))


def test_special_tokens_are_told_from_tags_and_those_of_a_checkpoint_found_with_it(tmp_path: Path) -> None:
    rows = [clip(0, text="<|0.00|>one<|1.20|>"), clip(1, text="one <|laughs|>"), clip(2, text="one [own]")]
    findings = found(rows)
    assert [example.id for example in findings["special tokens in the text"].examples] == ["clip-0"]
    assert findings["special tokens in the text"].examples[0].detail == "<|0.00|>"
    assert {example.id for example in findings["tags in the text"].examples} == {"clip-0", "clip-1", "clip-2"}
    processor = build_byte_processor(["en"])
    processor.tokenizer.add_tokens(["[own]"], special_tokens=True)
    processor.save_pretrained(tmp_path)
    examples = found(rows, tokenizer=str(tmp_path))["special tokens in the text"].examples
    assert [example.id for example in examples] == ["clip-0", "clip-2"]


def test_languages_that_training_would_refuse() -> None:
    rows = [clip(0), clip(1, language="Turkich"), clip(2, language=None), clip(3, language="az-AZ")]
    findings = found(rows)
    assert "did you mean 'turkish', 'tr'" in findings["language 'Turkich'"].meaning
    assert findings["language 'Turkich'"].examples[0].id == "clip-1"
    assert findings["no language"].severity == "fails"
    assert dict(figures(inspect_records(rows, SETTINGS)))["broken"] == "2 clips (50 %)"
    assert "no language" not in found(rows, language="en")
    assert not would_fail(found(rows, multilingual=False).values())
    assert found([clip(0, language=None)])["no language"].severity == "look"


def shifted(samples: np.ndarray) -> np.ndarray:
    return samples + 0.05


LOOKS: dict[str, dict[str, Any]] = {
    "digital silence": {"samples": np.zeros(16_000, np.float32)},
    "hardly any sound": {"samples": np.concatenate([sound(0.2), np.zeros(80_000, np.float32)])},
    "very quiet": {"samples": sound(level=0.002)},
    "clipped": {"samples": np.clip(sound(level=2.0), -1, 1)},
    "DC offset": {"samples": shifted(sound())},
    "channels out of phase": {"audio": encoded(np.stack((sound(), -sound()), axis=1))},
    "sampling rate other than the corpus says": {"sampling_rate": 44_100},
    "several sampling rates": {"audio": encoded(sound(rate=22_050), 22_050)},
    "narrow band": {"audio": encoded(sound(rate=8_000), 8_000)},
    "control characters": {"text": "two\nlines"},
    "invisible characters": {"text": "the\u200bword"},
    "replacement characters": {"text": "caf\ufffd"},
    "unassigned or private characters": {"text": "a \ue000 b"},
    "words that mix scripts": {"text": "B\u0430ku"},
    "Cyrillic letters": {"text": "и"},
    "text read in the wrong encoding": {"text": "schÃ¶n"},
    "tags in the text": {"text": "well [noise] then"},
    "letters and marks written apart": {"text": "cafe\u0301"},
}


@pytest.mark.parametrize("title", LOOKS)
def test_what_deserves_a_look_is_found_and_fails_nothing(title: str) -> None:
    rows = [clip(number, text="a sentence of more letters" * 3) for number in range(5)]
    finding = found([*rows, clip(7, **LOOKS[title])])[title]
    assert (finding.severity, finding.count) == ("look", 1)
    assert title not in found([*rows, clip(7)])
    if finding.examples:
        assert finding.examples[0].id == "clip-7"
    assert not would_fail(found([*rows, clip(7, **LOOKS[title])]).values())


def test_duplicates_are_found_though_encoded_otherwise() -> None:
    same = np.round(sound(seed=9) * 32_768) / 32_768
    rows = [
        clip(0, same, text="one"),
        clip(1, audio=encoded(same, kind="FLAC"), text="one", split="test"),
        clip(2, same, text="two"),
        clip(3, id="clip-0", speaker=None),
    ]
    rounded = clip(4, audio={"array": same * (1 - 1e-7), "sampling_rate": 16_000})  # what 24 bits or floats differ by
    rows.append(rounded)
    findings = found(rows)
    assert findings["duplicate audio"].count == 3
    assert findings["duplicate audio"].examples[0].id == "clip-0, clip-1, clip-2"
    assert (findings["duplicate text"].count, findings["duplicate text"].examples[0].text) == (1, "one")
    assert findings["duplicate ids"].examples[0].id == "clip-0 (row 0), clip-0 (row 3)"
    assert findings["one recording, several transcripts"].count == 1
    assert findings["audio in several splits"].amount == "1 recording"
    assert findings["text in several splits"].examples[0].text == "one"
    assert "speakers in several splits" not in findings
    again = found([*rows, clip(5, split="test", speaker="s0")])
    assert again["speakers in several splits"].examples[0].id == "s0"


def test_transcripts_that_do_not_fit_their_audio() -> None:
    rows = [clip(number) for number in range(60)]
    findings = found([*rows, clip(70, text="word " * 80), clip(71, sound(20.0), text="no")])
    fast, slow = findings["too much text for the audio"], findings["too little text for the audio"]
    assert [example.id for example in fast.examples] == ["clip-70"]
    assert [example.id for example in slow.examples] == ["clip-71"]
    assert fast.count == slow.count == 1
    silent = np.concatenate([sound(2.0), np.zeros(16_000 * 18, np.float32)])
    assert "too little text for the audio" not in found([*rows, clip(71, silent)])  # of sound, not of silence


def test_one_speaker_and_quiet_around_the_speech() -> None:
    quiet = np.concatenate([np.zeros(32_000, np.float32), sound(1.0), np.zeros(16_000, np.float32)])
    findings = found([clip(number, quiet, speaker="me") for number in range(3)])
    assert findings["one speaker"].amount == "100 % of the audio"
    assert findings["quiet around the speech"].amount == "70 % of the audio"  # 2.8 of 4 s: a tenth is kept at each end


def test_a_part_of_a_recording_is_judged_alone(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([sound(40.0), np.zeros(16_000, np.float32)]), 16_000)
    facts = examine(clip(0, audio=str(path), start=39.0, end=41.0), SETTINGS)
    assert facts.audio is not None
    assert facts.audio.seconds == 2.0
    assert facts.audio.sound == 16_000 + 1600
    assert facts.parts["encoding"] == "WAV 16 bit"
    silent = inspect_records([clip(0, np.zeros(16_000, np.float32))], SETTINGS)
    assert dict(figures(silent))["before the first and after the last sound"] == "0.0 s (0 %)"  # nothing to trim
    assert "channels out of phase" not in facts.shown
    soundfile.write(path, np.stack((sound(40.0), -sound(40.0)), axis=1), 16_000)
    assert "channels out of phase" in examine(clip(0, audio=str(path), start=1.0, end=2.0), SETTINGS).shown
    beyond = examine(clip(0, audio=str(path), start=50.0, end=52.0), SETTINGS)
    assert beyond.is_broken


def test_headers_and_figures() -> None:
    stereo = np.stack((sound(rate=48_000), sound(rate=48_000)), axis=1)
    inspection = inspect_records([clip(0, sound(4.0)), clip(1, audio=encoded(stereo, 48_000, "FLAC"))], SETTINGS)
    counted = {table.title: table.rows for table in tables(inspection)}
    assert {row[0] for row in counted["encodings"]} == {"WAV 16 bit", "FLAC 16 bit"}
    assert {row[0] for row in counted["channels"]} == {"mono", "stereo"}
    assert counted["sampling rates"][0] == ("16,000 Hz", "1", "4.0 s", "67 %")
    assert counted["characters"][0][1:] == ("U+0061", "Latin small letter a", "Latin", "7")
    assert counted["words"][0] == ("is", "2", "25 %")
    values = dict(figures(inspection))
    assert values["length"] == "2.00 to 4.00 s, median 2.1 s, mean 3.00 s"
    facts = examine(clip(0), SETTINGS).audio
    assert facts is not None
    assert facts.level == pytest.approx(20 * np.log10(0.1 / np.sqrt(3)), abs=0.05)


def varied() -> list[Record]:
    rows = [clip(number, speaker=f"s{number % 3}", split=("train", "test")[number % 2]) for number in range(24)]
    for number, values in enumerate([*FAILURES.values(), *LOOKS.values()]):
        rows.append(clip(50 + number, **values))
    return [*rows, replace(rows[0], split="test"), replace(rows[1], text="other"), clip(90, language=None)]


def told(inspection: Inspection) -> tuple[Any, ...]:
    return problems(inspection), figures(inspection), tables(inspection), inspection.rates.counts


def test_merging_in_any_order_gives_the_same() -> None:
    rows = varied()
    whole = told(inspect_records(rows, SETTINGS))
    parts = [pickle.dumps(inspect_records(rows[begin::3], SETTINGS)) for begin in range(3)]
    for order in permutations(parts):
        merged = Inspection(SETTINGS)
        for part in order:
            merged.merge(pickle.loads(part))
        assert told(merged) == whole
    with pytest.raises(ValueError, match="different settings"):
        merged.merge(Inspection(SETTINGS.model_copy(update={"max_seconds": 20.0})))


def test_the_terminal_is_not_steered_by_what_a_corpus_holds() -> None:
    rows = [clip(0, text="\x1b[31mred [bold]not[/bold] \u202e", speaker="[red]s[/red]"), clip(1, text="")]
    inspection = inspect_records(rows, SETTINGS)
    file = io.StringIO()
    print_inspection(inspection, "s3://key:secret@bucket/x?signature=1", Console(file=file, width=200))
    shown = file.getvalue()
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[red]s[/red]" in shown
    assert "⟨U+001B⟩[31mred [bold]not[/bold]" in shown
    assert "s3://bucket/x" in shown
    assert "secret" not in shown
    assert verdict(problems(inspection)) in shown
    assert visible("x" * 500) == "x" * 159 + "…"
    assert public_address("/data/a?b@c") == "/data/a?b@c"


def test_inspecting_imports_no_torch() -> None:
    code = "import sys, trainer.pages.corpus; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
