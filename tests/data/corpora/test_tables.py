"""Tables as people's programs write them: separators, quotes, encodings, headers, paths; what is unclear is refused."""

import json
import tarfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import storage
from data.audio.decoding import decode_audio
from data.batches.collation import read_utterance
from data.config import SourceConfig
from data.corpora.census import Census
from data.corpora.formats import plan_jobs
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.opening import open_source

from ...support.corpora_on_disk import SHAPES, TEXTS, encoded, fleurs, lj_speech, vox_populi


def records(corpus: Path | str, census: Census | None = None, **values: object) -> list[Record]:
    settings = CorpusSettings(input=str(corpus), **values)  # type: ignore[arg-type]
    return [record for job in plan_jobs(settings, census) for record in job.rows.records()]


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(corpus: Path, census: Census | None = None, **values: object) -> list[str | None]:
    found = records(corpus, census, **values)
    assert not [record.fault for record in found if record.fault], found
    return [record.text for record in found]


# Quotes

SPEECH = '"Hello," she said, "goodbye"'


def test_a_field_of_a_tsv_that_only_begins_and_ends_with_a_quote_is_not_quoted(tmp_path: Path) -> None:
    table = written(tmp_path / "a.tsv", f'path\tsentence\na.wav\t{SPEECH}\nb.wav\the said "no"\n')
    assert texts(table) == [SPEECH, 'he said "no"']


def test_quotes_of_a_tsv_that_are_doubled_are_quoting(tmp_path: Path) -> None:
    table = written(tmp_path / "a.tsv", 'path\tsentence\na.wav\t"say ""hi"" now"\nb.wav\t"one, two"\n')
    census = Census()
    assert texts(table, census) == ['say "hi" now', "one, two"]


def test_a_text_that_is_quoted_speech_alone_keeps_its_quotes_where_others_have_theirs(tmp_path: Path) -> None:
    table = written(tmp_path / "a.tsv", f'path\tsentence\na.wav\t{SPEECH}\nb.wav\t"Come in."\n')
    census = Census()
    assert texts(table, census) == [SPEECH, '"Come in."']
    assert any("line 3" in line and "line 2" in line for line in census.notices), census.notices


def test_quotes_around_whole_fields_alone_are_taken_off_and_said(tmp_path: Path) -> None:
    table = written(tmp_path / "a.tsv", 'path\tsentence\na.wav\tone\nb.wav\t"Come in."\n')
    census = Census()
    assert texts(table, census) == ["one", "Come in."]
    assert any("line 3" in line and "quotes" in line for line in census.notices), census.notices
    everywhere = written(tmp_path / "b.tsv", '"path"\t"sentence"\n"a.wav"\t"one"\n')
    census = Census()
    assert texts(everywhere, census) == ["one"] and not census.notices


def test_a_tsv_with_both_kinds_of_quotes_is_refused_with_its_lines(tmp_path: Path) -> None:
    table = written(tmp_path / "a.tsv", f'path\tsentence\na.wav\t"say ""hi"" now"\nb.wav\t{SPEECH}\n')
    with pytest.raises(DataError, match=r"a\.tsv: line 2 .* line 3 .*doubled"):
        records(table)


def test_a_tsv_whose_quoted_fields_hold_tabs_and_line_breaks_is_read_as_quoted(tmp_path: Path) -> None:
    table = written(tmp_path / "a.tsv", 'path\tsentence\na.wav\t"one\ttwo"\nb.wav\t"three\nfour"\nc.wav\tfive\n')
    assert texts(table) == ["one\ttwo", "three\nfour", "five"]


def test_a_csv_with_quotes_that_are_none_is_refused_with_its_line_and_how_to_write_it(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", f"path,sentence\na.wav,one\nb.wav,{SPEECH}\n")
    with pytest.raises(DataError, match=r'a\.csv: after row 1 \(line 3\): .*"""Hello,"" she said'):
        records(table)


def test_a_quote_that_is_closed_rows_later_is_refused(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", 'path,sentence\na.wav,"one\nb.wav,two"\nc.wav,three\n')
    with pytest.raises(DataError, match=r"a\.csv: line 2: .*never closed.*b\.wav"):
        records(table)
    fine = written(tmp_path / "b.csv", 'path,sentence\na.wav,"one,\ntwo, three"\n')
    assert texts(fine) == ["one,\ntwo, three"]


def test_a_space_before_a_quote_is_no_part_of_the_text(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", 'path, sentence\na.wav, "one, two"\nb.wav, "three"\n')
    assert texts(table) == ["one, two", "three"]


# Separators


@pytest.mark.parametrize(
    "name, separator, word",
    [("a.csv", ";", "semicolons"), ("a.csv", "|", "pipes"), ("a.csv", "\t", "tabs"), ("a.tsv", ",", "commas"),
     ("a.tsv", ";", "semicolons"), ("a.txt", "\t", None), ("a.csv", ",", None), ("a.tsv", "\t", None)],
)  # fmt: skip
def test_the_separator_is_found_and_said(name: str, separator: str, word: str | None, tmp_path: Path) -> None:
    rows = [("path", "sentence", "speaker"), ("a.wav", "one", "ann"), ("b.wav", "two", "bob")]
    table = written(tmp_path / name, "".join(separator.join(row) + "\n" for row in rows))
    census = Census()
    found = records(table, census)
    assert [(record.text, record.speaker) for record in found] == [("one", "ann"), ("two", "bob")]
    assert [word in line for line in census.notices] == ([True] if word else [])


def test_a_header_with_two_separators_is_split_where_names_are_known(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", "file_name;text;start, s;end, s\na.wav;one, two;0;1\n")
    assert texts(table) == ["one, two"]


def test_the_line_that_names_the_separator_is_no_header(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", "sep=;\r\npath;sentence\r\na.wav;one\r\n")
    assert texts(table) == ["one"]


def test_a_header_of_one_column_says_what_may_separate_it(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", "path:sentence\na.wav:one\n")
    with pytest.raises(DataError, match=r"one column.*commas, semicolons, tabs or pipes"):
        records(table)
    with pytest.raises(DataError, match=r"one column.*commas, semicolons, tabs or pipes"):
        records(table, columns={"audio": "path", "text": "sentence"})


# Encodings


@pytest.mark.parametrize("encoding, mark", [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl"])
def test_utf_16_with_its_mark_is_read(encoding: str, mark: bytes, name: str, tmp_path: Path) -> None:
    content = "path\tsentence\r\na.wav\tüç 😀\r\n"
    if name == "a.jsonl":
        content = json.dumps({"path": "a.wav", "sentence": "üç 😀"}, ensure_ascii=False) + "\n"
    assert texts(written(tmp_path / name, mark + content.encode(encoding))) == ["üç 😀"]


def test_utf_16_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    content = "path,sentence\na.wav,one\n".encode("utf-16")
    with pytest.raises(DataError, match=r"a\.csv.*not UTF-16 to its end"):
        records(written(tmp_path / "a.csv", content[:-1]))


def test_other_encodings_are_refused_with_line_and_advice(tmp_path: Path) -> None:
    header = "path,sentence,süz\na.wav,one,\n".encode("cp1252")
    with pytest.raises(DataError, match=r"a\.csv: line 1 is not UTF-8.*iconv -f WINDOWS-1252"):
        records(written(tmp_path / "a.csv", header))
    row = "path,sentence\na.wav,one\nb.wav,üç\n".encode("cp1252")
    census = Census()
    found = records(written(tmp_path / "b.csv", row), census)
    assert [record.fault and "iconv" in record.fault for record in found] == [None, True]
    assert any("line 3" in line for line in census.notices)
    bare = "path,sentence\na.wav,one\n".encode("utf-16-le")
    with pytest.raises(DataError, match=r"NUL.*UTF-16"):
        records(written(tmp_path / "c.csv", bare))


def test_a_byte_order_mark_in_the_middle_and_the_header_again(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", '\ufeffpath,sentence\na.wav,one\n\ufeffpath,sentence\n\ufeff"b.wav","two"\n')
    found = records(table)
    assert [record.text for record in found if not record.fault] == ["one", "two"]
    assert [record.fault for record in found if record.fault] == ["the header again: tables were joined here"]


# Headers and columns


def test_a_missing_header_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1 is a row, of 'a\.wav'.*columns' names is missing"):
        records(written(tmp_path / "a.csv", "a.wav,one\nb.wav,two\n"))


def test_separators_at_the_end_of_lines(tmp_path: Path) -> None:
    rows = [written(tmp_path / "a.csv", "path,sentence,\na.wav,one,\nb.wav,two,\n"),
            written(tmp_path / "b.csv", "path,sentence,,\na.wav,one,,\nb.wav,two,,\n,,,\n"),
            written(tmp_path / "c.csv", "path,sentence\na.wav,one,\nb.wav,two,\n")]  # fmt: skip
    assert [texts(table) for table in rows] == [["one", "two"]] * 3
    some = records(written(tmp_path / "d.csv", "path,sentence\na.wav,one,\nb.wav,two\n"))
    assert [bool(record.fault) for record in some] == [True, False]  # the comma may be the text's


def test_a_column_without_a_name_is_said_if_it_holds_something(tmp_path: Path) -> None:
    census = Census()
    assert texts(written(tmp_path / "a.csv", ",path,sentence\n0,a.wav,one\n1,b.wav,two\n"), census) == ["one", "two"]
    assert any("without a name" in line for line in census.notices)


@pytest.mark.parametrize(
    "header", ["File_Name,Sentence,Speaker", "AUDIO PATH,Transcript,speaker-id", "Path, TEXT ,SPK"]
)
def test_usual_names_in_any_spelling(header: str, tmp_path: Path) -> None:
    found = records(written(tmp_path / "a.csv", f"{header}\na.wav,one,ann\n"))
    assert [(record.text, record.speaker) for record in found] == [("one", "ann")]


def test_two_columns_that_differ_in_capitals_are_not_guessed(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", "path,Text,TEXT\na.wav,one,two\n")
    with pytest.raises(DataError, match=r"'Text' and 'TEXT'.*--columns text="):
        records(table)
    assert texts(table, columns={"text": "TEXT"}) == ["two"]
    assert texts(written(tmp_path / "b.csv", "path,Text,text\na.wav,one,two\n")) == ["two"]


def test_numbers_and_words_for_nothing_stay_texts(tmp_path: Path) -> None:
    census = Census()
    found = records(
        written(tmp_path / "a.csv", "id,path,sentence\n007,a.wav,null\n010,b.wav,NA\n1e5,c.wav,two\n"), census
    )
    assert [(record.id, record.text) for record in found] == [("007", "null"), ("010", "NA"), ("1e5", "two")]
    assert any("'null'" in line and "line 2" in line for line in census.notices), census.notices


@pytest.mark.parametrize("cell", ["#NAME?", "#REF!", '"=HYPERLINK(""x"",""y"")"'])
def test_what_a_spreadsheet_left_is_no_text(cell: str, tmp_path: Path) -> None:
    found = records(written(tmp_path / "a.csv", f"path,sentence\na.wav,{cell}\nb.wav,#1\n"))
    assert "spreadsheet" in str(found[0].fault) and found[1].fault is None
    found = records(written(tmp_path / "b.csv", f"path,sentence\n{cell},one\n"))
    assert "spreadsheet" in str(found[0].fault)


def test_a_header_over_two_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv: line 1: a quote of the header is never closed"):
        records(written(tmp_path / "a.csv", 'path,"sen\ntence"\na.wav,one\n'))


@pytest.mark.parametrize("text", ["üç", "Ça va, «déjà»", "şəkər", "“Größe”"])
def test_a_text_that_was_decoded_wrongly_is_a_fault(text: str, tmp_path: Path) -> None:
    wrong = text.encode().decode("cp1252", "ignore")
    table = written(tmp_path / "a.csv", f'path,sentence\na.wav,"{wrong}"\nb.wav,"{text}"\n')
    first, second = records(table)
    assert second.fault is None and second.text == text
    if wrong.encode("cp1252") == text.encode():
        assert "Windows-1252" in str(first.fault) and text in str(first.fault)


# Excel


def test_decimal_commas_of_a_table_with_semicolons(tmp_path: Path) -> None:
    encoded_table = written(tmp_path / "a.csv", "audio;start;end;text\na.wav;0,5;1,25;one\na.wav;1,250;2.5;two\n")
    assert [(record.start, record.end) for record in records(encoded_table)] == [(0.5, 1.25), (1.25, 2.5)]
    clock = written(tmp_path / "d.csv", "audio;start;end;text\na.wav;0:01,5;0:00:02,250;one\n")
    assert [(record.start, record.end) for record in records(clock)] == [(1.5, 2.25)]
    lengths = written(tmp_path / "b.csv", "audio;duration;text\na.wav;0,5;one\n")
    assert [record.duration for record in records(lengths)] == [0.5]
    commas = written(tmp_path / "c.csv", 'audio,duration,text\na.wav,"1,234",one\n')
    assert "duration is '1,234'" in str(records(commas)[0].fault)


# Paths

UMLAUT = "Übung é"
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="" RELATIVE_MEDIA_URL="{url}"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="2" TIME_VALUE="400"/></TIME_ORDER>
<TIER TIER_ID="words"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a" TIME_SLOT_REF1="1" TIME_SLOT_REF2="2">
<ANNOTATION_VALUE>one</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"""
FORMS = ["NFC", "NFD"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder


def form(name: str, kind: str) -> str:
    return unicodedata.normalize(kind, name)  # type: ignore[arg-type]


@pytest.mark.parametrize("on_disk, in_table", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_in_the_other_form_of_unicode(on_disk: str, in_table: str, disk: Path) -> None:
    place = written(disk / form("Çlips", in_table) / form(f"{UMLAUT}.flac", on_disk), encoded(1))
    name = form(f"Çlips/{UMLAUT}.flac", in_table)
    table = written(disk / "a.csv", f"path,sentence\n{name},one\n")
    found = records(table)
    assert [record.audio for record in found] == [str(place)] and found[0].id == name.removesuffix(".flac")
    assert len(decode_audio(name, str(disk)))
    assert storage.as_spelt(str(disk / "Ü.wav")) == str(disk / "Ü.wav")


def test_of_two_forms_on_the_disk_the_exact_one_is_taken(disk: Path) -> None:
    for number, kind in enumerate(FORMS):
        written(disk / form(f"{UMLAUT}.flac", kind), encoded(number))
    for kind in FORMS:
        table = written(disk / "a.csv", f"path,sentence\n{form(UMLAUT, kind)}.flac,one\n")
        assert [record.audio for record in records(table)] == [str(disk / form(f"{UMLAUT}.flac", kind))]
        written(disk / form(f"{UMLAUT}.srt", kind), f"1\n00:00:00,100 --> 00:00:00,400\n{kind}\n")
    (disk / "a.csv").unlink()
    for record in records(disk):
        assert record.audio == str(disk / form(f"{UMLAUT}.flac", str(record.text)))


@pytest.mark.parametrize("on_disk, in_table", [("NFC", "NFD"), ("NFD", "NFC")])
def test_transcripts_and_annotations_in_the_other_form(on_disk: str, in_table: str, tmp_path: Path) -> None:
    name, other = form(UMLAUT, on_disk), form(UMLAUT, in_table)
    written(tmp_path / "beside" / f"{name}.flac", encoded(1))
    written(tmp_path / "beside" / f"{other}.txt", "one")
    assert texts(tmp_path / "beside") == ["one"]
    stem, line = (form("über", kind) for kind in (on_disk, in_table))
    written(tmp_path / "libri" / f"{stem}.flac", encoded(1))
    written(tmp_path / "libri" / "1-2.trans.txt", f"{line} one\n")
    assert texts(tmp_path / "libri") == ["one"]
    written(tmp_path / "timed" / f"{name}.flac", encoded(1))
    written(tmp_path / "timed" / f"{other}.srt", "1\n00:00:00,100 --> 00:00:00,400\none\n")
    assert texts(tmp_path / "timed") == ["one"]


@pytest.mark.parametrize("on_disk, in_table", [("NFC", "NFD"), ("NFD", "NFC")])
def test_files_found_in_another_form_count_as_used(on_disk: str, in_table: str, disk: Path) -> None:
    written(disk / form(f"{UMLAUT}.flac", on_disk), encoded(1))
    written(disk / "metadata.csv", f"file_name,text\n{form(UMLAUT, in_table)}.flac,one\n")
    census = Census()
    assert texts(disk, census) == ["one"] and not census.left


@pytest.mark.parametrize("on_disk, in_table", [("NFC", "NFD"), ("NFD", "NFC")])
def test_kaldi_and_elan_in_the_other_form(on_disk: str, in_table: str, tmp_path: Path) -> None:
    name, other = form(f"{UMLAUT}.wav", on_disk), form(f"{UMLAUT}.wav", in_table)
    place = written(tmp_path / "kaldi" / name, encoded(1, ".wav"))
    written(tmp_path / "kaldi" / "wav.scp", f"a {tmp_path}/kaldi/{other}\n")
    written(tmp_path / "kaldi" / "text", "a one\n")
    assert [record.audio for record in records(tmp_path / "kaldi")] == [str(place)]
    place = written(tmp_path / "elan" / name, encoded(1, ".wav"))
    written(tmp_path / "elan" / "talk.eaf", ELAN.format(url=f"./{other}"))
    assert [(record.audio, record.text) for record in records(tmp_path / "elan")] == [(str(place), "one")]


@pytest.mark.parametrize("on_store, in_table", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_remote_recording_in_the_other_form(on_store: str, in_table: str) -> None:
    storage.write_bytes(f"memory://forms/{form(UMLAUT, on_store)}.flac", encoded(1))
    assert storage.read_bytes(f"memory://forms/{form(UMLAUT, in_table)}.flac") == encoded(1)
    with pytest.raises(storage.StorageError):
        storage.read_bytes("memory://forms/Ö.flac")


@pytest.mark.parametrize(
    "path", ["clips\\a b.flac", "clips/a%20b.flac", "file://FOLDER/clips/a%20b.flac", "./clips//a b.flac"]
)
def test_paths_as_other_programs_write_them(path: str, disk: Path) -> None:
    place = written(disk / "clips" / "a b.flac", encoded(1))
    table = written(disk / "a.csv", f"path,sentence\n{path.replace('FOLDER', str(disk))},one\n")
    found = records(table)
    assert [record.fault for record in found] == [None] and Path(str(found[0].audio)).samefile(place)
    rooted = records(table, audio_root=str(disk))
    assert Path(str(rooted[0].audio)).samefile(place)
    assert "leaves" in str(records(table, audio_root=str(disk / "other"))[0].fault) or "clips" in str(
        records(table, audio_root=str(disk / "other"))[0].audio
    )


@pytest.mark.parametrize("path", ["..\\secret.flac", "%2e%2e/secret.flac", "file://FOLDER/../secret.flac"])
def test_no_spelling_leaves_the_root(path: str, disk: Path) -> None:
    secret = written(disk / "secret.flac", encoded(1))
    table = written(disk / "in" / "a.csv", f"path,sentence\n{path.replace('FOLDER', str(disk / 'in'))},one\n")
    for found in records(table, audio_root=str(disk / "in")):
        assert found.fault or not Path(str(found.audio)).exists() or not Path(str(found.audio)).samefile(secret)


def test_a_path_of_windows_is_said(disk: Path) -> None:
    table = written(disk / "a.csv", "path,sentence\nC:\\Users\\me\\a.wav,one\n\\\\server\\share\\a.wav,two\n")
    assert ["Windows" in str(record.fault) for record in records(table)] == [True, True]


# Names


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_whose_files_differ_in_their_suffix_alone_have_two_ids(kind: str, tmp_path: Path) -> None:
    names = ["a.wav", "b.wav", "a.mp3", "b.wav", "c.mp3", "a.WAV", "a.wav"]
    lines = "path,sentence\n" + "".join(f"{name},one\n" for name in names)
    if kind == "jsonl":
        lines = "".join(json.dumps({"path": name, "sentence": "one"}) + "\n" for name in names)
    table = written(tmp_path / f"a.{kind}", lines)
    right = ["a", "b", "a.mp3", "b", "c", "a.WAV", "a"]
    for rows in (1, 2, 100):  # whichever job a row is of
        assert [record.id for record in records(table, job_rows=rows)] == right


@pytest.mark.parametrize("names, ids", [(["a.wav", "a.mp3"], ["a", "a"]), (["a.wav", "b.mp3"], ["a", "b"])])
def test_parquet_s_rows_are_read_apart_so_that_twins_share_an_id(
    names: list[str], ids: list[str], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"audio": names, "text": ["one"] * 2}), tmp_path / "a.parquet")
    assert [record.id for record in records(tmp_path / "a.parquet")] == ids


# Published tables


def test_which_of_lj_speech_s_texts_is_taken_is_said(tmp_path: Path) -> None:
    folder = lj_speech(tmp_path)
    census = Census()
    plain = texts(folder, census)
    assert plain[0] == "one" and any("third column" in line for line in census.notices)
    assert not census.left
    census = Census()
    assert texts(folder, census, columns={"text": "raw_text"})[0] == "ONE" and not census.notices
    assert texts(folder / "metadata.csv") == plain
    assert [record.id for record in records(folder)] == [f"clip{i}" for i in range(6)]


def test_lj_speech_s_quotes_are_text_and_missing_recordings_are_faults(tmp_path: Path) -> None:
    written(tmp_path / "wavs" / "a.wav", encoded(1, ".wav"))
    written(tmp_path / "metadata.csv", f'a|{SPEECH}\nb|"one"\na|x|y\n')
    found = records(tmp_path)
    assert found[0].text == SPEECH and found[0].fault is None
    assert "no recording 'b'" in str(found[1].fault) and "3 fields" in str(found[2].fault)


def test_an_audio_folder_beside_wavs_is_no_lj_speech(tmp_path: Path) -> None:
    written(tmp_path / "wavs" / "a.wav", encoded(1, ".wav"))
    written(tmp_path / "metadata.csv", "file_name|text\nwavs/a.wav|one\n")
    assert texts(tmp_path) == ["one"]


@pytest.mark.parametrize("packed", [False, True])
def test_fleurs_by_language_and_by_table(packed: bool, tmp_path: Path) -> None:
    folder = fleurs(tmp_path / "az_az", packed)
    census = Census()
    found = records(folder, census, cache=str(tmp_path / "cache"))
    assert [(record.id, record.split) for record in found] == [
        *((f"9{i}", "train") for i in range(4)), ("94", "validation"), ("95", "test")
    ]  # fmt: skip
    assert any("raw_transcription" in line for line in census.notices) and not census.left
    raw = records(folder / "dev.tsv", cache=str(tmp_path / "cache"), columns={"text": "raw_transcription"})
    assert [record.text for record in raw] == ["Six."]
    assert records(folder, cache=str(tmp_path / "cache"), extra_columns=("gender",))[0].extra == {"gender": "FEMALE"}


def test_recordings_of_one_name_are_told_apart_by_their_split(tmp_path: Path) -> None:
    folder = fleurs(tmp_path / "az_az")
    for place in ("audio/test/90.wav", "old/94.wav"):
        written(folder / place, encoded(0, ".wav"))
    found = records(folder)
    assert [str(record.audio)[len(str(folder)) :] for record in found][:1] == ["/audio/train/90.wav"]
    assert [record.fault for record in found] == [None] * 6
    written(folder / "audio" / "new" / "95.wav", encoded(0, ".wav"))
    (folder / "audio" / "test" / "95.wav").rename(folder / "95.wav")
    assert "'95.wav' is " in str(records(folder)[5].fault)


def test_vox_populi_s_recordings_are_found_by_id(tmp_path: Path) -> None:
    folder = vox_populi(tmp_path / "en")
    census = Census()
    found = records(folder, census, cache=str(tmp_path / "cache"))
    assert [record.split for record in found] == ["train"] * 4 + ["validation", "test"]
    assert found[1].text == 'two, "quoted"' and found[0].id == "2009-PLENARY-en_21:09:53_0"
    assert any("raw_text" in line for line in census.notices)
    lying = [Path(str(record.audio)) for record in found]
    for file in lying:  # as VoxPopuli's own program cuts them
        written(folder / "2009" / file.name, file.read_bytes())
    for file in folder.rglob("*.tar.gz"):
        file.unlink()
    assert [record.fault for record in records(folder, cache=str(tmp_path / "other"))] == [None] * 6


def test_books_of_lj_speech_s_form_in_their_folders(tmp_path: Path) -> None:
    """As M-AILABS has them: a metadata.csv and wavs/ for each book."""
    for book in ("train/emma", "train/vanity", "test/ulysses"):
        written(tmp_path / book / "wavs" / "a_1.wav", encoded(1, ".wav"))
        written(tmp_path / book / "metadata.csv", f"a_1|One|{book}\n")
    found = records(tmp_path)
    assert [(record.id, record.text, record.split) for record in found] == [
        ("test/ulysses/a_1", "test/ulysses", "test"),
        ("train/emma/a_1", "train/emma", "train"),
        ("train/vanity/a_1", "train/vanity", "train"),
    ]
    assert [Path(str(record.audio)).parent.parent.name for record in found] == ["ulysses", "emma", "vanity"]


def test_a_header_that_has_no_usual_name_may_be_a_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column for audio.*line 1.*row"):
        records(written(tmp_path / "a.csv", "LJ001-0001|Printing, in the only sense\nLJ001-0002|in being\n"))


@pytest.mark.parametrize("shape", ["lj_speech", "excel", "excel_text", "vox_populi", "tab_separated"])
def test_training_reads_the_same_tables(shape: str, tmp_path: Path) -> None:
    corpus = SHAPES[shape](tmp_path / "corpus")
    if shape == "vox_populi":
        for split in ("train", "dev", "test"):
            with tarfile.open(corpus / split / f"{split}_part_0.tar.gz") as packed:
                packed.extractall(corpus / split, filter="data")
    keep = {"split": ("train",)} if shape == "vox_populi" else {}
    source = open_source(SourceConfig(folder=str(corpus), keep=keep), "data.train")
    spoken = [read_utterance(row, source) for row in source.rows()]
    expected = [text.replace("|", "/") if shape == "lj_speech" else text for text in TEXTS]
    assert [one.text for one in spoken] == expected[: len(spoken)] and len(spoken) == (4 if keep else 6)


def test_training_from_a_folder_in_unicode_s_other_form(tmp_path: Path) -> None:
    written(tmp_path / f"{form(UMLAUT, 'NFD')}.flac", encoded(1))
    written(tmp_path / f"{form(UMLAUT, 'NFC')}.txt", "one")
    source = open_source(SourceConfig(folder=str(tmp_path)), "data.train")
    assert [read_utterance(row, source).text for row in source.rows()] == ["one"]
    written(tmp_path / "a.jsonl", json.dumps({"audio": f"{form(UMLAUT, 'NFC')}.flac", "text": "two"}))
    lines = open_source(SourceConfig(files=str(tmp_path / "a.jsonl")), "data.train")
    assert [read_utterance(row, lines).text for row in lines.rows()] == ["two"]


def test_splits_are_the_same_in_other_spellings(tmp_path: Path) -> None:
    rows = "".join(f"a.wav\tone\t{split}\n" for split in ("Train", "DEV", "test ", "extra"))
    found = records(written(tmp_path / "a.tsv", f"path\tsentence\tsplit\n{rows}"))
    assert [record.split for record in found] == ["train", "validation", "test", "extra"]


def test_a_byte_order_mark_among_lines_of_json_and_in_a_column_s_name(tmp_path: Path) -> None:
    line = json.dumps({"path": "a.wav", "sentence": "one"}) + "\n"
    assert texts(written(tmp_path / "a.jsonl", f"\ufeff{line}\ufeff{line}")) == ["one", "one"]
    assert texts(written(tmp_path / "a.csv", "path,\u200bsentence\na.wav,one\n")) == ["one"]


def test_a_column_that_is_called_like_a_file_is_a_column(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.csv", "path,sentence,start.ts\na.wav,one,5\n")) == ["one"]


def test_a_row_that_is_too_long_is_told_how_to_write_it(tmp_path: Path) -> None:
    for name, row, advice in (
        ("a.csv", "a.wav,one,two", "quote a text"),
        ("a.tsv", "a.wav\tone\ttwo", "cannot hold tabs"),
    ):
        header = "path,sentence\n".replace(",", row[5])
        found = records(written(tmp_path / name, f"{header}{row}\n"))
        assert "3 fields where the header has 2" in str(found[0].fault) and advice in str(found[0].fault)
