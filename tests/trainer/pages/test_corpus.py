"""The inspection's page: whole, harmless whatever a corpus holds, and saying what the table says."""

import base64
import datetime
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.inspection.counts import Histogram, Scale
from data.inspection.facts import InspectionSettings
from data.inspection.findings import problems
from data.inspection.tally import Inspection, inspect_records
from trainer.pages.corpus import bars_of, inspection_page, write_page
from trainer.pages.corpus_tables import figures, verdict

from ...data.inspection.test_inspect import clip, sound, varied

DAY = datetime.date(2025, 11, 22)
NASTY = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """The elements and text of a page; fails where elements are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def names(self) -> set[str]:
        return {name for name, _ in self.elements}


def page_of(inspection: Inspection, address: str = "/data/corpus") -> Page:
    return Page(inspection_page(inspection, address, DAY))


def test_it_says_what_the_table_says() -> None:
    inspection = inspect_records(varied(), InspectionSettings())
    page = page_of(inspection)
    findings = problems(inspection)
    for told in ("/data/corpus", "2025-11-22", verdict(findings), *(value for _, value in figures(inspection))):
        assert told in page.text
    for finding in findings:
        assert finding.title[1:] in page.text
        assert finding.amount in page.text
    kinds = [str(attributes["class"]) for name, attributes in page.elements if name == "article"]
    assert kinds == sorted(kinds)  # "fails" first
    assert set(kinds) == {"fails", "look"}
    assert len([name for name, _ in page.elements if name == "svg"]) == 3


def test_nothing_a_corpus_says_is_markup() -> None:
    values: dict[str, Any] = {
        "id": NASTY,
        "language": NASTY,
        "speaker": NASTY,
        "split": NASTY,
        "place": NASTY,
        "text": NASTY * 2,
    }
    rows = [clip(number, **values) for number in range(3)] + [clip(9, fault=NASTY), clip(8, text="")]
    page = page_of(inspect_records(rows, InspectionSettings()), NASTY)
    assert page.names().isdisjoint({"script", "img", "link", "iframe", "object", "a"})
    assert NASTY in page.text
    allowed = {
        "class",
        "style",
        "dir",
        "open",
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "role",
        "aria-hidden",
        "controls",
        "preload",
        "src",
    }
    drawn = {"viewbox", "preserveaspectratio", "x", "y", "width", "height"}
    assert {key for _, attributes in page.elements for key in attributes} <= allowed | drawn


def test_it_asks_for_nothing_else() -> None:
    page = inspection_page(inspect_records(varied(), InspectionSettings()), "https://key:secret@host/x?token=1", DAY)
    assert re.findall(r"https?://[^ <]*", page) == ["https://host/x", "https://host/x"]  # the title, twice
    assert "secret" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|href=", page)
    sounds = re.findall(r"src=(.{23})", page)
    assert sounds and set(sounds) == {'"data:audio/flac;base64'}
    assert "media-src data:" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_a_few_clips_can_be_heard_and_read_the_same_however_they_were_shared_out() -> None:
    records = [clip(number, sound(12.0, seed=number)) for number in range(20)]
    whole = inspect_records(records, InspectionSettings())
    parts = Inspection(InspectionSettings())
    for begin in (10, 0, 15, 5):
        parts.merge(inspect_records(records[begin : begin + 5], InspectionSettings()))
    kept = whole.samples_to_hear.kept
    assert len(kept) == 6 and kept == parts.samples_to_hear.kept
    samples, rate = soundfile.read(io.BytesIO(kept[0].flac))
    assert (len(samples), rate) == (160_000, 16_000) and kept[0].is_cut
    page = page_of(whole)
    heard = [str(attributes["src"]) for name, attributes in page.elements if name == "audio"]
    assert [base64.b64decode(address.partition(",")[2]) for address in heard] == [sample.flac for sample in kept]
    assert all(sample.text in page.text for sample in kept) and "12.0 s, of which the beginning" in page.text


def test_it_says_how_the_corpus_was_read_and_what_was_not() -> None:
    inspection = inspect_records([clip(0)], InspectionSettings())
    inspection.census.columns = {"audio": "path", "text": "sentence"}
    inspection.census.unused = ["age", "<b>up_votes</b>"]
    inspection.census.left = {".m4a recordings": ["kids/a.m4a", "kids/<b>.m4a"]}
    page = page_of(inspection)
    assert "columns: audio from path, text from sentence; none for speaker, id; not used: age, <b>up_votes" in page.text
    assert "ot used: .m4a recordings" in page.text and "2 files" in page.text and "kids/<b>.m4a" in page.text
    assert "b" not in {name for name, attributes in page.elements if "up_votes" in str(attributes)}


def test_right_to_left_text_is_isolated_and_what_turns_it_is_shown() -> None:
    rows = [clip(0, text="שלום עולם\u202e"), clip(1, text="half \ud800")]
    page = page_of(inspect_records(rows, InspectionSettings()))
    assert "\u202e" not in page.text
    assert "שלום עולם⟨U+202E⟩" in page.text
    assert "⟨U+D800⟩" in page.text
    assert all(attributes.get("dir") == "auto" for name, attributes in page.elements if name == "q")


@pytest.mark.parametrize("rows", [[], [clip(0, audio=b"nothing")], [clip(0, np.zeros(16_000, np.float32), text="")]])
def test_a_corpus_of_nearly_nothing_has_a_page(rows: list) -> None:
    page = page_of(inspect_records(rows, InspectionSettings()))
    assert "would fail in training" in page.text


def test_it_is_written_whole_and_the_same_each_time(tmp_path: Path) -> None:
    inspection = inspect_records([clip(0), clip(1, text="half \ud800")], InspectionSettings())
    for name in ("one", "two"):
        write_page(inspection, "/data/corpus", str(tmp_path / "new" / name), DAY)
    one, two = ((tmp_path / "new" / name).read_text(encoding="utf-8") for name in ("one", "two"))
    assert one == two == inspection_page(inspection, "/data/corpus", DAY)


def test_plots_hold_every_value_and_place_their_marks() -> None:
    limit = [(30.0, "30 s")]
    lengths = Histogram(Scale(0.0, 60.0, 600))
    for seconds in (0.05, 3.0, 3.01, 29.0, 75.0):
        lengths.add(seconds)
    drawn = bars_of("lengths", lengths, "s", limit)
    assert sum(count for _, count in drawn.bars) == 5
    name, count = drawn.bars[-1]
    assert name.endswith("and more") and count == 1
    assert drawn.sided_marks() == [(0.5, "30 s", False)]
    short = Histogram(Scale(0.0, 60.0, 600))
    short.add(4.9)
    assert bars_of("lengths", short, "s", limit).marks == []
    for longest in (0.04, 0.3, 6.17, 7.03, 12.3, 33.3, 59.9):
        lengths = Histogram(Scale(0.0, 60.0, 600))
        lengths.add(longest)
        lengths.add(0.01)
        assert sum(count for _, count in bars_of("lengths", lengths, "s").bars) == 2
    rates = Histogram(Scale(0.1, 102.4, 200, is_log=True))
    for rate in (0.01, 5.0, 5000.0):
        rates.add(rate)
    assert sum(count for _, count in bars_of("rates", rates, "a second").bars) == 3
